"""Judgements of hits on the command line, ``--yes 3 --no 1``, and what a list promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vlar.apps.cli import output
from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.library.library import Library
    from vlar.library.query.plan import QueryRequest
    from vlar.results import Hits

_ROW = "row:"
_MOST = 1000  # the greatest number of a hit


def judged(
    library: Library, request: QueryRequest, yes: Sequence[str], no: Sequence[str]
) -> QueryRequest:
    """The request with its judgements as row ids.

    Args:
        library: Answers the plain query where hits are named by their numbers.
        request: The query without judgements.
        yes: Numbers of hits in the plain list, or ``row:ID``.
        no: The same.

    Raises:
        UsageError: neither a number of a hit nor a row.
    """
    if not (yes or no):
        return request
    numbers = [
        _number(text, option)
        for option, texts in (("--yes", yes), ("--no", no))
        for text in texts
        if not text.startswith(_ROW)
    ]
    rows: dict[int, int] = {}
    if numbers:
        most = max(*numbers, request.k)
        plain = library.search(replace(request, k=most, min_probability=0.0, report=None))
        rows = {hit.rank: hit.row for hit in plain}
    return replace(
        request,
        yes=tuple(_row(text, "--yes", rows) for text in yes),
        no=tuple(_row(text, "--no", rows) for text in no),
    )


def note(hits: Hits) -> None:
    """Print which block of the vectors decides after judgements, or what the list promises."""
    if hits.guarantee is not None:
        output.note(f"vlar: {hits.guarantee.sentence(len(hits))}")
    if hits.decides:
        name, share = max(hits.decides.items(), key=lambda each: each[1])
        output.note(f"vlar: the order goes by {name} now ({share:.0%} of it)")


def share(text: str) -> float:
    """A share that is written as ``10%`` or ``0.1``.

    Raises:
        UsageError: something else, or not above 0 and below 1.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise UsageError(f"--miss {text!r:.40}: give a share above 0 and below 1, such as 10%")
    return value


def _row(text: str, option: str, rows: dict[int, int]) -> int:
    if text.startswith(_ROW):
        return _number(text.removeprefix(_ROW), option)
    number = _number(text, option)
    if number not in rows:
        raise UsageError(
            f"{option} {number}: the plain list has {len(rows)} hits; judge one of them "
            "(--min-probability 0 shows all)"
        )
    return rows[number]


def _number(text: str, option: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text) < 2**63:
        raise UsageError(f"{option} {text!r:.40}: give the number of a hit (3) or its row (row:57)")
    return int(text)
