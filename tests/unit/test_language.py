"""Plain English over the whole tree: docstrings, comments, messages, help texts and pages.

The words below are correct English, but they hide what a reader looks for, or they are the private
words of an author where the field has its own: resume, roll back, deduplicate, held-out, stale.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTEAD = {
    r"\banew\b": "again, or a new one",
    r"(?<![`.(/])\bbeside\b(?![(.])": "next to, and, besides, or except",
    r"\bthereof\b": "of it",
    r"\bwhoever\b": "name who: the caller, the writer",
    r"\bat hand\b": "available, installed, loaded or given",
    r"\bso many\b": "the number itself",
    r"\b(gone|went|goes|going) on (with|from)\b": "resume",
    r"\btaken? back\b": "roll back",
    r"\b(is|are|was|were) no(?! longer| more| less| faster| slower| worse| better)\b": "is not a",
    r"(?<!ground )\bthe truth\b": "the source of truth, the store, or the right label",
    r"\b(is|are|be|been) told\b(?! apart)": "is given, is called with, is reported",
    r"\bspeaks? (of|for)\b": "mention, support, stand for",
    r"\bstrangers?\b(?='s? (clip|video)| clips?| videos?)": "out-of-distribution clips",
    r"\bby heart\b": "memorise",
    r"\btaken? at (its|their) word\b": "trust",
    r"\bnothing is (told|said)\b": "name what is missing",
    r"\blook(s|ed)? again\b": "re-rank",
    r"\bsecond look\b": "re-ranking",
    r"\bkept vectors\b": "cached vectors",
    r"\bmade new\b": "rebuilt",
    r"\bgoings?-on\b": "resuming",
    r"\bmend(s|ed|ing)?\b": "repair, fix",
    r"\b(un)?wholly\b": "completely, or nothing",
    r"\bere\b|\bwhilst\b|\bthus\b|\bhence\b|\bhereby\b": "plain words",
}
SOURCES = sorted(
    p for folder in ("vlar", "evals", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
# From Python 3.12 on an f-string is a token of its own.
PROSE = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def words_of_source(path: Path) -> Iterator[tuple[int, str]]:
    """Comments and strings of a source file, with their lines; tables of data are not prose."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type in PROSE:
            yield token.start[0], token.string


def faults(line: int, text: str) -> Iterator[str]:
    joined = re.sub(r"\s+", " ", text)
    for pattern, instead in INSTEAD.items():
        for found in re.finditer(pattern, joined, re.IGNORECASE):
            around = joined[max(0, found.start() - 30) : found.end() + 30]
            yield f"line {line}: {found[0]!r} in '...{around}...': write {instead}"


def faults_of_source(path: Path) -> list[str]:
    words = words_of_source(path)
    return [f"{path.relative_to(ROOT)}: {f}" for line, text in words for f in faults(line, text)]


def test_sources_are_in_plain_english():
    assert len(SOURCES) > 500
    found = [fault for path in SOURCES for fault in faults_of_source(path)]
    assert not found, "\n".join(found)


def test_pages_are_in_plain_english():
    found: list[str] = []
    for path in PAGES:
        prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
        found += [f"{path.relative_to(ROOT)}: {fault}" for fault in faults(0, prose)]
    assert PAGES
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_in_plain_english(path: Path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    found = [f for n, cell in enumerate(cells) for f in faults(n, "".join(cell["source"]))]
    assert not found, "\n".join(found)


def test_the_word_list_finds_what_it_should():
    assert list(faults(1, "a training that was stopped is gone on with")) != []
    assert list(faults(1, "there is no library")) != []
    assert list(faults(1, "the window is no longer there")) == []
