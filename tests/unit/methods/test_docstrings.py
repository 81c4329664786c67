"""Class docstrings of papers: where the idea is from, and a command that uses it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlar
from tests.docs import verbs

METHODS = Path(vlar.__file__).parent / "methods"
# Of this project, or a control: the README says so.
WITHOUT_PAPER = {
    *("compositional", "event-tower", "events", "fusion", "mean", "diag", "own-net", "relation"),
    *("skeleton-net", "temporal", "video-net"),
}


def parts() -> Iterator[tuple[str, str]]:
    """Name and docstring of each class; learners go with an adapter, released files cite above."""
    released = METHODS / "released"
    for path in sorted(set(METHODS.rglob("*.py")) - set(released.rglob("*.py"))):
        yield from parts_of(path.read_text("utf-8"))


def parts_of(source: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of each class that a source text registers, but learners."""
    for node in ast.walk(ast.parse(source)):
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "register":
                kind, name = (ast.literal_eval(argument) for argument in call.args[:2])
                if kind != "learner":
                    yield name, " ".join((ast.get_docstring(node) or "").split())


def require_reference(name: str, text: str) -> None:
    """The docstring of a part has its paper and a command that can be typed."""
    assert name in WITHOUT_PAPER or "Reference: " in text
    (command,) = re.findall(r"Example: ``(vlar .*?)``\.", text)
    verbs.parse(command, also=(name,))


@pytest.mark.parametrize(("name", "text"), parts())
def test_a_paper_gives_its_reference_and_a_command(name: str, text: str):
    require_reference(name, text)
