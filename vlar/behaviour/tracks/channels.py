"""Channels of tracks: distances, speeds, angles, areas and contacts at every frame.

All lengths are in body lengths. A channel that has one value an animal, or one an ordered pair of
animals, becomes its least, mean and greatest value: the answer does not depend on which animal is
called the first. What is missing is NaN. Channels that name points come last: the others mean the
same for any points.

Letters: T frames, M animals, V points, C coordinates (2 or 3), K key points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from vlar.behaviour.tracks.layouts import Region
from vlar.types import Float32, Float64

_KEY_POINTS = 8  # points whose distances are channels
_PAIR_POINTS = 5  # points of two animals whose distances are channels
_SAMPLE = 2000  # frames that show how large and how long a body is
_SMOOTH_S, _GAP_S = 0.12, 0.5
EVEN_HZ = 30.0
_FINE = 4  # steps of a frame at EVEN_HZ
_BOX = 10  # of these steps on both sides of a frame, whose mean is taken
_STILL = 0.1  # quantile of the speeds that counts as still
_LEAST_STILL = 1e-3  # lengths a second: some trackers repeat a point exactly
_UPRIGHT = 0.5  # length of the mean direction of a body that keeps it
_NEAR = 0.35  # body lengths: a contact
OF_POINTS = "point "  # how the name of a channel that names points begins
Channels = dict[str, Float64]


@dataclass(frozen=True)
class Body:
    """Facts of the points of a recording.

    Attributes:
        front: Number of the point at the front of the body.
        back: Number of the point at the back.
        keys: Points whose distances are channels.
        length: Body length, in the unit of the points.
        edges: (2, C) least and greatest place of the points.
        angles: Whether the coordinates are angles in degrees.
        regions: Regions whose occupancy is a channel.
        still: Speed of the points when the animal is still, in lengths a second; None for unknown.
        upright: Whether the second coordinate is a height.
    """

    front: int
    back: int
    keys: tuple[int, ...]
    length: float
    edges: Float64
    angles: bool = False
    regions: tuple[Region, ...] = ()
    still: float | None = None
    upright: bool = True

    @classmethod
    def of(
        cls,
        points: Float32,
        rate_hz: float,
        *,
        axis: tuple[int, int] | None = None,
        keys: Sequence[int] | None = None,
        angles: bool = False,
        regions: tuple[Region, ...] = (),
        even: bool = False,
        upright: bool = True,
    ) -> Body:
        """Facts of points (T, M, V, C), those that are not given.

        Args:
            points: As a file has them.
            rate_hz: Frames a second.
            axis: Front and back point.
            keys: Points whose distances are channels.
            angles: Whether the coordinates are angles in degrees.
            regions: Regions whose occupancy is a channel.
            even: Whether the points are at ``EVEN_HZ``, so that speeds compare.
            upright: Whether the second coordinate is a height.
        """
        sample = points[:: max(1, len(points) // _SAMPLE)]
        front, back = axis or axis_of(points, rate_hz)
        flat = sample.reshape(-1, points.shape[-1]).astype(np.float64)
        flat = flat[np.isfinite(flat).all(axis=1)]
        edges = np.quantile(flat, [0.005, 0.995], axis=0) if len(flat) else np.zeros((2, 2))
        chosen = tuple(keys) if keys is not None else tuple(sorted(key_points(sample, _KEY_POINTS)))
        body = cls(front, back, chosen, body_length(sample), edges, angles, regions, None, upright)
        return replace(body, still=_still(points, rate_hz, body.length)) if even else body


def at_rate(points: Float32, rate_hz: float) -> Float32:
    """Points at ``EVEN_HZ``, alike for every rate that a recording had.

    Args:
        points: (T, M, V, C).
        rate_hz: Frames a second of the recording.
    """
    count = max(1, round(len(points) / rate_hz * EVEN_HZ))
    fine = np.arange(count * _FINE) / (EVEN_HZ * _FINE) * rate_hz
    frames, nearest = np.arange(len(points)), np.rint(fine[::_FINE]).astype(np.intp)
    flat = points.reshape(len(points), -1)
    result = np.full((count, flat.shape[1]), np.nan, np.float32)
    for column in range(flat.shape[1]):
        present = np.isfinite(flat[:, column])
        if present.any():
            curve = np.interp(fine, frames[present], flat[present, column].astype(np.float64))
            rows = present[nearest.clip(0, len(points) - 1)]
            result[rows, column] = _smooth(curve, _BOX)[::_FINE][rows]
    return result.reshape(count, *points.shape[1:])


def filled(points: Float32, rate_hz: float) -> Float32:
    """Points without short gaps, smoothed by a median and a short mean.

    Args:
        points: (T, M, V, C).
        rate_hz: Frames a second.
    """
    longest = max(1, round(_GAP_S * rate_hz))
    flat = points.reshape(len(points), -1)
    result = np.empty_like(flat)
    frames = np.arange(len(flat))
    half = max(0, round(_SMOOTH_S * rate_hz / 2))
    for column in range(flat.shape[1]):
        values = flat[:, column].astype(np.float64)
        present = np.flatnonzero(np.isfinite(values))
        if len(present) < 2:
            result[:, column] = np.nan
            continue
        curve = np.interp(frames, present, values[present])
        middle = curve.copy()
        middle[1:-1] = np.median(np.stack([curve[:-2], curve[1:-1], curve[2:]]), axis=0)
        curve = _smooth(middle, half)
        if len(present) < len(values):
            before = np.searchsorted(present, frames, side="right") - 1
            after = np.minimum(before + 1, len(present) - 1)
            gap = present[after] - present[np.maximum(before, 0)]
            outside = (frames < present[0]) | (frames > present[-1])
            curve[(~np.isfinite(values) & (gap > longest)) | outside] = np.nan
        result[:, column] = curve
    return result.reshape(points.shape)


def _smooth(values: Float64, half: int) -> Float64:
    """Running mean over an odd number of frames, shorter at the ends."""
    half = min(half, len(values) - 1)
    if half < 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    frames = np.arange(len(values))
    begin, end = np.maximum(frames - half, 0), np.minimum(frames + half + 1, len(values))
    return (sums[end] - sums[begin]) / (end - begin)


def body_length(points: Float32) -> float:
    """Typical length of a body: 4 times the root mean square distance to its middle.

    Args:
        points: (T, M, V, C).

    Returns:
        In the unit of the points; 1 where a body has a single point.
    """
    square = np.square(points - _mean(points, axis=2)[:, :, None]).sum(axis=-1)
    enough = np.asarray(np.isfinite(square).mean(axis=2) >= 0.8, np.bool_)
    radius = np.sqrt(_mean(square, axis=2)[enough])
    length = 4 * float(np.median(radius)) if radius.size else 0.0
    return length if length > 1e-6 else 1.0


def _apart(points: Float32) -> Float64:
    """(V, V) median distance of the points of one animal."""
    n = points.shape[2]
    apart = np.zeros((n, n))
    for a, b in combinations(range(n), 2):
        distance = _norm(points[:, :, a] - points[:, :, b])
        distance = distance[np.isfinite(distance)]
        apart[a, b] = apart[b, a] = float(np.median(distance)) if distance.size else 0.0
    return apart


def key_points(points: Float32, count: int) -> list[int]:
    """Points that are far from each other and often present, in the order of choice."""
    share = np.isfinite(points).all(axis=-1).mean(axis=(0, 1))
    if points.shape[2] <= count:
        return list(range(points.shape[2]))
    apart = _apart(points)
    chosen = [int((apart.sum(axis=1) * share).argmax())]
    while len(chosen) < count:
        distance = apart[chosen].min(axis=0) * share
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return chosen


def axis_of(points: Float32, rate_hz: float) -> tuple[int, int]:
    """Front and back of a body of any layout: the ends of its longest line, the leading one first.

    Args:
        points: (T, M, V, C).
        rate_hz: Frames a second.
    """
    n = points.shape[2]
    if n < 2:
        return 0, 0
    apart = _apart(points[:: max(1, len(points) // _SAMPLE)])
    a, b = np.unravel_index(int(apart.argmax()), apart.shape)
    velocity = _rate(_mean(points, axis=2), rate_hz)
    line = (points[:, :, a] - points[:, :, b]).astype(np.float64)
    leads = np.nansum((velocity * line).sum(axis=-1))
    return (int(a), int(b)) if leads >= 0 else (int(b), int(a))


def upright_of(points: Float32, front: int, back: int) -> bool:
    """Return whether bodies (T, M, V, C) keep their direction, as before a camera at the side."""
    line = _unit((points[:, :, front] - points[:, :, back]).astype(np.float64))
    return bool(_norm(_mean(line.reshape(-1, line.shape[-1]), axis=0)) > _UPRIGHT)


def _still(points: Float32, rate_hz: float, length: float) -> float:
    """Low quantile of the mean speed of the points (T, M, V, C), in lengths a second."""
    speeds = _mean(_norm(_rate(filled(points, rate_hz).astype(np.float64), rate_hz)), axis=2)
    speeds = speeds[np.isfinite(speeds)]
    quantile = float(np.quantile(speeds, _STILL)) if speeds.size else 0.0
    return max(quantile / length, _LEAST_STILL)


def channels_of(points: Float32, rate_hz: float, body: Body) -> tuple[list[str], Float32]:
    """Names and values (T, N) of the channels of tracks; those that name points come last.

    Args:
        points: (T, M, V, C) as a file has them.
        rate_hz: Frames a second.
        body: Facts of the points.
    """
    if body.angles:
        return _of_angles(points, rate_hz)
    present = np.asarray(np.isfinite(points).all(axis=-1))
    scaled = (filled(points, rate_hz) / body.length).astype(np.float64)
    animals = range(points.shape[1])
    channels = [_of_animal(scaled[:, m], rate_hz, body) for m in animals]
    for m, row in enumerate(channels):
        row["present"] = present[:, m].mean(axis=1).astype(np.float64)
        row.update(_occupancy(points[:, m], body.regions))
    columns = _over(channels)
    headings = [row[:, body.front] - row[:, body.back] for row in scaled.transpose(1, 0, 2, 3)]
    pairs = [
        _of_pair(scaled[:, a], scaled[:, b], headings[a], headings[b], rate_hz, body)
        for a in animals
        for b in animals
        if a != b
    ]
    for name, value in _over(pairs).items():
        named = name.startswith(OF_POINTS)
        columns[f"{OF_POINTS}pair {name[len(OF_POINTS) :]}" if named else f"pair {name}"] = value
    if points.shape[1] > 1:
        columns["animals"] = np.any(present, axis=-1).sum(axis=1).astype(np.float64)
    names = sorted(columns, key=lambda name: name.startswith(OF_POINTS))
    return names, np.stack([columns[name] for name in names], axis=1).astype(np.float32)


def _over(rows: list[Channels]) -> Channels:
    """Least, mean and greatest value over animals or pairs; the value itself of a single one."""
    if len(rows) < 2:
        return dict(rows[0]) if rows else {}
    columns: Channels = {}
    for name in rows[0]:
        stacked = np.stack([row[name] for row in rows])
        columns[f"{name}, least"] = np.fmin.reduce(stacked)
        columns[f"{name}, most"] = np.fmax.reduce(stacked)
        if len(rows) > 2:
            columns[f"{name}, mean"] = _mean(stacked, axis=0)
    return columns


def _of_animal(points: Float64, rate_hz: float, body: Body) -> Channels:
    """Channels of one animal (T, V, C)."""
    columns: Channels = {}
    middle = _mean(points, axis=1)
    velocity = _rate(middle, rate_hz)
    speed = _norm(velocity)
    speeds = _norm(_rate(points, rate_hz))
    inner = points - middle[:, None]
    inner_speeds = _norm(_rate(inner, rate_hz))
    line = points[:, body.front] - points[:, body.back]
    heading = _unit(line)
    forward = (velocity * heading).sum(axis=-1)
    columns |= {
        "speed": speed,
        "acceleration": _rate(speed, rate_hz),
        "mean speed": _mean(speeds, axis=1),
        "least speed": np.fmin.reduce(speeds, axis=1),
        "most speed": np.fmax.reduce(speeds, axis=1),
        "mean inner speed": _mean(inner_speeds, axis=1),
        "most inner speed": np.fmax.reduce(inner_speeds, axis=1),
        "length": _norm(line),
        "forward": forward,
        "sideways": np.sqrt(np.maximum(np.square(speed) - np.square(forward), 0)),
        "turning": _norm(_rate(heading, rate_hz)),
        "wall": np.minimum(
            middle - body.edges[0] / body.length, body.edges[1] / body.length - middle
        ).min(axis=-1),
    }
    columns |= _shape(points, inner)
    if body.still is not None:  # in each recording of a model, so that all have the same channels
        columns["liveliness"] = np.log2(columns["mean speed"] / body.still + 0.1)
    for a, b in combinations(body.keys, 2):
        columns[f"{OF_POINTS}distance {a} {b}"] = _norm(points[:, a] - points[:, b])
    for a in body.keys:
        columns[f"{OF_POINTS}speed {a}"] = speeds[:, a]
        columns[f"{OF_POINTS}inner speed {a}"] = inner_speeds[:, a]
        if body.upright:
            columns[f"{OF_POINTS}height {a}"] = inner[:, a, 1]
        if a not in (body.front, body.back):
            from_back = points[:, a] - points[:, body.back]
            along = (from_back * heading).sum(axis=-1)
            across = np.square(from_back).sum(axis=-1) - np.square(along)
            columns[f"{OF_POINTS}along {a}"] = along
            columns[f"{OF_POINTS}across {a}"] = np.sqrt(np.maximum(across, 0))
    return columns


def _occupancy(points: Float32, regions: Sequence[Region]) -> Channels:
    """Share of the points (T, V, C) of an animal that lie in each region."""
    return {
        f"in {region.name}": _mean(
            np.where(np.isfinite(points).all(axis=-1), _inside(points, region), np.nan), axis=1
        )
        for region in regions
    }


def _inside(points: Float32, region: Region) -> npt.NDArray[np.bool_]:
    """Return which points (..., C) lie in a region, by the rule of crossings."""
    x, y = points[..., 0], points[..., 1]
    if region.circle:
        centre_x, centre_y, radius = region.circle
        return np.asarray(np.hypot(x - centre_x, y - centre_y) <= radius, np.bool_)
    inside = np.zeros(x.shape, np.bool_)
    corners = region.polygon
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if y1 != y2:
            crosses = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
            inside ^= crosses
    return inside


def _shape(points: Float64, inner: Float64) -> Channels:
    """Area and elongation of the points (T, V, C), from their covariance."""
    away = np.nan_to_num(inner)
    count = np.isfinite(points).all(axis=-1).sum(axis=1)
    covariance = np.einsum("tvc,tvd->tcd", away, away) / np.maximum(count, 1)[:, None, None]
    sizes = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0))
    few = count < 3
    area, ratio = sizes[:, -1] * sizes[:, -2], sizes[:, -2] / np.maximum(sizes[:, -1], 1e-6)
    area[few], ratio[few] = np.nan, np.nan
    return {"area": area, "elongation": ratio}


def _of_pair(
    a: Float64, b: Float64, line_a: Float64, line_b: Float64, rate_hz: float, body: Body
) -> Channels:
    """Channels of an ordered pair of animals (T, V, C) with the lines of their bodies."""
    keys = body.keys[:_PAIR_POINTS]
    named = [(i, j) for i in keys for j in keys]
    distances = [_norm(a[:, i] - b[:, j]) for i, j in named] or [np.full(len(a), np.nan)]
    near = np.stack(distances, axis=1)
    middle_a, middle_b = _mean(a, axis=1), _mean(b, axis=1)
    between = middle_b - middle_a
    apart = _norm(between)
    toward = between / np.maximum(apart, 1e-6)[:, None]
    heading_a, heading_b = _unit(line_a), _unit(line_b)
    velocity_a, velocity_b = _rate(middle_a, rate_hz), _rate(middle_b, rate_hz)
    front_a, front_b = a[:, body.front], b[:, body.front]
    columns: Channels = {
        "nearest": np.fmin.reduce(near, axis=1),
        "contacts": (near < _NEAR).sum(axis=1).astype(np.float64),
        "apart": apart,
        "closing": -_rate(apart, rate_hz),
        "front to body": np.fmin.reduce(_norm(front_a[:, None] - b), axis=1),
        "back to body": np.fmin.reduce(_norm(a[:, body.back][:, None] - b), axis=1),
        "front to front": _norm(front_a - front_b),
        "front to back": _norm(front_a - b[:, body.back]),
        "facing": (heading_a * toward).sum(axis=-1),
        "facing front": (heading_a * _unit(front_b - front_a)).sum(axis=-1),
        "alike": (heading_a * heading_b).sum(axis=-1),
        "approach": (velocity_a * toward).sum(axis=-1),
        "relative speed": _norm(velocity_a - velocity_b),
        "together": (velocity_a * velocity_b).sum(axis=-1),
        "overlap": (_norm(b - middle_a[:, None]) < 0.5).sum(axis=1).astype(np.float64),
    }
    for (i, j), distance in zip(named, distances, strict=False):
        columns[f"{OF_POINTS}distance {i} {j}"] = distance
    return columns


def _of_angles(points: Float32, rate_hz: float) -> tuple[list[str], Float32]:
    """Channels of joint angles in degrees: the angles, and how quick they change."""
    curves = np.radians(filled(points, rate_hz).reshape(len(points), -1).astype(np.float64))
    speed = np.abs(_rate(curves, rate_hz))
    columns = {"mean speed": _mean(speed, axis=1), "most speed": np.fmax.reduce(speed, axis=1)}
    for n in range(curves.shape[1]):
        columns[f"{OF_POINTS}angle {n}"] = curves[:, n]
        columns[f"{OF_POINTS}speed {n}"] = speed[:, n]
    return list(columns), np.stack(list(columns.values()), axis=1).astype(np.float32)


def _mean(values: Float64 | Float32, axis: int) -> Float64:
    present = np.isfinite(values)
    count = present.sum(axis=axis)
    total = np.where(present, values, 0).sum(axis=axis, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _norm(vectors: Float64 | Float32) -> Float64:
    return np.asarray(np.sqrt(np.square(vectors).sum(axis=-1)), np.float64)


def _unit(vectors: Float64) -> Float64:
    return vectors / np.maximum(_norm(vectors), 1e-6)[..., None]


def _rate(values: Float64, rate_hz: float) -> Float64:
    """Central difference a second over about .13 s."""
    step = max(1, round(0.067 * rate_hz))
    result = np.full(values.shape, np.nan)
    if len(values) > 2 * step:
        result[step:-step] = (values[2 * step :] - values[: -2 * step]) * (rate_hz / (2 * step))
        result[:step], result[-step:] = result[step], result[-step - 1]
    return result
