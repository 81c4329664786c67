"""Arrays of others, as safetensors: the header is checked before anything is allocated."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import threading
import zipfile
import zlib
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from vlar.files.compressed import read_member
from vlar.files.opening import open_input
from vlar.files.reading import MB, parse_json, read_file, require_memory

ByteOrder = Literal["<", ">"]
_HEADER = 16 * MB
_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_CHUNK = 4 * MB

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Header:
    """Contents of a safetensors file.

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
    with open_input(file, most, links=links) as stream:
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
    with open_input(file, most, links=links) as stream:
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


MOST = 400 * MB
_MATLAB_FILES_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_HEAD = 4096  # bytes in which class, shape and name of a variable lie
_MOST_DIMS = 32
_MOST_VARIABLES = 10_000
_COMPLEX = 0x0800
_ARRAYS = range(6, 16)  # classes of numbers; below are cells, structs, objects, texts, sparse ones
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}


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
    """Return whether the first bytes of a file are those of a MATLAB file."""
    return head.startswith((b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"))


def shapes_in(path: Path, most: int = MOST) -> dict[str, tuple[int, ...]]:
    """Shape of each variable, of any class; errors as in ``read_matlab``."""
    return {variable.name: variable.shape for variable in _variables(*_content(path, most))}


def read_matlab(
    path: Path, names: list[str], most: int = MOST, *, bytes_each: float = 16.0
) -> dict[str, npt.NDArray[Any]]:
    """Some variables of a file, those that it has.

    Args:
        path: The file.
        names: Names of the variables.
        bytes_each: Bytes that a number takes with all copies that its reader makes of it.
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
            budget = most - sum(array.nbytes for array in arrays.values())
            arrays[variable.name] = _array(variable, order, budget, bytes_each)
    return {name: arrays[name] for name in names if name in arrays}


def _content(path: Path, most: int) -> tuple[memoryview, ByteOrder]:
    """The bytes of a file and its order of bytes."""
    data = read_file(path, most)
    if data.startswith(b"MATLAB 7.3") or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise ValueError("it is of MATLAB 7.3; save it with the option -v7")
    if not is_matlab(data) or len(data) < _MATLAB_FILES_HEADER:
        raise ValueError("it is not a MATLAB file")
    return memoryview(data), "<" if data[126:128] == b"IM" else ">"


def _variables(data: memoryview, order: ByteOrder) -> Iterator[_Variable]:
    offset, count = _MATLAB_FILES_HEADER, 0
    while offset + 8 <= len(data):
        count += 1
        if count > _MOST_VARIABLES:
            raise ValueError(f"it has over {_MOST_VARIABLES:,} variables")
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        element = data[offset : offset + 8 + size]
        if len(element) < 8 + size:
            raise ValueError("it is cut off")
        if kind == _COMPRESSED:
            head = _unpacked(element[8:], _HEAD, whole=False)
            if len(head) < 8 or struct.unpack_from(f"{order}I", head)[0] != _MATRIX:
                raise ValueError("it is damaged (a variable is not one)")
            yield _variable(memoryview(head), element[8:], order, is_compressed=True)
        elif kind == _MATRIX:
            yield _variable(element[:_HEAD], element, order, is_compressed=False)
        offset += 8 + size


def _variable(
    head: memoryview, stored: memoryview, order: ByteOrder, *, is_compressed: bool
) -> _Variable:
    """A variable by the beginning of its element: flags, dimensions, name."""
    _, flags, _, offset = _part(head, 8, order)
    _, dims, n_bytes, offset = _part(head, offset, order)
    _, name, length, offset = _part(head, offset, order)
    if n_bytes > 4 * _MOST_DIMS or name + length > len(head) or flags + 4 > len(head):
        raise ValueError("it is damaged (a variable has no usable name or shape)")
    (word,) = struct.unpack_from(f"{order}I", head, flags)
    shape = struct.unpack_from(f"{order}{n_bytes // 4}i", head, dims)
    text = bytes(head[name : name + length]).decode("latin-1").rstrip("\0")
    is_array = (word & 0xFF) in _ARRAYS and not word & _COMPLEX and min(shape, default=-1) >= 0
    return _Variable(text, shape, is_array, offset, stored, is_compressed)


def _part(data: memoryview, at: int, order: ByteOrder) -> tuple[int, int, int, int]:
    """Type, start and size of the element at a place, and the place of the next one."""
    try:
        (kind,) = struct.unpack_from(f"{order}I", data, at)
        if kind >> 16:  # up to four bytes within the tag itself
            return kind & 0xFFFF, at + 4, min(kind >> 16, 4), at + 8
        (size,) = struct.unpack_from(f"{order}I", data, at + 4)
    except struct.error:
        raise ValueError("it is cut off") from None
    return kind, at + 8, size, at + 8 + -(-size // 8) * 8


def _array(
    variable: _Variable, order: ByteOrder, most: int, bytes_each: float = 16.0
) -> npt.NDArray[Any]:
    if not variable.is_array:
        raise ValueError(f"its variable {variable.name[:80]!r} is not an array of numbers")
    data = variable.stored
    if variable.is_compressed:
        data = memoryview(_unpacked(data, most, whole=True))
    kind, start, size, _ = _part(data, variable.start, order)
    stored = np.dtype(_STORED.get(kind, "V")).newbyteorder(order)
    if kind not in _STORED or math.prod(variable.shape) * stored.itemsize != size:
        raise ValueError(
            f"its variable {variable.name[:80]!r} is not of the size that it states, "
            f"{variable.shape}"
        )
    if start + size > len(data):
        raise ValueError("it is cut off")
    require_memory(len(data) + bytes_each * float(math.prod(variable.shape)))
    flat = np.frombuffer(data[start : start + size], stored)
    return flat.astype(stored.newbyteorder("=")).reshape(variable.shape, order="F")


def _unpacked(data: memoryview, most: int, *, whole: bool) -> bytes:
    """The content of a compressed element, or its first ``most`` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, most)
        overflow = unpacker.decompress(unpacker.unconsumed_tail, 1) if whole else b""
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from None
    if overflow:
        raise ValueError(f"it unpacks to more than {most / MB:,.0f} MB")
    if whole and not unpacker.eof:
        raise ValueError("it is cut off")
    return unpacked


NUMPY_FILES_MOST = 700 * MB
MOST_UNPACKED = 750 * MB
_MOST_ENTRIES = 10_000
_MOST_HEADER = 10_000
_HEAD_BYTES = 12_000
_LONGEST_END = (1 << 16) + 22 + 20  # bytes of the end of an archive with its comment
_PLAIN = "biufUS"  # kinds of types that are numbers or texts


def read_npy(path: Path, most: int = NUMPY_FILES_MOST) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file.

    Raises:
        OSError: see ``check_file``.
        ValueError: it is malformed, holds objects, or is not of the size that its header states.
    """
    return _numpy_files_array(read_file(path, most))


def read_npz(
    path: Path, most: int = MOST_UNPACKED, *, fields: bool = False, names: Collection[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        most: Largest size in bytes, of the file and of all its arrays together.
        fields: Whether arrays may be structured: plain numbers by name.
        names: Names of the arrays that are read; empty for all.

    Raises:
        OSError: see ``open_input``.
        ValueError: as for ``read_npy``, or it unpacks to more than ``most`` bytes.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    with _archive(path, most) as (archive, entries):
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if names and name not in names:
                continue
            arrays[name] = _numpy_files_array(read_member(archive, entry), fields)
    return arrays


def shapes_of(
    path: Path, names: Collection[str], most: int = MOST_UNPACKED
) -> dict[str, tuple[int, ...]]:
    """Shape of some arrays of an ``.npz`` file by their headers; errors as in ``read_npz``."""
    shapes: dict[str, tuple[int, ...]] = {}
    with _archive(path, most) as (archive, entries):
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in names:
                with archive.open(entry) as stream:
                    shapes[name] = _numpy_files_header(io.BytesIO(stream.read(_HEAD_BYTES)))[0]
    return shapes


def names_in(path: Path, most: int = MOST_UNPACKED) -> Collection[str]:
    """The names of the arrays of an ``.npz`` file; errors as in ``read_npz``."""
    with _archive(path, most) as (_, entries):
        return [entry.filename.removesuffix(".npy") for entry in entries]


@contextmanager
def _archive(path: Path, most: int) -> Generator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """An open archive and its entries, after its sizes are checked."""
    with open_input(path, most) as file:
        try:
            require_small_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield archive, _entries(archive, most)
        except ValueError:
            raise
        except Exception as error:  # noqa: BLE001 - damage leads to any kind of error
            raise _damaged(error) from None


def require_small_directory(file: BinaryIO, most: int = 4 * MB) -> None:
    """Refuse a zip archive whose list of entries alone takes much memory, before it is read.

    Args:
        file: The archive, open for reading; it is left at its start.
        most: Bytes of the list of entries.

    Raises:
        ValueError: its list is longer; the message is a sentence.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    stated = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if end >= 20 and tail[end - 20 : end - 16] == b"PK\6\7":  # of archives beyond 4 GB
        file.seek(min(int.from_bytes(tail[end - 12 : end - 4], "little"), size))
        record = file.read(56)
        wide = int.from_bytes(record[40:48], "little")
        stated = wide if record.startswith(b"PK\6\6") else _LONGEST_END * most
    file.seek(0)
    if stated > most:
        raise ValueError(f"its archive has a list of entries of {stated / MB:,.0f} MB")


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


def is_plain(dtype: np.dtype[Any], *, fields: bool = False) -> bool:
    """Return whether a type is of numbers or texts, or with ``fields`` of some of them by name."""
    if fields and dtype.names:
        return all(dtype[name].kind in _PLAIN for name in dtype.names)
    return dtype.kind in _PLAIN and not dtype.hasobject and dtype.itemsize > 0


#: Held while a header is parsed: it is a text in Python, and CPython 3.11 may fail with "recursion
#: depth mismatch" where two threads parse at once.
NUMPY_HEADERS = threading.Lock()


def _numpy_files_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that the header of an array states.

    Raises:
        ValueError: it is not one, or a length in it cannot be.
    """
    try:
        version, read = np.lib.format.read_magic(stream), np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read = np.lib.format.read_array_header_1_0
        with NUMPY_HEADERS:
            header = read(stream, max_header_size=_MOST_HEADER)
    except Exception as error:  # noqa: BLE001 - its header is a text in Python
        raise ValueError(f"it is not an array of NumPy ({str(error)[:80]})") from None
    if any(length < 0 for length in header[0]):
        raise ValueError(f"its header states the shape {header[0]}")
    return header


def _numpy_files_array(data: bytes, fields: bool = False) -> npt.NDArray[Any]:
    """The array that a file holds, read-only: its numbers are not copied."""
    stream = io.BytesIO(data)
    shape, fortran, dtype = _numpy_files_header(stream)
    if not is_plain(dtype, fields=fields):
        raise ValueError(f"it holds {dtype.name}, not plain numbers")
    stated, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if stated != held:
        raise ValueError(f"its header states {stated:,} bytes of numbers, and it holds {held:,}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


_STRUCT, _CHAR = 2, 4
_DEEPEST_STRUCT = 8


def read_structs(data: bytes, most: int = MOST) -> dict[str, Any]:
    """Variables of a MATLAB 5 file: structs as dictionaries, arrays of numbers, texts.

    Args:
        data: Content of the file.
        most: Largest size in bytes of what a variable unpacks to.

    Returns:
        By name; arrays (rows, columns) as in MATLAB. Cells, objects and arrays of structs are left
        out.

    Raises:
        ValueError: it is malformed, unpacks to more, or is nested too deep.
    """
    if not is_matlab(data) or len(data) < _MATLAB_FILES_HEADER:
        raise ValueError("it is not a MATLAB file")
    order: ByteOrder = "<" if data[126:128] == b"IM" else ">"
    values: dict[str, Any] = {}
    for variable in _variables(memoryview(data), order):
        stored = variable.stored
        if variable.is_compressed:
            stored = memoryview(_unpacked(stored, most, whole=True))
        value = _value(stored, order, _DEEPEST_STRUCT)
        if value is not None:
            values[variable.name] = value
    return values


def _value(data: memoryview, order: ByteOrder, depth: int) -> Any:
    """Value of the matrix that begins at the first byte; None for a class that is left out."""
    if depth == 0:
        raise ValueError(f"it is nested more than {_DEEPEST_STRUCT} levels deep")
    variable = _variable(data, data, order, is_compressed=False)
    (word,) = struct.unpack_from(f"{order}I", data, 16)
    size = math.prod(variable.shape)
    if variable.is_array:
        return _array(variable, order, MOST)
    kind, start, n_bytes, after = _part(data, variable.start, order)
    if word & 0xFF == _CHAR:
        width = {1: 1, 2: 1, 3: 2, 4: 2, 16: 1, 17: 2}.get(kind, 1)
        coding = "utf-8" if width == 1 else "utf-16-le" if order == "<" else "utf-16-be"
        return bytes(data[start : start + n_bytes]).decode(coding, "replace")
    if word & 0xFF != _STRUCT or size != 1:
        return None
    (width,) = struct.unpack_from(f"{order}i", data, start)
    _, start, n_bytes, offset = _part(data, after, order)
    if not 1 <= width <= 64 or n_bytes > len(data):
        raise ValueError("it is damaged (a struct has no usable names)")
    fields: dict[str, Any] = {}
    for begin in range(start, start + n_bytes, width):
        name = bytes(data[begin : begin + width]).partition(b"\0")[0].decode("latin-1")
        _, _, length, after = _part(data, offset, order)
        fields[name] = _value(data[offset:after], order, depth - 1) if length else None
        offset = after
    return fields


def require_inside(dataset: Any) -> None:
    """Refuse an array of HDF5 whose numbers lie in other files, which its sender could choose.

    Args:
        dataset: A dataset of h5py.

    Raises:
        ValueError: it is stored outside, or is made of arrays of other files.
    """
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
        raise ValueError("an array of it lies in another file; write it as a whole")
