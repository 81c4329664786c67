"""ONNX graphs of NumPy code: arrays that note each operation as a node while they carry a value.

The code of heads and signatures runs as it is, on one clip; what it does to a traced array becomes
the graph. Shapes are fixed. Code that asks a traced array for a plain number cannot be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin
from typing_extensions import Self

from vlar.errors import ModelError, UsageError

Array = npt.NDArray[Any]
_UFUNCS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "absolute": "Abs",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "negative": "Neg",
    "power": "Pow",
    "matmul": "MatMul",
    "invert": "Not",
    "bitwise_or": "Or",
}
_COMPARISONS = {
    "greater": "Greater",
    "less": "Less",
    "equal": "Equal",
    "greater_equal": "GreaterOrEqual",
    "less_equal": "LessOrEqual",
}
_REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}
_MOVES = ("split", "reshape", "stack", "expand_dims", "squeeze", "repeat", "ravel")
_OPSET = 18  # of what is noted here; a part may be of a later one


class TracedGraph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.opset = _OPSET
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.initializers: list[Any] = []

    def input(self, name: str, value: Array) -> TracedArray:
        """An input of the graph, with the value of the clip that is traced."""
        return TracedArray(self, name, value)

    def constant(self, value: Array) -> str:
        """Name of a constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(value, order="C")
        return name

    def node(self, kind: str, inputs: Sequence[str], value: Array, **attributes: Any) -> Any:
        """The output of a new node."""
        import onnx

        name = f"n{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return TracedArray(self, name, np.asarray(value))

    def part(self, graph: bytes, prefix: str, inside: TracedArray) -> TracedArray:
        """The output of another graph with one input and one output, which becomes part of this.

        Args:
            graph: The graph, serialised, with all its weights.
            prefix: Of its names here.
            inside: Its input.

        Raises:
            ModelError: it is of another version of ONNX.
        """
        import onnx

        from vlar.pose.onnx import make_session

        session = make_session(graph, prefix)
        value = session.run(None, {session.get_inputs()[0].name: inside.value})[0]
        model = onnx.load_model_from_string(graph)
        (version,) = (row.version for row in model.opset_import if row.domain in ("", "ai.onnx"))
        if self.opset not in (version, _OPSET) or version < _OPSET:
            raise ModelError(f"{prefix} is of version {version} of ONNX; export its model again")
        self.opset = version
        model = onnx.compose.add_prefix(model, prefix)
        (first,) = [row.name for row in model.graph.input if row.name not in _weights(model)]
        (last,) = [row.name for row in model.graph.output]
        self.nodes.append(onnx.helper.make_node("Identity", [inside.name], [first]))
        self.nodes += model.graph.node
        self.initializers += model.graph.initializer
        return TracedArray(self, last, value)

    def model(self, inputs: Sequence[TracedArray], output: TracedArray, name: str) -> Any:
        """The whole as an ONNX model with one output ``name``."""
        import onnx
        from onnx import helper, numpy_helper

        last = helper.make_node("Identity", [output.name], [name])
        arrays = [numpy_helper.from_array(array, key) for key, array in self.constants.items()]
        graph = helper.make_graph(
            [*self.nodes, last],
            "vlar",
            [_described(x.name, x.value) for x in inputs],
            [_described(name, output.value)],
            [*arrays, *self.initializers],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 10
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            text = " ".join(str(error).split())[:200]
            raise ModelError(f"the graph is malformed ({text})") from error
        return model


def _weights(model: Any) -> set[str]:
    return {row.name for row in model.graph.initializer}


def _described(name: str, value: Array) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)


class TracedArray(NDArrayOperatorsMixin):
    """An array of one clip, and the node of the graph that gives it."""

    __array_priority__ = 1000

    def __init__(self, graph: TracedGraph, name: str, value: Array) -> None:
        self.graph, self.name, self.value = graph, name, value
        self.shape = value.shape
        self.dtype = value.dtype
        self.ndim = value.ndim
        self.size = value.size

    def __len__(self) -> int:
        return self.shape[0]

    def _plain(self, *_: Any, **__: Any) -> NoReturn:
        raise UsageError("it decides by a number of the clip itself, which a graph cannot")

    __bool__ = __float__ = __int__ = __iter__ = __array__ = _plain

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> Any:
        """The node of a function of elements, or of a matrix product."""
        name = ufunc.__name__
        if name == "square":
            return inputs[0] * inputs[0]
        if name == "log1p":
            return np.log(1.0 + inputs[0])
        if name == "logaddexp":
            top = np.maximum(*inputs)
            return top + np.log(np.exp(inputs[0] - top) + np.exp(inputs[1] - top))
        kind = _UFUNCS.get(name) or _COMPARISONS.get(name)
        if method != "__call__" or kind is None:
            raise UsageError(f"it uses {name} of numpy, which is not exported")
        raw = [getattr(x, "value", x) for x in inputs]
        value = ufunc(*raw)
        dtype = np.result_type(*raw) if name in _COMPARISONS else value.dtype
        return self.graph.node(kind, [self._name(x, dtype) for x in inputs], value)

    def _name(self, value: Any, dtype: Any) -> str:
        if isinstance(value, TracedArray):
            return value.astype(dtype).name
        return self.graph.constant(np.asarray(value).astype(dtype))

    def __array_function__(
        self, function: Callable[..., Any], _: Any, args: Any, kwargs: Any
    ) -> Any:
        """The nodes of a function of arrays."""
        name = function.__name__
        if name in ("mean", "sum", "max", "min", "amax", "amin", "std"):
            return getattr(args[0], name.removeprefix("a"))(*args[1:], **kwargs)
        if name == "clip":
            return args[0].clip(args[1], args[2])
        if name == "partition":
            return args[0]._ordered()
        if name in _MOVES:
            return self._moved(lambda *x: function(*x, *args[1:], **kwargs), args[0])
        if name == "norm":
            x, axis = args[0], kwargs.get("axis")
            return np.sqrt((x * x).sum(axis=axis, keepdims=kwargs.get("keepdims", False)))
        if name == "diff":
            x, axis = args[0], kwargs.get("axis", -1)
            before, after = ([slice(None)] * x.ndim for _ in range(2))
            before[axis], after[axis] = slice(None, -1), slice(1, None)
            return x[tuple(after)] - x[tuple(before)]
        if name in ("zeros_like", "ones_like", "full_like"):
            return function(args[0].value, *args[1:], **kwargs)
        raw = [_raw(x) for x in args]
        value = function(*raw, **kwargs)
        if name == "where":
            condition = self._name(args[0], np.bool_)
            return self.graph.node(
                "Where", [condition, *(self._name(x, value.dtype) for x in args[1:])], value
            )
        if name == "concatenate":
            axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
            names = [self._name(x, value.dtype) for x in args[0]]
            return self.graph.node("Concat", names, value, axis=axis)
        if name == "einsum":
            names = [self._name(x, value.dtype) for x in args[1:]]
            return self.graph.node("Einsum", names, value, equation=args[0])
        raise UsageError(f"it uses {name} of numpy, which is not exported")

    def _moved(self, move: Callable[..., Any], arrays: Any) -> Any:
        """Results of what only moves elements, found on their numbers: flat rows are gathered."""
        if not isinstance(arrays, TracedArray):
            arrays = np.concatenate([x.reshape(1, *x.shape) for x in arrays])
        numbers = np.arange(arrays.size).reshape(arrays.shape)
        places = move(numbers)
        flat = arrays.reshape(-1)
        if isinstance(places, list):
            return [flat._gathered(row) for row in places]
        return flat._gathered(places)

    def _gathered(self, places: Array) -> Self:
        indices = self.graph.constant(np.asarray(places, np.int64))
        return self.graph.node("Gather", [self.name, indices], self.value[places], axis=0)

    def __getitem__(self, key: Any) -> Any:
        def move(numbers: Array) -> Array:
            return numbers[key]

        return self._moved(move, self)

    def reshape(self, *shape: Any) -> Self:
        """The same elements in another shape."""
        value = self.value.reshape(*shape)
        sizes = self.graph.constant(np.array(value.shape, np.int64))
        return self.graph.node("Reshape", [self.name, sizes], value)

    def transpose(self, *axes: int) -> Self:
        """The axes in another order."""
        return self.graph.node("Transpose", [self.name], self.value.transpose(axes), perm=axes)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """The numbers in another type."""
        del copy
        if self.dtype == np.dtype(dtype):
            return self
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph.node("Cast", [self.name], self.value.astype(dtype), to=kind)

    def _reduced(self, name: str, axis: Any, keepdims: bool) -> Any:
        value = getattr(self.value, name)(axis=axis, keepdims=keepdims)
        axes = range(self.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
        places = self.graph.constant(np.array([a % self.ndim for a in axes], np.int64))
        source = self.astype(value.dtype).name
        return self.graph.node(_REDUCTIONS[name], [source, places], value, keepdims=int(keepdims))

    def _ordered(self) -> Any:
        """Rows (N, K) whose numbers rise."""
        count = self.graph.constant(np.array([self.shape[1]], np.int64))
        value = np.sort(self.value, axis=1)
        rising = self.graph.node("TopK", [self.name, count], value, axis=1, largest=0)
        self.graph.nodes[-1].output.append(f"{rising.name}.order")
        return rising

    def clip(self, min: Any = -np.inf, max: Any = np.inf) -> Any:  # noqa: A002 - names of numpy
        """The numbers, none below or above a bound."""
        return np.minimum(np.maximum(self, min), max)

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """True where a number over axes is not zero."""
        return abs(self.astype(np.float64)).max(axis=axis, keepdims=keepdims) > 0

    def mean(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        """Mean over axes."""
        return (self if dtype is None else self.astype(dtype))._reduced("mean", axis, keepdims)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Sum over axes."""
        return self._reduced("sum", axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Largest over axes."""
        return self._reduced("max", axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Smallest over axes."""
        return self._reduced("min", axis, keepdims)

    def std(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Standard deviation over axes."""
        away = self - self.mean(axis=axis, keepdims=True)
        return np.sqrt((away * away).mean(axis=axis, keepdims=keepdims))


def _raw(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_raw(x) for x in value]
    return getattr(value, "value", value)
