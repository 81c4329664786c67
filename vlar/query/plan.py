"""What was asked: the text, the filter and the number of answers, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vlar.errors import QueryError


@dataclass(frozen=True)
class Plan:
    """A query ready to run.

    Attributes:
        phrase: What a window should show, in plain words.
        k: Number of spans wanted.
        where: Conditions on videos, all of which hold (``vlar.query.where``).
    """

    phrase: str
    k: int
    where: Mapping[str, str] = field(default_factory=dict[str, str])


def make_plan(text: str, k: int, where: Mapping[str, str] | None = None) -> Plan:
    """The plan of a plain text query.

    >>> make_plan("  riding  a bike ", 3).phrase
    'riding a bike'

    Raises:
        QueryError: no text, or ``k`` below 1.
    """
    phrase = " ".join(text.split())
    if not any(letter.isalnum() for letter in phrase):
        raise QueryError(f"the query {text!r} holds no word; say what to look for")
    if k < 1:
        raise QueryError(f"k is {k}; ask for at least 1 answer")
    return Plan(phrase, k, dict(where or {}))
