"""Content of files that others made: bytes, tables, numbers, strict JSON, within a budget.

Files are opened by ``vlar.files.opening``. Errors of that are ``OSError`` with a sentence in
``strerror``.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vlar.files.opening import MB as MB
from vlar.files.opening import open_input, require_regular, too_large
from vlar.types import Float64

MOST_MEMORY = 1_500_000_000
"""Bytes that the content of one file may take in memory."""


def check_file(path: Path, most: int, *, links: bool = True) -> int:
    """The size of a regular file in bytes.

    Args:
        path: The file; its content is not read.
        most: Largest size in bytes.
        links: Whether the path may be a symbolic link.

    Raises:
        OSError: it is absent, not a regular file, larger, or a link where none is allowed.
    """
    if not links and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, not a file; put the file itself there")
    status = os.stat(path)  # noqa: PTH116 - a device has no Path
    require_regular(status, most)
    return status.st_size


def read_file(path: Path, most: int, *, links: bool = True, recording: bool = False) -> bytes:
    """The content of a regular file; arguments and errors as in ``open_input``."""
    with open_input(path, most, links=links, recording=recording) as stream:
        # One piece of the stated size: joining pieces takes the memory twice.
        data = stream.read(os.fstat(stream.fileno()).st_size + 1)
    if len(data) > most:
        raise too_large(len(data), most)
    return data


def require_memory(n_bytes: float) -> None:
    """Refuse content that would take more than ``MOST_MEMORY``, before any of it is allocated.

    Args:
        n_bytes: What it takes; the sizes that a file states give it.

    Raises:
        ValueError: it is more; the message is a sentence with the figure.
    """
    if not n_bytes <= MOST_MEMORY:
        raise ValueError(
            f"it takes {min(n_bytes, 1e18) / 1e9:,.1f} GB of memory; at most "
            f"{MOST_MEMORY / 1e9:g} GB are used for a file"
        )


def folder_stamp(folder: Path) -> str:
    """Hash of the files' names, sizes and times, for weights: to read them would take minutes."""
    rows: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.is_file():
            facts = path.stat()
            rows.append(f"{path.name} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()[:16]


_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # of lines
_BETWEEN = " ,;\t" + _ENDS  # what words, cells and lines end with
_BYTES_A_ROW = 180  # of a row as two lists of cells
_BYTES_EACH = 60  # of a word, a cell or a line as a text of its own
_BYTES_A_LINE = 300  # of a line that becomes an object of some texts and numbers


def require_few_words(text: str) -> None:
    """Refuse a text whose words, cells and lines would take more memory than a file may.

    Raises:
        ValueError: they would; the message has the figure.
    """
    require_memory(_memory_of_words(text))


def require_few_lines(text: str) -> None:
    """Refuse a text each line of which becomes an object, where that takes too much memory.

    Raises:
        ValueError: it does; the message has the figure.
    """
    require_memory(len(text) + _BYTES_A_LINE * sum(map(text.count, _ENDS)))


def _memory_of_words(text: str) -> float:
    """Bytes of a text and of its words, cells and lines as texts of their own."""
    return len(text) + _BYTES_EACH * sum(map(text.count, _BETWEEN))


def parse_csv(text: str, delimiter: str = ",") -> list[list[str]]:
    """The rows of a table in which something is written, cells without blanks around them.

    Raises:
        ValueError: a cell is too long, or the text is not a table.
    """
    rows = [[cell.strip() for cell in row] for row in parse_cells(text, delimiter)]
    return [row for row in rows if any(row)]


def parse_cells(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows of a table as they are, counted before the first; errors as in ``parse_csv``."""
    n_rows = text.count("\n") + text.count("\r")
    require_memory(_memory_of_words(text) + _BYTES_A_ROW * n_rows)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise ValueError(f"it is not a table ({error})") from None


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


MOST = 1e12


def number(
    settings: Mapping[str, Any], name: str, *, above: float = -MOST, at_most: float = MOST
) -> float:
    """A setting as a finite number.

    Args:
        settings: Where it stands.
        name: Its key.
        above: Bound that it exceeds.
        at_most: Largest value.

    Raises:
        ValueError: it is missing, or not a number in the range; the message is a sentence.
    """
    if name not in settings:
        raise ValueError(f"{name} is missing")
    value = settings[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The range first: an integer may be too large to be a float.
    if not is_number or not above < value <= at_most or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:40]}, not a number above {above:g}")
    return float(value)


DEEPEST = 40
_LARGEST = 10**300  # of an integer; below the largest float
# Bytes that the interpreter takes: for a number and its place, a name, an empty list, an object.
_ITEM, _NAME, _LIST, _OBJECT = 40, 200, 64, 250
_DEEP = f"it is nested more than {DEEPEST} levels deep"


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8, nested deeper than ``DEEPEST``, a number is not finite
            or larger than a float can be, an object has a name twice, or the value would take more
            memory than a file may; the message is a sentence.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        parts = _ITEM * text.count(",") + _LIST * text.count("[") + _OBJECT * text.count("{")
        parts += _NAME * text.count(":")  # a name, its place, and the pair before
        require_memory(parts + 2 * len(text))
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_DEEP) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [one for inner in level for one in _inside(inner)]
    if level:
        raise ValueError(_DEEP)
    return value


def _inside(value: Any) -> Iterable[Any]:
    """The values of an object or a list; a number is checked here."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds a number that is not finite")
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        digits = len(str(abs(value)))
        raise ValueError(f"it holds a number of {digits} digits, which no float can be")
    return ()


def walk(value: Any) -> Iterator[tuple[int, tuple[str | int, ...], Any]]:
    """Depth, place and value of everything in a JSON value, without recursion."""
    waiting: list[tuple[int, tuple[str | int, ...], Any]] = [(0, (), value)]
    while waiting:
        depth, path, inner = waiting.pop()
        yield depth, path, inner
        if depth > DEEPEST:
            continue
        if isinstance(inner, dict):
            waiting += [(depth + 1, (*path, str(key)), one) for key, one in inner.items()]
        elif isinstance(inner, list):
            waiting += [(depth + 1, (*path, key), one) for key, one in enumerate(inner)]


def _refused(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names: set[str] = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))
        raise ValueError(f"it has the name {twice[:80]!r} twice")
    return entries
