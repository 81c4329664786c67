"""``.mat`` files of others (MATLAB 5 to 7): arrays of numbers, and no more than was asked for.

The tags of a file are walked here, and its numbers are taken as they are stored; no other parser
sees the file. Cells, structs and objects nest without end, so they are never entered. The format is
that of MathWorks, "MAT-File Format" (R2024a), chapter 1, level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.files import MB, read_file

MOST = 400 * MB
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_HEAD = 4096  # bytes in which class, shape and name of a variable lie
_MOST_DIMS = 32
_COMPLEX = 0x0800
_ARRAYS = range(6, 16)  # classes of numbers; below are cells, structs, objects, texts, sparse ones
_STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip


@dataclass(frozen=True)
class _Variable:
    """A variable by its tags.

    Attributes:
        name: Its name.
        shape: Its dimensions.
        is_array: It is an array of real numbers.
        start: Where its numbers begin, in what ``unpacked`` gives.
        stored: The element of the file.
        is_compressed: The element is compressed.
    """

    name: str
    shape: tuple[int, ...]
    is_array: bool
    start: int
    stored: memoryview
    is_compressed: bool


def is_matlab(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a MATLAB file."""
    return head.startswith(b"MATLAB 5.0 MAT-file") or head.startswith(b"MATLAB 7.3 MAT-file")


def shapes_in(path: Path, most: int = MOST) -> dict[str, tuple[int, ...]]:
    """Shape of each variable, of any class; errors as in ``read_matlab``."""
    return {variable.name: variable.shape for variable in _variables(*_content(path, most))}


def read_matlab(path: Path, names: list[str], most: int = MOST) -> dict[str, npt.NDArray[Any]]:
    """Some variables of a file, those that it has.

    Args:
        path: The file.
        names: Of the variables.
        most: Largest size in bytes, of the file and of what is unpacked of it.

    Raises:
        OSError: see ``check_file``.
        ValueError: it is malformed or of MATLAB 7.3, unpacks to more, or a variable is not an array
            of real numbers.
    """
    data, order = _content(path, most)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for variable in _variables(data, order):
        if variable.name in names and variable.name not in arrays:
            left = most - sum(array.nbytes for array in arrays.values())
            arrays[variable.name] = _array(variable, order, left)
    return {name: arrays[name] for name in names if name in arrays}


def _content(path: Path, most: int) -> tuple[memoryview, str]:
    """The bytes of a file and its order of bytes."""
    data = read_file(path, most)
    if data.startswith(b"MATLAB 7.3") or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise ValueError("it is of MATLAB 7.3; save it with the option -v7")
    if not is_matlab(data) or len(data) < _HEADER:
        raise ValueError("it is not a MATLAB file")
    return memoryview(data), "<" if data[126:128] == b"IM" else ">"


def _variables(data: memoryview, order: str) -> Iterator[_Variable]:
    at = _HEADER
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        element = data[at : at + 8 + size]
        if len(element) < 8 + size:
            raise ValueError("it is cut off")
        if kind == _COMPRESSED:
            head = _unpacked(element[8:], _HEAD, whole=False)
            if len(head) < 8 or struct.unpack_from(f"{order}I", head)[0] != _MATRIX:
                raise ValueError("it is damaged (a variable is not one)")
            yield _variable(memoryview(head), element[8:], order, is_compressed=True)
        elif kind == _MATRIX:
            yield _variable(element[:_HEAD], element, order, is_compressed=False)
        at += 8 + size


def _variable(
    head: memoryview, stored: memoryview, order: str, *, is_compressed: bool
) -> _Variable:
    """A variable by the beginning of its element: flags, dimensions, name."""
    _, flags, _, at = _part(head, 8, order)
    _, dims, n_bytes, at = _part(head, at, order)
    _, name, length, at = _part(head, at, order)
    if n_bytes > 4 * _MOST_DIMS or name + length > len(head) or flags + 4 > len(head):
        raise ValueError("it is damaged (a variable has no usable name or shape)")
    (word,) = struct.unpack_from(f"{order}I", head, flags)
    shape = struct.unpack_from(f"{order}{n_bytes // 4}i", head, dims)
    text = bytes(head[name : name + length]).decode("latin-1").rstrip("\0")
    is_array = (word & 0xFF) in _ARRAYS and not word & _COMPLEX and min(shape, default=-1) >= 0
    return _Variable(text, shape, is_array, at, stored, is_compressed)


def _part(data: memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    """Type, start and size of the element at a place, and the place of the next one."""
    try:
        (kind,) = struct.unpack_from(f"{order}I", data, at)
        if kind >> 16:  # up to four bytes within the tag itself
            return kind & 0xFFFF, at + 4, min(kind >> 16, 4), at + 8
        (size,) = struct.unpack_from(f"{order}I", data, at + 4)
    except struct.error:
        raise ValueError("it is cut off") from None
    return kind, at + 8, size, at + 8 + -(-size // 8) * 8


def _array(variable: _Variable, order: str, most: int) -> npt.NDArray[Any]:
    if not variable.is_array:
        raise ValueError(f"its variable {variable.name[:80]!r} is not an array of numbers")
    data = variable.stored
    if variable.is_compressed:
        data = memoryview(_unpacked(data, most, whole=True))
    kind, start, size, _ = _part(data, variable.start, order)
    stored = np.dtype(_STORED.get(kind, "V")).newbyteorder(order)  # pyright: ignore
    if kind not in _STORED or math.prod(variable.shape) * stored.itemsize != size:
        raise ValueError(
            f"its variable {variable.name[:80]!r} is not of the size that it states, "
            f"{variable.shape}"
        )
    if start + size > len(data):
        raise ValueError("it is cut off")
    flat = np.frombuffer(data[start : start + size], stored)
    return flat.astype(stored.newbyteorder("=")).reshape(variable.shape, order="F")


def _unpacked(data: memoryview, most: int, *, whole: bool) -> bytes:
    """The content of a compressed element, or its first ``most`` bytes."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, most)
        rest = unpacker.decompress(unpacker.unconsumed_tail, 1) if whole else b""
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from None
    if rest:
        raise ValueError(f"it unpacks to more than {most / MB:,.0f} MB")
    if whole and not unpacker.eof:
        raise ValueError("it is cut off")
    return found
