"""Every part has a row in the page of its kind, and every row has a part.

A table of parts has the name of the kind as its first heading: ``| encoder | frames | ...``. The
first cell of a row names the part in backticks, with its arguments if it takes some:
``openclip:ARCH/TAG``, ``tc-clip/zero-shot``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from vlar import registry

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^\|---")


def rows(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The heading and the cells of each row of each table of a page."""
    heading = ""
    for before, line in pairwise([*page.read_text("utf-8").splitlines(), ""]):
        if _LINE.match(line):
            heading = cells(before)[0]
        elif not line.startswith("|"):
            heading = ""
        elif heading:
            yield heading, cells(line)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def named_in(page: Path, kind: str) -> set[str]:
    """The parts that the tables of one kind name."""
    found: set[str] = set()
    for heading, row in rows(page):
        if heading == kind:
            codes = re.findall(r"`([^`]+)`", row[0])
            assert codes, f"{page.name}: no part is named in backticks in {row[0]!r}"
            # A row may go on with the endings of a variant's name: `ez-clip/a`, `-b`.
            found |= {re.split("[:/]", code)[0] for code in codes if not code.startswith("-")}
    return found


@pytest.mark.parametrize("kind", registry.KINDS.values(), ids=lambda kind: kind.name)
def test_docs_and_registry_agree(kind: registry.Kind):
    page = ROOT / kind.docs
    # Parts that other tests register at run time have no page; those of the package have.
    parts = set(registry._found(kind.package, kind.name))
    if not parts and not page.is_file():
        return
    named = named_in(page, kind.name)
    advice = f"{kind.docs}, table with the heading '| {kind.name} |'"
    assert not parts - named, f"{advice}: a row is missing for {sorted(parts - named)}"
    assert not named - parts, f"{advice}: no such part: {sorted(named - parts)}"


def test_rows_are_read_as_written(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "| encoder | file |\n|---|---|\n| `a:X\\|Y`, `a:Z` | |\n| `b/c`, `-d` | |\n\n"
        "| engine | file |\n|---|---|\n| `e` | `f` |\n"
    )
    assert named_in(page, "encoder") == {"a", "b"}
    assert named_in(page, "engine") == {"e"}
    assert named_in(page, "adapter") == set()


def test_contributing_names_every_kind_and_its_place():
    page = ROOT / "CONTRIBUTING.md"
    places = {row[0].strip("`"): row for heading, row in rows(page) if heading == "kind"}
    for kind in registry.KINDS.values():
        folder = kind.package.replace(".", "/")
        if not (ROOT / folder).is_dir():
            assert f"`{kind.name}`" in page.read_text("utf-8"), kind.name
            continue
        base = kind.contract.partition(":")[0].replace(".", "/") + ".py"
        assert places[kind.name][1:] == [f"`{base}`", f"`{folder}/`", f"`{kind.docs}`"]
