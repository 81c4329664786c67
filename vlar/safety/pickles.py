"""Pickles of others as plain data: nothing in them is run, and four names are admitted.

A pickle is a program. Data sets are nevertheless shared as pickles of dictionaries, lists, texts
and NumPy arrays. These need four globals (and one new spelling), each of which stands for a small
class or function of this file. Every other name is refused before anything is called.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.files import MB, read_file

MOST = 1024 * MB
_KINDS = "biufUS"


def read_pickle(path: Path, most: int = MOST) -> Any:
    """What a pickle holds: dicts, lists, tuples, texts, numbers and arrays of numbers.

    Args:
        path: The file.
        most: Largest size in bytes.

    Raises:
        OSError: see ``check_file``.
        ValueError: it needs any other class or function, holds arrays of objects, or is malformed.
    """
    try:
        return _arrays_of(_Unpickler(io.BytesIO(read_file(path, most))).load())
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - damage leads to any kind of error
        text = str(error) or type(error).__name__
        raise ValueError(f"it is not a readable pickle ({text[:120]})") from None


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

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, kind, fortran, data = state
            dtype = kind.dtype
            raw = data.encode("latin-1") if isinstance(data, str) else data
            fits = isinstance(raw, bytes) and math.prod(shape) * dtype.itemsize == len(raw)
        except (TypeError, ValueError, AttributeError, UnicodeEncodeError):
            raise ValueError("an array in it is malformed, or holds objects") from None
        if not fits:
            raise ValueError("an array in it is not of the size that it states, or holds objects")
        order = "F" if fortran else "C"
        self.array = np.frombuffer(raw, dtype).reshape(shape, order=order).copy()


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


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it encodes something other than bytes")
    return text.encode("latin-1")


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _Admitted(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Admitted(_reconstruct),
    ("numpy", "ndarray"): _Admitted(_refuse),  # only ever passed on
    ("numpy", "dtype"): _Admitted(_Dtype),
    ("_codecs", "encode"): _Admitted(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of the admitted names.

        Raises:
            ValueError: any other name.
        """
        admitted = _ADMITTED.get((module, name))
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
