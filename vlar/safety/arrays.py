"""Arrays of others, as safetensors: the header is checked before anything is allocated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.files import MB, opened
from vlar.safety.strict_json import parse_json

_HEADER = 16 * MB
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_CHUNK = 4 * MB

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds.

    Attributes:
        shapes: Shape of each array.
        size: Bytes of the file.
    """

    shapes: Shapes
    size: int


def read_header(file: Path, most: int, *, links: bool = True) -> Header:
    """The header of a safetensors file; its arrays are not read.

    Args:
        file: The file.
        most: Largest size of the file in bytes.
        links: Whether the path may be a symbolic link.

    Raises:
        OSError: see ``check_file``.
        ValueError: the header is malformed, or is not that of a file of this size.
    """
    with opened(file, most, links=links) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, _HEADER):
            raise ValueError("it has no safetensors header")
        header = parse_json(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")  # noqa: TRY004 - of the file's content
    header.pop("__metadata__", None)
    shapes: Shapes = {}
    end = 0
    for name, entry in header.items():
        shapes[name], last = _entry(name, entry)
        end = max(end, last)
    if 8 + length + end != size:
        raise ValueError(f"its header describes {8 + length + end} bytes, and it has {size}")
    return Header(shapes, size)


def _entry(name: str, entry: Any) -> tuple[tuple[int, ...], int]:
    """Shape of an array, and where its data ends."""
    try:
        width, shape = _BYTES[entry["dtype"]], tuple(entry["shape"])
        start, end = entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
        sound = whole and end - start == width * math.prod(shape)
    except (KeyError, TypeError, ValueError):
        sound, shape, end = False, (), 0
    if not sound:
        raise ValueError(f"the header entry of {name[:80]!r} is malformed")
    return shape, end


def sha256(file: Path, most: int, *, links: bool = True) -> str:
    """SHA-256 of a regular file; arguments and errors as in ``check_file``."""
    digest = hashlib.sha256()
    with opened(file, most, links=links) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def not_finite(arrays: Mapping[str, npt.NDArray[Any]]) -> str | None:
    """The first array that holds a number that is not finite; None where all are."""
    for name, array in arrays.items():
        # Not a number passes through both, and neither needs memory of its own.
        floats = np.issubdtype(array.dtype, np.floating) and array.size
        if floats and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            return name
    return None
