"""Texts that a text tower encodes together, so that a text has the same vector in any company."""

from __future__ import annotations

from collections.abc import Sequence

_FILLED = 8  # texts at a time on a CPU


def by_length(lengths: Sequence[int]) -> dict[int, list[int]]:
    """Rows of each length.

    >>> by_length([2, 5, 2])
    {2: [0, 2], 5: [1]}
    """
    rows: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        rows.setdefault(length, []).append(row)
    return rows


def parts_of(rows: Sequence[int], most: int) -> list[list[int]]:
    """Rows in order, up to a number of them at a time.

    >>> parts_of(range(5), 2)
    [[0, 1], [2, 3], [4]]
    """
    return [list(rows[start : start + most]) for start in range(0, len(rows), most)]


def filled_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of texts of one length, always the same number, filled up by repeats of the last.

    Matrix products round by their shape; on a CPU each product has the same one by this.

    >>> filled_batches([2, 5, 2])
    [[0, 2, 2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 1]]
    """
    parts = [part for rows in by_length(lengths).values() for part in parts_of(rows, _FILLED)]
    return [part + part[-1:] * (_FILLED - len(part)) for part in parts]
