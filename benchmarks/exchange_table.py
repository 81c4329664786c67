"""Table of the formats of annotations, as ``docs/exchange.md`` has it.

python benchmarks/exchange_table.py           # prints it
python benchmarks/exchange_table.py --write   # replaces that of the page
VLAR_PROGRAMS=FILE pytest -n 0 -m slow tests/e2e/test_other_programs.py
python benchmarks/exchange_table.py --programs FILE   # replaces the table of programs that it tried
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from vlar.segments.base import OPTIONAL, AnnotationFormat
from vlar.segments.files import every_format

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exchange.md"
_PLACE = re.compile(r"(<!-- table -->\n).*?(<!-- end of table -->)", re.S)
_PROGRAMS = re.compile(r"(<!-- programs -->\n).*?(<!-- end of programs -->)", re.S)


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


def programs(file: Path) -> str:
    """The table of programs in Markdown; a row passes where all of its tests did."""
    rows: dict[tuple[str, ...], bool] = {}
    for line in file.read_text("utf-8").splitlines():
        fact = json.loads(line)
        key = tuple(fact[name] for name in ("package", "version", "format", "direction"))
        rows[key] = rows.get(key, True) and fact["outcome"] == "pass"
    lines = [
        f"| {' | '.join(key)} | {'pass' if passed else 'fail'} |"
        for key, passed in sorted(rows.items())
    ]
    head = "| package | version | format | direction | |\n|---|---|---|---|---|\n"
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the table of the page")
    parser.add_argument("--programs", type=Path, help="lines of tests/e2e/test_other_programs.py")
    options = parser.parse_args()
    if options.programs:
        text = PAGE.read_text("utf-8")
        written = _PROGRAMS.sub(
            lambda match: f"{match[1]}\n{programs(options.programs)}\n{match[2]}", text
        )
        PAGE.write_text(written, "utf-8")
    elif options.write:
        PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
