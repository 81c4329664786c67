"""Annotated recordings of any sensor: how they are read, and what a model answers about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from vlar.behaviour.annotated.bundles import BundlePlan, BundleRecording, has_tracks, read_bundle
from vlar.behaviour.annotated.head import LabelTrack, TimelineHead, timeline_of
from vlar.behaviour.annotated.support import asked_of
from vlar.behaviour.annotated.windows import WindowPlan, WindowRecording, read_windows
from vlar.behaviour.tracks.features import FeaturePlan
from vlar.behaviour.tracks.recording import TrackRecording, read_tracks
from vlar.encoders.base import Encoder
from vlar.model.model import Model
from vlar.segments import Segment
from vlar.types import Float32, JsonDict

AnyRecording = TrackRecording | WindowRecording | BundleRecording


class Plan(Protocol):
    """Facts from which the features of recordings are made."""

    @property
    def fps(self) -> float | None:
        """Frames a second of recordings that state none."""
        ...

    def to_dict(self) -> JsonDict:
        """JSON of the plan."""
        ...

    def plain_features(self, recording: Any) -> int:
        """Number of the first features that every recording has."""
        ...

    def features(self, recording: Any, step_s: float) -> Iterator[Float32]:
        """Features (S, F) of a recording, piece by piece."""
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


def bouts(
    model: Model,
    recording: str | Path,
    *,
    fps: float | None = None,
    layout: str | Path | None = None,
) -> list[Segment]:
    """Bouts of a recording, in the clock of its file.

    Args:
        model: A model that ``learn`` made.
        recording: A recording of the kind that the model learned from.
        fps: Frames a second of a file that states none; None takes that of the learning.
        layout: A layout file; None for the one next to the recording.

    Raises:
        UsageError: the model did not learn from annotated recordings.
        DecodeError: the recording cannot be read.
        ModelError: the model is malformed.
    """
    path, head = Path(recording), timeline_of(model)
    return bouts_by(head, path, encoder=model.encoder, fps=fps, layout=layout)


def bouts_by(
    head: TimelineHead,
    path: Path,
    *,
    encoder: Encoder | None = None,
    fps: float | None = None,
    layout: str | Path | None = None,
) -> list[Segment]:
    """Bouts of a recording by a head alone; ``bouts`` describes the arguments.

    Args:
        head: Head of a model that learned from annotated recordings.
        path: The recording.
        encoder: Encoder of the model; None for tracks.
        fps: Frames a second of a file that states none.
        layout: A layout file.
    """
    recording, tracks = answers_of(head, path, encoder=encoder, fps=fps, layout=layout)
    segments: list[Segment] = []
    for number, (track, probability) in enumerate(tracks):
        for bout in track.bouts(probability, number):
            begin = bout.first * head.step_s
            end = min(bout.last * head.step_s, recording.duration_s)
            if bout.label in track.points:
                begin = end = (begin + end) / 2
            sure = round(bout.probability, 4)
            segments.append(
                Segment(
                    str(path),
                    round(begin + recording.start_s, 3),
                    round(end + recording.start_s, 3),
                    bout.label,
                    subject=track.subject,
                    tier=track.tier,
                    probability=sure,
                )
            )
    return sorted(segments, key=lambda row: (row.start_s, row.label))


def answers_of(
    head: TimelineHead,
    path: Path,
    *,
    encoder: Encoder | None,
    fps: float | None,
    layout: str | Path | None,
) -> tuple[AnyRecording, list[tuple[LabelTrack, Float32]]]:
    """A recording, and the probabilities (S, K) of each track; ``bouts`` has the arguments."""
    plan = restored_plan(head.source)
    scale = asked_of(head, {})["px_per_cm"]
    recording = recording_of(encoder, path, fps=fps or plan.fps, layout=layout, px_per_cm=scale)
    parts = [head.bins.apply(rows) for rows in plan.features(recording, head.step_s)]
    binned = np.concatenate(parts)
    return recording, [(row, row.probabilities(binned, head.step_s)) for row in head.tracks]
