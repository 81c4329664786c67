"""Local names are nouns of the field: frames, times_s, vectors, scores, labels, rows, windows.

Names that fit every value tell nothing. Their number in a thousand assignments may only fall: lower
the limits here when it has.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlar

PACKAGE = Path(vlar.__file__).parent
VAGUE = {
    *("found", "each", "own", "given", "known", "kept", "there", "place", "at", "seen", "wanted"),
    *("here", "asked", "taken", "said", "made", "left", "rest"),
}
#: Vague names in a thousand assignments, at most; "" is the whole package.
MOST = {"": 5.0} | {path.parent.name: 8.0 for path in sorted(PACKAGE.glob("*/__init__.py"))}


def assigned(text: str) -> Iterator[str]:
    """Every name that a source text assigns: statements, loops, comprehensions and ``with``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def vague(texts: list[str]) -> float:
    """Vague names in a thousand assignments."""
    names = [name for text in texts for name in assigned(text)]
    return 1000 * sum(name in VAGUE for name in names) / len(names)


@pytest.mark.parametrize("package", MOST)
def test_vague_names_become_fewer(package: str):
    texts = [path.read_text("utf-8") for path in (PACKAGE / package).rglob("*.py")]
    assert len(texts) > 4
    assert vague(texts) <= MOST[package], f"{package or 'vlar'}: {vague(texts):.1f}"


def test_a_vague_name_is_counted_wherever_it_is_assigned():
    text = "for at, row in rows:\n    found = [each for each in row]\nwith a as place: b = own\n"
    assert sorted(assigned(text)) == ["at", "b", "each", "found", "place", "row"]
    assert vague([text]) == pytest.approx(1000 * 4 / 6)
