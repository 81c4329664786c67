"""Graphs have the bytes that the package ``onnx`` writes, and its checks pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.files import onnx_bytes
from vlar.pose.onnx import Graph, make_session

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
WEIGHTS = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
ATTRIBUTES = {"strides": (2, 2), "pads": [0, 1, 0, 1], "group": 1, "kernel_shape": (3, 3)}


def written(opset: int = 17) -> bytes:
    nodes = [
        onnx_bytes.node("Conv", ["x", "w", ""], ["y"], **ATTRIBUTES),
        onnx_bytes.node("Resize", ["y", "", "", "s"], ["z"], mode="linear", axis=-1, epsilon=1e-5),
    ]
    constants = [onnx_bytes.tensor("w", WEIGHTS), onnx_bytes.tensor("s", np.array([1, -2]))]
    shapes = [("x", np.float32, (1, 3, 300, 16))], [("z", np.int64, ("N", 8))]
    return onnx_bytes.model("made", nodes, constants, *shapes, opset=opset, ir_version=9)


def test_a_model_has_the_bytes_of_the_package():
    value, kinds = helper.make_tensor_value_info, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", ""], ["y"], **ATTRIBUTES),
            helper.make_node(
                "Resize", ["y", "", "", "s"], ["z"], mode="linear", axis=-1, epsilon=1e-5
            ),
        ],
        "made",
        [value("x", kinds.FLOAT, (1, 3, 300, 16))],
        [value("z", kinds.INT64, ("N", 8))],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.array([1, -2]), "s")],
    )
    opset = helper.make_opsetid("", 17)
    expected = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    assert written() == expected.SerializeToString(deterministic=True)
    assert written(16) != expected.SerializeToString(deterministic=True)


@given(
    st.sampled_from(["f4", "f2", "f8", "u1", "i1", "i4", "i8", "?"]),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_constants_are_read_as_they_were(kind: str, shape: list[int]):
    value = np.ones(shape, kind)
    parts = onnx_bytes.tensor("a", value)
    read = numpy_helper.to_array(onnx.TensorProto.FromString(b"".join(parts)))
    np.testing.assert_array_equal(read, np.ascontiguousarray(value))
    assert read.dtype == value.dtype


def test_weights_go_to_the_places_that_the_model_names():
    weights, rest = onnx_bytes.split(written(), "made.bin", 100, 64, 64)
    data = bytes(100) + b"".join(weights)
    model = onnx.load_model_from_string(rest)
    large, small = model.graph.initializer
    facts = {row.key: row.value for row in large.external_data}
    begin, length = int(facts["offset"]), int(facts["length"])
    assert facts["location"] == "made.bin"
    assert large.data_location == onnx.TensorProto.EXTERNAL
    assert data[begin : begin + length] == WEIGHTS.tobytes()
    assert numpy_helper.to_array(small).tolist() == [1, -2]
    unchanged = onnx_bytes.split(written(), "made.bin", 100, 64, 1 << 20)
    assert unchanged == ([], written())


def test_a_graph_passes_the_checks_of_the_package_and_runs():
    graph = Graph("made")
    halves = graph.nodes("Split", 2, "x", graph.constant(np.array([1, 2])), axis=1)
    y = graph.node("Clip", halves[1], *(graph.constant(np.float32(v)) for v in (0.0, 6.0)))
    graph.node("Gemm", y, graph.constant(np.eye(2, dtype=np.float32)), output="y", transB=1)
    model = graph.model([("x", np.float32, ("N", 3))], [("y", np.float32, ("N", 2))])
    onnx.checker.check_model(onnx.load_model_from_string(model))
    result = make_session(model).run(["y"], {"x": np.float32([[1, -2, 9], [5, 4, 3]])})[0]
    np.testing.assert_array_equal(result, [[0, 6], [4, 3]])
