"""Plain English over the whole tree: docstrings, comments, messages, help texts and pages.

The words below are correct English, but they hide what a reader looks for, or they are the private
words of an author where the field has its own: resume, roll back, deduplicate, held-out, stale.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from functools import cache
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
ANY = re.compile("|".join(INSTEAD), re.IGNORECASE)
# A docstring begins with a noun or a verb; an attribute (a property) may begin with Whether.
WORDS = (
    "What Whether How Where Who Whom Whose Which Why When Of As See Its Itself None For From In On "
    "With Without By At After Before Until Inside Over To Not Is Are Does Can Has This "
    "That These Those It Something Somebody Anything Nothing Also If Under Like"
)
BEGINNINGS = frozenset(WORDS.split())
PROPERTIES = frozenset({"property", "cached_property"})
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Code does not see, say, speak, tell or know; people do. ``says:`` is an operator of queries, and
# ``sees:`` describes an attribute.
PEOPLE = r"(?<!person )(?<!user )(?<!viewer )(?<!reader )(?<!nobody )(?<!somebody )(?<!one )"
HUMAN = re.compile(
    PEOPLE + r"\b((says|tells|knows|sees|speaks|hears|thinks)\b(?!:)|"
    r"((does|do|did) not|cannot|can|may) (say|tell|know|speak)\b)"
)
SOURCES = sorted(
    p for folder in ("vlar", "evals", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
# From Python 3.12 on an f-string is a token of its own.
PROSE = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@cache
def words_of_source(text: str) -> list[tokenize.TokenInfo]:
    """Comments and strings of a source text; tables of data are not prose."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in tokens if token.type in PROSE]


@cache
def documented(text: str) -> list[tuple[ast.AST, str]]:
    """What has a docstring in a source text, with the docstring; bodies are left out."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED)]
    rows = [(node, ast.get_docstring(node) or "") for node in nodes]
    for node in nodes:
        node.body = []  # a tree of every file would fill the memory
    return rows


def beginning(node: ast.AST, docstring: str) -> str | None:
    """First word of a docstring that begins with neither a noun nor a verb."""
    word = re.match(r"[A-Za-z]+\b(?![-'])", docstring)
    if word is None or word[0] not in BEGINNINGS:
        return None
    names = {ast.unparse(each).rsplit(".")[-1] for each in getattr(node, "decorator_list", [])}
    return None if word[0] == "Whether" and names & PROPERTIES else word[0]


def beginnings(text: str) -> Iterator[str]:
    for node, docstring in documented(text):
        if (word := beginning(node, docstring)) is not None:
            name = getattr(node, "name", "the module")
            yield f"the docstring of {name} begins with {word!r}: begin with a noun or a verb"


def humans(text: str) -> Iterator[str]:
    """Docstrings and comments in which code says, tells, knows or sees; messages are not read."""
    prose = [docstring for _, docstring in documented(text)]
    prose += [t.string for t in words_of_source(text) if t.type == tokenize.COMMENT]
    for each in prose:
        joined = re.sub(r"``[^`]*``", "", " ".join(each.split()))
        for found in HUMAN.finditer(joined):
            around = joined[max(0, found.start() - 30) : found.end() + 30]
            yield f"{found[0]!r} in '...{around}...': name what the code does"


def faults(line: int, text: str) -> Iterator[str]:
    joined = re.sub(r"\s+", " ", text)
    if not ANY.search(joined):
        return
    for pattern, instead in INSTEAD.items():
        for found in re.finditer(pattern, joined, re.IGNORECASE):
            around = joined[max(0, found.start() - 30) : found.end() + 30]
            yield f"line {line}: {found[0]!r} in '...{around}...': write {instead}"


def faults_of_source(path: Path) -> list[str]:
    words = words_of_source(path.read_text("utf-8"))
    return [
        f"{path.relative_to(ROOT)}: {fault}"
        for token in words
        for fault in faults(token.start[0], token.string)
    ]


def test_sources_are_in_plain_english():
    assert len(SOURCES) > 500
    found = [fault for path in SOURCES for fault in faults_of_source(path)]
    assert not found, "\n".join(found)


def test_docstrings_begin_with_a_noun_or_a_verb():
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in SOURCES
        for fault in beginnings(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_code_does_not_behave_like_a_person():
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in SOURCES
        for fault in humans(path.read_text("utf-8"))
    ]
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


def made_up(docstring: str, decorator: str = "") -> str:
    return f'{decorator}\ndef made_up():\n    """{docstring}"""\n'


@pytest.mark.parametrize("word", sorted(BEGINNINGS))
def test_a_wrong_beginning_is_found(word: str):
    assert len(list(beginnings(f'"""{word} a reader gives."""'))) == 1
    assert len(list(beginnings(made_up(f"{word} a reader gives.")))) == 1


def test_right_beginnings_pass():
    assert list(beginnings(made_up("Whether it is empty.", "@property"))) == []
    assert list(beginnings(made_up("Whether it is empty.", "@functools.cached_property"))) == []
    assert list(beginnings(made_up("Whether it is empty.", "@staticmethod"))) != []
    assert list(beginnings(made_up("What it is.", "@property"))) != []
    for right in ("Return whether it is empty.", "In-memory store.", "(N, D) of unit length."):
        assert list(beginnings(made_up(right))) == []


@pytest.mark.parametrize(
    "text",
    [
        "The message says why.",
        "An encoder knows its frames.",
        "It sees a clip as a whole.",
        "The code tells them apart.",
        "Torch does not say.",
        "It cannot tell left from right.",
    ],
)
def test_code_that_behaves_like_a_person_is_found(text: str):
    assert len(list(humans(made_up(text)))) == 1
    assert len(list(humans(f"# {text}\n"))) == 1


def test_people_operators_and_messages_may_speak():
    assert list(humans(made_up("A viewer sees it, a person says so, nobody knows why."))) == []
    assert list(humans(made_up("says: words of a caption; searched by ``says:``."))) == []
    assert list(humans('MESSAGE = "the card says 3"\n')) == []
