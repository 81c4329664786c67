"""Frozen rows that pass between the stages.

Shape letters, everywhere in vlar: N windows, T frames, H W pixels, L tokens, D width of the shared
space, F width of one frame's features, C labels, P prompts per label, K shots. Times are seconds
(``*_s``) on the presentation clock of the video, starting at 0 for its first frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vlar.formatting import shown

# A hit below it is weak. On 530 clips, in libraries of 2 to 119 recordings where no clip shows
# 3 in 10 queries, 13 % of such first hits are right, of the others 50 %.
WEAK_MATCH = 0.2


@dataclass(frozen=True)
class HitPart:
    """One phrase of a query on a span: its best window there, and how well that fits."""

    phrase: str
    start_s: float
    end_s: float
    probability: float
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "phrase": self.phrase,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
        }


@dataclass(frozen=True)
class Copy:
    """A span of another recording that shows the same as a hit."""

    path: str
    start_s: float
    end_s: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
        }


@dataclass(frozen=True)
class Hit:
    """One span of a library that answers a query.

    Attributes:
        rank: 1 for the best.
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        score: 0 to 1; it ranks. For a plain phrase it is the probability; with operators or a
            re-ranker it only ranks, and is not a probability.
        probability: Calibrated; of a query with operators, that of the weakest part.
        similarity: Cosine of the best window; of a query with operators, the mean of the parts.
        tags: Of the recording.
        parts: The best window of each phrase of a query with operators; else empty.
        also: Spans of other recordings that show the same (copies).
        lost: Greatest share (0 to 1) of lost or doubtful frames among the span's windows.
        caption: Caption of the best window, in a library with captions; else empty.
        track: In a library with rows of people, the person of the best window: the number in the
            recording, from 1; None for the whole frame, and for a sequence of windows.
        box: x1, y1, x2, y2 of that person at ``box_s``, in shares (0 to 1) of the frame's width and
            height; None without a track.
        box_s: Middle of the best window in seconds, where the box was found; None without a track.
        best_s: Middle of the best window in seconds, which a picture of the hit shows; None for a
            sequence of windows.
    """

    rank: int
    path: str
    start_s: float
    end_s: float
    score: float
    probability: float
    similarity: float
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    parts: tuple[HitPart, ...] = ()
    also: tuple[Copy, ...] = ()
    lost: float = 0.0
    caption: str = ""
    track: int | None = None
    box: tuple[float, float, float, float] | None = None
    box_s: float | None = None
    best_s: float | None = None

    @property
    def weak(self) -> bool:
        """True where the hit is likely wrong: fewer than one in seven such hits are right."""
        return self.probability < WEAK_MATCH

    @property
    def stated(self) -> str:
        """The probability for people; of a query with operators those of its phrases.

        >>> Hit(1, "a.mp4", 0.0, 4.0, 0.634, 0.634, 0.2).stated
        '63.4%'
        """
        if not self.parts:
            return f"{self.probability:.1%}"
        return ", ".join(f"{part.phrase} {part.probability:.1%}" for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        facts: dict[str, Any] = {
            "rank": self.rank,
            "path": self.path,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 6),
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
            "tags": dict(self.tags),
            "lost": round(self.lost, 4),
        }
        if self.track is not None and self.box is not None and self.box_s is not None:
            box = [round(side, 4) for side in self.box]
            facts |= {"track": self.track, "box": box, "box_s": round(self.box_s, 3)}
        facts |= {"weak": True} if self.weak else {}
        facts |= {"caption": self.caption} if self.caption else {}
        facts |= {"also": [copy.to_dict() for copy in self.also]} if self.also else {}
        facts |= {"parts": [part.to_dict() for part in self.parts]} if self.parts else {}
        return facts


@dataclass(frozen=True)
class Person:
    """One of the people (or things) of a recording.

    Attributes:
        number: From 1, counted from the left; in a library, the number of the track.
        of: How many are found.
        box: x1, y1, x2, y2 of where they are in the middle of the span, in shares (0 to 1) of the
            frame's width and height.
        score: How sure it is that this is the one who was asked for, 0 to 1.
    """

    number: int
    of: int
    box: tuple[float, float, float, float]
    score: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "number": self.number,
            "of": self.of,
            "box": [round(side, 4) for side in self.box],
            "score": round(self.score, 4),
        }


Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]
JsonDict = dict[str, Any]
#: What a text is for: the name of a class, or the words of a search.
Role = Literal["label", "query"]


class ProgressCallback(Protocol):
    """Callback for progress, to move a progress bar for example. Args of a call:

    count: Units done since the last call.
    total: Units in all, given once they are known; a later call may correct it.
    """

    def __call__(self, count: int = 0, total: int | None = None) -> None: ...


@dataclass(frozen=True)
class Window:
    """A time span of a video, ``start_s <= t < end_s``.

    >>> Window(2.0, 6.0).duration_s
    4.0
    """

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video (or of a folder of frames), read without decoding.

    ``duration_s`` is the span from the first to the end of the last frame. ``rotation_deg`` is
    applied by the decoder; ``width`` and ``height`` are those of the displayed picture, after
    rotation.
    """

    path: Path
    width: int
    height: int
    duration_s: float
    fps: float
    codec: str
    rotation_deg: int = 0
    n_frames: int | None = None


@dataclass(frozen=True)
class Clip:
    """Samples of one time window of one sensor, time first.

    Attributes:
        path: The recording.
        window: The span that was asked for.
        modality: Name of the sensor's reader: ``video``, ``skeleton``, ``imu``, ``audio``, ...
        data: (T, ...) samples in time order. ``video``: (T, H, W, 3) uint8 RGB. ``depth``:
            (T, H, W) uint16 mm. ``skeleton``: (T, M, V, C) float32, NaN where not seen. ``imu``:
            (T, C) float32. ``audio``: (T,) float32. Sensors whose samples come at times of their
            own (events, points): (T, C) or a structured (T,), where T differs from clip to clip.
        times_s: (T,) float64, the presentation time of each sample, in order; T may be 0 of a
            sensor whose samples come at times of their own.
        lost: Share (0 to 1) of the wanted samples that could not be read and were replaced by the
            nearest one that could.
        meta: Facts of the recording from the reader: layout, units, sampling rate.
        parts: Clips of other sensors of the same moment by modality, on a common clock.
    """

    path: Path
    window: Window
    modality: str
    data: npt.NDArray[Any]
    times_s: Float64
    lost: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parts: Mapping[str, Clip] = field(default_factory=dict[str, "Clip"])


@dataclass(frozen=True)
class Sampling:
    """Sampling that an encoder requires of a recording; readers compute it from time.

    Attributes:
        n_frames: T, samples of a clip (frames of a video, rows of a signal).
        frames_fixed: Whether no other T works.
        longest_s: Seconds a clip may last for T samples to show its movements; a longer span is
            sampled in parts too. Infinite where movements are not followed.
        shorter_side: Pixels; larger pictures are shrunk to it while they are decoded. None for
            sensors without pictures.
        size: (H, W) in pixels that the encoder resizes pictures to; None without pictures.
        fps: Samples a second where T follows the length of a clip; None for ``n_frames`` always.
        max_frames: The largest T at ``fps``; given with it.
        parts: Sampling of each of the joined encoders; the union of their samples is read in one
            pass. Empty for one encoder. T is the size of the union where none follows the length.
        all_samples: Whether all samples of the window are wanted, whatever their number: the
            encoder sorts them into its own grid. ``n_frames`` then decides on nothing.
        sensors: Sampling of each sensor of a bundle by its name, which then decides instead of the
            rest; empty for one sensor.
    """

    n_frames: int
    frames_fixed: bool = False
    longest_s: float = float("inf")
    shorter_side: int | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    max_frames: int | None = None
    parts: tuple[Sampling, ...] = ()
    all_samples: bool = False
    sensors: tuple[tuple[str, Sampling], ...] = ()

    def frames_in(self, duration_s: float) -> int:
        """T of a clip of ``duration_s`` seconds.

        >>> Sampling(8).frames_in(30.0), Sampling(8, fps=2.0, max_frames=32).frames_in(4.0)
        (8, 8)
        """
        if self.fps is None or self.max_frames is None:
            return self.n_frames
        return max(1, min(self.max_frames, round(self.fps * duration_s)))


@dataclass(frozen=True)
class Encoded:
    """One encoded clip.

    Attributes:
        features: (T, F) float32, one row a frame (or a time step); (1, F) of an encoder that treats
            a clip as a whole (``Encoder.per_clip``).
        vector: (D,) float32 of unit length in the space shared with text.
        context: (k, E) float32 context tokens where text depends on the video, else None.
    """

    features: Float32
    vector: Float32
    context: Float32 | None = None


@dataclass(frozen=True)
class Failure:
    """An input that could not be handled; it travels with the results and never ends a batch."""

    path: Path
    kind: str
    message: str

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {"path": shown(self.path), "error": {"kind": self.kind, "message": self.message}}


@dataclass(frozen=True)
class Prediction:
    """One label's answer.

    Attributes:
        label: The label for people.
        probability: Calibrated, 0 to 1.
        similarity: Cosine, -1 to 1.
        key: The label as its source spells it (``PlayingGuitar``), if that differs; else None.
    """

    label: str
    probability: float
    similarity: float
    key: str | None = None

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line; ``key`` only if it differs from ``label``."""
        data: JsonDict = {"label": self.label}
        data |= {"key": self.key} if self.key is not None else {}
        return data | {
            "probability": round(self.probability, 6),
            "similarity": round(self.similarity, 6),
        }


@dataclass(frozen=True)
class Classification:
    """The answer for one window: the best labels, best first, and whether none of them fits.

    ``predictions`` sum with ``unknown_probability`` to at most 1 (exactly 1 if all are listed),
    unless several labels were asked for at once: then each stands for itself. ``coarse`` holds the
    labels above those of the list, best first, where a label tree was given; a coarse label is as
    probable as all its kinds together, and as similar as the best of them. ``lost`` is the share (0
    to 1) of the frames that could not be read or may be wrong. ``second_opinion`` is there where
    one was asked for (``vlar.generators.opinions.rerank``); the probabilities are then those of
    both. ``person`` is the one that ``who`` or ``zoom`` found; ``notes`` hold other remarks.
    ``failed`` names the parts of a bundle that could not be read; the others give the answer.
    ``verdict`` answers one label alone: ``yes``, ``no``, or ``unsure`` between both; None for a
    list. ``body`` is the visible share (0 to 1) of a body; None where none is looked for.
    ``cost`` is the number of multiply-adds of the clip, where the model counts them.
    """

    path: Path
    start_s: float
    end_s: float
    model: str
    predictions: tuple[Prediction, ...]
    unknown: bool
    unknown_probability: float
    coarse: tuple[Prediction, ...] = ()
    lost: float = 0.0
    second_opinion: Mapping[str, Any] | None = None
    person: Person | None = None
    notes: tuple[str, ...] = ()
    verdict: str | None = None
    body: float | None = None
    failed: tuple[Failure, ...] = ()
    cost: int | None = None

    @property
    def label(self) -> str | None:
        """The best label, or None where the answer is unknown."""
        return None if self.unknown else self.predictions[0].label

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "model": self.model,
            "predictions": [p.to_dict() for p in self.predictions],
            "unknown": self.unknown,
            "unknown_probability": round(self.unknown_probability, 6),
            **({"verdict": self.verdict} if self.verdict else {}),
            **({"coarse": [p.to_dict() for p in self.coarse]} if self.coarse else {}),
            "lost": round(self.lost, 4),
            **({"second_opinion": dict(self.second_opinion)} if self.second_opinion else {}),
            **({"person": self.person.to_dict()} if self.person else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"failed": [each.message for each in self.failed]} if self.failed else {}),
            **({} if self.cost is None else {"cost": self.cost}),
        }
