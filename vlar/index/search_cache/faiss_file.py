"""Reads the header of a FAISS file before FAISS does: its reader trusts every size in it.

A forged size makes FAISS allocate any amount of memory, or read behind its own. So the two kinds of
index that vlar writes are checked number by number; all others are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MOST_LISTS = 1 << 24
_INNER_PRODUCT = 0


@dataclass(frozen=True)
class IndexHeader:
    """Kind and size of an index: ``rows`` vectors (N, D), and its number of lists (0: flat)."""

    kind: bytes
    dim: int
    rows: int
    lists: int = 0


def read_header(path: Path) -> IndexHeader:
    """The header of a flat index or of inverted lists whose sizes fit the file.

    Raises:
        ValueError: another kind, or a size that is not as it must be. Also OSError, struct.error.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path.stat().st_size)
        kind = reader.raw(4)
        if kind == b"IxFI":
            return _flat(reader)
        if kind == b"IwSq":
            return _lists(reader)
    raise ValueError(f"an index of kind {kind!r}")


@dataclass
class _Reader:
    file: BinaryIO
    size: int

    def raw(self, count: int) -> bytes:
        return self.file.read(count)

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.raw(struct.calcsize(f"<{form}")))

    def skip(self, count: int) -> None:
        """Step over bytes that the file must have."""
        if not 0 <= count <= self.size - self.file.tell():
            raise ValueError("a size beyond the end of the file")
        self.file.seek(count, 1)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"its {what} is not as it must be")


def _common(reader: _Reader) -> tuple[int, int]:
    dim, rows, _, _, _, metric = reader.numbers("iqqqBi")
    _require(dim > 0 and rows >= 0 and metric == _INNER_PRODUCT, "header")
    return dim, rows


def _flat(reader: _Reader) -> IndexHeader:
    dim, rows = _common(reader)
    (count,) = reader.numbers("Q")
    _require(count == rows * dim, "number of values")
    reader.skip(4 * count)
    return IndexHeader(b"IxFI", dim, rows)


def _lists(reader: _Reader) -> IndexHeader:
    dim, rows = _common(reader)
    lists, _ = reader.numbers("QQ")
    _require(0 < lists <= _MOST_LISTS and reader.raw(4) == b"IxFI", "number of lists")
    coarse = _flat(reader)
    direct_map, direct_size = reader.numbers("BQ")
    _require((coarse.dim, coarse.rows) == (dim, lists), "table of lists")
    _require(direct_map == 0 and direct_size == 0, "map")
    _, _, _, width, own_size, trained = reader.numbers("iifQQQ")
    _require(width == dim and own_size in (dim, 2 * dim) and trained in (0, 2 * dim), "quantizer")
    reader.skip(4 * trained)
    code_size, _ = reader.numbers("QB")
    _require(code_size == own_size and reader.raw(4) == b"ilar", "code")
    _require(reader.numbers("QQ") == (lists, code_size), "lists")
    sizes = _sizes(reader, lists)
    _require(sum(sizes) == rows, "number of rows")
    reader.skip(rows * (code_size + 8))
    return IndexHeader(b"IwSq", dim, rows, lists)


def _sizes(reader: _Reader, lists: int) -> tuple[int, ...]:
    """Rows of each list, or of each list that is not empty."""
    form, (count,) = reader.raw(4), reader.numbers("Q")
    if form == b"full":
        _require(count == lists, "sizes")
        return reader.numbers(f"{count}Q")
    _require(form == b"sprs" and count <= 2 * lists and count % 2 == 0, "sizes")
    pairs = reader.numbers(f"{count}Q")
    _require(all(number < lists for number in pairs[::2]), "sizes")
    _require(len(set(pairs[::2])) == len(pairs[::2]), "sizes")
    return pairs[1::2]
