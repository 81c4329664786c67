"""Links of the pages lead somewhere: to a page and its heading, or to a file of the project.

Addresses of other sites are checked by their form only; no test asks the net.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import pages

LINK = re.compile(r"!?\[[^\]\n]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
SOURCE = re.compile(r"(?:src|href)=\"([^\"]+)\"")
# Files and folders of the project that the prose names in code spans.
NAMED = re.compile(r"`((?:vlar|tests|evals|benchmarks|notebooks|docs|text_banks)/[\w/.-]+)`")


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


@pytest.mark.parametrize("page", pages.pages(), ids=pages.name_of)
def test_files_that_the_prose_names_exist(page: Path):
    for path in NAMED.findall(pages.prose(page)):
        assert (pages.ROOT / path.rstrip(".")).exists(), f"{pages.name_of(page)}: `{path}`"


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


def test_the_readme_names_each_page_once_and_three_uses():
    text = (pages.ROOT / "README.md").read_text("utf-8")
    table = text.partition("\n## More\n")[2]
    named = re.findall(r"`([\w/.]+\.md)`", "".join(re.findall(r"^\|[^|]*\|", table, re.M)))
    assert len(named) > 30
    assert sorted(named) == sorted(set(named))
    uses = text.partition("\n## Three uses\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(\w+)\*\*", uses, re.M) == ["Classify", "Adapt", "Query"]
