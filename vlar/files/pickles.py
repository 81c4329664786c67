"""Pickles of others as plain data, and states that torch saved; nothing in them is run.

A pickle is a program. Data sets are nevertheless shared as pickles of dictionaries, lists, texts
and NumPy arrays. These need four globals (and one new spelling), each of which stands for a small
class or function of this file. Every other name is refused before anything is called. A state of
torch needs two functions and the names of types.

Its instructions are walked once before they run. Keys are texts, bytes and numbers: the hash of
nested tuples can take for ever. Numbers of the memo follow each other, since they are a size.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from vlar.files.opening import open_input
from vlar.files.reading import MB, require_memory

MOST = 1024 * MB
_KINDS = "biufUS"
_BYTES_EACH = 240  # of an instruction: an object, its places, and the walk before it
# Long integers are values alone: those that share a hash make a dictionary slow.
_KEYS = frozenset(
    {
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
        *("BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    }
)
_VALUES = frozenset(
    {"INT", "LONG", "LONG1", "LONG4", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "GLOBAL"}
)
# How many values each takes from the stack, and whether it leaves one; -1: all after the mark.
_TAKES = {
    "APPEND": (1, False),
    "APPENDS": (-1, False),
    "LIST": (-1, True),
    "TUPLE": (-1, True),
    "TUPLE1": (1, True),
    "TUPLE2": (2, True),
    "TUPLE3": (3, True),
    "DICT": (-1, True),
    "SETITEM": (2, False),
    "SETITEMS": (-1, False),
    "POP": (1, False),
    "POP_MARK": (-1, False),
    "REDUCE": (2, True),
    "BUILD": (1, False),
    "STACK_GLOBAL": (2, True),
    "BINPERSID": (1, True),
}
_FILLS = ("DICT", "SETITEM", "SETITEMS")
_KEY, _OTHER, _MARK = "key", "other", "mark"


def read_pickle(path: Path, most: int = MOST) -> Any:
    """Contents of a pickle: dicts, lists, tuples, texts, numbers and arrays of numbers.

    Args:
        path: The file.
        most: Largest size in bytes.

    Raises:
        OSError: see ``check_file``.
        ValueError: it needs any other class or function, holds arrays of objects or unusual keys,
            takes more memory than a file may, or is malformed.
    """
    with open_input(path, most) as stream:
        return _guarded(lambda: _arrays_of(_next(stream, _Unpickler)))


def _guarded(read: Callable[[], Any]) -> Any:
    """The result of a function; each of its errors is a ``ValueError`` of one line."""
    try:
        return read()
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - damage leads to any kind of error
        text = str(error) or type(error).__name__
        raise ValueError(f"it is not a readable pickle ({text[:120]})") from None


def _next(stream: BinaryIO, unpickler: Callable[[BinaryIO], pickle.Unpickler]) -> Any:
    """The value of the next pickle of a stream, which is never held besides it."""
    start = stream.tell()
    _check(stream)
    end = stream.tell()
    stream.seek(start)
    value = unpickler(stream).load()
    stream.seek(end)
    return value


def _check(stream: BinaryIO) -> None:
    """Walk the instructions of a pickle without running one.

    Raises:
        ValueError: one is not of plain data, a key may not be one, or there are too many.
    """
    stack: list[str] = []
    memo: dict[int, str] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        name = opcode.name
        if name in _KEYS:
            stack.append(_KEY)
        elif name in _VALUES:
            stack.append(_OTHER)
        elif name in _TAKES:
            kinds, leaves = _TAKES[name]
            arguments = _taken(stack, kinds)
            if name in _FILLS and any(kind != _KEY for kind in arguments[::2]):
                raise ValueError("a key in it is not a text, bytes or a number")
            stack += [_OTHER] if leaves else []
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MEMOIZE" or name.endswith("PUT"):
            number: int = len(memo) if argument is None else argument
            if not 0 <= number <= count:
                raise ValueError(f"it numbers an object {number:,}, and has {count:,}")
            memo[number] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[argument or 0])
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(
                f"it uses the instruction {name}, and a pickle may only hold plain data and "
                "arrays; nothing of it was run"
            )
        if count % 100_000 == 0:
            require_memory(_BYTES_EACH * count)


def _taken(stack: list[str], wanted: int) -> list[str]:
    """Take this number of values from the stack, or all after the last mark and the mark."""
    if wanted >= 0:
        start = len(stack) - wanted
        arguments = stack[start:]
        del stack[start:]
        return arguments
    arguments = []
    while (kind := stack.pop()) != _MARK:
        arguments.append(kind)
    return arguments[::-1]


class _Budget:
    """Bytes that the arrays of a file may still take.

    Parts of a pickle may be shared, so that a small file makes many arrays.
    """

    def __init__(self) -> None:
        self._taken = 0

    def take(self, n_bytes: int) -> None:
        """Count some bytes.

        Raises:
            ValueError: it is more than a file may take.
        """
        self._taken += n_bytes
        require_memory(self._taken)


class _Dtype:
    """A type of numbers as a pickle spells it."""

    def __init__(self, name: Any, *_: Any) -> None:
        spelled = name.decode("latin-1") if isinstance(name, bytes) else name
        if not isinstance(spelled, str) or spelled[:1] not in _KINDS:
            raise ValueError(f"its arrays are of the type {str(name)[:40]!r}, not plain numbers")
        self.dtype = np.dtype(spelled)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        order = order.decode("latin-1") if isinstance(order, bytes) else order
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that is filled by its state."""

    array: npt.NDArray[Any]

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, kind, fortran, data = state
            dtype = kind.dtype
            raw = data.encode("latin-1") if isinstance(data, str) else data
            fits = isinstance(raw, bytes) and math.prod(shape) * dtype.itemsize == len(raw)
        except (TypeError, ValueError, AttributeError):
            raise ValueError("an array in it is malformed, or holds objects") from None
        if not fits:
            raise ValueError("an array in it is not of the size that it states, or holds objects")
        self._budget.take(len(raw))
        order = "F" if fortran else "C"
        # Read-only and without a copy: the bytes lie in the pickle already.
        self.array = np.frombuffer(raw, dtype).reshape(shape, order=order)


class _Admitted:
    """A name that may occur. A pickle cannot change it: its state is refused."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *values: Any) -> Any:
        return self._function(*values)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a function")


def _refuse(*_: Any) -> Any:
    raise ValueError("an array in it is made in an unusual way")


def _admitted(budget: _Budget) -> dict[tuple[str, str], _Admitted]:
    """The names that a pickle may use, for one file."""

    def reconstruct(*_: Any) -> _Array:
        return _Array(budget)

    def encode(text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("it encodes something other than bytes")
        budget.take(len(text))
        return text.encode("latin-1")

    return {
        ("numpy.core.multiarray", "_reconstruct"): _Admitted(reconstruct),
        ("numpy._core.multiarray", "_reconstruct"): _Admitted(reconstruct),
        ("numpy", "ndarray"): _Admitted(_refuse),  # only ever passed on
        ("numpy", "dtype"): _Admitted(_Dtype),
        ("_codecs", "encode"): _Admitted(encode),
    }


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: BinaryIO, admitted: Mapping[tuple[str, str], _Admitted] | None = None
    ) -> None:
        super().__init__(stream)
        self._admitted = _admitted(_Budget()) if admitted is None else admitted

    def find_class(self, module: str, name: str) -> Any:
        """One of the admitted names.

        Raises:
            ValueError: any other name.
        """
        admitted = self._admitted.get((module, name))
        if admitted is None:
            raise ValueError(
                f"it needs {f'{module}.{name}'[:80]!r}, and a pickle may only hold plain data and "
                "arrays; nothing of it was run"
            )
        return admitted

    def persistent_load(self, pid: Any) -> Any:
        """No outside objects.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"it refers to an outside object {str(pid)[:40]!r}")


def _arrays_of(value: Any) -> Any:
    """The same with finished arrays in place of their stand-ins; shared parts are visited once."""
    done: dict[int, Any] = {}

    def visit(inner: Any) -> Any:
        if isinstance(inner, _Array):
            if not hasattr(inner, "array"):
                raise ValueError("an array in it is malformed")
            return inner.array
        if not isinstance(inner, dict | list | tuple):
            return inner
        if id(inner) not in done:
            done[id(inner)] = None  # a part that holds itself is cut there
            if isinstance(inner, dict):
                done[id(inner)] = {key: visit(one) for key, one in inner.items()}
            else:
                done[id(inner)] = type(inner)(visit(one) for one in inner)
        return done[id(inner)]

    return visit(value)


_MAGIC = 0x1950A86A20F9469CFC6C  # begins a file of torch before its version 1.6
_LENGTH_BYTES = 8
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
Arrays = dict[str, npt.NDArray[Any]]


def read_state(data: bytes) -> Arrays:
    """Arrays by name of a file in which torch saved a flat dict of tensors, without torch.

    Args:
        data: Content of the file, in the format of either of torch's versions: an archive, or
            pickles with the data behind them.

    Raises:
        ValueError: it needs any name but those of plain tensors, a tensor is not within its data,
            it takes more memory than a file may, or it is malformed.
    """
    return _guarded(lambda: _read_state(data))


def _read_state(data: bytes) -> Arrays:
    stream, storages = io.BytesIO(data), dict[str, _Storage]()
    unpickler = partial(_StateUnpickler, storages=storages)
    if data.startswith(b"PK"):
        with zipfile.ZipFile(stream) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("its archive is compressed, which torch never does")
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = name.removesuffix("data.pkl")
            state = _next(io.BytesIO(archive.read(name)), unpickler)
            stored = {key: archive.read(f"{root}data/{key}") for key in storages}
    else:
        if _next(stream, unpickler) != _MAGIC:
            raise ValueError("torch did not write it")
        _, _, state = (_next(stream, unpickler) for _ in range(3))  # version, machine, state
        stored: dict[str, bytes] = {}
        for key in _next(stream, unpickler):
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            stored[key] = stream.read(length * storages[key].dtype.itemsize)
    arrays = {key: storage.array(stored[key]) for key, storage in storages.items()}
    if not isinstance(state, dict) or any(type(tensor) is not _Tensor for tensor in state.values()):
        raise ValueError("it is not a flat dict of tensors")
    budget = _Budget()
    return {str(name): tensor.array(arrays, budget) for name, tensor in state.items()}


class _State(dict[Any, Any]):
    """An ordered dict; the attributes that torch gives it are dropped."""

    @classmethod
    def empty(cls) -> _State:
        return cls()

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage(NamedTuple):
    """A run of numbers that tensors share."""

    key: str
    dtype: np.dtype[Any]
    length: int

    def array(self, data: bytes) -> npt.NDArray[Any]:
        """Numbers (length,) of the bytes that a file holds."""
        if len(data) != self.length * self.dtype.itemsize:
            raise ValueError(f"its data {self.key[:40]!r} are not of the size that it states")
        return np.frombuffer(data, self.dtype)


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, arrays: Arrays, budget: _Budget) -> npt.NDArray[Any]:
        """Numbers of the view, a copy."""
        source, offset, shape, strides = arrays[self.storage.key], *self[1:]
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if min((offset, *shape, *strides)) < 0 or (math.prod(shape) and last >= len(source)):
            raise ValueError(f"a tensor of shape {shape} in it is not within its data")
        budget.take(math.prod(shape) * source.itemsize)
        steps = [step * source.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(source[offset:], shape, steps).copy()


class _StateUnpickler(_Unpickler):
    """Makes tensors without their numbers, and collects the storages that they lie in."""

    def __init__(self, stream: BinaryIO, storages: dict[str, _Storage]) -> None:
        self._storages = storages
        self._dtypes = {_Admitted(_refuse): np.dtype(kind) for kind in _STORAGES.values()}
        names = {("torch", name): kind for name, kind in zip(_STORAGES, self._dtypes, strict=True)}
        names["collections", "OrderedDict"] = _Admitted(_State.empty)
        names["torch._utils", "_rebuild_tensor_v2"] = _Admitted(lambda *of: _Tensor(*of[:4]))
        super().__init__(stream, names)

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a tensor lies in.

        Raises:
            ValueError: it is anything else, or two storages of one name differ.
        """
        kind, dtype, key, _, count, *view = pid
        storage = _Storage(key, self._dtypes[dtype], count)
        if kind != "storage" or any(view) or self._storages.setdefault(key, storage) != storage:
            raise ValueError(f"it refers to an outside object {str(pid)[:40]!r}")
        return storage
