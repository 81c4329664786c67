"""TransNet V2 as an ONNX graph (Souček and Lokoč 2020, "TransNet V2: an effective deep network
architecture for fast shot transition detection").

Three stages of two cells each; a cell convolves over space (3 x 3), then over time (3) at the
dilations 1, 2, 4 and 8 side by side. A stage adds its first cell to its second and halves the
picture. Each frame is compared with the 50 frames on either side, by learned features and by
colours. Two heads follow: the last frame before a cut, and all frames of a transition.

The convolutions over space take the frames as a batch, and those over time take the pixels as a
second axis of a picture. So all are two-dimensional, which ONNX Runtime computes fastest, and batch
norms are folded into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError
from vlar.pose.onnx_graph import Graph
from vlar.types import Float32, UInt8

N_FRAMES = 100  # of a window
HEIGHT, WIDTH = 27, 48
_REACH = 50  # frames on either side that a frame is compared with
_DILATIONS = (1, 2, 4, 8)
_STAGES, _CELLS = 3, 2
_EPSILON = 1e-3  # of the batch norms
_BINS = 8  # of each colour

VERSION = 1  # increase it when the graph changes, so that cached graphs are rebuilt
Weights = Mapping[str, npt.NDArray[Any]]


def build(weights: Weights) -> bytes:
    """The serialised graph.

    Inputs ``frames`` (100, 3, 27, 48) float32 in 0..1 and ``colours`` (100, 101) float32
    (``colour_similarity``); outputs ``cut`` and ``transition``, (100,) float32 probabilities.

    Args:
        weights: The state of the PyTorch port, by its names.

    Raises:
        ModelError: an array is missing.
    """
    try:
        return _build(weights)
    except KeyError as error:
        raise ModelError(
            f"the weights of 'shots' lack {error}; run: vlar models get shots"
        ) from None


def _build(weights: Weights) -> bytes:
    from onnx import TensorProto, helper

    graph = Graph("shots")
    x, size = "frames", (HEIGHT, WIDTH)
    means: list[str] = []
    for stage in range(_STAGES):
        first = _cell(graph, weights, f"SDDCNN.{stage}.DDCNN.0.", x, size)
        second = _cell(graph, weights, f"SDDCNN.{stage}.DDCNN.1.", first, size)
        x = graph.node("Add", first, second)
        x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
        size = (size[0] // 2, size[1] // 2)
        means.append(graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1))
    flat = graph.node("Flatten", graph.node("Transpose", x, perm=[0, 2, 3, 1]), axis=1)
    similar = _compared(graph, weights, graph.node("Concat", *means, axis=1))
    colours = _dense(graph, weights, "color_hist_layer.fc", "colours", "Relu")
    joined = graph.node("Concat", colours, similar, flat, axis=1)
    x = _dense(graph, weights, "fc1", joined, "Relu")
    for name, layer in (("cut", "cls_layer1"), ("transition", "cls_layer2")):
        logits = _dense(graph, weights, layer, x, "Sigmoid")
        graph.node("Reshape", logits, graph.constant(np.array([-1], np.int64)), output=name)
    value = helper.make_tensor_value_info
    return graph.model(
        [
            value("frames", TensorProto.FLOAT, [N_FRAMES, 3, HEIGHT, WIDTH]),
            value("colours", TensorProto.FLOAT, [N_FRAMES, 2 * _REACH + 1]),
        ],
        [value(name, TensorProto.FLOAT, [N_FRAMES]) for name in ("cut", "transition")],
    )


def _cell(graph: Graph, weights: Weights, key: str, x: str, size: tuple[int, int]) -> str:
    """(T, C, H, W) to (T, 4 F, H, W), rectified."""
    layers = [f"{key}Conv3D_{dilation}.layers." for dilation in _DILATIONS]
    space = np.concatenate([weights[f"{layer}0.weight"][:, :, 0] for layer in layers])
    x = graph.node("Conv", x, graph.constant(space), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = graph.node("Transpose", x, perm=[1, 0, 2, 3])
    shape = np.array([1, len(space), N_FRAMES, size[0] * size[1]], np.int64)
    x = graph.node("Reshape", x, graph.constant(shape))
    scale = weights[f"{key}bn.weight"] / np.sqrt(weights[f"{key}bn.running_var"] + _EPSILON)
    bias = weights[f"{key}bn.bias"] - weights[f"{key}bn.running_mean"] * scale
    found: list[str] = []
    split = [len(space) // len(_DILATIONS)] * len(_DILATIONS)
    parts = graph.nodes("Split", len(split), x, graph.constant(np.array(split, np.int64)), axis=1)
    for part, dilation, layer in zip(parts, _DILATIONS, layers, strict=True):
        time = weights[f"{layer}1.weight"][..., 0]
        own = slice(len(found) * len(time), (len(found) + 1) * len(time))
        time = (time * scale[own, None, None, None]).astype(np.float32)
        constants = graph.constant(time), graph.constant(bias[own].astype(np.float32))
        found.append(
            graph.node(
                "Conv", part, *constants,
                kernel_shape=[3, 1], dilations=[dilation, 1], pads=[dilation, 0, dilation, 0],
            )
        )  # fmt: skip
    x = graph.node("Relu", graph.node("Concat", *found, axis=1))
    shape = np.array([-1, N_FRAMES, *size], np.int64)
    x = graph.node("Reshape", x, graph.constant(shape))
    return graph.node("Transpose", x, perm=[1, 0, 2, 3])


def _compared(graph: Graph, weights: Weights, features: str) -> str:
    """(T, C) features of the frames to what their similarities to those around say."""
    x = _dense(graph, weights, "frame_sim_layer.projection", features)
    length = graph.node("ReduceL2", x, graph.constant(np.array([1], np.int64)), keepdims=1)
    smallest = graph.constant(np.array(1e-12, np.float32))
    x = graph.node("Div", x, graph.node("Max", length, smallest))
    every = graph.node("MatMul", x, graph.node("Transpose", x, perm=[1, 0]))
    pads = graph.constant(np.array([0, _REACH, 0, _REACH], np.int64))
    around = np.arange(N_FRAMES)[:, None] + np.arange(2 * _REACH + 1)
    band = graph.node(
        "GatherElements", graph.node("Pad", every, pads), graph.constant(around), axis=1
    )
    return _dense(graph, weights, "frame_sim_layer.fc", band, "Relu")


def _dense(graph: Graph, weights: Weights, key: str, x: str, then: str | None = None) -> str:
    matrix, bias = (graph.constant(weights[f"{key}.{part}"]) for part in ("weight", "bias"))
    x = graph.node("Gemm", x, matrix, bias, transB=1)
    return graph.node(then, x) if then else x


def colour_similarity(frames: UInt8) -> Float32:
    """How alike the colours of each frame are to those of the frames around it.

    Args:
        frames: (T, H, W, 3) uint8 RGB.

    Returns:
        (T, 101) float32: cosines of the histograms of 512 colours, for the 50 frames before, the
        frame itself and the 50 frames after; 0 past the ends.
    """
    red, green, blue = np.moveaxis(frames.reshape(len(frames), -1, 3).astype(np.int64) >> 5, 2, 0)
    colours = _BINS**3
    places = (red * _BINS + green) * _BINS + blue + colours * np.arange(len(frames))[:, None]
    counts = np.bincount(places.ravel(), minlength=colours * len(frames)).reshape(-1, colours)
    shares = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    every = np.pad(shares @ shares.T, ((0, 0), (_REACH, _REACH)))
    around = np.arange(len(frames))[:, None] + np.arange(2 * _REACH + 1)
    return np.take_along_axis(every, around, axis=1).astype(np.float32)
