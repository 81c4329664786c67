"""The command line: verbs as functions, which parse and print only."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``vlar``."""
    try:
        from vlar.apps.cli.app import app
        from vlar.apps.cli.exits import run
    except KeyboardInterrupt:  # imports take a moment
        sys.exit(130)

    def parse_and_run() -> int:
        app(prog_name="vlar")
        return 0

    # A verb handles its own errors; these are the errors of the command line itself.
    sys.exit(run(parse_and_run))
