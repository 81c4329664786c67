"""``.npy`` and ``.npz`` files of others: no pickles, and sizes are checked first.

``numpy.load`` allocates whatever shape a header states, and unpacks archives without a limit.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.files import MB, check_file, read_file

MOST = 1024 * MB
MOST_UNPACKED = 750 * MB
_MOST_ENTRIES = 10_000
_MOST_HEADER = 10_000
_PLAIN = "biufUS"  # kinds of types that are numbers or texts


def read_npy(path: Path, most: int = MOST) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file.

    Raises:
        OSError: see ``check_file``.
        ValueError: it is malformed, holds objects, or is not of the size that its header states.
    """
    return _array(read_file(path, most))


def read_npz(path: Path, most: int = MOST_UNPACKED) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        most: Largest size in bytes, of the file and of all its arrays together.

    Raises:
        OSError: see ``check_file``.
        ValueError: as for ``read_npy``, or it unpacks to more than ``most`` bytes.
    """
    check_file(path, most)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, most)
            found: dict[str, npt.NDArray[Any]] = {}
            for entry in entries:
                with archive.open(entry) as stream:
                    data = stream.read(entry.file_size + 1)
                found[entry.filename.removesuffix(".npy")] = _array(data)
            return found
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - damage leads to any kind of error
        raise _damaged(error) from None


def names_in(path: Path, most: int = MOST_UNPACKED) -> Collection[str]:
    """The names of the arrays of an ``.npz`` file; errors as in ``read_npz``."""
    check_file(path, most)
    try:
        with zipfile.ZipFile(path) as archive:
            return [entry.filename.removesuffix(".npy") for entry in _entries(archive, most)]
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged(error) from None


def _damaged(error: Exception) -> ValueError:
    what = "cannot be opened" if isinstance(error, RuntimeError) else "is damaged"  # encrypted
    return ValueError(f"its archive {what} ({str(error)[:80] or type(error).__name__})")


def _entries(archive: zipfile.ZipFile, most: int) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"its archive has {len(entries):,} entries")
    total = sum(entry.file_size for entry in entries)
    if total > most:
        raise ValueError(
            f"it unpacks to {total / MB:,.0f} MB; at most {most / MB:,.0f} MB are read"
        )
    return entries


def _array(data: bytes) -> npt.NDArray[Any]:
    """The array that a file holds, read-only: its numbers are not copied."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream, max_header_size=_MOST_HEADER)
        else:
            header = np.lib.format.read_array_header_2_0(stream, max_header_size=_MOST_HEADER)
    except Exception as error:  # noqa: BLE001 - its header is a text in Python
        raise ValueError(f"it is not an array of NumPy ({str(error)[:80]})") from None
    shape, fortran, dtype = header
    if dtype.kind not in _PLAIN or dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"it holds {dtype.name}, not plain numbers")
    stated, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if stated != held:
        raise ValueError(f"its header states {stated:,} bytes of numbers, and it holds {held:,}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
