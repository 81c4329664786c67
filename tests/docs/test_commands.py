"""Every command that a page or a help text shows is one that the program takes. Nothing runs."""

from __future__ import annotations

import ast
import importlib
import re
import tokenize
from io import StringIO
from pathlib import Path

import pytest

from tests.docs import pages, verbs

PAGES = pages.pages()
NOT_RUN_AT_MOST = 40
OTHERS = {"--local-dir", "--lf"}  # of hf and pytest


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """The options of all verbs, and those of the scripts of evals/ and benchmarks/."""
    found = set(OTHERS)
    for words in verbs.commands():
        found |= verbs.options(words)
    for folder in ("evals", "benchmarks"):
        for script in (pages.ROOT / folder).rglob("*.py"):
            text = script.read_text("utf-8")
            found |= set(re.findall(r'"(--[a-z][\w-]*)"', text)) | given_options(text)
    return found


def given_options(text: str) -> set[str]:
    """The options that a script gives to ``arguments`` of the harness."""
    found: set[str] = set()
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "arguments":
            shared = [a.value for a in call.args if isinstance(a, ast.Constant)]
            own = [keyword.arg for keyword in call.keywords if keyword.arg]
            found |= {f"--{name.rstrip('!+').replace('_', '-')}" for name in (*shared, *own)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_commands_of_a_page_are_read_by_the_program(page: Path):
    added = re.findall(r'^@(?:vlar\.)?register\("\w+", "([\w-]+)"', page.read_text("utf-8"), re.M)
    for block in pages.blocks(page):
        if block.language != "bash":
            continue
        for line in pages.lines(block.text):
            for call in pages.vlar_commands(line):
                verbs.parse(call, added)


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_commands_and_options_in_the_prose_exist(page: Path, known_options: set[str]):
    for span in pages.INLINE.findall(pages.prose(page)):
        if span.startswith("vlar "):
            check_named(span)
        elif re.match(r"--[a-z]", span):
            for option in re.findall(r"--[a-z][\w-]*", span):
                assert option in known_options, f"{pages.name_of(page)}: {span}"


def check_named(text: str) -> None:
    """A command in prose may be cut (``vlar index add ...``) or offer several (``list|info``)."""
    first, *rest = text.removeprefix("vlar ").split()
    if not re.fullmatch(r"[a-z|-]+", first):
        return
    for verb in first.split("|"):
        words = verb if verb in verbs.commands() else ""
        assert words or verb.startswith("-"), f"{text}: no verb {verb!r}"
        inside = rest[0].split("|") if rest and verbs.is_group(words) else ()
        for inner in inside:
            whole = f"{verb} {inner}"
            assert not re.fullmatch(r"[a-z]+", inner) or whole in verbs.commands(), (
                f"{text}: {verb} has no verb {inner!r}"
            )
            words = whole if whole in verbs.commands() else words
        for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", text):
            assert option in verbs.options(words), f"{text}: {words} has no option {option}"


def test_every_option_stands_in_the_help_of_its_verb():
    """What a page types can be looked up: nothing that works is hidden."""
    for words in verbs.verbs():
        if not verbs.is_group(words):
            text = verbs.help_of(words)
            named = verbs.options(words) - {"-h"}  # which the application adds
            lost = [name for name in named if not re.search(rf"{name}\b", text)]
            assert not lost, f"vlar {words}: {lost}"


def test_every_verb_stands_in_a_page():
    texts = [page.read_text("utf-8") for page in PAGES if page.parent.name == "docs"]
    missing = [v for v in verbs.verbs() if not any(f"vlar {v}" in text for text in texts)]
    assert not missing


SOURCES = sorted(p for f in ("vlar", "evals", "benchmarks") for p in (pages.ROOT / f).rglob("*.py"))
# A command in a message stands in quotes or after a colon: 'vlar models', run: vlar index add X.
QUOTED = re.compile(r"(?:['`(]|: )(vlar (?:[a-z]+)(?: [^'`;:,()\n]*)?)")


def test_commands_in_messages_and_docstrings_exist():
    texts = (getattr(tokenize, "FSTRING_MIDDLE", -1), tokenize.STRING, tokenize.COMMENT)
    checked = 0
    for source in SOURCES:
        for token in tokenize.generate_tokens(StringIO(source.read_text("utf-8")).readline):
            if token.type not in texts:
                continue
            for found in QUOTED.findall(token.string):
                words = found.split()
                if words[1] in verbs.commands():
                    check_named(" ".join(words).rstrip('."'))
                    checked += 1
    assert checked > 50


def test_every_block_names_its_language():
    for block in pages.all_blocks():
        assert block.language in pages.LANGUAGES, f"{block.place}: ```{block.language}"


def test_few_blocks_are_not_run_and_each_has_a_reason():
    """The list of what no test executes; it may shrink, and grows only with a reason."""
    runnable = [b for b in pages.all_blocks() if b.language in ("bash", "python")]
    left_out = [block for block in runnable if block.reason is not None]
    for block in left_out:
        print(f"{block.place}: {block.reason}")
        assert len((block.reason or "").split()) >= 3, block.place
    assert len(left_out) <= NOT_RUN_AT_MOST
    assert len(left_out) < len(runnable) / 3


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_snippets_parse_and_take_only_what_vlar_has(page: Path):
    for block in pages.blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text, block.place)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vlar":
                for alias in node.names:
                    assert not alias.name.startswith("_"), block.place
                    taken(str(node.module), alias.name)


def taken(module: str, name: str) -> None:
    if not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")


def test_a_wrong_command_is_found():
    """The checks above can fail: a verb, an option, a choice and a missing argument."""
    for wrong in (
        "vlar clasify clip.mp4",
        "vlar classify clip.mp4 --label x",
        "vlar adapt support --out mine --method tempral",
        "vlar index add",
        "vlar classify clip.mp4 --top many",
    ):
        with pytest.raises(ValueError):
            verbs.parse(wrong)
    for wrong in ("vlar clasify", "vlar index lost", "vlar index add --tags"):
        with pytest.raises(AssertionError):
            check_named(wrong)
    assert pages.vlar_commands("a && { .venv/bin/vlar demo; } # vlar no") == ["vlar demo"]
    assert pages.vlar_commands("vlar query x '\"a\" && vlar' > f.txt") == [
        "vlar query x '\"a\" && vlar'"
    ]
