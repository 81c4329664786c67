"""The two towers of ``lite`` in ONNX Runtime: one frame at a time, texts in batches of one length.

The results of a batch are exactly equal to those of its members. For frames, single items cost
nothing on a CPU. A text is so short that a product with its tokens alone would mostly wait for the
weights: batches take half the time.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.cancellation import carried
from vlar.encoders.lite.word_pieces import WordPieces
from vlar.encoders.text_batches import by_length, parts_of
from vlar.files.fetched_weights.packages import ExtraFile, extra
from vlar.files.pickles import read_state
from vlar.numeric import unit
from vlar.pose.onnx import CachedNetwork, Graph, on_device
from vlar.types import Float32, UInt8

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]

GRAPH_VERSION = 1  # increase it when a graph changes, so that cached graphs are rebuilt
_BATCH_NORM_EPSILON = 1e-3
_LAYER_NORM_EPSILON = 1e-12


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
    graph = Graph("lite")
    x, now = _convolution(graph, weights, "pixels", "_conv_stem", "_bn0", size, stride=2)
    x = _relu6(graph, x)
    n_blocks = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("_blocks."))
    for index in range(n_blocks):
        stride = 2 if index in strided else 1
        x, now = _inverted_residual(graph, weights, x, f"_blocks.{index}.", now, stride)
    x, now = _convolution(graph, weights, x, "_conv_head", "_bn1", now)
    pixels = "pixels", np.float32, (1, 3, *size)
    if maps:
        graph.node("Identity", _relu6(graph, x), output="map")
        width = len(weights["_bn1.weight"])
        return graph.model([pixels], [("map", np.float32, (1, width, *now))])
    x = graph.node("GlobalAveragePool", _relu6(graph, x))
    pooled = graph.node("Flatten", x, output="appearance", axis=1)
    matrix, bias = graph.constant(weights["_fc.weight"]), graph.constant(weights["_fc.bias"])
    graph.node("Gemm", pooled, matrix, bias, output="logits", transB=1)
    width = weights["_fc.weight"].shape
    return graph.model(
        [pixels],
        [
            ("appearance", np.float32, (1, width[1])),
            ("logits", np.float32, (1, width[0])),
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
    return graph.model(
        [("ids", np.int64, ("N", "L")), ("positions", np.int64, ("L",))],
        [("tokens", np.float32, ("N", "L", width))],
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


LITE = extra("lite")
LITE0, LITE2, MINILM, TOKENIZER = map(LITE.file, ("lite0", "lite2", "texts", "tokenizer"))
CACHE_FOLDER = f"lite-{GRAPH_VERSION}"
MAX_TOKENS = 256
_CACHED_TEXTS = 16_384  # vectors of 1.5 kB: objects and verbs need the same texts
_BATCH_TOKENS = 256  # of all texts of a batch; more gain nothing
N_CLASSES = 1000
APPEARANCE_WIDTH = 1280
TEXT_WIDTH = 384


@dataclass(frozen=True)
class ImageNetwork:
    """One of the image networks: its weights, its input size, and the blocks with stride 2."""

    weights: ExtraFile
    size: tuple[int, int]
    strided: tuple[int, ...]

    def state(self) -> Weights:
        """The arrays of its weights by name; read only where its graph is made.

        Raises:
            ModelError: the file is missing or changed.
        """
        return read_state(LITE.verified_path(self.weights.name).read_bytes())


# Two networks of one family make different errors: their mean is better than the larger one.
IMAGE_NETWORKS = (
    ImageNetwork(LITE0, (224, 224), (1, 3, 5, 11)),
    ImageNetwork(LITE2, (260, 260), (1, 4, 7, 15)),
)


class ImageTower:
    """EfficientNet-Lite: maps a frame to class scores and appearance."""

    def __init__(self, network: ImageNetwork) -> None:
        def make() -> bytes:
            return image_tower(network.state(), network.size, network.strided)

        size = "" if network in IMAGE_NETWORKS else f"-{network.size[0]}x{network.size[1]}"
        name = f"image-{network.weights.sha256[:16]}{size}.network"
        what = "an image tower of 'lite'"
        self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        self._size = network.size

    def __call__(self, frame: UInt8) -> tuple[Float32, Float32]:
        """(H, W, 3) uint8 RGB to logits (1000,) and appearance (1280,)."""
        feeds = {"pixels": lite_pixels(frame, self._size)}
        logits, appearance = self._network.run(["logits", "appearance"], feeds)
        return logits[0], appearance[0]


@cache
def multiply_adds(network: ImageNetwork) -> int:
    """Multiply-adds of a frame, counted on the layers of ``image_tower``."""
    weights = network.state()
    height, width = (-(-side // 2) for side in network.size)
    total = weights["_fc.weight"].size + weights["_conv_stem.weight"].size * height * width
    for name in (key for key in weights if key.startswith("_blocks.") and "conv.weight" in key):
        if "depthwise" in name and int(name.split(".")[1]) in network.strided:
            height, width = -(-height // 2), -(-width // 2)
        total += weights[name].size * height * width
    return total + weights["_conv_head.weight"].size * height * width


class RegionTower:
    """EfficientNet-Lite up to its last feature map, and its classifier on parts of that map."""

    def __init__(self, network: ImageNetwork) -> None:
        state = network.state()

        def make() -> bytes:
            return image_tower(state, network.size, network.strided, maps=True)

        name = f"maps-{network.weights.sha256[:16]}.network"
        what = "the feature maps of an image tower of 'lite'"
        self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        self._matrix, self._bias = state["_fc.weight"].T.copy(), state["_fc.bias"].copy()
        self._size = network.size

    def __call__(self, frame: UInt8, rows: int, columns: int) -> Float32:
        """Class scores (rows * columns, 1000) of the parts of a frame (H, W, 3), row by row.

        The mean of the map over a part takes the place of its mean over the whole frame.
        """
        maps = self._network.run(["map"], {"pixels": lite_pixels(frame, self._size)})[0][0]
        parts = [
            maps[
                :,
                part_of(maps.shape[1], rows, row),
                part_of(maps.shape[2], columns, column),
            ]
            for row in range(rows)
            for column in range(columns)
        ]
        pooled = np.stack([part.mean(axis=(1, 2)) for part in parts])
        return pooled @ self._matrix + self._bias


def part_of(length: int, count: int, number: int) -> slice:
    """Cells of part ``number`` of ``count`` along a side; parts share a cell that a border cuts.

    >>> [part_of(7, 2, 0), part_of(7, 2, 1)]
    [slice(0, 4, None), slice(3, 7, None)]
    """
    return slice(number * length // count, -(-(number + 1) * length // count))


def lite_pixels(frame: UInt8, size: tuple[int, int]) -> Float32:
    """(H, W, 3) uint8 RGB to (1, 3, height, width), as the networks read it."""
    # Transposed as bytes, scaled in place: a third of the time of the plain expression.
    small = np.ascontiguousarray(np.asarray(_squash(frame, size)).transpose(2, 0, 1))
    pixels = small[None].astype(np.float32)
    pixels /= np.float32(127.5)
    pixels -= np.float32(1.0)
    return pixels


class TextTower:
    """all-MiniLM-L6-v2: maps texts to unit vectors of width 384."""

    def __init__(self) -> None:
        def make() -> bytes:
            from safetensors.numpy import load_file

            return text_tower(load_file(LITE.verified_path(MINILM.name)))

        self._word_pieces = WordPieces(LITE.verified_path(TOKENIZER.name))
        name = f"texts-{MINILM.sha256[:16]}.network"
        what = "the text tower of 'lite'"
        with on_device(None):  # tables of its vectors are kept for all devices
            self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        self._kept: dict[str, Float32] = {}

    def count_tokens(self, text: str) -> int:
        """Number of word pieces of a text with the two special tokens, before truncation."""
        return len(self._word_pieces(text))

    def release(self) -> None:
        """Free the network, about 60 MB; the next new text opens it again in 0.05 s."""
        self._network.close()

    def __call__(self, texts: Sequence[str]) -> Float32:
        """(C, 384) float32 unit vectors; texts are truncated to ``MAX_TOKENS`` tokens.

        Texts of one length run together. A text has the same vector alone and in company.
        """
        stored = self._kept  # replaced as a whole, never changed while another thread reads it
        new = [text for text in dict.fromkeys(texts) if text not in stored]
        if new:
            encoded = dict(zip(new, self._encode(new), strict=True))
            stored = {**stored, **encoded}
            forgotten = max(0, len(stored) - max(_CACHED_TEXTS, len(encoded)))
            self._kept = dict(islice(stored.items(), forgotten, None))
        vectors = np.zeros((len(texts), TEXT_WIDTH), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = stored[text]
        return vectors

    def _encode(self, texts: Sequence[str]) -> Float32:
        ids = [self._ids(text) for text in texts]
        batches = _of_one_length([len(row) for row in ids])
        vectors = np.empty((len(texts), TEXT_WIDTH), np.float32)

        def run(rows: list[int]) -> None:
            vectors[rows] = _text_vectors(self._network, np.stack([ids[row] for row in rows]))

        if len(batches) == 1:
            run(batches[0])
        else:  # the runtime releases the lock
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # each run takes memory
                list(pool.map(carried(run), batches))
        return vectors

    def _ids(self, text: str) -> Any:
        ids = np.array(self._word_pieces(text), dtype=np.int64)
        if len(ids) > MAX_TOKENS:  # like the original: the end token stays last
            ids = np.concatenate([ids[: MAX_TOKENS - 1], ids[-1:]])
        return ids


def _of_one_length(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in batches of one length and about ``_BATCH_TOKENS`` tokens; together they are all."""
    batches: list[list[int]] = []
    for length, rows in by_length(lengths).items():
        batches += parts_of(rows, max(1, _BATCH_TOKENS // length))
    return batches


def _text_vectors(network: CachedNetwork, ids: Any) -> Float32:
    positions = np.arange(ids.shape[1], dtype=np.int64)
    tokens = network.run(["tokens"], {"ids": ids, "positions": positions})[0]
    return unit(tokens.mean(axis=1))


def _squash(frame: UInt8, size: tuple[int, int]) -> Any:
    from PIL import Image

    return Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BICUBIC)
