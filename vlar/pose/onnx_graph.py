"""A small ONNX graph, written node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_OPSET = 20
_IR_VERSION = 10


class Graph:
    """Collects nodes and constants; ``constant`` and ``node`` return the name of their output.

    Args:
        name: Of the graph.
    """

    def __init__(self, name: str) -> None:
        from onnx import helper, numpy_helper

        self._name = name
        self._helper, self._numpy_helper = helper, numpy_helper
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        """An initial value."""
        name = f"c{len(self._constants)}"
        tensor = self._numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._constants.append(tensor)
        return name

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """An operator."""
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def nodes(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """An operator with several outputs."""
        names = [f"n{len(self._nodes)}_{number}" for number in range(count)]
        self._nodes.append(self._helper.make_node(op, list(inputs), names, **attributes))
        return names

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        """The serialised model."""
        graph = self._helper.make_graph(self._nodes, self._name, inputs, outputs, self._constants)
        opset = self._helper.make_opsetid("", _OPSET)
        model = self._helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        return model.SerializeToString()
