"""Writes the towers of ``lite`` as ONNX graphs from their weights.

Both networks are short and fixed, so writing their graphs takes one second. A tracing exporter
takes fifteen and needs timm, transformers and onnxscript. Tests compare the graphs with timm's
``tf_efficientnet_lite*`` and with sentence-transformers' ``all-MiniLM-L6-v2``.

Sources: EfficientNet-Lite (Tan and Le 2019, without squeeze-and-excitation, ReLU6); MiniLM-L6-H384
(Wang et al. 2020) with mean pooling over word pieces (Reimers and Gurevych 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.onnx_graph import Graph

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]

GRAPH_VERSION = 1  # increase it when a graph changes, so that cached graphs are rebuilt
_BATCH_NORM_EPSILON = 1e-3
_LAYER_NORM_EPSILON = 1e-12
_MAX_POSITIONS = 512


def image_tower(
    weights: Weights, size: tuple[int, int], strided: Collection[int], *, maps: bool = False
) -> bytes:
    """An EfficientNet-Lite for one frame.

    Args:
        weights: The state of the original PyTorch port, by its names.
        size: Height and width of the frame.
        strided: Numbers of the blocks whose depthwise convolution halves the picture.
        maps: Give the last feature map itself, as output ``map`` (1, 1280, h, w), and nothing else.

    Input ``pixels`` (1, 3, H, W) float32, normalised; outputs ``appearance`` (1, 1280), the mean of
    the last feature map, and ``logits`` (1, 1000).
    """
    from onnx import TensorProto, helper

    graph = Graph("lite")
    x, now = _convolution(graph, weights, "pixels", "_conv_stem", "_bn0", size, stride=2)
    x = _relu6(graph, x)
    n_blocks = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("_blocks."))
    for index in range(n_blocks):
        stride = 2 if index in strided else 1
        x, now = _inverted_residual(graph, weights, x, f"_blocks.{index}.", now, stride)
    x, now = _convolution(graph, weights, x, "_conv_head", "_bn1", now)
    value = helper.make_tensor_value_info
    pixels = value("pixels", TensorProto.FLOAT, [1, 3, *size])
    if maps:
        graph.node("Identity", _relu6(graph, x), output="map")
        width = len(weights["_bn1.weight"])
        return graph.model([pixels], [value("map", TensorProto.FLOAT, [1, width, *now])])
    x = graph.node("GlobalAveragePool", _relu6(graph, x))
    pooled = graph.node("Flatten", x, output="appearance", axis=1)
    matrix, bias = graph.constant(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.node("Gemm", pooled, matrix, bias, output="logits", transB=1)
    width = weights["_fc.weight"].shape
    return graph.model(
        [pixels],
        [
            value("appearance", TensorProto.FLOAT, [1, width[1]]),
            value("logits", TensorProto.FLOAT, [1, width[0]]),
        ],
    )


def _inverted_residual(
    graph: Graph, weights: Weights, x: str, key: str, size: tuple[int, int], stride: int
) -> tuple[str, tuple[int, int]]:
    y = x
    if f"{key}_expand_conv.weight" in weights:
        y, size = _convolution(graph, weights, y, f"{key}_expand_conv", f"{key}_bn0", size)
        y = _relu6(graph, y)
    y, size = _convolution(
        graph, weights, y, f"{key}_depthwise_conv", f"{key}_bn1", size, stride, depthwise=True
    )
    y = _relu6(graph, y)
    y, size = _convolution(graph, weights, y, f"{key}_project_conv", f"{key}_bn2", size)
    first = weights.get(f"{key}_expand_conv.weight", weights[f"{key}_depthwise_conv.weight"])
    width_in = first.shape[1] if f"{key}_expand_conv.weight" in weights else first.shape[0]
    if stride == 1 and width_in == weights[f"{key}_project_conv.weight"].shape[0]:
        y = graph.node("Add", y, x)
    return y, size


def _convolution(
    graph: Graph,
    weights: Weights,
    x: str,
    convolution: str,
    norm: str,
    size: tuple[int, int],
    stride: int = 1,
    *,
    depthwise: bool = False,
) -> tuple[str, tuple[int, int]]:
    """Convolution with the batch norm folded in and TensorFlow's "same" padding."""
    kernel = weights[f"{convolution}.weight"].astype(np.float64)
    variance = weights[f"{norm}.running_var"].astype(np.float64)
    scale = weights[f"{norm}.weight"] / np.sqrt(variance + _BATCH_NORM_EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    pads = [_same_padding(length, kernel.shape[2], stride) for length in size]
    y = graph.node(
        "Conv",
        x,
        graph.constant((kernel * scale[:, None, None, None]).astype(np.float32)),
        graph.constant(bias.astype(np.float32)),
        strides=[stride, stride],
        pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        group=kernel.shape[0] if depthwise else 1,
    )
    return y, (-(-size[0] // stride), -(-size[1] // stride))


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _relu6(graph: Graph, x: str) -> str:
    return graph.node("Clip", x, *(graph.constant(np.array(v, np.float32)) for v in (0.0, 6.0)))


def text_tower(weights: Weights, n_heads: int = 12) -> bytes:
    """A BERT sentence encoder for N texts of L tokens each.

    Inputs ``ids`` (N, L) and ``positions`` (L,) int64; output ``tokens`` (N, L, D), whose means are
    the vectors. The mean is left out: the runtime's depends on N in its last bits, all else does
    not. All products but those of the attention take the tokens of all texts as rows.
    """
    from onnx import TensorProto, helper

    graph = Graph("lite")
    words = graph.constant(weights["embeddings.word_embeddings.weight"])
    kind = weights["embeddings.token_type_embeddings.weight"][0]
    places = graph.constant(weights["embeddings.position_embeddings.weight"] + kind)
    shape = graph.node("Shape", "ids")
    x = graph.node(
        "Add", graph.node("Gather", words, "ids"), graph.node("Gather", places, "positions")
    )
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    x = graph.node("Reshape", x, graph.constant(np.array([-1, width], np.int64)))
    x = _layer_norm(graph, weights, x, "embeddings.LayerNorm")
    n_layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("encoder.layer"))
    for index in range(n_layers):
        x = _transformer_layer(graph, weights, x, f"encoder.layer.{index}.", n_heads, shape)
    last = graph.constant(np.array([width], np.int64))
    graph.node("Reshape", x, graph.node("Concat", shape, last, axis=0), output="tokens")
    value = helper.make_tensor_value_info
    return graph.model(
        [value("ids", TensorProto.INT64, ["N", "L"]), value("positions", TensorProto.INT64, ["L"])],
        [value("tokens", TensorProto.FLOAT, ["N", "L", width])],
    )


def _transformer_layer(
    graph: Graph, weights: Weights, x: str, key: str, n_heads: int, shape: str
) -> str:
    """One layer on the tokens (N * L, D) of texts of the shape (N, L)."""
    width = weights[f"{key}attention.self.query.weight"].shape[0]
    heads_shape = graph.constant(np.array([n_heads, width // n_heads], dtype=np.int64))
    split = graph.node("Concat", shape, heads_shape, axis=0)

    def heads(name: str, order: list[int]) -> str:
        y = _linear(graph, weights, x, f"{key}attention.self.{name}")
        return graph.node("Transpose", graph.node("Reshape", y, split), perm=order)

    scores = graph.node("MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]))
    factor = graph.constant(np.array(1 / np.sqrt(width / n_heads), np.float32))
    attention = graph.node("Softmax", graph.node("Mul", scores, factor), axis=-1)
    mixed = graph.node("MatMul", attention, heads("value", [0, 2, 1, 3]))
    mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    joined = graph.constant(np.array([-1, width], dtype=np.int64))
    mixed = graph.node("Reshape", mixed, joined)
    y = _linear(graph, weights, mixed, f"{key}attention.output.dense")
    x = _layer_norm(graph, weights, graph.node("Add", y, x), f"{key}attention.output.LayerNorm")
    y = graph.node("Gelu", _linear(graph, weights, x, f"{key}intermediate.dense"))
    y = _linear(graph, weights, y, f"{key}output.dense")
    return _layer_norm(graph, weights, graph.node("Add", y, x), f"{key}output.LayerNorm")


def _linear(graph: Graph, weights: Weights, x: str, key: str) -> str:
    matrix = graph.constant(weights[f"{key}.weight"])
    return graph.node("Gemm", x, matrix, graph.constant(weights[f"{key}.bias"]), transB=1)


def _layer_norm(graph: Graph, weights: Weights, x: str, key: str) -> str:
    scale = graph.constant(weights[f"{key}.weight"])
    shift = graph.constant(weights[f"{key}.bias"])
    return graph.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=_LAYER_NORM_EPSILON)
