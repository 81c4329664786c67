"""Errors of the query language: what is wrong, where, and what to write instead."""

from __future__ import annotations

import re
import unicodedata

from vlar.errors import QueryError

OPERATORS = ("AND", "OR", "NOT", "THEN", "WITHIN", "IN", "LIKE")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()\[\]^|=]|[^\s()\[\]"^|=]+')
_NEEDS = {
    "WITHIN": "a span of time: WITHIN 10s",
    "IN": 'a pattern of paths: IN "cooking/*"',
    "LIKE": "a video file or a picture: LIKE clip.mp4, LIKE clip.mp4@3s-7s, LIKE picture.jpg",
    "^": 'a number: "a cup"^2',
    "NOT": 'a phrase: NOT "outdoors"',
}


class QuerySyntaxError(QueryError):
    """A query that cannot be parsed.

    Attributes:
        query: The query on one line.
        position: Of the wrong character, from 0; the length of the query for its end.
    """

    def __init__(self, query: str, position: int, reason: str) -> None:
        super().__init__(f"query, character {position + 1}: {reason}")
        self.query = query
        self.position = position

    @property
    def picture(self) -> str:
        """Two lines: the query, and a caret below the wrong character."""
        before = self.query[: self.position]
        columns = sum(_columns(letter) for letter in before)
        return f"  {self.query}\n  {' ' * columns}^"


def syntax_error(query: str, position: int) -> QuerySyntaxError:
    """The error for a query that cannot be parsed from a character on.

    Args:
        query: The query on one line.
        position: Where the parser stopped; the length of the query if it is incomplete.
    """
    unclosed = _unclosed_quote(query)
    if unclosed is not None:
        reason = 'the quote that opens here is not closed; end the phrase with "'
        return QuerySyntaxError(query, unclosed, reason)
    bracket = _unbalanced(query)
    if bracket is not None:
        at, reason = bracket
        return QuerySyntaxError(query, at, reason)
    tokens = [(match.start(), match.group()) for match in _TOKEN.finditer(query)]
    before = next((text for at, text in reversed(tokens) if at < position), None)
    here = next((text for at, text in tokens if at >= position), None)
    return QuerySyntaxError(query, position, _reason(before, here))


def blanked(query: str) -> str:
    """The query with everything in quotes replaced by spaces."""
    return _QUOTED.sub(lambda match: " " * len(match.group()), query)


def _reason(before: str | None, here: str | None) -> str:
    if before in _NEEDS:
        return f"{before} needs {_NEEDS[before]}"
    if here is None or here in (")", "]"):
        what = "a phrase is missing" if before is None else f"{before!r} needs a phrase after it"
        return f'{what}; write for example "a cup" AND "a hand"'
    if here == "WITHIN":
        return 'WITHIN limits a THEN; write "sit down" THEN "stand up" WITHIN 10s'
    if here in ("NOT", "LIKE") and before not in (None, "(", *OPERATORS):
        return f"an operator is missing before {here}; write AND {here}"
    if here == "IN":
        return 'IN follows what it limits; write "a cup" IN "cooking/*"'
    if here in OPERATORS:
        return (
            f"{here} needs a phrase before it; if it is a word of a phrase, put the phrase in "
            'quotes: "..."'
        )
    if here.upper() in OPERATORS:
        return f"{here!r} is read as a word here; operators are written in capitals: {here.upper()}"
    if here in ("|", "[", "="):
        return "choices stand in brackets: [verb=cut|peel object=apple|orange]"
    if here == "^":
        return 'a weight follows a phrase; write "a cup"^2'
    return (
        f"{here} does not follow from what stands before it; join phrases with AND, OR or THEN, or "
        "put all of one phrase in one pair of quotes"
    )


def _unclosed_quote(query: str) -> int | None:
    at = blanked(query).find('"')
    return None if at < 0 else at


def _unbalanced(query: str) -> tuple[int, str] | None:
    plain = blanked(query)
    waiting: list[tuple[int, str]] = []
    for at, letter in enumerate(plain):
        if letter in "([":
            waiting.append((at, letter))
        elif letter in ")]":
            if not waiting or "([".index(waiting[-1][1]) != ")]".index(letter):
                return at, f"{letter!r} closes no bracket; remove it"
            waiting.pop()
    if not waiting:
        return None
    at, letter = waiting[-1]
    return at, f"the bracket that opens here is not closed; add {')' if letter == '(' else ']'!r}"


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
