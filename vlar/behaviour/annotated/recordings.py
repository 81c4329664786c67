"""Annotated recordings of any sensor: how they are read, and what a model answers about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vlar.behaviour.annotated.bundles import BundlePlan, BundleRecording, has_tracks, read_bundle
from vlar.behaviour.annotated.head import LabelTrack, TimelineHead, timeline_of
from vlar.behaviour.annotated.support import asked_of
from vlar.behaviour.annotated.windows import WindowPlan, WindowRecording, read_windows
from vlar.behaviour.tracks.features import FeaturePlan, PointMatch
from vlar.behaviour.tracks.recording import TrackRecording, read_tracks
from vlar.encoders.base import Encoder
from vlar.errors import UsageError
from vlar.model.model import Model
from vlar.segments import Segment
from vlar.types import Float32, JsonDict

_LEAST_SHARE = 0.5  # of the points of a model that a recording has

AnyRecording = TrackRecording | WindowRecording | BundleRecording


class Plan(Protocol):
    """Facts from which the features of recordings are made."""

    @property
    def fps(self) -> float | None:
        """Frames a second of recordings that state none."""
        ...

    @property
    def copies(self) -> int:
        """Number of versions, as other rigs give them, that are learned from."""
        ...

    def to_dict(self) -> JsonDict:
        """JSON of the plan."""
        ...

    def matching(self, recording: Any) -> PointMatch | None:
        """Points of a recording that are those of the plan; None where there are none."""
        ...

    def plain_features(self, recording: Any) -> int:
        """Number of the first features that every recording has."""
        ...

    def features(
        self, recording: Any, step_s: float, random: np.random.Generator | None = None
    ) -> Iterator[Float32]:
        """Features (S, F) of a recording, piece by piece; ``random`` draws another rig."""
        ...


def recording_of(
    encoder: Encoder | None,
    path: Path,
    *,
    fps: float | None = None,
    layout: str | Path | None = None,
    px_per_cm: float | None = None,
) -> AnyRecording:
    """A whole recording: its tracks, or the vectors of its windows by an encoder of another sensor.

    Args:
        encoder: Encoder of the sensor; None for tracks.
        path: The recording.
        fps: Frames a second of tracks that state none.
        layout: A layout file of tracks; None for the one next to the recording.
        px_per_cm: Pixels a centimetre of tracks that state none.

    Raises:
        DecodeError: it cannot be read.
    """
    if encoder is None or encoder.modality == "tracks":
        return read_tracks(path, fps=fps, layout=layout, px_per_cm=px_per_cm)
    if has_tracks(encoder):
        return read_bundle(encoder, path, fps=fps, layout=layout, px_per_cm=px_per_cm)
    return read_windows(encoder, path)


def plan_of(recordings: Sequence[AnyRecording], fps: float | None) -> Plan:
    """The plan of recordings of one sensor, of which there is one at least.

    Raises:
        UsageError: tracks have no point in common, or no bundle has any.
    """
    if isinstance(recordings[0], WindowRecording):
        return WindowPlan.of(cast("Sequence[WindowRecording]", recordings))
    if isinstance(recordings[0], BundleRecording):
        return BundlePlan.of(cast("Sequence[BundleRecording]", recordings), fps)
    return FeaturePlan.of(cast("Sequence[TrackRecording]", recordings), fps)


def restored_plan(source: Mapping[str, Any]) -> Plan:
    """The plan of a saved model.

    Raises:
        ModelError: it is malformed.
    """
    if "windows" in source:
        return BundlePlan.restore(source)
    return (WindowPlan if "directions" in source else FeaturePlan).restore(source)


@dataclass(frozen=True)
class AnswerReport:
    """Facts of an answer about a recording.

    Attributes:
        recording: The recording.
        points: Its points and those of the model; None where it has none.
    """

    recording: Path
    points: PointMatch | None

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        points = None if self.points is None else self.points.to_dict()
        return {"recording": str(self.recording), "points": points}

    def summary(self) -> str:
        """Sentence on points that are missing, extra or of another name; empty for none."""
        if self.points is None:
            return ""
        renamed = [f"{a} is {b}" for a, b in self.points.matched.items() if a != b]
        lists = {"matched": renamed, "missing": self.points.missing, "extra": self.points.extra}
        parts = [f"{name}: {', '.join(names)}" for name, names in lists.items() if names]
        return f"{self.recording}: points {'; '.join(parts)}" if parts else ""


def bouts(
    model: Model,
    recording: str | Path,
    *,
    fps: float | None = None,
    layout: str | Path | None = None,
    px_per_cm: float | None = None,
    force: bool = False,
    report: Callable[[AnswerReport], object] | None = None,
) -> list[Segment]:
    """Bouts of a recording, in the clock of its file.

    Their rater is the name and the fingerprint of the model, and the date.

    Args:
        model: A model that ``learn`` made.
        recording: A recording of the kind that the model learned from.
        fps: Frames a second of a file that states none; None takes that of the learning.
        layout: A layout file; None for the one next to the recording.
        px_per_cm: Pixels a centimetre of a file that states none.
        force: Whether a recording with less than half of the points of the model is answered.
        report: Called with the points that are matched, missing and extra.

    Raises:
        UsageError: the model did not learn from annotated recordings, or the recording has less
            than half of its points.
        DecodeError: the recording cannot be read.
        ModelError: the model is malformed.
    """
    head, encoder = timeline_of(model), model.encoder
    choices: Any = {"fps": fps, "layout": layout, "px_per_cm": px_per_cm, "force": force}
    rows = bouts_by(head, Path(recording), encoder=encoder, report=report, **choices)
    rater = rater_of(model)
    return [replace(row, rater=rater) for row in rows]


def rater_of(model: Model) -> str:
    """Name and fingerprint of a model that ``learn`` made, and the date of today."""
    day = time.strftime("%Y-%m-%d")
    return f"{Path(model.name).name} {timeline_of(model).fingerprint} {day}"


def bouts_by(
    head: TimelineHead,
    path: Path,
    *,
    encoder: Encoder | None = None,
    report: Callable[[AnswerReport], object] | None = None,
    **choices: Any,
) -> list[Segment]:
    """Bouts of a recording by a head alone; ``bouts`` describes the arguments.

    Args:
        head: Head of a model that learned from annotated recordings.
        path: The recording.
        encoder: Encoder of the model; None for tracks.
        report: Called with the points of the recording.
        choices: ``fps``, ``layout``, ``px_per_cm`` and ``force``.
    """
    recording, tracks, match = answers_of(head, path, encoder=encoder, **choices)
    if report is not None:
        report(AnswerReport(path, match))
    segments: list[Segment] = []
    for number, (track, probability) in enumerate(tracks):
        chance = 1 / len(track.labels)
        for bout in track.bouts(probability, number):
            begin = bout.first * head.step_s
            end = min(bout.last * head.step_s, recording.duration_s)
            if bout.label in track.points:
                begin = end = (begin + end) / 2
            sure = bout.probability
            if match is not None and sure > chance:  # points that are missing leave less to know
                sure = chance + (sure - chance) * match.share
            segments.append(
                Segment(
                    str(path),
                    round(begin + recording.start_s, 3),
                    round(end + recording.start_s, 3),
                    bout.label,
                    subject=track.subject,
                    tier=track.tier,
                    probability=round(sure, 4),
                )
            )
    return sorted(segments, key=lambda row: (row.start_s, row.label))


def answers_of(
    head: TimelineHead,
    path: Path,
    *,
    encoder: Encoder | None,
    fps: float | None = None,
    layout: str | Path | None = None,
    px_per_cm: float | None = None,
    force: bool = False,
) -> tuple[AnyRecording, list[tuple[LabelTrack, Float32]], PointMatch | None]:
    """A recording, the probabilities (S, K) of each track, and its points; ``bouts`` has the rest.

    Raises:
        UsageError: it has less than half of the points of the model.
    """
    plan = restored_plan(head.source)
    scale = px_per_cm or asked_of(head, {})["px_per_cm"]
    recording = recording_of(encoder, path, fps=fps or plan.fps, layout=layout, px_per_cm=scale)
    match = plan.matching(recording)
    if match is not None and match.share < _LEAST_SHARE and not force:
        raise UsageError(
            f"{path}: of the points of the model it lacks {', '.join(match.missing)[:200]}; its "
            f"points {', '.join(match.extra)[:200]} are not among them. Name them under [names] in "
            "layout.toml, or answer with what is left by force=True"
        )
    parts = [head.bins.apply(rows) for rows in plan.features(recording, head.step_s)]
    binned = np.concatenate(parts)
    return recording, [(row, row.probabilities(binned, head.step_s)) for row in head.tracks], match
