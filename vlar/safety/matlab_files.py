"""``.mat`` files of others (MATLAB 5 to 7): numbers only, and no more than was asked for.

``scipy.io`` runs nothing, but it unpacks as much as a file states. Every compressed element is
unpacked once into nothing to count its bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.files import MB, read_file

MOST = 512 * MB
_HEADER = 128
_COMPRESSED = 15
_CHUNK = 1 * MB
_KINDS = "biuf"


def is_matlab(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a MATLAB file."""
    return head.startswith(b"MATLAB 5.0 MAT-file") or head.startswith(b"MATLAB 7.3 MAT-file")


def shapes_in(path: Path, most: int = MOST) -> dict[str, tuple[int, ...]]:
    """Shape of each variable; errors as in ``read_matlab``."""
    return _parsed(
        _checked(path, most),
        lambda io, stream: {str(name): tuple(shape) for name, shape, _ in io.whosmat(stream)},
    )


def read_matlab(path: Path, names: list[str], most: int = MOST) -> dict[str, npt.NDArray[Any]]:
    """Some variables of a file, those that it has.

    Args:
        path: The file.
        names: Of the variables.
        most: Largest size in bytes, of the file and of what it unpacks to.

    Raises:
        OSError: see ``check_file``.
        ValueError: it is malformed or of MATLAB 7.3, unpacks to more, or a variable is not an array
            of numbers.
    """
    found = _parsed(
        _checked(path, most), lambda io, stream: io.loadmat(stream, variable_names=names)
    )
    arrays = {name: found[name] for name in names if name in found}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            raise ValueError(f"its variable {name!r} is not an array of numbers")
    return arrays


def _parsed(data: bytes, read: Callable[[Any, BytesIO], dict[str, Any]]) -> dict[str, Any]:
    import scipy.io

    try:
        return read(scipy.io, BytesIO(data))
    except Exception as error:  # noqa: BLE001 - its parser raises whatever damage leads to
        text = str(error) or type(error).__name__
        raise ValueError(f"it is not a readable MATLAB file ({text[:120]})") from None


def _checked(path: Path, most: int) -> bytes:
    data = read_file(path, most)
    if data.startswith(b"MATLAB 7.3") or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise ValueError("it is of MATLAB 7.3; save it with the option -v7")
    if not is_matlab(data) or len(data) < _HEADER:
        raise ValueError("it is not a MATLAB file")
    order = "<" if data[126:128] == b"IM" else ">"
    at, total = _HEADER, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack(f"{order}II", data[at : at + 8])
        if at + 8 + size > len(data):
            raise ValueError("it is cut off")
        total += _unpacked(data[at + 8 : at + 8 + size], most) if kind == _COMPRESSED else size
        if total > most:
            raise ValueError(f"it unpacks to more than {most / MB:,.0f} MB")
        at += 8 + size
    return data


def _unpacked(data: bytes, most: int) -> int:
    """Bytes that a compressed element unpacks to; a little over ``most`` where it is more."""
    unpacker, total = zlib.decompressobj(), 0
    try:
        chunk = unpacker.decompress(data, _CHUNK)
        while chunk and total <= most:
            total += len(chunk)
            chunk = unpacker.decompress(unpacker.unconsumed_tail, _CHUNK)
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from None
    return total
