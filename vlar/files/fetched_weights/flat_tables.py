"""Tables of FlatBuffers, in which a file of TensorFlow Lite keeps its network.

A table begins with the distance to the list of its fields' places; a place of 0 is a field that
has its default. Fields are named here as in the schema of TensorFlow Lite, by their numbers.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.toml import read_toml

# Number and form of each field, by kind of table.
_FIELDS = read_toml(Path(__file__).with_name("flat_tables.toml").read_text(encoding="utf-8"))


class FlatTable:
    """A table whose fields are attributes; absent ones are 0, empty or None.

    Args:
        data: The file.
        at: Byte at which the table begins.
        kind: Names its fields.
    """

    def __init__(self, data: bytes, at: int, kind: str) -> None:
        self._data, self._at, self._kind = data, at, kind

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """The first table of a file."""
        return cls(data, _number(data, 0, "I"), "model")

    def of(self, kind: str) -> FlatTable:
        """The same table with the fields of another kind."""
        return FlatTable(self._data, self._at, kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        number, form = _FIELDS[self._kind][name]
        at, kind = self._place(number), form[1:]
        if form[0] == "*":
            places = self._numbers(at, "I")
            first = at + _number(self._data, at, "I") + 4 if at else 0
            return [
                FlatTable(self._data, first + 4 * index + int(place), kind)
                for index, place in enumerate(places)
            ]
        if form[0] == "[":
            return self._numbers(at, kind)
        if form[0] == ">":
            return FlatTable(self._data, at + _number(self._data, at, "I"), kind) if at else None
        return _number(self._data, at, form) if at else 0

    def _place(self, number: int) -> int:
        """The byte at which a field begins; 0 if it is absent."""
        fields = self._at - _number(self._data, self._at, "i")
        inside = 4 + 2 * number < _number(self._data, fields, "H")
        offset = _number(self._data, fields + 4 + 2 * number, "H") if inside else 0
        return self._at + offset if offset else 0

    def _numbers(self, at: int, kind: str) -> npt.NDArray[Any]:
        if not at:
            return np.zeros(0, kind)
        first = at + _number(self._data, at, "I")
        return np.frombuffer(self._data, f"<{kind}", _number(self._data, first, "I"), first + 4)


def _number(data: bytes, at: int, kind: str) -> Any:
    if at < 0:
        raise ValueError("a table lies before the file")
    return struct.unpack_from(f"<{kind}", data, at)[0]
