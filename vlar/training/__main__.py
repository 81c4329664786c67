"""``accelerate launch -m vlar.training CONFIG.toml``: ``vlar train``, as launchers start it."""

from __future__ import annotations

import sys

from vlar.apps.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train"]
    main()
