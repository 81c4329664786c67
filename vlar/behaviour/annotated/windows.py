"""Recordings without points: what an encoder answers about windows, as channels over time.

The vectors of overlapping windows are turned to the main directions (principal components) of the
recordings that are learned from. The channels then have the features that those of tracks have.

Letters: W windows, D width of a vector, N directions, S steps, F features.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vlar.behaviour.tracks.windows import WIDTH, steps_of, windowed
from vlar.encoders.base import Encoder
from vlar.errors import DecodeError, ModelError
from vlar.media.lookup import reader
from vlar.types import Clip, Failure, Float32, JsonDict, Window

WINDOW_S, STRIDE_S = 2.0, 0.5
_DIRECTIONS = 24
_BATCH = 8  # clips
_MOST_ROWS = 20_000  # that directions are found from


@dataclass(frozen=True)
class WindowRecording:
    """A whole recording as the vectors of its windows.

    Attributes:
        path: The file.
        vectors: (W, D) vectors at even times; NaN where a window cannot be read.
        duration_s: Seconds.
        start_s: Time of the first window in the clock of the file.
    """

    path: Path
    vectors: Float32
    duration_s: float
    start_s: float = 0.0


def read_windows(encoder: Encoder, path: Path) -> WindowRecording:
    """The windows of a recording, encoded in the order of time.

    Raises:
        DecodeError: it cannot be read, or none of its windows can.
    """
    source = reader(encoder.modality)
    duration_s = float(source.probe(path).duration_s)
    middles_s = (np.arange(max(1, int(duration_s / STRIDE_S))) + 0.5) * STRIDE_S
    windows = [
        Window(max(0.0, middle - WINDOW_S / 2), min(duration_s, middle + WINDOW_S / 2))
        for middle in middles_s.tolist()
    ]
    vectors = np.full((len(windows), encoder.dim), np.nan, np.float32)
    session, problem = encoder.session(features=False), ""
    clips = enumerate(source.read_windows(path, windows, encoder.sampling))
    while part := list(islice(clips, _BATCH)):
        readable = [(number, clip) for number, clip in part if isinstance(clip, Clip)]
        problem = next((c.message for _, c in part if isinstance(c, Failure)), problem)
        rows = session.encode([clip for _, clip in readable])
        for (number, _), row in zip(readable, rows, strict=True):
            vectors[number] = row.vector
    if not np.isfinite(vectors).any():
        raise DecodeError(problem or f"{path}: nothing in it can be read")
    return WindowRecording(path, vectors, duration_s)


@dataclass(frozen=True)
class WindowPlan:
    """Facts from which the features of recordings of windows are made.

    Attributes:
        mean: (D,) mean vector.
        directions: (D, N) main directions, each scaled to a deviation of 1.
    """

    mean: Float32
    directions: Float32
    fps: None = None
    copies: int = 0

    @classmethod
    def of(cls, recordings: Sequence[WindowRecording]) -> WindowPlan:
        """The plan of the recordings that are learned from."""
        rows = np.concatenate([row.vectors for row in recordings]).astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        rows = rows[:: max(1, len(rows) // _MOST_ROWS)]
        mean = rows.mean(axis=0)
        _, scales, directions = np.linalg.svd(rows - mean, full_matrices=False)
        count = max(1, min(_DIRECTIONS, int((scales > 1e-6 * max(scales[0], 1e-9)).sum())))
        deviation = np.maximum(scales[:count] / np.sqrt(len(rows)), 1e-6)
        return cls(mean.astype(np.float32), (directions[:count].T / deviation).astype(np.float32))

    def to_dict(self) -> JsonDict:
        """JSON of the plan."""
        return {
            "width": len(self.mean),
            "mean": _text(self.mean),
            "directions": _text(self.directions),
            "fps": None,
        }

    @classmethod
    def restore(cls, source: Mapping[str, Any]) -> WindowPlan:
        """The plan of a saved model.

        Raises:
            ModelError: it is malformed.
        """
        try:
            width = int(source["width"])
            mean = _array(source["mean"]).reshape(width)
            directions = _array(source["directions"]).reshape(width, -1)
            if not (np.isfinite(mean).all() and np.isfinite(directions).all() and directions.size):
                raise ValueError("a number is not finite")  # noqa: TRY301
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise ModelError(
                f"the directions of the model are malformed ({error!r}); adapt again"
            ) from error
        return cls(mean, directions)

    def matching(self, recording: WindowRecording) -> None:
        """No points: windows have none."""

    def plain_features(self, recording: WindowRecording) -> int:
        """Number of the features: all of them suit every recording."""
        return WIDTH * self.directions.shape[1]

    def features(
        self, recording: WindowRecording, step_s: float, random: np.random.Generator | None = None
    ) -> Iterator[Float32]:
        """Features (S, F) of a recording, in one piece.

        Raises:
            ModelError: the vectors are of another width than those that were learned from.
        """
        if recording.vectors.shape[1] != len(self.mean):
            raise ModelError("the model learned from another encoder; adapt again")
        channels: Float32 = np.asarray(
            (recording.vectors - self.mean) @ self.directions, np.float32
        )
        times_s = steps_of(recording.duration_s, step_s)
        yield np.concatenate(list(windowed(channels, 1 / STRIDE_S, times_s)), axis=1)


def _text(array: Float32) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _array(text: str) -> Float32:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
