"""The shots of recordings, and spans that are cut at them so that none crosses a cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import DecodeError, ModelError, UsageError
from vlar.files.fetched_weights.packages import Extra, extra
from vlar.files.pickles import read_state
from vlar.files.resources import cached
from vlar.media.base import Reader
from vlar.media.lookup import reader
from vlar.media.video.files import content_hash
from vlar.media.video.sequential import FrameChunk
from vlar.pose.onnx import CachedNetwork, Graph
from vlar.types import Float32, Float64, UInt8, Window

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
    return graph.model(
        [
            ("frames", np.float32, (N_FRAMES, 3, HEIGHT, WIDTH)),
            ("colours", np.float32, (N_FRAMES, 2 * _REACH + 1)),
        ],
        [(name, np.float32, (N_FRAMES,)) for name in ("cut", "transition")],
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
    inputs: list[str] = []
    split = [len(space) // len(_DILATIONS)] * len(_DILATIONS)
    parts = graph.nodes("Split", len(split), x, graph.constant(np.array(split, np.int64)), axis=1)
    for part, dilation, layer in zip(parts, _DILATIONS, layers, strict=True):
        time = weights[f"{layer}1.weight"][..., 0]
        frames = slice(len(inputs) * len(time), (len(inputs) + 1) * len(time))
        time = (time * scale[frames, None, None, None]).astype(np.float32)
        inputs.append(
            graph.node(
                "Conv",
                part,
                graph.constant(time),
                graph.constant(bias[frames].astype(np.float32)),
                kernel_shape=[3, 1],
                dilations=[dilation, 1],
                pads=[dilation, 0, dilation, 0],
            )
        )
    x = graph.node("Relu", graph.node("Concat", *inputs, axis=1))
    shape = np.array([-1, N_FRAMES, *size], np.int64)
    x = graph.node("Reshape", x, graph.constant(shape))
    return graph.node("Transpose", x, perm=[1, 0, 2, 3])


def _compared(graph: Graph, weights: Weights, features: str) -> str:
    """Map features (T, C) of the frames to the reading of their similarities to those around."""
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
    """Similarity of each frame's colours to those of the frames around it.

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


NAME = "shots"
_STEP = N_FRAMES // 2
_MARGIN = (N_FRAMES - _STEP) // 2  # frames on either side of the middle
THRESHOLD = 0.5  # probability above which a frame is the last one before a cut, as in the paper


def shots_extra() -> Extra:
    """The extra that holds the weights."""
    return extra(NAME)


def is_installed() -> bool:
    """Return whether the weights are in the cache."""
    return shots_extra().is_installed()


def digest() -> str:
    """Hash of all that decides where a cut is found."""
    return f"{shots_extra().digest('weights')[:16]}-{VERSION}-{THRESHOLD:g}"


class ShotDetector:
    """Finds the cuts of films with the network of the extra ``shots``.

    Raises:
        ModelError: its weights are not installed, or changed.
    """

    def __init__(self) -> None:
        source = shots_extra()
        if not source.is_installed():
            raise ModelError(
                "finding shots needs the network of TransNet V2, which is not installed; "
                f"{source.again}"
            )

        def make() -> bytes:
            return build(read_state(source.read("weights")))

        name = f"transnet-{digest()}.network"
        self._network = CachedNetwork(NAME, name, make, "the network of 'shots'", NAME)

    def shots(self, chunks: Iterable[FrameChunk], duration_s: float) -> list[Window]:
        """The shots of a film.

        Frames of a transition that is longer than one frame belong to no shot.

        Args:
            chunks: All its frames in the order of time.
            duration_s: Its length, where the last shot ends.

        Returns:
            At least one, by time; each begins with its first frame and ends where the next frame
            begins.
        """
        times: list[Float64] = []

        def frames() -> Iterator[UInt8]:
            for chunk in chunks:
                times.append(chunk.times_s)
                yield from chunk.pixels

        probabilities = list(self.probabilities(frames()))
        is_cut = np.concatenate(probabilities) > THRESHOLD if probabilities else np.zeros(0, bool)
        return shots_between(np.concatenate(times) if times else np.zeros(0), is_cut, duration_s)

    def probabilities(self, frames: Iterable[UInt8]) -> Iterator[Float32]:
        """The probability of each frame to be the last one before a cut, up to 50 at a time.

        Args:
            frames: (27, 48, 3) uint8 RGB each.
        """
        window: list[UInt8] = []
        waiting = 0  # frames without an answer
        for frame in frames:
            window += [frame] * (1 if window else 1 + _MARGIN)
            waiting += 1
            if len(window) == N_FRAMES:
                yield self._middle(window)
                window, waiting = window[_STEP:], waiting - _STEP
        while waiting > 0:
            window += [window[-1]] * (N_FRAMES - len(window))
            yield self._middle(window)[:waiting]
            window, waiting = window[_STEP:], waiting - _STEP

    def _middle(self, window: list[UInt8]) -> Float32:
        pixels = np.stack(window)
        feeds = {
            "frames": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) / np.float32(255)),
            "colours": colour_similarity(pixels),
        }
        return self._network.run(["cut"], feeds)[0][_MARGIN : _MARGIN + _STEP]


def shots_between(
    times_s: Float64, is_cut: np.ndarray[tuple[int], np.dtype[np.bool_]], duration_s: float
) -> list[Window]:
    """The spans between cuts.

    >>> cuts = np.array([False, True, True, False, False])
    >>> [(s.start_s, s.end_s) for s in shots_between(np.arange(5.0), cuts, 5.0)]
    [(0.0, 2.0), (3.0, 5.0)]

    Args:
        times_s: (n,) times of the frames.
        is_cut: (n,) whether a frame is the last one before a cut, or within a transition.
        duration_s: Length of the film.
    """
    ends = np.minimum([*times_s[1:].tolist(), duration_s], duration_s).tolist()  # of each frame
    shots: list[Window] = []
    start_s = 0.0
    for frame, now in enumerate(is_cut.tolist()):
        before = frame > 0 and bool(is_cut[frame - 1])
        if now and not before and start_s < ends[frame]:
            shots.append(Window(start_s, ends[frame]))
        if now:
            start_s = ends[frame]
    if start_s < duration_s:
        shots.append(Window(start_s, duration_s))
    return shots


Shots = Callable[[Path], list[Window]]
_SHORTEST_S = 0.05  # of what a cut leaves of a span


def shots(path: str | Path) -> list[Window]:
    """The shots of a video, by time: where its cuts are.

    It needs the network of TransNet V2 (``vlar models get shots``). The answer for a file is kept
    in the cache folder.

        >>> vlar.shots("film.mp4")                             # doctest: +SKIP
        [Window(start_s=0.0, end_s=3.2), Window(start_s=3.2, end_s=7.44)]

    Args:
        path: A video file, or a folder of numbered pictures.

    Returns:
        At least one span; a film without cuts is one shot.

    Raises:
        ModelError: the network is not installed.
        DecodeError: the video cannot be read.
    """
    return shots_of(reader("video"), Path(path))


def shots_of(source: Reader, path: Path) -> list[Window]:
    """The shots of a recording; as ``shots``, with the reader of its sensor."""
    detector = _detector()

    def make() -> bytes:
        duration_s = source.probe(path).duration_s
        shots = detector.shots(source.read_frames(path, HEIGHT, WIDTH), duration_s)
        return json.dumps([[shot.start_s, shot.end_s] for shot in shots]).encode()

    content = cached(f"{NAME}-{digest()}", f"{content_hash(path)}.json", make)
    return [Window(start_s, end_s) for start_s, end_s in json.loads(content)]


def require_shots(source: Reader) -> None:
    """Refuse to look for shots where that cannot be done, before anything is read.

    Raises:
        ModelError: the network is not installed; the message has the command to get it.
        UsageError: recordings of this sensor hold no pictures.
    """
    if type(source).read_frames is Reader.read_frames:
        raise UsageError(f"recordings of the sensor {source.modality!r} have no shots")
    _detector()


def within(span: Window, found: Sequence[Window]) -> list[Window]:
    """The parts of a span that lie within one shot each, by time; the span where there are none.

    >>> shots = [Window(0.0, 3.0), Window(3.0, 9.0)]
    >>> [(part.start_s, part.end_s) for part in within(Window(2.0, 5.0), shots)]
    [(2.0, 3.0), (3.0, 5.0)]
    """
    parts = [Window(max(span.start_s, s.start_s), min(span.end_s, s.end_s)) for s in found]
    return [part for part in parts if part.duration_s >= _SHORTEST_S] or [span]


def shots_or_none(source: Reader, path: Path) -> list[Window]:
    """Shots of a recording; none where it cannot be read, which reading its clips reports."""
    try:
        return shots_of(source, path)
    except DecodeError:
        return []


@cache
def _detector() -> ShotDetector:

    return ShotDetector()
