"""The command line: one module a verb, parsing and printing only."""

from __future__ import annotations


def main() -> None:
    """Entry point of ``vlar``."""
    from vlar.cli.app import app

    app(prog_name="vlar")
