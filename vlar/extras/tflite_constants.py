"""Constant tensors of a TensorFlow Lite file as numpy arrays, also sparse and half-precision ones.

The file format is read with the `tflite` package, which is generated from the format's schema.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_UNPACKED = ("DEQUANTIZE", "DENSIFY")


class Constants:
    """The constant tensors of a model's first subgraph.

    The output of an operator that only unpacks a constant (half precision to single, sparse to
    dense) is a constant too, so that the network has plain float32 weights.

    Args:
        model: ``tflite.Model``.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.Subgraphs(0)
        names = operator_names()
        self._origin: dict[int, int] = {}
        for index in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(index)
            source = operator.Inputs(0) if operator.InputsLength() else -1
            if operator_name(model, operator, names) in _UNPACKED and self._is_known(source):
                self._origin[operator.Outputs(0)] = self._origin.get(source, source)

    def __contains__(self, tensor: int) -> bool:
        return self._is_known(tensor)

    def value(self, tensor: int) -> Array:
        """The dense values; half precision becomes float32."""
        origin = self._graph.Tensors(self._origin.get(tensor, tensor))
        values = np.frombuffer(
            self._model.Buffers(origin.Buffer()).DataAsNumpy().tobytes(), _dtype(origin.Type())
        )
        shape = tensor_shape(self._graph, self._origin.get(tensor, tensor))
        sparsity = origin.Sparsity()
        values = values.reshape(shape) if sparsity is None else densify(values, shape, sparsity)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def _is_known(self, tensor: int) -> bool:
        if tensor in self._origin:
            return True
        if tensor < 0:
            return False
        return self._model.Buffers(self._graph.Tensors(tensor).Buffer()).DataLength() > 0


def operator_names() -> dict[int, str]:
    """Names of the operator codes."""
    import tflite

    return {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}


def operator_name(model: Any, operator: Any, names: dict[int, str]) -> str:
    """Name of an operator; older files store its code in another field."""
    code = model.OperatorCodes(operator.OpcodeIndex())
    return names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def tensor_shape(graph: Any, tensor: int) -> tuple[int, ...]:
    """Shape of a tensor of a subgraph."""
    entry = graph.Tensors(tensor)
    return tuple(int(entry.Shape(axis)) for axis in range(entry.ShapeLength()))


def densify(values: Array, shape: tuple[int, ...], sparsity: Any) -> Array:
    """The dense form of a sparse tensor.

    TensorFlow Lite stores a tensor as a tree of axes, each dense or sparse (a compressed row), of
    which the innermost may cut the outer ones into blocks (schema: ``SparsityParameters``).
    """
    order = [int(axis) for axis in _array(sparsity.TraversalOrderAsNumpy())]
    blocked = [int(axis) for axis in _array(sparsity.BlockMapAsNumpy())]
    axes = [sparsity.DimMetadata(level) for level in range(sparsity.DimMetadataLength())]
    # For each stored value its index along every level of the tree; a level is expanded at a time.
    places = np.zeros((1, 0), np.int64)
    rows = np.zeros(1, np.int64)
    for axis in axes:
        if axis.Format() == 0:
            size = axis.DenseSize()
            index = np.tile(np.arange(size), len(rows))
            parents = np.repeat(np.arange(len(rows)), size)
            rows = np.repeat(rows, size) * size + index
        else:
            segments, indices = _vector(axis, "ArraySegments"), _vector(axis, "ArrayIndices")
            parents = np.repeat(np.arange(len(rows)), np.diff(segments)[rows])
            rows = np.concatenate([np.arange(int(segments[r]), int(segments[r + 1])) for r in rows])
            index = indices[rows]
        places = np.concatenate([places[parents], index[:, None]], axis=1)
    n_axes = len(shape)
    block = {n_axes + k: axes[order.index(n_axes + k)].DenseSize() for k in range(len(blocked))}
    at = [places[:, order.index(axis)] for axis in range(n_axes)]
    for k, axis in enumerate(blocked):
        at[axis] = at[axis] * block[n_axes + k] + places[:, order.index(n_axes + k)]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(at)] = values[rows]
    return dense


def _array(values: Any) -> Array:
    return values if isinstance(values, np.ndarray) else np.zeros(0, np.int64)


def _vector(axis: Any, name: str) -> Array:
    import tflite

    kinds = {
        tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
        tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
        tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
    }
    table, vector = getattr(axis, name)(), kinds[getattr(axis, f"{name}Type")()]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)


def _dtype(kind: int) -> Any:
    import tflite

    kinds = tflite.TensorType
    return {
        kinds.FLOAT32: np.float32,
        kinds.FLOAT16: np.float16,
        kinds.INT32: np.int32,
        kinds.INT64: np.int64,
    }[kind]
