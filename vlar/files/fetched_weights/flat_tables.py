"""Tables of FlatBuffers, in which a file of TensorFlow Lite keeps its network.

A table begins with the distance to the list of its fields' places; a place of 0 is a field that
has its default. Fields are named here as in the schema of TensorFlow Lite, by their numbers.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

# Number and form of each field: a number as ``struct`` names it, "[" numbers, "*" tables, ">" one.
_FIELDS = {
    "model": {"codes": (1, "*code"), "graphs": (2, "*graph"), "buffers": (4, "*buffer")},
    "code": {"deprecated": (0, "b"), "builtin": (3, "i")},
    "graph": {
        "tensors": (0, "*tensor"), "inputs": (1, "[i"), "outputs": (2, "[i"),
        "operators": (3, "*operator"),
    },
    "tensor": {
        "shape": (0, "[i"), "type": (1, "b"), "buffer": (2, "I"), "name": (3, "[B"),
        "sparsity": (6, ">sparsity"),
    },
    "operator": {
        "code": (0, "I"), "inputs": (1, "[i"), "outputs": (2, "[i"),
        "options": (4, ">"),
    },
    "buffer": {"data": (0, "[B")},
    "sparsity": {"order": (0, "[i"), "blocks": (1, "[i"), "axes": (2, "*axis")},
    "axis": {
        "format": (0, "b"), "size": (1, "i"), "segments_type": (2, "B"), "segments": (3, ">"),
        "indices_type": (4, "B"), "indices": (5, ">"),
    },
    "int32": {"values": (0, "[i")},
    "uint16": {"values": (0, "[H")},
    "uint8": {"values": (0, "[B")},
    "CONV_2D": {
        "padding": (0, "b"), "stride_w": (1, "i"), "stride_h": (2, "i"), "act": (3, "b"),
        "dilation_w": (4, "i"), "dilation_h": (5, "i"),
    },
    "DEPTHWISE_CONV_2D": {
        "padding": (0, "b"), "stride_w": (1, "i"), "stride_h": (2, "i"), "act": (4, "b"),
        "dilation_w": (5, "i"), "dilation_h": (6, "i"),
    },
    "MAX_POOL_2D": {
        "padding": (0, "b"), "stride_w": (1, "i"), "stride_h": (2, "i"),
        "width": (3, "i"), "height": (4, "i"),
    },
    "ADD": {"act": (0, "b")},
    "RESIZE_BILINEAR": {"align_corners": (2, "b"), "half_pixel": (3, "b")},
    "DEPTH_TO_SPACE": {"block_size": (0, "i")},
    "CONCATENATION": {"axis": (0, "i")},
    "MEAN": {"keep_dims": (0, "b")},
    "FULLY_CONNECTED": {"act": (0, "b")},
}  # fmt: skip


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
