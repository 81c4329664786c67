"""Shots of a stream of frames: windows of 100 frames, the middle 50 of each count.

As in the paper (``network``), windows overlap by half, and the first and last frame are repeated
at the ends. Memory holds one window, however long the film is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np

from vlar.errors import ModelError
from vlar.extras.extra import Extra, extra
from vlar.pose.onnx_session import CachedNetwork
from vlar.safety.checkpoints import check_tensors
from vlar.shot_detection.network import N_FRAMES, VERSION, Weights, build, colour_similarity
from vlar.types import Float32, Float64, UInt8, Window
from vlar.video.every_frame import FrameChunk

NAME = "shots"
_STEP = N_FRAMES // 2
_MARGIN = (N_FRAMES - _STEP) // 2  # frames on either side of the middle
THRESHOLD = 0.5  # probability above which a frame is the last one before a cut, as in the paper


def shots_extra() -> Extra:
    """The extra that holds the weights."""
    return extra(NAME)


def is_installed() -> bool:
    """Whether the weights are in the cache."""
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
            return build(_weights(source))

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

        found = list(self.probabilities(frames()))
        is_cut = np.concatenate(found) > THRESHOLD if found else np.zeros(0, bool)
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


def _weights(source: Extra) -> Weights:
    import torch

    data = source.read("weights")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    check_tensors(state, len(data))
    return {name: tensor.numpy() for name, tensor in state.items()}
