"""The command line: one module a verb, parsing and printing only."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``vlar``: runs a verb and turns every expected error into one line."""
    from vlar.cli.app import run

    sys.exit(run(sys.argv[1:]))
