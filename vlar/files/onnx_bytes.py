"""Graphs of ONNX as bytes, without the package ``onnx``, which needs 33 MB to write a few fields.

A graph is a message of protobuf: fields in the order of their numbers, each with a key (its number
and how it is stored) and a value. Numbers are those of ``onnx.proto``; only fields that vlar's own
networks have are written. What ``onnx`` writes has the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Parts = list[Any]  # bytes and buffers that are joined once: weights are large
Value = tuple[str, Any, Sequence[int | str]]  # name, type of numpy, shape of an input or output
_NUMBER, _BYTES, _FLOAT = 0, 2, 5  # how a field is stored
_KINDS = {
    np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3,
    np.dtype(np.int32): 6, np.dtype(np.int64): 7, np.dtype(np.bool_): 9,
    np.dtype(np.float16): 10, np.dtype(np.float64): 11,
}  # fmt: skip
_GRAPH, _CONSTANT, _WEIGHTS = 7, 5, 9  # of a model, a graph, a tensor


def node(op: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: Any) -> bytes:
    """An operator."""
    names = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs]
    rows = [_field(5, _attribute(name, attributes[name])) for name in sorted(attributes)]
    return b"".join([*names, _field(4, op), *rows])


def tensor(name: str, value: Array) -> Parts:
    """A constant; its numbers are not copied."""
    value = np.ascontiguousarray(value)
    head = [_field(1, length) for length in value.shape]
    numbers = value.reshape(-1).view(np.uint8).data
    return [*head, _field(2, _KINDS[value.dtype]), _field(8, name), *_message(_WEIGHTS, [numbers])]


def model(
    name: str,
    nodes: Iterable[bytes],
    constants: Iterable[Parts],
    inputs: Iterable[Value],
    outputs: Iterable[Value],
    *,
    opset: int,
    ir_version: int,
) -> bytes:
    """A graph with its constants."""
    parts: Parts = [_field(1, row) for row in nodes]
    parts.append(_field(2, name))
    for constant in constants:
        parts += _message(_CONSTANT, constant)
    parts += [_field(11, _value(*row)) for row in inputs]
    parts += [_field(12, _value(*row)) for row in outputs]
    version = _field(8, _field(1, "") + _field(2, opset))
    return b"".join([_field(1, ir_version), *_message(_GRAPH, parts), version])


def split(whole: bytes, name: str, first: int, aligned: int, smallest: int) -> tuple[Parts, bytes]:
    """The weights of a model, and the model with references to them in a file.

    Args:
        whole: The model.
        name: The file.
        first: Byte of the file at which the weights begin.
        aligned: Number that divides the place of each.
        smallest: Bytes; smaller constants stay in the model.
    """
    weights, length = Parts(), first

    def moved(constant: memoryview) -> Parts:
        nonlocal length
        fields = list(_fields(constant))
        raw = next((value for number, value, _ in fields if number == _WEIGHTS), b"")
        if len(raw) < smallest:
            return [constant]
        gap = -(length - first) % aligned
        facts = {"location": name, "offset": str(length + gap), "length": str(len(raw))}
        weights.extend([bytes(gap), raw])
        length += gap + len(raw)
        others = [field for number, _, field in fields if number != _WEIGHTS]
        rows = [_field(13, _field(1, key) + _field(2, fact)) for key, fact in facts.items()]
        return [*others, *rows, _field(14, 1)]

    parts = Parts()
    for number, value, field in _fields(memoryview(whole)):
        if number != _GRAPH:
            parts.append(field)
            continue
        inside = Parts()
        for below, content, row in _fields(value):
            inside += _message(below, moved(content)) if below == _CONSTANT else [row]
        parts += _message(number, inside)
    return weights, b"".join(parts)


def _field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, float):
        return _varint(number << 3 | _FLOAT) + struct.pack("<f", value)
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
    return _varint(number << 3 | _NUMBER) + _varint(int(value) & (1 << 64) - 1)


def _message(number: int, parts: Parts) -> Parts:
    length = sum(memoryview(part).nbytes for part in parts)
    return [_varint(number << 3 | _BYTES) + _varint(length), *parts]


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _attribute(name: str, value: Any) -> bytes:
    number, kind = {float: (2, 1), int: (3, 2), bool: (3, 2), str: (4, 3)}.get(type(value), (8, 7))
    values = value if number == 8 else [value]
    fields = [_field(number, row if number in (2, 4) else int(row)) for row in values]
    return b"".join([_field(1, name), *fields, _field(20, kind)])


def _value(name: str, dtype: Any, shape: Sequence[int | str]) -> bytes:
    sizes = [_field(1, _field(2 if isinstance(n, str) else 1, n)) for n in shape]
    kind = _field(1, _KINDS[np.dtype(dtype)]) + _field(2, b"".join(sizes))
    return _field(1, name) + _field(2, _field(1, kind))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number and content of each field, and the field as it is stored."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _number(message, at)
        if key & 7 == _NUMBER:
            first, (_, at) = at, _number(message, at)
        else:
            size, first = _number(message, at) if key & 7 == _BYTES else (4, at)
            at = first + size
        yield key >> 3, message[first:at], message[begin:at]


def _number(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at
