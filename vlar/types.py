"""Frozen rows that pass between the stages.

Shape letters, everywhere in vlar: N windows, T frames, H W pixels, L tokens, D width of the shared
space, F width of one frame's features, C labels, P prompts per label, K shots. Times are seconds
(``*_s``) on the presentation clock of the video, starting at 0 for its first frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vlar import notebook
from vlar.formatting import clock, lost_remark, opinion, percent, plain, shown
from vlar.hits import WEAK_MATCH as WEAK_MATCH
from vlar.hits import Copy as Copy
from vlar.hits import Hit as Hit
from vlar.hits import HitPart as HitPart

_FITS = 0.5  # probability from which a label of several is part of the verdict
_UNSURE = "unsure: "  # begins a note that is the answer
_BODY = 0.1  # visible share of a body below which it is not seen
_NEARLY = 0.2  # from which it may fit by itself: four times the prior of a label among several


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
#: Whether one of the labels fits, or any number of them.
Mode = Literal["one", "multi"]
#: Methods of ``Model.adapt`` by name; ``vlar.parts("fewshot")`` and ``("adapter")`` have all.
Method = (
    Literal[
        "auto", "ridge", "prototype", "mean", "hybrid", "mixture", "stacking", "components",
        "cache", "relation", "temporal", "lora", "fusion", "tuned",
    ]
    | str
)  # fmt: skip


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

    def __str__(self) -> str:
        """The message, as the command line prints it."""
        return plain(self.message)

    def _repr_html_(self) -> str:
        """The message, for notebooks."""
        return notebook.card(None, 0.0, [self.message], {})


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
    ``verdict`` answers one label alone: ``yes``, ``no``, or ``unsure`` between both. ``body`` is
    the visible share (0 to 1) of a body, ``cost`` the multiply-adds of the clip; None where these
    are not looked for or counted. ``calibrated`` is False where nothing was fitted to the model.
    ``understood`` holds the English text that a label in another language is read as, by label.
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
    calibrated: bool = True
    understood: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def label(self) -> str | None:
        """The best label, or None where the answer is unknown, a tie, or has no figure."""
        is_open = self.unknown or _unsure(self) or self._tied
        return None if is_open else self.predictions[0].label

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each listed label, best first, and that of ``unknown``, which is last."""
        probabilities = {p.label: p.probability for p in self.predictions}
        return probabilities | {"unknown": self.unknown_probability}

    def sentence(self, *, several: bool = False) -> str:
        """The verdict in words.

        Args:
            several: Whether any number of labels may fit.
        """
        best = self.predictions[0]
        if words := _unsure(self):
            return words
        if self.verdict == "yes":
            return f"yes: {best.label} ({percent(best.probability)})"
        if self.verdict is not None:
            return f'{self.verdict} ({percent(best.probability)} for "{best.label}")'
        if several:
            fitting = [p for p in self.predictions if p.probability >= _FITS]
            listed = ", ".join(f"{p.label} {percent(p.probability)}" for p in fitting)
            return listed or _nearly(self.predictions) or _none_fits(best)
        if self.unknown:
            return _none_fits(best)
        kind = self.coarse[0] if self.coarse else None
        if kind and best.probability < _FITS <= kind.probability:
            likely = f"most likely {best.label}, {percent(best.probability)}"
            return f"some kind of {kind.label}, {percent(kind.probability)} ({likely})"
        share, unknown = percent(best.probability), percent(self.unknown_probability)
        if self.unknown_probability > best.probability:
            return f"unsure: {best.label} {share}, unknown {unknown}"
        if self._tied:
            return f"unsure: {best.label} {share}, {self.predictions[1].label} {share}"
        return f"{best.label}, {share}"

    def lines(self, *, several: bool = False) -> list[str]:
        """The answer as the command line prints it: verdict, path and span, then one line a label.

        Args:
            several: Whether any number of labels may fit.
        """
        texts = self._head(several)
        if self.verdict is not None:
            return texts
        texts += [f"  {p.probability:6.1%}  {p.label}" for p in self.predictions]
        texts += [f"  {p.probability:6.1%}  {p.label} (all kinds)" for p in self.coarse]
        texts += [f"  {opinion(self.second_opinion)}"] if self.second_opinion else []
        return [*texts, f"  {self.unknown_probability:6.1%}  (unknown)"]

    def _head(self, several: bool) -> list[str]:
        """The lines before those of the labels."""
        text = self.sentence(several=several)
        span = f"{clock(self.start_s)} to {clock(self.end_s)}"
        first = f"{text}  {self.path}  {span}{lost_remark(self.lost)}"
        return [first, *(f"  {fact}" for fact in (*_about(self), *_advice(self, text, several)))]

    @property
    def _tied(self) -> bool:
        """True where the second label that excludes the first is stated with its percentage."""
        shares = [percent(p.probability) for p in self.predictions[:2]]
        return not self._several and shares[1:] == shares[:1]

    @property
    def _several(self) -> bool:
        """True where labels do not exclude each other: they sum with unknown to more than 1."""
        total = sum(p.probability for p in self.predictions) + self.unknown_probability
        return self.verdict is None and total > 1 + 1e-4

    def __str__(self) -> str:
        """The lines of the command line."""
        return "\n".join(map(plain, self.lines(several=self._several)))

    def _repr_html_(self) -> str:
        """A card with a picture and a bar a label, for notebooks."""
        bars = {} if self.verdict else self.probabilities
        at_s = (self.start_s + self.end_s) / 2
        return notebook.card(self.path, at_s, self._head(self._several), bars)

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "path": str(self.path),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "model": self.model,
            "calibrated": self.calibrated,
            "predictions": [p.to_dict() for p in self.predictions],
            "unknown": self.unknown,
            "unknown_probability": round(self.unknown_probability, 6),
            **({"verdict": self.verdict} if self.verdict else {}),
            **({"coarse": [p.to_dict() for p in self.coarse]} if self.coarse else {}),
            "lost": round(self.lost, 4),
            **({"second_opinion": dict(self.second_opinion)} if self.second_opinion else {}),
            **({"person": self.person.to_dict()} if self.person else {}),
            **({"understood": dict(self.understood)} if self.understood else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"failed": [failure.message for failure in self.failed]} if self.failed else {}),
            **({} if self.cost is None else {"cost": self.cost}),
        }


def _advice(row: Classification, said: str, several: bool) -> list[str]:
    """One line on an unsure answer: what competes, where no body was seen, and what helps."""
    if not said.startswith(("unsure", "unknown")) or several or said in row.notes:
        return []
    near = [p.label for p in row.predictions[:2] if p.probability >= _NEARLY]
    facts = [f"{' and '.join(near)} compete"] if len(near) > 1 else []
    if row.body is not None and row.body < _BODY:
        facts.append("no whole body is seen")
    others = "the labels it may be instead" if row.verdict else "fewer labels"
    parts = "; ask for its parts: --every 2s" if row.end_s - row.start_s > 5 else ""
    help_text = f"give {others}, or three examples of each: vlar adapt{parts}"
    return ["; ".join([*facts, f"{help_text}; or a larger model: vlar models"])]


def _unsure(row: Classification) -> str:
    return next((note for note in row.notes if note.startswith(_UNSURE)), "")


def _about(row: Classification) -> list[str]:
    """Person of an answer, and further remarks."""
    facts = [f"note: {remark}" for remark in row.notes if not remark.startswith(_UNSURE)]
    if row.person is not None:
        x0, y0, x1, y1 = (f"{side:.0%}" for side in row.person.box)
        where = f"from the left: {x0} to {x1} across, {y0} to {y1} down"
        facts.insert(0, f"person {row.person.number} of {row.person.of} {where}")
    return facts


def _nearly(found: Sequence[Prediction]) -> str:
    """Labels that may each fit, though none is likely to; empty where all are far."""
    near = [f"{p.label} {percent(p.probability)}" for p in found if p.probability >= _NEARLY]
    return f"unsure: perhaps {', '.join(near)}" if near else ""


def _none_fits(best: Prediction) -> str:
    return f"unknown: nothing in the list fits (best: {best.label}, {percent(best.probability)})"
