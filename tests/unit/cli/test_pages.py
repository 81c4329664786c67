"""The commands that the pages show exist: their verbs and every option in them."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from vlar.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
COMMAND = typer.main.get_command(app)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each ``vlar`` command in code blocks and in code between backticks."""
    blocks = re.findall(r"```(?:bash|sh)?\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("vlar ")]
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    lines += re.findall(r"`(vlar [a-z][^`]*)`", prose)
    for line in lines:
        words: list[str] = []
        for word in shlex.split(line.replace("...", ""), comments=True):
            if word == "&&":
                yield words
                words = []
            else:
                words.append(word)
        yield words


def fault(words: list[str]) -> str | None:
    """What is wrong with a command; None where nothing is."""
    command: Any = COMMAND
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        # "index list|info" stands for several verbs.
        names = rest[0].split("|")
        if not rest[0].startswith("-") and not set(names) <= set(command.commands):
            # A group's own options may be followed by nothing.
            return f"no verb {rest[0]!r}"
        if rest[0].startswith("-"):
            break
        command, rest = command.commands[names[0]], rest[1:]
    known = {option for row in command.params for option in (*row.opts, *row.secondary_opts)}
    known |= {"--help", "-h"}
    for word in rest:
        option = word.partition("=")[0]
        if re.match(r"--?[a-z]", option) and option not in known:
            return f"no option {option!r}"
    return None


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_a_page_exist(path: Path):
    found = [(words, fault(words)) for words in commands(path.read_text("utf-8"))]
    assert not [(" ".join(words), wrong) for words, wrong in found if wrong]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_imports_of_a_page_exist(path: Path):
    text = path.read_text("utf-8")
    named = re.findall(r"`((?:vlar|tests|evals|benchmarks|notebooks|docs)/[\w/.-]+)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vlar"):
                module = importlib.import_module(str(node.module))
                assert not [a.name for a in node.names if not hasattr(module, a.name)], node.module


def test_faults_are_found():
    text = "```bash\nvlar clasify a.mp4\n```\n`vlar query L q --reranc x` `vlar index list|info L`"
    assert [fault(words) for words in commands(text)] == [
        "no verb 'clasify'",
        "no option '--reranc'",
        None,
    ]
