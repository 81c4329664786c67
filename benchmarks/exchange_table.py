"""Table of the formats of annotations, as ``docs/exchange.md`` has it.

python benchmarks/exchange_table.py           # prints it
python benchmarks/exchange_table.py --write   # replaces that of the page
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from vlar.segments.base import OPTIONAL, AnnotationFormat
from vlar.segments.files import every_format

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exchange.md"
_PLACE = re.compile(r"(<!-- table -->\n).*?(<!-- end of table -->)", re.S)


def row(part: AnnotationFormat) -> str:
    """The row of a format."""
    out = ("adds" if part.adds else "yes") if part.writes else "-"
    lost = [name for name in OPTIONAL if name not in part.holds]
    loses = "; ".join(([", ".join(lost)] if lost else []) + ([part.loses] if part.loses else []))
    summary = (type(part).__doc__ or "").splitlines()[0].rstrip(".").replace("``", "`")
    endings = " ".join(f"`{ending}`" for ending in sorted(part.endings))
    rate = "needs fps" if part.needs_fps else ""
    new = " ".join(f"`{ending}`" for ending in sorted(part.default_for))
    return f"| `{part.name}` | {summary} | {endings} | yes | {out} | {new} | {rate} | {loses} |"


def table() -> str:
    """The table in Markdown."""
    head = "| annotation | content | endings | in | out | new file | rate | cannot hold |\n"
    return head + "|---|---|---|---|---|---|---|---|\n" + "\n".join(map(row, every_format())) + "\n"


def page(text: str) -> str:
    """The page with the table of now."""
    return _PLACE.sub(lambda match: match[1] + "\n" + table() + "\n" + match[2], text)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the table of the page")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
