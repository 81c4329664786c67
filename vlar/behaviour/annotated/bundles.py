"""Bundles of tracks and other sensors: the features of the points, and those of the windows.

What the encoder ``tracks`` answers about windows gives way to the features that points have alone.
Steps are on the clock of the bundle; outside of the tracks their features are missing.

Letters: S steps, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vlar.behaviour.annotated.windows import WindowPlan, WindowRecording, read_windows
from vlar.behaviour.tracks.features import FeaturePlan, PointMatch
from vlar.behaviour.tracks.recording import TrackRecording, read_tracks
from vlar.behaviour.tracks.windows import steps_of
from vlar.encoders.base import Encoder
from vlar.encoders.bundle import BundleEncoder
from vlar.errors import ModelError, UsageError
from vlar.media.bundle import BundlePart
from vlar.media.lookup import reader
from vlar.media.readers.bundle import BundleReader
from vlar.types import Float32, JsonDict

TRACKS = "tracks"


@dataclass(frozen=True)
class BundleRecording:
    """A whole bundle: vectors of the windows of its other sensors, and its tracks.

    Attributes:
        windows: Vectors of windows, without the columns of tracks.
        tracks: The tracks; None where the bundle has none.
        part: Where the tracks lie on the clock of the bundle.
    """

    windows: WindowRecording
    tracks: TrackRecording | None
    part: BundlePart

    @property
    def path(self) -> Path:
        """The bundle."""
        return self.windows.path

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.windows.duration_s

    @property
    def start_s(self) -> float:
        """Time of the first window."""
        return self.windows.start_s


def has_tracks(encoder: Encoder) -> bool:
    """Return whether an encoder reads bundles of tracks and another sensor."""
    if not isinstance(encoder, BundleEncoder):
        return False
    return len(encoder.parts) > 1 and any(part.modality == TRACKS for part in encoder.parts)


def read_bundle(encoder: Encoder, path: Path, **options: Any) -> BundleRecording:
    """The windows and the tracks of a bundle.

    Args:
        encoder: Encoder of a bundle of tracks and another sensor.
        path: The bundle file, or a recording of one of its sensors.
        options: Options of ``vlar.behaviour.tracks.recording.read_tracks``.

    Raises:
        DecodeError: it cannot be read.
    """
    encoder = cast(BundleEncoder, encoder)
    windows = read_windows(encoder, path)
    of_tracks = [part.modality == TRACKS for part in encoder.parts].index(True)
    vectors = np.delete(windows.vectors, encoder.places[of_tracks], axis=1)
    part = cast(BundleReader, reader(encoder.modality)).parts(path).get(TRACKS)
    tracks = read_tracks(part.path, **options) if part else None
    windows = WindowRecording(path, vectors, windows.duration_s, windows.start_s)
    return BundleRecording(windows, tracks, part or BundlePart(path))


@dataclass(frozen=True)
class BundlePlan:
    """Facts from which the features of bundles are made.

    Attributes:
        windows: Plan of the windows.
        tracks: Plan of the tracks.
        plain: Number of the features of tracks that name no point.
        width: Number of all features of tracks.
    """

    windows: WindowPlan
    tracks: FeaturePlan
    plain: int
    width: int
    copies: int = 0

    @classmethod
    def of(cls, recordings: Sequence[BundleRecording], fps: float | None) -> BundlePlan:
        """The plan of some bundles.

        Raises:
            UsageError: none has tracks, or they have no point in common.
        """
        rows = [row.tracks for row in recordings if row.tracks is not None]
        if not rows:
            raise UsageError("none of the bundles has tracks; use a model of their other sensors")
        tracks = FeaturePlan.of(rows, fps)
        width = next(tracks.features(rows[0], rows[0].duration_s)).shape[1]
        windows = WindowPlan.of([row.windows for row in recordings])
        return cls(windows, tracks, tracks.plain_features(rows[0]), width)

    @property
    def fps(self) -> float | None:
        """Frames a second of tracks that state none."""
        return self.tracks.fps

    def to_dict(self) -> JsonDict:
        """JSON of the plan."""
        parts = {"windows": self.windows.to_dict(), TRACKS: self.tracks.to_dict()}
        return {**parts, "plain_of_tracks": self.plain, "width": self.width, "fps": self.fps}

    @classmethod
    def restore(cls, source: Mapping[str, Any]) -> BundlePlan:
        """The plan of a saved model.

        Raises:
            ModelError: it is malformed.
        """
        try:
            plan = cls(
                WindowPlan.restore(source["windows"]), FeaturePlan.restore(source[TRACKS]),
                int(source["plain_of_tracks"]), int(source["width"]),
            )  # fmt: skip
            if not 0 <= plan.plain <= plan.width <= 100_000:
                raise ValueError("its widths do not fit")  # noqa: TRY301
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the bundles of the model are malformed ({error!r}); adapt again"
            ) from error
        return plan

    def matching(self, recording: BundleRecording) -> PointMatch | None:
        """Points of the tracks; None where the bundle has none."""
        return None if recording.tracks is None else self.tracks.matching(recording.tracks)

    def plain_features(self, recording: BundleRecording) -> int:
        """Number of the first features, which every bundle has."""
        return self.windows.plain_features(recording.windows) + self.plain

    def features(
        self, recording: BundleRecording, step_s: float, random: np.random.Generator | None = None
    ) -> Iterator[Float32]:
        """Features (S, F) of a bundle in one piece; those that name points come last.

        Raises:
            ModelError: its windows are of another encoder than those that were learned from.
        """
        of_windows = np.concatenate([*self.windows.features(recording.windows, step_s)])
        tracks, times_s = recording.tracks, steps_of(recording.duration_s, step_s)
        rows = np.full((len(times_s), self.width), np.nan, np.float32)
        if tracks is None:
            rows = rows[:, : self.plain]
        else:
            of_tracks = np.concatenate([*self.tracks.features(tracks, step_s)])
            scale = tracks.duration_s / recording.duration_s if recording.part.by_share else 1.0
            steps = np.floor((times_s - recording.part.offset_s) * scale / step_s + 1e-6)
            inside = (steps >= 0) & (steps < len(of_tracks))
            if of_tracks.shape[1] < self.width:
                rows = rows[:, : self.plain]
            rows[inside] = of_tracks[steps[inside].astype(np.intp), : self.width]
        yield np.concatenate([of_windows, rows], axis=1)
