"""Cells of tables that other programs wrote: delimiters, numbers, clocks, runs of frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from vlar.files.reading import parse_csv

Row = list[str]


def delimiter(line: str) -> str:
    """The delimiter of a table by its header: a tab, a semicolon, or a comma."""
    return max("\t;,", key=line.count)


def rows_of(text: str, mark: str | None = None) -> list[Row]:
    """Rows of a table, empty ones left out, cells without blanks around them.

    Args:
        text: The table.
        mark: The delimiter; None takes that of the first line.

    Raises:
        ValueError: the text is not a table, or too large.
    """
    first = text.lstrip("\r\n").partition("\n")[0]
    return parse_csv(text, mark or delimiter(first))


def named(row: Sequence[str], header: Sequence[str]) -> dict[str, str]:
    """Cells of a row by the name of their column; missing cells are empty."""
    return {name: row[i] if i < len(row) else "" for i, name in enumerate(header)}


def first_cell(row: Mapping[str, str], *names: str) -> str:
    """The cell of the first column that a row has of some names; empty without one."""
    return next((row[name] for name in names if name in row), "")


def seconds(cell: object) -> float | None:
    """Seconds of a cell: a number, one with a decimal comma, or ``hh:mm:ss.mmm``.

    Returns:
        None for an empty cell, ``NA`` and other text.

    >>> seconds("1:02,5")
    62.5
    """
    text = str(cell).strip().replace(",", ".")
    sign = -1.0 if text.startswith("-") else 1.0
    total = 0.0
    try:
        for part in text.lstrip("+-").split(":"):
            total = total * 60 + float(part)
    except ValueError:
        return None
    return sign * total if abs(total) < 1e12 else None


def seconds_in(cell: object, row: int) -> float:
    """Seconds of a cell that must have them.

    Raises:
        ValueError: it has none; the message names the row.
    """
    value = seconds(cell)
    if value is None:
        raise ValueError(f"row {row} has {str(cell)[:40]!r} for a time; write seconds")
    return value


def text_of(rows: Iterable[Sequence[object]], mark: str = ",", end: str = "\n") -> str:
    """A table as text."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=mark, lineterminator=end).writerows(rows)
    return stream.getvalue()


def short(value: float) -> str:
    """A time with up to six decimals, without zeros at its end.

    >>> short(1.25)
    '1.25'
    """
    return f"{value:.6f}".rstrip("0").rstrip(".")
