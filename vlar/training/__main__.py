"""``accelerate launch -m vlar.training CONFIG.toml``: ``vlar train``, as launchers start it."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

if __name__ == "__main__":
    sys.argv[1:1] = ["train"]
    next(iter(entry_points(group="console_scripts", name="vlar"))).load()()
