"""The two towers of ``lite`` in ONNX Runtime: one frame at a time, texts in batches of one length.

The results of a batch are exactly equal to those of its members. For frames, single items cost
nothing on a CPU. A text is so short that a product with its tokens alone would mostly wait for the
weights: batches take half the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from vlar.encoders.lite import onnx_graph as lite_graph
from vlar.encoders.lite import weights as lite_weights
from vlar.encoders.lite.weights import WeightFile
from vlar.numeric import unit
from vlar.pose.onnx_session import CachedNetwork
from vlar.types import Float32, UInt8

CACHE_FOLDER = f"lite-{lite_graph.GRAPH_VERSION}"
MAX_TOKENS = 256
_CACHED_TEXTS = 16_384  # vectors of 1.5 kB: objects and verbs need the same texts
_BATCH_TOKENS = 256  # of all texts of a batch; more gain nothing
N_CLASSES = 1000
APPEARANCE_WIDTH = 1280
TEXT_WIDTH = 384


@dataclass(frozen=True)
class ImageNetwork:
    """One of the image networks: its weights, its input size, and the blocks with stride 2."""

    weights: WeightFile
    size: tuple[int, int]
    strided: tuple[int, ...]


# Two networks of one family make different errors: their mean is better than the larger one.
IMAGE_NETWORKS = (
    ImageNetwork(lite_weights.LITE0, (224, 224), (1, 3, 5, 11)),
    ImageNetwork(lite_weights.LITE2, (260, 260), (1, 4, 7, 15)),
)


class ImageTower:
    """EfficientNet-Lite: maps a frame to class scores and appearance."""

    def __init__(self, network: ImageNetwork) -> None:
        path = network.weights.verified_path()

        def make() -> bytes:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
            weights = {key: value.numpy() for key, value in state.items()}
            return lite_graph.image_tower(weights, network.size, network.strided)

        name = f"image-{network.weights.sha256[:16]}.network"
        what = "an image tower of 'lite'"
        self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        self._size = network.size

    def __call__(self, frame: UInt8) -> tuple[Float32, Float32]:
        """(H, W, 3) uint8 RGB to logits (1000,) and appearance (1280,)."""
        feeds = {"pixels": _pixels(frame, self._size)}
        logits, appearance = self._network.run(["logits", "appearance"], feeds)
        return logits[0], appearance[0]


class RegionTower:
    """EfficientNet-Lite up to its last feature map, and its classifier on parts of that map."""

    def __init__(self, network: ImageNetwork) -> None:
        path = network.weights.verified_path()

        def weights() -> dict[str, Any]:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
            return {key: value.numpy() for key, value in state.items()}

        def make() -> bytes:
            return lite_graph.image_tower(weights(), network.size, network.strided, maps=True)

        name = f"maps-{network.weights.sha256[:16]}.network"
        what = "the feature maps of an image tower of 'lite'"
        self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        own = weights()
        self._matrix, self._bias = own["_fc.weight"].T.copy(), own["_fc.bias"].copy()
        self._size = network.size

    def __call__(self, frame: UInt8, rows: int, columns: int) -> Float32:
        """Class scores (rows * columns, 1000) of the parts of a frame (H, W, 3), row by row.

        The mean of the map over a part takes the place of its mean over the whole frame.
        """
        seen = self._network.run(["map"], {"pixels": _pixels(frame, self._size)})[0][0]
        parts = [
            seen[:, part_of(seen.shape[1], rows, row), part_of(seen.shape[2], columns, column)]
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


def _pixels(frame: UInt8, size: tuple[int, int]) -> Float32:
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
        from tokenizers import Tokenizer

        path = lite_weights.MINILM.verified_path()

        def make() -> bytes:
            from safetensors.numpy import load_file

            return lite_graph.text_tower(load_file(path))

        self._tokenizer = Tokenizer.from_file(str(lite_weights.TOKENIZER.verified_path()))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        name = f"texts-{lite_weights.MINILM.sha256[:16]}.network"
        what = "the text tower of 'lite'"
        self._network = CachedNetwork(CACHE_FOLDER, name, make, what, "lite")
        self._kept: dict[str, Float32] = {}

    def count_tokens(self, text: str) -> int:
        """Number of word pieces of a text with the two special tokens, before truncation."""
        return len(self._tokenizer.encode(text).ids)

    def __call__(self, texts: Sequence[str]) -> Float32:
        """(C, 384) float32 unit vectors; texts are truncated to ``MAX_TOKENS`` tokens.

        Texts of one length run together. A text has the same vector alone and in company.
        """
        kept = self._kept  # replaced as a whole, never changed while another thread reads it
        new = [text for text in dict.fromkeys(texts) if text not in kept]
        if new:
            made = dict(zip(new, self._encode(new), strict=True))
            kept = {**kept, **made}
            forgotten = max(0, len(kept) - max(_CACHED_TEXTS, len(made)))
            self._kept = dict(islice(kept.items(), forgotten, None))
        vectors = np.zeros((len(texts), TEXT_WIDTH), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = kept[text]
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
            with ThreadPoolExecutor() as pool:
                list(pool.map(run, batches))
        return vectors

    def _ids(self, text: str) -> Any:
        ids = np.array(self._tokenizer.encode(text).ids, dtype=np.int64)
        if len(ids) > MAX_TOKENS:  # like the original: the end token stays last
            ids = np.concatenate([ids[: MAX_TOKENS - 1], ids[-1:]])
        return ids


def _of_one_length(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in batches of one length and about ``_BATCH_TOKENS`` tokens; together they are all."""
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        by_length.setdefault(length, []).append(row)
    batches: list[list[int]] = []
    for length, rows in by_length.items():
        most = max(1, _BATCH_TOKENS // length)
        batches += [rows[at : at + most] for at in range(0, len(rows), most)]
    return batches


def _text_vectors(network: CachedNetwork, ids: Any) -> Float32:
    positions = np.arange(ids.shape[1], dtype=np.int64)
    tokens = network.run(["tokens"], {"ids": ids, "positions": positions})[0]
    return unit(tokens.mean(axis=1))


def _squash(frame: UInt8, size: tuple[int, int]) -> Any:
    from PIL import Image

    return Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BICUBIC)
