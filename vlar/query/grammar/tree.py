"""The tree of a query, and how it is written.

``show`` writes every tree so that ``parse`` gives it back; brackets stand only where they are
needed. From the loosest to the tightest: ``IN``, ``THEN``, ``OR``, ``AND``, ``NOT``, ``^``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from vlar.types import Window

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Phrase:
    """Content of a window, in plain words."""

    text: str


@dataclass(frozen=True)
class Pair(Phrase):
    """A phrase of a verb and an object; a model that learned both apart scores it by both."""

    verb: str
    object: str


@dataclass(frozen=True)
class Like:
    """Content of a clip: a video file, a span of one, or a picture."""

    path: str
    window: Window | None = None

    @property
    def is_picture(self) -> bool:
        """Return whether the path has the ending of a picture, which has no spans."""
        return self.path.lower().endswith(PICTURE_ENDINGS)


@dataclass(frozen=True)
class Says:
    """Words that the caption of a window has."""

    text: str


@dataclass(frozen=True)
class Product:
    """Every combination of one value a slot: ``[verb=cut|peel object=apple]``."""

    slots: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """The combinations, values in the order of the slots."""
        names = [name.lower() for name, _ in self.slots]
        combined = itertools.product(*(choices for _, choices in self.slots))
        return tuple(_phrase(names, values) for values in combined)


def _phrase(names: Sequence[str], values: Sequence[str]) -> Phrase:
    text = " ".join(values)
    if sorted(names) != ["object", "verb"]:
        return Phrase(text)
    of_slot = dict(zip(names, values, strict=True))
    return Pair(text, of_slot["verb"], of_slot["object"])


@dataclass(frozen=True)
class Weighted:
    """A part of an AND, an OR or a THEN that counts ``weight`` times."""

    part: Node
    weight: float


@dataclass(frozen=True)
class Not:
    """Windows that do not show a part."""

    part: Node


@dataclass(frozen=True)
class And:
    """Windows that show every part."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Windows that show any part."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Then:
    """First one part, then another one of the same video, at most ``within_s`` later.

    ``within_s`` is None without WITHIN.
    """

    first: Node
    second: Node
    within_s: float | None = None


@dataclass(frozen=True)
class In:
    """A part, in the videos whose path matches a pattern (``vlar.query.where``)."""

    part: Node
    pattern: str


Node = Phrase | Like | Says | Product | Weighted | Not | And | Or | Then | In
Leaf = Phrase | Like | Says
_LOOSENESS: dict[type, int] = {In: 6, Then: 5, Or: 4, And: 3, Not: 2, Weighted: 1}


def leaves(node: Node) -> tuple[Leaf, ...]:
    """Leaves of a tree: phrases, clips, captions, each once, as first written."""
    return tuple(dict.fromkeys(_leaves(node)))


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Phrase | Like | Says):
        yield node
    elif isinstance(node, Product):
        yield from node.phrases
    else:
        for part in parts_of(node):
            yield from _leaves(part)


def parts_of(node: Node) -> tuple[Node, ...]:
    """The parts an operator joins."""
    if isinstance(node, And | Or):
        return node.parts
    if isinstance(node, Then):
        return (node.first, node.second)
    if isinstance(node, Not | Weighted | In):
        return (node.part,)
    return ()


def has_sequence(node: Node) -> bool:
    """Return whether a THEN stands in a tree: its answers are spans, not windows."""
    return isinstance(node, Then) or any(has_sequence(part) for part in parts_of(node))


def show(node: Node) -> str:
    r"""The query of a tree.

    >>> show(And((Phrase("a cup"), Not(Or((Phrase("indoors"), Phrase('5" nail')))))))
    '"a cup" AND NOT ("indoors" OR "5\\" nail")'
    """
    match node:
        case Phrase(text):
            return quoted(text)
        case Like(path, window):
            return f"LIKE {quoted(path)}{_span(window)}"
        case Says(text):
            return f"says: {quoted(text)}"
        case Product(slots):
            return "[" + " ".join(_slot(name, values) for name, values in slots) + "]"
        case Weighted(part, weight):
            return f"{_inside(part, 0)}^{number(weight)}"
        case Not(part):
            return f"NOT {_inside(part, 2)}"
        case And(parts):
            return " AND ".join(_inside(part, 2) for part in parts)
        case Or(parts):
            return " OR ".join(_inside(part, 3) for part in parts)
        case Then(first, second, within_s):
            limit = "" if within_s is None else f" WITHIN {number(within_s)}s"
            return f"{_inside(first, 5)} THEN {_inside(second, 4)}{limit}"
        case In(part, pattern):
            return f"{_inside(part, 6)} IN {quoted(pattern)}"


def _inside(node: Node, loosest: int) -> str:
    text = show(node)
    return f"({text})" if _LOOSENESS.get(type(node), 0) > loosest else text


def _slot(name: str, values: tuple[str, ...]) -> str:
    return f"{name}=" + "|".join(quoted(value) for value in values)


def _span(window: Window | None) -> str:
    return "" if window is None else f"@{number(window.start_s)}s-{number(window.end_s)}s"


def quoted(text: str) -> str:
    """A text in quotes, with quotes and backslashes of its own escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def number(value: float) -> str:
    """The shortest text without an exponent that reads as the same number."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")
