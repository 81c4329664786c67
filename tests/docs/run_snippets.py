"""Runs the Python snippets of pages in one process; a failed page does not end the others.

Reads a JSON list of ``{"page", "folder", "blocks": [{"place", "text"}]}`` from stdin and writes a
JSON object of page to traceback, or to null where all its snippets ran.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any


def run(blocks: list[dict[str, str]]) -> str | None:
    """The snippets of a page share their names, as a reader who types them would have it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        try:
            exec(compile(block["text"], block["place"], "exec"), names)
        except BaseException:  # noqa: BLE001 - SystemExit too is a failed snippet
            return f"{block['place']}\n{traceback.format_exc()}"
    return None


def main() -> None:
    """Answer on the real stdout; what snippets print goes to stderr."""
    answer, sys.stdout = sys.stdout, sys.stderr
    results: dict[str, str | None] = {}
    for page in json.load(sys.stdin):
        os.chdir(page["folder"])
        results[page["page"]] = run(page["blocks"])
    json.dump(results, answer)


if __name__ == "__main__":
    main()
