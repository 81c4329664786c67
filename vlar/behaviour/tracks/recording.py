"""Recordings of tracks: the file, its layout and clock, even frames, and identities that hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from vlar.behaviour.tracks.formats.base import FORMATS, PointTracks
from vlar.behaviour.tracks.layouts import REGIONS, Region, TrackLayout, layout_of, read_regions
from vlar.errors import DecodeError
from vlar.files.workers import single
from vlar.media.signals import errors_of, evenly, head_of
from vlar.types import Float32, Float64

_LARGEST = 1e7
_JUMP, _BETTER = 0.5, 0.5  # body lengths; share of the cost that an exchange must save
_SINGLE = "single"


@dataclass(frozen=True)
class TrackRecording:
    """A whole recording at even frames.

    Attributes:
        path: The file.
        tracks: Points (T, M, V, C) with names; ``rate_hz`` is stated.
        layout: Facts of the points.
        regions: Regions of ``regions.toml`` next to the file.
        start_s: Time of the first frame in the clock of the file.
        repaired: Frames at which two animals exchanged their names and were put right.
    """

    path: Path
    tracks: PointTracks
    layout: TrackLayout = field(default_factory=TrackLayout)
    regions: tuple[Region, ...] = ()
    start_s: float = 0.0
    repaired: int = 0

    @property
    def rate_hz(self) -> float:
        """Frames a second."""
        return float(self.tracks.rate_hz or 0.0)

    @property
    def duration_s(self) -> float:
        """Seconds to the end of the last frame."""
        return len(self.tracks.points) / self.rate_hz


def read_tracks(
    path: str | Path,
    *,
    fps: float | None = None,
    layout: str | Path | None = None,
    px_per_cm: float | None = None,
) -> TrackRecording:
    """The tracks of a recording, read in a worker process.

    Args:
        path: A file of any format of docs/tracks.md, also packed as ``.xz`` or ``.gz``.
        fps: Frames a second of a file that states none; None takes ``fps`` of its layout.
        layout: A layout file; None reads ``NAME.toml`` or ``layout.toml`` next to the recording.
        px_per_cm: Pixels a centimetre of a file that states none, for regions in centimetres.

    Raises:
        DecodeError: it cannot be read, or its frame rate is unknown.
    """
    file = Path(path)
    with errors_of(file):
        return single.call(
            file, load_tracks, file, fps, Path(layout) if layout else None, px_per_cm
        )


def load_tracks(
    path: Path, fps: float | None, layout: Path | None, px_per_cm: float | None = None
) -> TrackRecording:
    """The same in this process; the task of a worker."""
    with errors_of(path):
        try:
            return _read(path, fps, layout, px_per_cm)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DecodeError(
                f"{path}: not a readable file of tracks: {reason}; see docs/tracks.md for the "
                "formats"
            ) from error


def _read(
    path: Path, fps: float | None, layout_file: Path | None, px_per_cm: float | None
) -> TrackRecording:
    head = head_of(path)
    if head is None:
        path.stat()  # its error names what is wrong
        raise ValueError("it cannot be opened or unpacked")
    part = FORMATS.recognised(head)
    if part is None:
        raise ValueError("no known format begins so")
    layout = layout_of(path, layout_file)
    tracks = _checked(part.read(path))
    layout.check(tracks.names)
    if layout.points:
        chosen = [tracks.names.index(name) for name in layout.points]
        tracks = replace(
            tracks,
            points=tracks.points[:, :, chosen],
            names=layout.points,
            confidence=None if tracks.confidence is None else tracks.confidence[:, :, chosen],
        )
    tracks = _in_time(tracks, fps if fps is not None else layout.fps)
    start_s = float(tracks.meta.get("start_s", 0.0))
    points, repaired = repair(tracks.points)
    tracks = replace(
        tracks, points=points, unit=layout.unit or tracks.unit, bones=layout.bones or tracks.bones
    )
    cm = tracks.meta.get("cm_per_px")
    scale = layout.px_per_cm or (1 / float(cm) if cm else px_per_cm)
    regions = path.with_name(REGIONS)
    areas = read_regions(regions, scale) if regions.is_file() else ()
    return TrackRecording(path, tracks, replace(layout, px_per_cm=scale), areas, start_s, repaired)


def _checked(tracks: PointTracks) -> PointTracks:
    points = tracks.points
    if not points.size:
        raise ValueError("it holds no frame")
    if not np.isfinite(points).any():
        raise ValueError("no point is present in any frame")
    if not np.nanmax(np.abs(points)) < _LARGEST:
        raise ValueError(f"a coordinate is beyond {_LARGEST:g}")
    return _without_single(tracks)


def _without_single(tracks: PointTracks) -> PointTracks:
    """Tracks without the points that belong to no animal (``single``), where others exist."""
    if _SINGLE not in tracks.animals or len(tracks.animals) < 2:
        return tracks
    rows = [n for n, name in enumerate(tracks.animals) if name != _SINGLE]
    has = np.isfinite(tracks.points[:, rows]).any(axis=(0, 1, 3))
    if not has.any():
        return tracks
    columns: list[int] = np.flatnonzero(has).tolist()
    grid = np.ix_(list(range(len(tracks.points))), rows, columns)
    return replace(
        tracks,
        points=tracks.points[grid],
        animals=tuple(tracks.animals[n] for n in rows),
        names=tuple(tracks.names[n] for n in columns),
        confidence=None if tracks.confidence is None else tracks.confidence[grid],
    )


def _in_time(tracks: PointTracks, fps: float | None) -> PointTracks:
    """Tracks at even frames.

    Raises:
        ValueError: neither the file nor the caller states a rate.
    """
    if tracks.times_s is not None:
        present = np.isfinite(tracks.times_s)
        rows = (
            tracks.points
            if tracks.confidence is None
            else np.concatenate([tracks.points, tracks.confidence[..., None]], axis=-1)
        )
        if present.sum() == 1 and fps:
            return replace(tracks, rate_hz=fps, times_s=None)
        even, rate = evenly(tracks.times_s[present], rows[present])
        even = even.astype(np.float32)
        dims = tracks.points.shape[-1]
        scores = None if tracks.confidence is None else even[..., dims]
        return replace(
            tracks, points=even[..., :dims], confidence=scores, rate_hz=rate, times_s=None
        )
    rate = tracks.rate_hz or fps
    if rate is None:
        raise ValueError(
            "it states no frame rate; write 'fps = 30' into layout.toml next to it, which every "
            "verb reads (adapt, timeline and evaluate take --fps, too)"
        )
    if not 0 < rate <= 1e5:
        raise ValueError(f"the frame rate {rate:g} is not a number above 0")
    return replace(tracks, rate_hz=float(rate))


def repair(points: Float32) -> tuple[Float32, int]:
    """Tracks whose animals keep their names, and how many exchanges were put right.

    Two animals exchange names between two frames where both jump by half a body or more, and
    together would move less than half as far with their names exchanged.

    Args:
        points: (T, M, V, C); NaN where a point is missing.
    """
    points = points.copy()
    exchanges = 0
    for a, b in combinations(range(min(points.shape[1], 8)), 2):
        before_a, before_b = _held(points[:, a]), _held(points[:, b])
        stay_a, stay_b = _step(points[:, a], before_a), _step(points[:, b], before_b)
        cross_a, cross_b = _step(points[:, a], before_b), _step(points[:, b], before_a)
        length = _length(points[:, [a, b]])
        with np.errstate(invalid="ignore"):
            jumps = (stay_a > _JUMP * length) & (stay_b > _JUMP * length)
            better = cross_a + cross_b < _BETTER * (stay_a + stay_b)
        event = jumps & better
        exchanges += int(event.sum())
        swapped = np.cumsum(event) % 2 == 1
        points[swapped, a], points[swapped, b] = points[swapped, b], points[swapped, a].copy()
    return points, exchanges


def _held(points: Float32) -> Float32:
    """(T, V, C) the last place of each point before each frame."""
    present = np.isfinite(points).all(axis=-1)
    last = np.maximum.accumulate(np.where(present, np.arange(len(points))[:, None], 0), axis=0)
    held = np.take_along_axis(points, last[..., None], axis=0)
    return np.concatenate([held[:1], held[:-1]])


def _step(points: Float32, before: Float32) -> Float64:
    """(T,) mean way of the points from their last places; NaN where none is present."""
    way = np.linalg.norm((points - before).astype(np.float64), axis=-1)
    present = np.isfinite(way)
    count = present.sum(axis=1)
    return np.where(count > 0, np.where(present, way, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _length(points: Float32) -> float:
    """Typical spread of the points of one animal (T, M, V, C)."""
    if points.shape[2] < 2:
        return np.inf
    with np.errstate(all="ignore"):
        spread = (
            np.nanmax(points, axis=2) - np.nanmin(points, axis=2)
            if np.isfinite(points).any()
            else np.zeros(1)
        )
        spread = np.linalg.norm(spread, axis=-1)
    spread = spread[np.isfinite(spread)]
    return float(np.median(spread)) if spread.size else np.inf
