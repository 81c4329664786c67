"""Features of whole recordings of tracks, made alike for every recording of a model.

The points, the front and the back of the body, and the number of animals come from the recordings
that a model learned from. A recording without some of the points gives the features that name no
point, and NaN for the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlar.behaviour.tracks.channels import OF_POINTS, Body, channels_of
from vlar.behaviour.tracks.layouts import Region
from vlar.behaviour.tracks.recording import TrackRecording
from vlar.behaviour.tracks.windows import MARGIN_S, WIDTH, steps_of, windowed
from vlar.errors import ModelError, UsageError
from vlar.types import Float32, JsonDict

STEP_S = 0.1
_CHUNK_S = 240.0
_MOST_ANIMALS = 5
_QUICK_HZ = 60.0  # quicker recordings are thinned to about half of it


@dataclass(frozen=True)
class FeaturePlan:
    """Facts from which the features of a recording are made.

    Attributes:
        points: Names of the points, as compared: lower case, letters and digits.
        animals: Number of animals.
        front: Number of the point at the front.
        back: Number of the point at the back.
        keys: Points whose distances are features.
        angles: Whether the coordinates are angles in degrees.
        dims: Coordinates of a point.
        regions: Names of the regions.
        fps: Frames a second of recordings that state none; None where all stated it.
    """

    points: tuple[str, ...]
    animals: int
    front: int
    back: int
    keys: tuple[int, ...]
    angles: bool
    dims: int
    regions: tuple[str, ...] = ()
    fps: float | None = None

    @classmethod
    def of(cls, recordings: Sequence[TrackRecording], fps: float | None = None) -> FeaturePlan:
        """The plan of some recordings: what all of them have.

        Args:
            recordings: At least one.
            fps: Frames a second of recordings that state none.

        Raises:
            UsageError: the recordings have no point in common.
        """
        lists = [[plain(name) for name in row.tracks.names] for row in recordings]
        points = tuple(name for name in lists[0] if all(name in names for names in lists))
        if not points:
            raise UsageError(
                f"{recordings[-1].path}: none of its points ({', '.join(lists[-1])[:80]}) is one "
                f"of {recordings[0].path}; adapt one model for each kind of points"
            )
        animals = min(max(row.tracks.points.shape[1] for row in recordings), _MOST_ANIMALS)
        regions = tuple(dict.fromkeys(area.name for row in recordings for area in row.regions))
        first = recordings[0]
        dims = min(row.tracks.points.shape[3] for row in recordings)
        plan = cls(points, animals, 0, 0, (), first.tracks.unit == "deg", dims, regions, fps)
        bodies = [
            Body.of(
                plan._points(row, points), row.rate_hz, axis=plan._axis(row), angles=plan.angles
            )
            for row in recordings[:8]
        ]
        votes = [(body.front, body.back) for body in bodies]
        front, back = max(votes, key=votes.count)
        return cls(points, animals, front, back, bodies[0].keys, plan.angles, dims, regions, fps)

    def to_dict(self) -> JsonDict:
        """JSON of the plan."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}

    @classmethod
    def restore(cls, source: Mapping[str, Any]) -> FeaturePlan:
        """The plan of a saved model.

        Raises:
            ModelError: it is malformed.
        """
        try:
            fps = source["fps"]
            plan = cls(
                tuple(map(str, source["points"])),
                int(source["animals"]),
                int(source["front"]),
                int(source["back"]),
                tuple(map(int, source["keys"])),
                bool(source["angles"]),
                int(source["dims"]),
                tuple(map(str, source["regions"])),
                None if fps is None else float(fps),
            )
            numbers = (plan.front, plan.back, *plan.keys)
            fine = all(0 <= n < len(plan.points) for n in numbers)
            if not fine or not 1 <= plan.animals <= _MOST_ANIMALS or plan.dims not in (2, 3):
                raise ValueError("it does not fit together")  # noqa: TRY301
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the points of the model are malformed ({error!r}); adapt again"
            ) from (error)
        return plan

    def lacking(self, recording: TrackRecording) -> list[str]:
        """Points of the plan that a recording lacks."""
        names = {plain(name) for name in recording.tracks.names}
        return [name for name in self.points if name not in names]

    def plain_features(self, recording: TrackRecording) -> int:
        """Number of the first features that name no point, as of a recording that has all."""
        few = min(len(recording.tracks.points), max(8, int(recording.rate_hz)))
        points = self._points(recording, self.points)[:few]
        body = Body.of(
            points,
            recording.rate_hz,
            axis=(self.front, self.back),
            keys=self.keys,
            angles=self.angles,
            regions=recording.regions,
        )
        with np.errstate(all="ignore"):
            names, _ = channels_of(points, recording.rate_hz, body)
        return WIDTH * sum(not name.startswith(OF_POINTS) for name in names)

    def _axis(self, recording: TrackRecording) -> tuple[int, int] | None:
        ends = plain(recording.layout.front), plain(recording.layout.back)
        if ends[0] in self.points and ends[1] in self.points:
            return self.points.index(ends[0]), self.points.index(ends[1])
        return None

    def _points(self, recording: TrackRecording, wanted: Sequence[str]) -> Float32:
        """(T, M, V, C) points by name, of as many animals as the plan has."""
        names = [plain(name) for name in recording.tracks.names]
        columns = [names.index(name) for name in wanted]
        points = recording.tracks.points[..., : self.dims]
        present = np.isfinite(points).all(axis=-1).mean(axis=(0, 2))
        order = sorted(np.argsort(-present, kind="stable")[: self.animals].tolist())
        result = np.full((len(points), self.animals, len(columns), self.dims), np.nan, np.float32)
        for index, animal in enumerate(order):
            result[:, index, :, : points.shape[3]] = points[:, animal, columns]
        return result

    def features(self, recording: TrackRecording, step_s: float) -> Iterator[Float32]:
        """Features of a recording piece by piece; those that name points come last.

        Args:
            recording: Recording of any length.
            step_s: Seconds of a step.

        Yields:
            (S, F) of the next steps; all pieces have the same F. Of a recording that lacks points
            they are only those that name no point.
        """
        rate_hz, names = recording.rate_hz, [plain(name) for name in recording.tracks.names]
        lacking = bool(self.lacking(recording))
        source = self._points(recording, names if lacking else self.points)
        ends = self.points[self.front], self.points[self.back]
        axis: tuple[int, int] | None = self.front, self.back
        if lacking:
            inside = ends[0] in names and ends[1] in names
            axis = (names.index(ends[0]), names.index(ends[1])) if inside else None
        thin = max(1, round(rate_hz / (_QUICK_HZ / 2))) if rate_hz >= _QUICK_HZ else 1
        source, rate_hz = source[::thin], rate_hz / thin
        by_name = {area.name: area for area in recording.regions}
        regions = tuple(by_name.get(name, Region(name, circle=(0, 0, -1))) for name in self.regions)
        body = Body.of(
            source,
            rate_hz,
            axis=axis,
            keys=None if lacking else self.keys,
            angles=self.angles,
            regions=regions,
        )
        times_s = steps_of(recording.duration_s, step_s)
        size = max(1, round(_CHUNK_S / step_s))
        for first in range(0, len(times_s), size):
            part = times_s[first : first + size]
            begin = max(0, int((part[0] - MARGIN_S) * rate_hz))
            end = min(len(source), int((part[-1] + MARGIN_S) * rate_hz) + 2)
            with np.errstate(all="ignore"):
                names, values = channels_of(source[begin:end], rate_hz, body)
                cut = sum(not name.startswith(OF_POINTS) for name in names)
                blocks = [values[:, :cut]] if lacking else [values[:, :cut], values[:, cut:]]
                local_s = part - begin / rate_hz
                yield np.concatenate(
                    [rows for block in blocks for rows in windowed(block, rate_hz, local_s)], axis=1
                )


def plain(name: str) -> str:
    """Name of a point as it is compared: ``Left Ear`` and ``left_ear`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
