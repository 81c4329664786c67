"""Features of whole recordings of tracks, made alike for every recording of a model.

The points, the front and the back of the body, and the number of animals come from the recordings
that a model learned from. Points are matched by name, and brought to one frame rate. Points that a
recording lacks get the place that the others of the body show. Where that fails, as in models of
before, it gives the features that name no point, and NaN for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlar.behaviour.tracks.channels import (
    EVEN_HZ,
    OF_POINTS,
    Body,
    at_rate,
    channels_of,
    upright_of,
)
from vlar.behaviour.tracks.layouts import Region
from vlar.behaviour.tracks.names import matched
from vlar.behaviour.tracks.recording import TrackRecording
from vlar.behaviour.tracks.shape import completed, jittered, products_of
from vlar.behaviour.tracks.windows import MARGIN_S, WIDTH, steps_of, windowed
from vlar.errors import ModelError, UsageError
from vlar.types import Float32, JsonDict

STEP_S = 0.1
_CHUNK_S = 240.0
_COPIES = 3  # of a single recording; of several fewer each
_MOST_ANIMALS = 5
_MOST_SHAPE = 60  # points of a body whose shape is kept
_LEFT_OUT_S = 20.0  # of a recording in which the same points are left out
_QUICK_HZ = 60.0  # quicker recordings are thinned to about half of it


@dataclass(frozen=True)
class PointMatch:
    """Points of a recording and those of a model.

    Attributes:
        matched: Name in the recording to name in the model.
        missing: Names of the model that the recording lacks.
        extra: Names of the recording that the model does not have.
    """

    matched: dict[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the points of the model that the recording has."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing))

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        lists = {"missing": list(self.missing), "extra": list(self.extra)}
        return {"matched": self.matched, **lists}


@dataclass(frozen=True)
class FeaturePlan:
    """Facts from which the features of a recording are made.

    Attributes:
        points: Names of the points.
        animals: Number of animals.
        front: Number of the point at the front.
        back: Number of the point at the back.
        keys: Points whose distances are features.
        angles: Whether the coordinates are angles in degrees.
        dims: Coordinates of a point.
        regions: Names of the regions.
        fps: Frames a second of recordings that state none; None where all stated it.
        even: Whether recordings are brought to one frame rate; not in models of before.
        shape: Real and imaginary parts of the products of the points; empty for none.
        length_cm: Body length; None where a recording states no scale.
        upright: Whether the second coordinate means up and down: the body keeps its direction.
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
    even: bool = False
    shape: tuple[float, ...] = ()
    length_cm: float | None = None
    upright: bool = True

    @property
    def copies(self) -> int:
        """Number of versions, as other rigs give them, that are learned from."""
        return 0 if self.angles else _COPIES

    @classmethod
    def of(cls, recordings: Sequence[TrackRecording], fps: float | None = None) -> FeaturePlan:
        """The plan of some recordings: what all of them have.

        Args:
            recordings: At least one.
            fps: Frames a second of recordings that state none.

        Raises:
            UsageError: the recordings have no point in common.
        """
        points = recordings[0].tracks.names
        for row in recordings:
            pairs = matched(row.tracks.names, points, row.layout.names).values()
            points = tuple(name for name in points if name in pairs)
        if not points:
            raise UsageError(
                f"{recordings[-1].path}: none of its points "
                f"({', '.join(recordings[-1].tracks.names)[:80]}) is one of {recordings[0].path}; "
                "adapt one model for each kind of points"
            )
        animals = min(max(row.tracks.points.shape[1] for row in recordings), _MOST_ANIMALS)
        regions = tuple(dict.fromkeys(area.name for row in recordings for area in row.regions))
        first = recordings[0]
        dims = min(row.tracks.points.shape[3] for row in recordings)
        angles = first.tracks.unit == "deg"
        plan = cls(points, animals, 0, 0, (), angles, dims, regions, fps, even=True)
        several = [(row, plan._points(row, plan._columns(row))) for row in recordings[:8]]
        bodies = [
            Body.of(rows, row.rate_hz, axis=plan._axis(row), angles=angles) for row, rows in several
        ]
        votes = [(body.front, body.back) for body in bodies]
        front, back = max(votes, key=votes.count)
        scales = [row.layout.px_per_cm for row, _ in several]
        lengths = [b.length / s for b, s in zip(bodies, scales, strict=True) if s]
        shape: tuple[float, ...] = ()
        if not angles and 2 < len(points) <= _MOST_SHAPE:
            products = products_of(np.concatenate([rows[::5] for _, rows in several]))
            if products.any():
                parts = np.concatenate([products.real, products.imag]).ravel()
                shape = tuple(np.round(parts, 6).tolist())
        return replace(
            plan,
            front=front,
            back=back,
            keys=bodies[0].keys,
            shape=shape,
            length_cm=float(np.median(lengths)) if len(lengths) == len(several) else None,
            upright=any(upright_of(rows, front, back) for _, rows in several),
        )

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
            fps, length_cm = source["fps"], source.get("length_cm")
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
                bool(source.get("even")),
                tuple(map(float, source.get("shape", ()))),
                None if length_cm is None else float(length_cm),
                bool(source.get("upright", True)),
            )
            numbers = (plan.front, plan.back, *plan.keys)
            fine = all(0 <= n < len(plan.points) for n in numbers)
            fine = fine and len(plan.shape) in (0, 2 * len(plan.points) ** 2)
            if not fine or not 1 <= plan.animals <= _MOST_ANIMALS or plan.dims not in (2, 3):
                raise ValueError("it does not fit together")  # noqa: TRY301
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the points of the model are malformed ({error!r}); adapt again"
            ) from (error)
        return plan

    def matching(self, recording: TrackRecording) -> PointMatch:
        """Points of a recording that are those of the plan."""
        names = recording.tracks.names
        pairs = matched(names, self.points, recording.layout.names)
        return PointMatch(
            pairs,
            tuple(name for name in self.points if name not in pairs.values()),
            tuple(name for name in names if name not in pairs),
        )

    def plain_features(self, recording: TrackRecording) -> int:
        """Number of the first features that name no point, as of a recording that has all."""
        few = min(len(recording.tracks.points), max(8, int(recording.rate_hz)))
        points = self._points(recording, self._columns(recording))[:few]
        body = self._body(points, recording.rate_hz, recording)
        with np.errstate(all="ignore"):
            names, _ = channels_of(points, recording.rate_hz, body)
        return WIDTH * sum(not name.startswith(OF_POINTS) for name in names)

    def _body(self, points: Float32, rate_hz: float, recording: TrackRecording) -> Body:
        """Facts of points (T, M, V, C): of the plan, or all of a recording."""
        by_name = {area.name: area for area in recording.regions}
        regions = tuple(by_name.get(name, Region(name, circle=(0, 0, -1))) for name in self.regions)
        axis: tuple[int, int] | None = self.front, self.back
        whole = points.shape[2] == len(self.points)
        if not whole:
            columns = self._columns(recording)
            front, back = columns[self.front], columns[self.back]
            axis = None if front is None or back is None else (front, back)
        body = Body.of(
            points,
            rate_hz,
            axis=axis,
            keys=self.keys if whole else None,
            angles=self.angles,
            regions=regions,
            even=self.even,
            upright=self.upright,
        )
        scale = recording.layout.px_per_cm
        if self.length_cm is None or not scale:
            return body
        return replace(body, length=self.length_cm * scale)

    def _axis(self, recording: TrackRecording) -> tuple[int, int] | None:
        pairs = self.matching(recording).matched
        ends = [pairs.get(name, "") for name in (recording.layout.front, recording.layout.back)]
        if all(ends):
            return self.points.index(ends[0]), self.points.index(ends[1])
        return None

    def _columns(self, recording: TrackRecording) -> list[int | None]:
        """Number in a recording of each point of the plan; None for a missing one."""
        theirs = {ours: name for name, ours in self.matching(recording).matched.items()}
        names = recording.tracks.names
        return [names.index(theirs[name]) if name in theirs else None for name in self.points]

    def _points(self, recording: TrackRecording, columns: Sequence[int | None]) -> Float32:
        """(T, M, V, C) points by number, of as many animals as the plan has."""
        points = recording.tracks.points[..., : self.dims]
        present = np.isfinite(points).all(axis=-1).mean(axis=(0, 2))
        order = sorted(np.argsort(-present, kind="stable")[: self.animals].tolist())
        result = np.full((len(points), self.animals, len(columns), self.dims), np.nan, np.float32)
        for target, source in enumerate(columns):
            if source is not None:
                for index, animal in enumerate(order):
                    result[:, index, target, : points.shape[3]] = points[:, animal, source]
        return result

    def _completed(self, points: Float32, lacking: Sequence[int]) -> Float32:
        """Points (T, M, V, C) with a place of those that are lacking, where the shape shows it."""
        if not lacking or not self.shape:
            return points
        real, imaginary = np.reshape(self.shape, (2, len(self.points), len(self.points)))
        return completed(points, real + 1j * imaginary, lacking)

    def features(
        self,
        recording: TrackRecording,
        step_s: float,
        random: np.random.Generator | None = None,
    ) -> Iterator[Float32]:
        """Features of a recording piece by piece; those that name points come last.

        Args:
            recording: Recording of any length.
            step_s: Seconds of a step.
            random: Draws points that are left out and how far others move; None for none.

        Yields:
            (S, F) of the next steps; all pieces have the same F. Of a recording whose missing
            points cannot be placed they are only those that name no point.
        """
        rate_hz, columns = recording.rate_hz, self._columns(recording)
        lacking = [number for number, column in enumerate(columns) if column is None]
        whole = not lacking or (bool(self.shape) and len(lacking) < len(columns) - 1)
        source = self._points(recording, columns if whole else range(len(recording.tracks.names)))
        if self.even:
            source, rate_hz = at_rate(source, rate_hz), EVEN_HZ
        elif rate_hz >= _QUICK_HZ:
            thin = max(1, round(rate_hz / (_QUICK_HZ / 2)))
            source, rate_hz = source[::thin], rate_hz / thin
        if random is not None:
            source = jittered(source, rate_hz, random)
        if whole:
            source = self._completed(source, lacking)
        body = self._body(source, rate_hz, recording)
        times_s = steps_of(recording.duration_s, step_s)
        size = max(1, round((_CHUNK_S if random is None else _LEFT_OUT_S) / step_s))
        for first in range(0, len(times_s), size):
            part = times_s[first : first + size]
            begin = max(0, int((part[0] - MARGIN_S) * rate_hz))
            end = min(len(source), int((part[-1] + MARGIN_S) * rate_hz) + 2)
            rows = source[begin:end]
            if random is not None:
                count = int(random.integers(0, max(1, len(columns) - 1)))
                rows = self._completed(rows, sorted(random.permutation(len(columns))[:count]))
            with np.errstate(all="ignore"):
                names, values = channels_of(rows, rate_hz, body)
                cut = sum(not name.startswith(OF_POINTS) for name in names)
                blocks = [values[:, :cut], values[:, cut:]] if whole else [values[:, :cut]]
                local_s = part - begin / rate_hz
                yield np.concatenate(
                    [rows for block in blocks for rows in windowed(block, rate_hz, local_s)], axis=1
                )
