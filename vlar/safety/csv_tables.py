"""Tables of numbers that others wrote as CSV: cells as texts, and texts as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from vlar.safety.files import require_memory
from vlar.types import Float64

_BETWEEN = " ,;\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # what words, cells and lines end with
_BYTES_EACH = 60  # of a word, a cell or a line as a text of its own


def require_few_words(text: str) -> None:
    """Refuse a text whose words, cells and lines would take more memory than a file may.

    Raises:
        ValueError: they would; the message has the figure.
    """
    require_memory(len(text) + _BYTES_EACH * sum(map(text.count, _BETWEEN)))


def parse_csv(text: str) -> list[list[str]]:
    """The rows of a table in which something is written, cells without blanks around them.

    Raises:
        ValueError: a cell is too long, or the text is not a table.
    """
    require_few_words(text)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise ValueError(f"it is not a table ({error})") from None
    return [row for row in rows if any(row)]


def cell_numbers(rows: Sequence[Sequence[str]], columns: int) -> Float64:
    """The numbers (N, ``columns``) of rows of cells; an empty cell is NaN.

    Raises:
        ValueError: a row has another number of cells than the header, or a cell is not a number.
    """
    if any(len(row) != columns for row in rows):
        raise ValueError(f"a row has another number of cells than the header's {columns}")
    try:
        return np.array([[cell or "nan" for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise ValueError(f"it holds something that is not a number ({str(error)[:60]})") from None
