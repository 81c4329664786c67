"""Links of the pages lead somewhere: to a page and its heading, or to a file of the project.

So do the files and the dotted names that pages, READMEs and notebooks mention.

Addresses of other sites are checked by their form only; no test asks the net.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import pages
from tests.unit.test_layout import ORDER

LINK = re.compile(r"!?\[[^\]\n]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
SOURCE = re.compile(r"(?:src|href)=\"([^\"]+)\"")
# Files and folders of the project that the prose names in code spans.
NAMED = re.compile(r"`((?:vlar|tests|evals|benchmarks|notebooks|docs|text_banks)/[\w/.-]+)`")
PYTHON = re.compile(r"`([\w/.-]+\.py)`")
DOTTED = re.compile(r"(?<![\w/.@\"-])vlar(?:\.\w+){2,}")
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "*/**/README*.md", "notebooks/*.ipynb")
    for path in pages.ROOT.glob(pattern)
    if not pages.name_of(path).startswith(".")
)


@cache
def anchors(page: Path) -> set[str]:
    """The ids of a page's headings, as both GitHub and the site make them."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,6} (.+)$", pages.prose(page), re.M):
        text = re.sub(r"[*`]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        found.add(re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", text)))
        found |= set(re.findall(r"\{ *#([\w-]+) *\}", title))
    return found


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link; None where it is fine."""
    parts = urlsplit(target)
    if parts.scheme:
        fine = parts.scheme == "https" and re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc)
        return None if fine else "is neither an https address nor a path"
    place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not place.is_relative_to(pages.ROOT) or not place.exists():
        return "is not a file of the project"
    if "docs" in page.relative_to(pages.ROOT).parts and not place.is_relative_to(
        pages.ROOT / "docs"
    ):
        return "leaves docs/, so the site does not have it; name the file in a code span"
    if parts.fragment and place.suffix == ".md" and parts.fragment not in anchors(place):
        return f"has no heading {parts.fragment!r}"
    return None


@pytest.mark.parametrize("page", pages.pages(), ids=pages.name_of)
def test_links_of_a_page_lead_somewhere(page: Path):
    text = pages.prose(page)
    for target in [*LINK.findall(text), *SOURCE.findall(text)]:
        problem = fault(page, target)
        assert problem is None, f"{pages.name_of(page)}: {target} {problem}"


def lost(page: Path, text: str) -> list[str]:
    """Files of the project and names of vlar that a text mentions and that do not exist."""
    shown = {block.file for block in pages.blocks(page)}
    files = [path.rstrip(".") for path in NAMED.findall(text)]
    files += [path for path in PYTHON.findall(text) if path not in shown]
    found = [f for f in files if not any((root / f).exists() for root in (pages.ROOT, page.parent))]
    return found + [name for name in DOTTED.findall(text) if not is_name(name)]


@cache
def is_name(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one or of its classes."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            found = getattr(found, part, None) or getattr(found, "__annotations__", {}).get(part)
        return found is not None
    return False


@pytest.mark.parametrize("page", TEXTS, ids=pages.name_of)
def test_files_and_names_that_a_text_mentions_exist(page: Path):
    text = page.read_text("utf-8")
    assert not lost(page, text), f"{pages.name_of(page)}: {lost(page, text)}"


REFERENCE = re.compile(r"`+(vlar(?:\.\w+){2,})`+")


def test_names_that_docstrings_mention_exist():
    sources = [path for path in pages.ROOT.glob("vlar/**/*.py") if "plugins" not in path.parts]
    found = [
        (path, name) for path in sources for name in REFERENCE.findall(path.read_text("utf-8"))
    ]
    assert len(found) > 80
    assert not [f"{pages.name_of(path)}: {name}" for path, name in found if not is_name(name)]


def test_lost_files_and_names_are_found():
    page = pages.ROOT / "docs" / "query.md"
    text = "`vlar/query/where.py` `where.py` vlar.query.where vlar.library.query.filters.Lost"
    assert len(set(lost(page, text))) == 4
    assert not lost(page, "`vlar/library/query/filters.py` vlar.Library.query vlar.registry.names")


def test_wrong_links_are_found():
    page = pages.ROOT / "docs" / "query.md"
    for wrong in (
        "lost.md",
        "library.md#no-such-heading",
        "http://example.org",
        "../../x",
        "../README.md",
    ):
        assert fault(page, wrong), wrong
    for right in ("library.md", "library.md#filters", "#answers", "https://example.org/a"):
        assert fault(page, right) is None, right


def test_the_page_of_the_architecture_has_the_spine_and_the_order_of_packages():
    text = (pages.ROOT / "docs" / "architecture.md").read_text("utf-8")
    spine = re.findall(r"^\| (\d+) \| `(vlar/[\w/.]+\.py)` \|", text, re.M)
    assert [int(number) for number, _ in spine] == list(range(1, 31))
    assert len({path for _, path in spine}) == 30
    ranks = re.findall(r"^\| \d+ \| ((?:`\w+`(?:, )?)+) \|", text, re.M)
    assert [re.findall(r"\w+", names) for names in ranks] == ORDER


def test_the_front_page_names_each_page_once_and_the_readme_three_uses():
    table = (pages.ROOT / "docs" / "index.md").read_text("utf-8").partition("\n## All pages\n")[2]
    named = re.findall(r"\((\w+\.md)\)", "".join(re.findall(r"^\|[^|]*\|", table, re.M)))
    every = {path.name for path in (pages.ROOT / "docs").glob("*.md")} - {"index.md"}
    assert sorted(named) == sorted(every)
    text = (pages.ROOT / "README.md").read_text("utf-8")
    uses = text.partition("\n## Three uses\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(\w+)\*\*", uses, re.M) == ["Classify", "Adapt", "Query"]
