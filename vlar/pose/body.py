"""One person's motion, ready to measure: smoothed, in body heights, without camera motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.optical_flow import stabilise
from vlar.pose.skeletons import BLAZEPOSE_33
from vlar.pose.track import Tracks
from vlar.types import Float32, Float64

Points = npt.NDArray[np.floating[Any]]

SKELETON = BLAZEPOSE_33  # the layout of all tracks; the indices below are its joints
NOSE, (L_EAR, R_EAR), MOUTH = SKELETON.index("nose"), SKELETON.both("ear"), SKELETON.both("mouth")
SHOULDERS, ELBOWS = SKELETON.both("shoulder"), SKELETON.both("elbow")
WRISTS, HIPS = SKELETON.both("wrist"), SKELETON.both("hip")
KNEES, ANKLES = SKELETON.both("knee"), SKELETON.both("ankle")
JOINTS = (NOSE, *SHOULDERS, *ELBOWS, *WRISTS, *HIPS, *KNEES, *ANKLES)

_LEAST_SCORE = 0.5
_LEAST_SHARE = 0.3  # share of the frames in which a person must be detected
_LEAST_OF_PARTNER = 0.12  # the same for a second person
LEAST_FRAMES = 5
_SMOOTHING_S = 0.05
_LEAST_SMOOTHING = 0.4  # frames
_FASTEST = 3.0  # body heights per second, to and fro between frames; more is a tracking error
_WHOLE_BODY = 1.12  # body height over the length nose - hips - knees - ankles
_OUTSIDE = 0.02  # frame heights outside the frame at which a point still counts as inside
_ACTIVE_SPEED = 0.3  # share of the 90th percentile of the speed
_ACTIVE_MARGIN_S = 0.15
_SHORTEST_ACTIVE = (8, 0.6)  # frames, seconds
_HEIGHT_PERCENTILE = 75
_ONE_SIZE = 0.7  # share of the other's size and visible time


@dataclass(frozen=True)
class Trust:
    """Measurability of each part of a body, 0 to 1: visible and inside the frame."""

    shoulders: float
    hips: float
    knees: float
    legs: float
    arm: float
    both_arms: float


@dataclass(frozen=True)
class BodyMotion:
    """A person over T frames.

    Attributes:
        places: (T, 33, 2) float64 joints in body heights, x to the right, y down, as a camera that
            stands still records them.
        picture: (T, 33, 2) float64 the same in frame heights, as the real camera records them.
        fps: Frames per second.
        trust: How well each part can be measured.
        body_height: Height of the person, in frame heights.
        seen: Share of the clip's frames from the person's first to last detection.
        camera_scale: (T,) size of the background relative to the first frame.
        first: Frame of the clip that is row 0.
        known: (T,) True for frames with a detection; the other rows are interpolated.
        aspect: Width over height of the frame.
    """

    places: Points
    picture: Points
    fps: float
    trust: Trust
    body_height: float
    seen: float
    camera_scale: Float64
    first: int
    known: npt.NDArray[np.bool_]
    aspect: float

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last frame, at least one frame."""
        return len(self.places) / self.fps

    @cached_property
    def hips(self) -> Points:
        """(T, 2) middle of the hips."""
        return self.places[:, HIPS].mean(axis=1)

    @cached_property
    def shoulders(self) -> Points:
        """(T, 2) middle of the shoulders."""
        return self.places[:, SHOULDERS].mean(axis=1)

    @cached_property
    def wrists(self) -> Points:
        """(T, 2 wrists, 2)."""
        return self.places[:, WRISTS]

    @cached_property
    def ankles(self) -> Points:
        """(T, 2 ankles, 2)."""
        return self.places[:, ANKLES]

    @cached_property
    def relative(self) -> Points:
        """(T, 33, 2) joints relative to the middle of the hips."""
        return self.places - self.hips[:, None]

    @cached_property
    def speed(self) -> Points:
        """(T,) mean speed of the joints, body heights per second."""
        return np.linalg.norm(self.rate(self.places[:, JOINTS]), axis=-1).mean(axis=1)

    def rate(self, x: Points) -> Points:
        """Change per second."""
        return signals.rate(x, self.fps)

    @cached_property
    def wrist_rate(self) -> Points:
        """(T, 2, 2) velocity of the wrists relative to the shoulders."""
        return self.rate(self.wrists - self.shoulders[:, None])

    @cached_property
    def busy_arm(self) -> int:
        """The arm that moves more: 0 left, 1 right."""
        return int(np.linalg.norm(self.wrist_rate, axis=-1).mean(axis=0).argmax())

    @cached_property
    def active(self) -> BodyMotion:
        """The part from the first to the last clear movement."""
        threshold = _ACTIVE_SPEED * float(np.percentile(self.speed, 90))
        moving = np.flatnonzero(self.speed > threshold)
        margin = int(_ACTIVE_MARGIN_S * self.fps)
        begin = max(0, moving[0] - margin) if len(moving) else 0
        stop = min(len(self.places), moving[-1] + margin + 1) if len(moving) else 0
        frames, seconds = _SHORTEST_ACTIVE
        if stop - begin < max(frames, seconds * self.fps):
            return self
        span = slice(begin, stop)
        return replace(
            self,
            places=self.places[span],
            picture=self.picture[span],
            camera_scale=self.camera_scale[span],
            known=self.known[span],
            first=self.first + begin,
        )


def prepare_body(
    points: Float32,
    score: Float32,
    fps: float,
    aspect: float,
    camera: Float32,
    least_share: float = _LEAST_SHARE,
) -> BodyMotion | None:
    """Prepare one track; None if the person has too few detections.

    Args:
        points: (T, 33, 3) float32, a row of ``Tracks.points``.
        score: (T,) float32, a row of ``Tracks.score``.
        fps: Frames per second.
        aspect: Width over height of the frame.
        camera: (T, 4) float32 from ``camera_steps``.
        least_share: Share of the frames (0 to 1) in which the person must be detected.
    """
    visible = score > _LEAST_SCORE
    if visible.sum() < LEAST_FRAMES or visible.mean() < least_share or fps <= 0:
        return None
    frames = np.flatnonzero(visible)
    span = slice(int(frames[0]), int(frames[-1]) + 1)
    visible, steps = visible[span], camera[span]
    filled = signals.fill_gaps(points[span].astype(np.float64), visible)
    width = max(_LEAST_SMOOTHING, _SMOOTHING_S * fps)
    # At a few frames per second a hand may really be elsewhere in each frame.
    least = _FASTEST * _body_height(filled[..., :2]) / fps
    picture = signals.smooth(signals.remove_spikes(filled[..., :2], least), width)
    height = _body_height(picture)
    if not height > 1e-4:
        return None
    scale = np.exp(np.concatenate([[0.0], np.cumsum(steps[:-1, 2])]))
    return BodyMotion(
        places=stabilise(picture, steps, aspect) / height,
        picture=picture,
        fps=fps,
        trust=_trust(picture, filled[..., 2], aspect),
        body_height=height,
        seen=len(picture) / len(score),
        camera_scale=scale,
        first=span.start,
        known=visible,
        aspect=aspect,
    )


def prepare_people(tracks: Tracks, fps: float, aspect: float, camera: Float32) -> list[BodyMotion]:
    """The people of a clip with enough detections, the actor first.

    The actor is large, visible for long and moves much for the size, unlike an onlooker. Of two
    people of about one size it is the one with the quickest hand or foot: who pushes, not who is
    pushed.
    """
    share = (tracks.score > _LEAST_SCORE).mean(axis=1)
    least = _LEAST_OF_PARTNER if (share >= _LEAST_SHARE).any() else _LEAST_SHARE
    rows = zip(tracks.points, tracks.score, strict=True)
    bodies = [prepare_body(points, score, fps, aspect, camera, least) for points, score in rows]
    people = sorted((body for body in bodies if body is not None), key=_weight, reverse=True)
    if len(people) > 1 and _alike(people[0], people[1]):
        people[:2] = sorted(people[:2], key=_quickest_limb, reverse=True)
    return people


def angle_deg(places: Points, corner: Sequence[int]) -> Points:
    """(T,) angle in degrees at the second of three joints; 180 is a straight limb."""
    a, b, c = (places[:, index] for index in corner)
    u, v = a - b, c - b
    length = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
    cosine = (u * v).sum(axis=-1) / (length + 1e-6)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _weight(body: BodyMotion) -> float:
    places = signals.remove_spikes(body.places)
    moves = np.linalg.norm(np.diff(places, axis=0), axis=-1).mean() * body.fps
    return len(body.places) * body.body_height * (0.3 + min(float(moves), 1.5))


def _alike(a: BodyMotion, b: BodyMotion) -> bool:
    """Return whether two people are about equally large and long visible: either may act."""
    sizes = sorted((a.body_height, b.body_height))
    visible = sorted((a.seen, b.seen))
    return sizes[0] > _ONE_SIZE * sizes[1] and visible[0] > _ONE_SIZE * visible[1]


def _quickest_limb(body: BodyMotion) -> float:
    """Top speed of a hand or foot relative to the hips, body heights per second."""
    limbs = signals.remove_spikes(body.relative[:, [*WRISTS, *ANKLES]])
    return float(np.percentile(np.linalg.norm(body.rate(limbs), axis=-1).max(axis=1), 95))


def _body_height(picture: Points) -> float:
    def distance(a: Any, b: Any) -> Points:
        return np.linalg.norm(a - b, axis=-1)

    shoulders, hips = picture[:, SHOULDERS].mean(axis=1), picture[:, HIPS].mean(axis=1)
    legs = distance(picture[:, HIPS], picture[:, KNEES]) + distance(
        picture[:, KNEES], picture[:, ANKLES]
    )
    total = distance(picture[:, NOSE], shoulders) + distance(shoulders, hips) + legs.mean(axis=1)
    return float(np.percentile(total, _HEIGHT_PERCENTILE)) * _WHOLE_BODY


def _trust(picture: Points, visible: Points, aspect: float) -> Trust:
    inside = ((picture > -_OUTSIDE) & (picture < (aspect + _OUTSIDE, 1 + _OUTSIDE))).all(axis=-1)
    mean = (visible * inside).mean(axis=0)

    def part(points: tuple[int, int], pick: Any, slope: float, offset: float) -> float:
        return float(np.clip(pick(mean[list(points)]) * slope - offset, 0, 1))

    return Trust(
        shoulders=part(SHOULDERS, max, 1.0, 0.0),
        hips=part(HIPS, min, 1.5, 0.2),
        knees=part(KNEES, min, 1.6, 0.3),
        legs=part(ANKLES, min, 1.6, 0.3),
        arm=part(WRISTS, max, 1.5, 0.2),
        both_arms=part(WRISTS, min, 1.5, 0.1),
    )
