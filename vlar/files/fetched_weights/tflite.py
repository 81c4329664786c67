"""Converts networks from TensorFlow Lite to ONNX, for ONNX Runtime.

It supports only the operators of the networks that vlar uses. TensorFlow Lite stores channels last,
ONNX stores them first: inputs and outputs are transposed once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError
from vlar.files import onnx_bytes
from vlar.files.fetched_weights.flat_tables import FlatTable

Array = npt.NDArray[Any]
_UNPACKED = ("DEQUANTIZE", "DENSIFY")
_OPERATORS = {
    0: "ADD", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE", 9: "FULLY_CONNECTED", 14: "LOGISTIC", 17: "MAX_POOL_2D", 22: "RESHAPE",
    23: "RESIZE_BILINEAR", 34: "PAD", 40: "MEAN", 54: "PRELU", 124: "DENSIFY",
}  # fmt: skip
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
_INDICES = {1: "int32", 2: "uint16", 3: "uint8"}


class Constants:
    """The constant tensors of a model's first subgraph.

    The output of an operator that only unpacks a constant (half precision to single, sparse to
    dense) is a constant too, so that the network has plain float32 weights.

    Args:
        model: The first table of the file.
    """

    def __init__(self, model: FlatTable) -> None:
        self._buffers, self._tensors = model.buffers, model.graphs[0].tensors
        self._origin: dict[int, int] = {}
        for operator in model.graphs[0].operators:
            source = int(operator.inputs[0]) if len(operator.inputs) else -1
            if operator_name(model.codes, operator) in _UNPACKED and self._is_known(source):
                self._origin[int(operator.outputs[0])] = self._origin.get(source, source)

    def __contains__(self, tensor: int) -> bool:
        return self._is_known(tensor)

    def value(self, tensor: int) -> Array:
        """The dense values; half precision becomes float32."""
        origin = self._tensors[self._origin.get(tensor, tensor)]
        data = self._buffers[origin.buffer].data.tobytes()
        values = np.frombuffer(data, _TYPES[origin.type])
        shape, sparsity = tuple(origin.shape.tolist()), origin.sparsity
        values = values.reshape(shape) if sparsity is None else densify(values, shape, sparsity)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def _is_known(self, tensor: int) -> bool:
        if tensor in self._origin:
            return True
        if tensor < 0:
            return False
        return len(self._buffers[self._tensors[tensor].buffer].data) > 0


def operator_name(codes: Sequence[FlatTable], operator: FlatTable) -> str:
    """Name of an operator; older files store its code in another field."""
    code = codes[operator.code]
    number = max(code.builtin, code.deprecated)
    return _OPERATORS.get(number, f"number {number}")


def densify(values: Array, shape: tuple[int, ...], sparsity: Any) -> Array:
    """The dense form of a sparse tensor.

    TensorFlow Lite stores a tensor as a tree of axes, each dense or sparse (a compressed row), of
    which the innermost may cut the outer ones into blocks (schema: ``SparsityParameters``).
    """
    order, blocked = sparsity.order.tolist(), sparsity.blocks.tolist()
    axes = sparsity.axes
    # For each stored value its index along every level of the tree; a level is expanded at a time.
    places = np.zeros((1, 0), np.int64)
    rows = np.zeros(1, np.int64)
    for axis in axes:
        if axis.format == 0:
            size = axis.size
            index = np.tile(np.arange(size), len(rows))
            parents = np.repeat(np.arange(len(rows)), size)
            rows = np.repeat(rows, size) * size + index
        else:
            segments, indices = _vector(axis, "segments"), _vector(axis, "indices")
            parents = np.repeat(np.arange(len(rows)), np.diff(segments)[rows])
            rows = np.concatenate([np.arange(int(segments[r]), int(segments[r + 1])) for r in rows])
            index = indices[rows]
        places = np.concatenate([places[parents], index[:, None]], axis=1)
    n_axes = len(shape)
    block = {n_axes + k: axes[order.index(n_axes + k)].size for k in range(len(blocked))}
    columns = [places[:, order.index(axis)] for axis in range(n_axes)]
    for k, axis in enumerate(blocked):
        columns[axis] = columns[axis] * block[n_axes + k] + places[:, order.index(n_axes + k)]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(columns)] = values[rows]
    return dense


def _vector(axis: Any, name: str) -> Array:
    kind = _INDICES[getattr(axis, f"{name}_type")]
    return getattr(axis, name).of(kind).values.astype(np.int64)


CONVERTER_VERSION = 1
_OPSET = 17
_IR_VERSION = 9
_CHANNELS_FIRST = (0, 3, 1, 2)
_CHANNELS_LAST = (0, 2, 3, 1)
_NO_ACTIVATION, _RELU, _RELU6 = 0, 1, 3
_SAME_PADDING = 0


def to_onnx(data: bytes, outputs: Sequence[str]) -> bytes:
    """Convert a network.

    Args:
        data: Content of a .tflite file with one float input (1, H, W, 3).
        outputs: Names of the outputs to keep; nodes that only other outputs need are dropped.

    Returns:
        An ONNX model with the input ``image`` (1, H, W, 3) float32 and the named outputs.

    Raises:
        ModelError: the file is not a TensorFlow Lite model, or has an unsupported operator.
    """
    if data[4:8] != b"TFL3":
        raise ModelError("the file is not a TensorFlow Lite model; use the pinned wheel")
    try:
        return _Converter(FlatTable.root(data)).convert(outputs)
    except (struct.error, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"the TensorFlow Lite model is damaged ({error!r})") from error


class _Converter:
    def __init__(self, model: FlatTable) -> None:
        self._codes, self._graph = model.codes, model.graphs[0]
        self._tensors = self._graph.tensors
        self._constants = Constants(model)
        self._nodes: list[tuple[Sequence[str], str, bytes]] = []  # inputs, output, operator
        self._initial: dict[str, onnx_bytes.Parts] = {}
        self._writers: dict[str, Callable[[Any, list[int], int], None]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "ADD": self._add,
            "PAD": self._pad,
            "MAX_POOL_2D": self._max_pool,
            "RESIZE_BILINEAR": self._resize,
            "DEPTH_TO_SPACE": self._depth_to_space,
            "RESHAPE": self._reshape,
            "CONCATENATION": self._concatenate,
            "LOGISTIC": self._sigmoid,
            "PRELU": self._prelu,
            "MEAN": self._mean,
            "FULLY_CONNECTED": self._fully_connected,
        }

    def convert(self, outputs: Sequence[str]) -> bytes:
        graph = self._graph
        entrance = int(graph.inputs[0])
        self._node("Transpose", ["image"], f"t{entrance}", perm=_CHANNELS_FIRST)
        for operator in graph.operators:
            inputs, output = operator.inputs.tolist(), int(operator.outputs[0])
            if output in self._constants:
                continue
            name = operator_name(self._codes, operator)
            if name not in self._writers:
                raise ModelError(
                    f"the converter does not support the operator {name}; use the pinned wheel"
                )
            options = operator.options
            self._writers[name](options and options.of(name), inputs, output)
        exits = {
            self._tensors[tensor].name.tobytes().decode(): tensor
            for tensor in graph.outputs.tolist()
        }
        missing = [name for name in outputs if name not in exits]
        if missing:
            raise ModelError(f"the network has no output {missing[0]!r}; it has {sorted(exits)}")
        for name in outputs:
            self._exit(name, exits[name])
        return self._model_bytes(entrance, {name: exits[name] for name in outputs})

    def _model_bytes(self, entrance: int, exits: dict[str, int]) -> bytes:
        needed, operators = set(exits), list[bytes]()
        for inputs, output, operator in reversed(self._nodes):
            if output in needed:
                needed.update(inputs)
                operators.append(operator)
        return onnx_bytes.model(
            "pose",
            operators[::-1],
            [tensor for name, tensor in self._initial.items() if name in needed],
            [("image", np.float32, self._shape(entrance))],
            [(name, np.float32, self._shape(tensor)) for name, tensor in exits.items()],
            opset=_OPSET,
            ir_version=_IR_VERSION,
        )

    # Pieces

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self._tensors[tensor].shape.tolist())

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        operator = onnx_bytes.node(kind, inputs, [output], **attributes)
        self._nodes.append((inputs, output, operator))
        return output

    def _initializer(self, name: str, value: Array) -> str:
        if name not in self._initial:
            self._initial[name] = onnx_bytes.tensor(name, value)
        return name

    def _input(self, tensor: int) -> str:
        if tensor not in self._constants:
            return f"t{tensor}"
        value = self._constants.value(tensor)
        value = value.transpose(_CHANNELS_FIRST) if value.ndim == 4 else value
        return self._initializer(f"c{tensor}", value)

    def _activated(self, kind: str, inputs: list[str], out: int, act: int, **attributes: Any):
        if act == _NO_ACTIVATION:
            self._node(kind, inputs, f"t{out}", **attributes)
            return
        raw = self._node(kind, inputs, f"t{out}_raw", **attributes)
        if act == _RELU:
            self._node("Relu", [raw], f"t{out}")
        elif act == _RELU6:
            limits = [
                self._initializer("zero", np.zeros((), np.float32)),
                self._initializer("six", np.full((), 6, np.float32)),
            ]
            self._node("Clip", [raw, *limits], f"t{out}")
        else:
            raise ModelError(
                f"the converter does not support the fused activation {act}; use the pinned wheel"
            )

    def _pads(self, options: Any, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
        if options.padding != _SAME_PADDING:
            return [0, 0, 0, 0]
        strides = (options.stride_h, options.stride_w)
        sides = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, kernel, strides, strict=True)
        ]
        return [side // 2 for side in sides] + [side - side // 2 for side in sides]

    # Operators

    def _convolution(self, options: Any, inputs: list[int], output: int) -> None:
        weights = self._constants.value(inputs[1]).transpose(0, 3, 1, 2)
        self._convolve(options, weights, inputs, output, depthwise=False)

    def _depthwise(self, options: Any, inputs: list[int], output: int) -> None:
        weights = self._constants.value(inputs[1]).transpose(3, 0, 1, 2)
        self._convolve(options, weights, inputs, output, depthwise=True)

    def _convolve(
        self, options: Any, weights: Array, inputs: list[int], output: int, *, depthwise: bool
    ) -> None:
        if max(options.dilation_h, options.dilation_w) > 1:
            raise ModelError(
                "the converter does not support dilated convolutions; use the pinned wheel"
            )
        shape = self._shape(inputs[0])
        names = [self._input(inputs[0]), self._initializer(f"w{inputs[1]}", weights)]
        if len(inputs) > 2 and inputs[2] >= 0:
            names.append(self._initializer(f"b{inputs[2]}", self._constants.value(inputs[2])))
        self._activated(
            "Conv",
            names,
            output,
            options.act,
            strides=(options.stride_h, options.stride_w),
            pads=self._pads(options, shape[1:3], weights.shape[2:]),
            group=shape[3] if depthwise else shape[3] // weights.shape[1],
            kernel_shape=weights.shape[2:],
        )

    def _add(self, options: Any, inputs: list[int], output: int) -> None:
        act = options.act
        self._activated("Add", [self._input(t) for t in inputs], output, act)

    def _pad(self, options: Any, inputs: list[int], output: int) -> None:
        sides = self._constants.value(inputs[1])[list(_CHANNELS_FIRST)].T.ravel()
        pads = self._initializer(f"p{inputs[1]}", sides.astype(np.int64))
        self._node("Pad", [self._input(inputs[0]), pads], f"t{output}")

    def _max_pool(self, options: Any, inputs: list[int], output: int) -> None:
        kernel = (options.height, options.width)
        self._node(
            "MaxPool",
            [self._input(inputs[0])],
            f"t{output}",
            kernel_shape=kernel,
            strides=(options.stride_h, options.stride_w),
            pads=self._pads(options, self._shape(inputs[0])[1:3], kernel),
        )

    def _resize(self, options: Any, inputs: list[int], output: int) -> None:
        mode = "half_pixel" if options.half_pixel else "asymmetric"
        mode = "align_corners" if options.align_corners else mode
        shape = np.array(self._shape(output), np.int64)[list(_CHANNELS_FIRST)]
        names = [self._input(inputs[0]), "", "", self._initializer(f"s{output}", shape)]
        self._node(
            "Resize", names, f"t{output}", mode="linear", coordinate_transformation_mode=mode
        )

    def _depth_to_space(self, options: Any, inputs: list[int], output: int) -> None:
        size = options.block_size
        names = [self._input(inputs[0])]
        self._node("DepthToSpace", names, f"t{output}", blocksize=size, mode="DCR")

    def _reshape(self, options: Any, inputs: list[int], output: int) -> None:
        name = self._input(inputs[0])
        if len(self._shape(inputs[0])) == 4:
            name = self._node("Transpose", [name], f"t{output}_last", perm=_CHANNELS_LAST)
        shape = self._shape(output)
        target = self._initializer(f"s{output}", np.array(shape, np.int64))
        if len(shape) != 4:
            self._node("Reshape", [name, target], f"t{output}")
            return
        flat = self._node("Reshape", [name, target], f"t{output}_shaped")
        self._node("Transpose", [flat], f"t{output}", perm=_CHANNELS_FIRST)

    def _concatenate(self, options: Any, inputs: list[int], output: int) -> None:
        rank = len(self._shape(output))
        axis = options.axis % rank
        axis = _CHANNELS_FIRST.index(axis) if rank == 4 else axis
        self._node("Concat", [self._input(t) for t in inputs], f"t{output}", axis=axis)

    def _sigmoid(self, options: Any, inputs: list[int], output: int) -> None:
        self._node("Sigmoid", [self._input(inputs[0])], f"t{output}")

    def _prelu(self, options: Any, inputs: list[int], output: int) -> None:
        slope = self._constants.value(inputs[1])  # (1, 1, C), one a channel
        name = self._initializer(f"a{inputs[1]}", slope.transpose(2, 0, 1))
        self._node("PRelu", [self._input(inputs[0]), name], f"t{output}")

    def _mean(self, options: Any, inputs: list[int], output: int) -> None:
        rank = len(self._shape(inputs[0]))
        axes = [int(axis) % rank for axis in self._constants.value(inputs[1]).ravel()]
        if rank == 4:
            axes = [_CHANNELS_FIRST.index(axis) for axis in axes]
        keep = int(options.keep_dims)
        name = self._input(inputs[0])
        self._node("ReduceMean", [name], f"t{output}", axes=axes, keepdims=keep)

    def _fully_connected(self, options: Any, inputs: list[int], output: int) -> None:
        weights = self._constants.value(inputs[1])  # (outputs, inputs)
        shape = self._initializer(f"s{output}", np.array((-1, weights.shape[1]), np.int64))
        name = self._input(inputs[0])
        if len(self._shape(inputs[0])) == 4:
            name = self._node("Transpose", [name], f"t{output}_last", perm=_CHANNELS_LAST)
        names = [self._node("Reshape", [name, shape], f"t{output}_flat")]
        names.append(self._initializer(f"w{inputs[1]}", weights))
        if len(inputs) > 2 and inputs[2] >= 0:
            names.append(self._initializer(f"b{inputs[2]}", self._constants.value(inputs[2])))
        act = options.act
        self._activated("Gemm", names, output, act, transB=1)

    def _exit(self, name: str, tensor: int) -> None:
        if len(self._shape(tensor)) == 4:
            self._node("Transpose", [f"t{tensor}"], name, perm=_CHANNELS_LAST)
        else:
            self._node("Identity", [f"t{tensor}"], name)
