"""Judgements of hits on the command line: ``--yes 3 --no 1``."""

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
    numbers = [_number(text, option) for option, texts in (("--yes", yes), ("--no", no))
               for text in texts if not text.startswith(_ROW)]  # fmt: skip
    rows: dict[int, int] = {}
    if numbers:
        plain = library.search(replace(request, k=max(*numbers, request.k), report=None))
        rows = {hit.rank: hit.row for hit in plain}
    return replace(
        request,
        yes=tuple(_row(text, "--yes", rows) for text in yes),
        no=tuple(_row(text, "--no", rows) for text in no),
    )


def note(hits: Hits) -> None:
    """Print which block of the vectors decides after judgements."""
    if hits.decides:
        name, share = max(hits.decides.items(), key=lambda each: each[1])
        output.note(f"vlar: {name} decides now ({share:.0%} of the order)")


def _row(text: str, option: str, rows: dict[int, int]) -> int:
    if text.startswith(_ROW):
        return _number(text.removeprefix(_ROW), option)
    number = _number(text, option)
    if number not in rows:
        raise UsageError(
            f"{option} {number}: the plain list has {len(rows)} hits; judge one of them, or show "
            "more with --min-probability 0"
        )
    return rows[number]


def _number(text: str, option: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text) < 2**63:
        raise UsageError(f"{option} {text!r:.40}: give the number of a hit (3) or its row (row:57)")
    return int(text)
