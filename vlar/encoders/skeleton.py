"""A clip of joints as one form for all layouts: people at even times, without gaps, and how sure.

Gaps of a joint up to a quarter of a second are interpolated. Longer ones are interpolated too, so
that every number is finite, and count as not visible. A joint that is never seen lies where the
joint is that it hangs on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.encoders.attribute_words import AttributeWords
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.lite import body
from vlar.errors import UsageError
from vlar.media.skeleton.layouts import joint_map, layout, levels, parents, remap
from vlar.pose import signals
from vlar.pose.body import HIPS, JOINTS, LEAST_FRAMES, SHOULDERS
from vlar.pose.features import POSE_WIDTH, features_from_tracks, motion_vector
from vlar.pose.track import Tracks
from vlar.registry import register
from vlar.types import Clip, Float32, Float64

BODY, HAND = "mediapipe33", "hands21"
_GAP_S = 0.25
_UNITS = ("m", "px", "picture")
_MOST_PEOPLE = 3
_LEAST_SHARE = 0.3  # of the usual number of joints, for a person to be there

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SkeletonPeople:
    """The people of a clip, the one who moves most first.

    Attributes:
        points: (M, T, V, C) float64 joints of ``BODY`` or ``HAND``; C is 3 for metres (y up), 2 for
            a picture (y down), in widths of the same length for both axes.
        visible: (M, T, V) float64, 0 to 1.
        there: (M, T) whether the person is seen at all.
        times_s: (T,) float64 even times.
        kind: ``body`` or ``hand``.
        in_metres: Whether the points are in metres.
        n_seen: Frames of the clip in which somebody is seen.
    """

    points: Float64
    visible: Float64
    there: Bools
    times_s: Float64
    kind: str
    in_metres: bool
    n_seen: int


def people_of(
    clip: Clip, rows: int, *, into: str | None = None, most: int = _MOST_PEOPLE
) -> SkeletonPeople | None:
    """The people of a clip at ``rows`` even times; None where nobody is seen.

    Frames before the first and after the last joint that is seen are left out, and so are people
    who are never seen: padding changes nothing.

    Args:
        clip: Joints over time.
        rows: T.
        into: Layout of the joints; None is ``BODY`` or ``HAND``.
        most: Largest number of people.

    Raises:
        UsageError: the clip is not of joints, or its layout or unit is unknown.
    """
    points, confidence, name, unit = _content(clip)
    observed = _seen(points)  # (T, M, V)
    frames = np.flatnonzero(observed.any(axis=(1, 2)))
    persons = np.flatnonzero(observed.any(axis=(0, 2)))
    if not len(frames):
        return None
    span = slice(int(frames[0]), int(frames[-1]) + 1)
    points, confidence = points[span][:, persons], confidence[span][:, persons]
    times_s = np.asarray(clip.times_s, np.float64)[span]
    points, confidence, times_s = _even(points, confidence, times_s, rows)
    times_s = np.asarray(signals.clock(times_s, clip.meta.get("rate_hz")), np.float64)
    kind = layout(name).body
    target = into or (BODY if kind == "body" else HAND)
    mapped = joint_map(name, target)
    sure = np.einsum("wv,tmv->tmw", mapped.weights, confidence) * mapped.covered
    points = np.asarray(remap(points, name, target), np.float64)
    chosen = _busiest(points)[:most]
    rows_of = [_filled(points[:, m], sure[:, m], times_s, target) for m in chosen]
    filled, visible, present = (np.stack(part) for part in zip(*rows_of, strict=True))
    return SkeletonPeople(filled, visible, present, times_s, kind, unit == "m", len(frames))


def _content(clip: Clip) -> tuple[Float64, Float64, str, str]:
    """Points (T, M, V, C) on square axes, their confidence, and the layout and unit."""
    name, unit = str(clip.meta.get("layout", "")), str(clip.meta.get("unit", ""))
    if clip.modality != "skeleton" or clip.data.ndim != 4:
        raise UsageError(
            f"{clip.path}: the clip is of the sensor {clip.modality!r} and of shape "
            f"{clip.data.shape}; this model reads joints (T, M, V, C) of the sensor 'skeleton'"
        )
    if unit not in _UNITS:
        raise UsageError(
            f"{clip.path}: the unit of its joints is {unit!r}; meta['unit'] must be one of "
            f"{', '.join(_UNITS)}"
        )
    rows = layout(name)
    points = np.asarray(clip.data, np.float64)
    if points.shape[2] != len(rows.joints):
        raise UsageError(
            f"{clip.path}: {points.shape[2]} joints, and the layout {rows.name!r} has "
            f"{len(rows.joints)}; give the right layout, or convert with "
            "vlar.media.skeleton.layouts.remap"
        )
    if unit == "m" and points.shape[3] == 2:
        unit, points = "px", points * np.array([1, -1])  # a flat body: y is up in metres
    if unit != "m":
        points = points[..., :2]
    if unit == "picture":
        width, height = clip.meta.get("size", (16.0, 9.0))
        points = points * np.array([width / height, 1.0])
    stated_confidence = clip.meta.get("confidence")
    confidence = (
        np.ones(points.shape[:3]) if stated_confidence is None else np.nan_to_num(stated_confidence)
    )
    return points, np.asarray(confidence, np.float64), rows.name, unit


def _even(
    points: Float64, confidence: Float64, times_s: Float64, rows: int
) -> tuple[Float64, Float64, Float64]:
    """Points and confidence at ``rows`` even times, the first and the last included."""
    if len(times_s) == rows and np.allclose(np.diff(times_s), np.ptp(times_s) / max(rows - 1, 1)):
        return points, confidence, times_s
    times = np.linspace(times_s[0], times_s[-1], rows)
    after = np.searchsorted(times_s, times).clip(min(1, len(times_s) - 1), len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    gap = np.maximum(times_s[after] - times_s[before], 1e-9)
    share = ((times - times_s[before]) / gap).clip(0, 1)
    near = np.where(share < 0.5, before, after)

    def mixed(values: Float64) -> Float64:
        weight = share.reshape(-1, *(1,) * (values.ndim - 1))
        mixed_values = values[before] * (1 - weight) + values[after] * weight
        return np.where(np.isnan(mixed_values), values[near], mixed_values)

    return mixed(points), mixed(confidence), times


def _busiest(points: Float64) -> list[int]:
    """People by the energy of their motion; of equal ones the first."""
    with np.errstate(invalid="ignore"):
        steps = np.nan_to_num(np.diff(points, axis=0))
    energy = np.square(steps).sum(axis=(0, 2, 3))
    return sorted(range(points.shape[1]), key=lambda person: -float(energy[person]))


def _filled(
    points: Float64, sure: Float64, times_s: Float64, target: str
) -> tuple[Float64, Float64, Bools]:
    """One person (T, V, C) without gaps, the visibility (T, V), and when the person is there."""
    observed = _seen(points)
    filled, visible = points.copy(), sure * observed
    for joint in np.flatnonzero(observed.any(axis=0) & ~observed.all(axis=0)):
        frames = np.flatnonzero(observed[:, joint])
        for axis in range(points.shape[2]):
            filled[:, joint, axis] = np.interp(
                times_s, times_s[frames], points[frames, joint, axis]
            )
        visible[_short_gaps(observed[:, joint], times_s), joint] = float(sure[frames, joint].mean())
    hidden = np.logical_not(observed.any(axis=0))
    middle = filled[:, ~hidden].mean(axis=1)
    for joint in np.argsort(levels(target), kind="stable"):
        if hidden[joint]:
            up = int(parents(target)[joint])
            filled[:, joint] = middle if up == joint or hidden[up] else filled[:, up]
            hidden[joint] = False
    usual = float(np.median(observed.sum(axis=1)[observed.any(axis=1)])) if observed.any() else 0.0
    present = np.greater_equal(observed.sum(axis=1), max(1.0, _LEAST_SHARE * usual))
    return filled, visible, present


def _seen(points: Float64) -> Bools:
    """(...) whether all coordinates (..., C) of a joint are numbers."""
    return np.asarray(np.isfinite(points).all(axis=-1), np.bool_)


def _short_gaps(seen: Bools, times_s: Float64) -> Bools:
    """(T,) the frames of gaps of at most a quarter of a second between two that are seen."""
    frames = np.flatnonzero(seen)
    short = np.zeros(len(seen), bool)
    for before, after in itertools.pairwise(frames.tolist()):
        if after - before > 1 and times_s[after] - times_s[before] <= _GAP_S:
            short[before + 1 : after] = True
    return short


_FILL = 0.7  # share of the picture's height that the movement takes
_ROOM = 0.35  # of its height that stays free on both sides
_TOGETHER = 0.5  # share of the frames with both, from which two people are a pair
_SIDE_BY_SIDE = 0.5  # mean cosine of the line between two people and their shoulders


def pose_rows(people: SkeletonPeople | None, rows: int, *, pairs: bool = True) -> Float32:
    """Frame features (rows, POSE_WIDTH) of the people of a clip, by the view of ``facing``.

    They are zeros where nobody is seen, and for fewer than five frames: those show no motion.
    """
    if people is None or people.kind != "body" or people.n_seen < LEAST_FRAMES:
        return np.zeros((rows, POSE_WIDTH), np.float32)
    flat = facing(people, pairs=pairs)[..., :2] * np.array([1, -1 if people.in_metres else 1])
    core = flat[:, :, list(JOINTS)]
    low, high = core.min(axis=(0, 1, 2)), core.max(axis=(0, 1, 2))
    scale = _FILL / max(float((high - low)[1]), 1e-6)
    wide = float((high - low)[0]) * scale
    points = (flat - low) * scale + np.array([_ROOM, (1 - _FILL) / 2])
    joined = np.concatenate([points, people.visible[..., None]], axis=-1).astype(np.float32)
    joined *= people.there[..., None, None]
    tracks = Tracks(joined, people.there.astype(np.float32))
    return features_from_tracks(tracks, people.times_s, wide + 2 * _ROOM)


def facing(people: SkeletonPeople, *, pairs: bool = True) -> Float64:
    """(M, T, V, C) the points, turned about the vertical to the view that words describe.

    A person faces the camera, the right of the person at the right, as in a mirror. Two people are
    seen from the side: the line between them lies across the view, with the right of both at the
    right where they stand side by side, else with the one who moves most at the left. Only bodies
    in metres are turned. Without ``pairs`` the first person faces the camera in any company.
    """
    if not people.in_metres or people.kind != "body":
        return people.points
    to_the_right = _between(people) if pairs else None
    x, z = _shoulder_line(people.points[0]) if to_the_right is None else to_the_right
    length = float(np.hypot(x, z))
    if length < 1e-6:
        return people.points
    cos, sin = x / length, z / length
    old_x, y, old_z = np.moveaxis(people.points, -1, 0)
    return np.stack([old_x * cos + old_z * sin, y, old_z * cos - old_x * sin], axis=-1)


def _shoulder_line(body: Float64) -> Float64:
    """(2,) x and z from the left to the right of a body (T, V, 3), shoulders and hips added."""
    across = body[:, SHOULDERS[1]] - body[:, SHOULDERS[0]] + body[:, HIPS[1]] - body[:, HIPS[0]]
    return np.asarray(np.median(across[:, [0, 2]], axis=0), np.float64)


def _between(people: SkeletonPeople) -> Float64 | None:
    """(2,) x and z of the line between two people, towards the right; None without a pair.

    It is the main direction of all frames: of people who pass each other the median would be 0.
    """
    pair = people.points[:2]
    together = people.there[:2].all(axis=0)
    if len(pair) < 2 or together.mean() < _TOGETHER:
        return None
    hips = pair[:, together][:, :, list(HIPS)].mean(axis=2)
    apart = (hips[1] - hips[0])[:, [0, 2]]
    if float(np.median(np.linalg.norm(apart, axis=1))) < 1e-6:
        return None
    line = np.linalg.eigh(apart.T @ apart).eigenvectors[:, 1]
    rights = np.array([_shoulder_line(body) for body in pair])
    agreed = float((rights @ line).sum()) / max(float(np.linalg.norm(rights, axis=1).sum()), 1e-6)
    side = agreed if abs(agreed) > _SIDE_BY_SIDE else float((apart @ line).sum())
    return np.asarray(line * (1 if side >= 0 else -1), np.float64)


_BODY_JOINTS = (
    "nose",
    *(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle", "toe")
        for side in ("left", "right")
    ),
)
_HAND_JOINTS = layout(HAND).joints
_INDEX = {name: index for index, name in enumerate(layout(BODY).joints)}
_HAND_INDEX = {name: index for index, name in enumerate(_HAND_JOINTS)}
BODY_WIDTH = 3 * (len(_BODY_JOINTS) + 1)
HAND_WIDTH = 3 * (len(_HAND_JOINTS) + 1)
PATH_WIDTH = BODY_WIDTH + HAND_WIDTH
_MOST = 10.0  # lengths of the trunk; farther is a fault of the recording


def path_rows(people: SkeletonPeople | None, rows: int, *, pairs: bool = True) -> Float32:
    """(rows, PATH_WIDTH) the path of the person who moves most; zeros where nobody is seen.

    A body fills the first columns and a hand the last ones. The third coordinate of joints in a
    picture is 0.
    """
    rows_out = np.zeros((rows, PATH_WIDTH), np.float32)
    if people is None:
        return rows_out
    points = facing(people, pairs=pairs)[0]
    points = np.concatenate([points, np.zeros((*points.shape[:2], 3 - points.shape[2]))], axis=2)
    if people.kind == "body":
        rows_out[:, :BODY_WIDTH] = _body(points)
    else:
        rows_out[:, BODY_WIDTH:] = _hand(points)
    return rows_out


def _body(points: Float64) -> Float64:
    hips = points[:, [_INDEX["left_hip"], _INDEX["right_hip"]]].mean(axis=1)
    chest = points[:, [_INDEX["left_shoulder"], _INDEX["right_shoulder"]]].mean(axis=1)
    chosen = points[:, [_INDEX[name] for name in _BODY_JOINTS]]
    return _scaled(chosen, hips, chest)


def _hand(points: Float64) -> Float64:
    base, wrist = points[:, _HAND_INDEX["middle_base"]], points[:, _HAND_INDEX["wrist"]]
    tip = points[:, _HAND_INDEX["middle_knuckle"]]
    far = np.where(np.abs(base - wrist).sum(axis=1, keepdims=True) > 1e-9, wrist, tip)
    return _scaled(points, base, far)


def _scaled(points: Float64, centre: Float64, end: Float64) -> Float64:
    """(T, V, 3) relative to a centre (T, 3), and its way, over the usual distance to an end."""
    length = max(float(np.median(np.linalg.norm(end - centre, axis=1))), 1e-6)
    away = (points - centre[:, None]) / length
    way = (centre - centre[0]) / length
    rows = np.concatenate([away, way[:, None]], axis=1).reshape(len(points), -1)
    return np.clip(rows, -_MOST, _MOST)


@register("encoder", "skeleton")
class SkeletonEncoder(AttributeWords):
    """Movements of the bodies of a skeleton file, in the attributes of ``lite``'s motion block.

    Joints of every layout become 33 points (``vlar.media.skeleton.layouts.remap``). A body in
    metres is viewed from the front and a pair from the side, bodies of a picture unchanged, and the
    attributes are measured as on the bodies of a video. Features are the path of the joints and
    these bodies, 64 rows a clip. A hand has a path and no attributes: it needs examples.
    """

    name = "skeleton"
    modality = "skeleton"
    version = 2  # pairs in metres are seen from the side; else as in version 1
    n_frames = fixed_rows = 64
    longest_s = body.LONGEST_S
    frame_blocks = (FrameBlock("path", PATH_WIDTH, "signal", 3), body.POSE_BLOCK)

    def features_of(self, clip: Clip) -> Float32:
        """(64, F) the path and the bodies of a clip."""
        rows, pairs = self.feature_rows, self.version > 1
        people = people_of(clip, rows)
        blocks = path_rows(people, rows, pairs=pairs), pose_rows(people, rows, pairs=pairs)
        return np.concatenate(blocks, axis=1)

    def before(self) -> Encoder | None:
        return None if self.version == 1 else _First(self.name.partition(":")[2])

    def motion(self, features: Float32) -> Float32:
        return motion_vector(features[:, PATH_WIDTH:])


class _First(SkeletonEncoder):
    version = 1  # for models that learned with it
