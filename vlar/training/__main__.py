"""``accelerate launch -m vlar.training CONFIG.toml``: ``vlar train``, as launchers start it."""

import sys

from vlar.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train"]
    main()
