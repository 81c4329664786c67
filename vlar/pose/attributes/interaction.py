"""Attributes of the interaction of two people: touches, blows, and who moves where.

Most measure the least distance and not its share of the time: a blow takes three frames of a clip.
For a person alone their trust is 0. Distances are those of the picture, in body heights (mean of
the two people).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, group_attribute, pair_attribute
from vlar.pose.body import (
    ANKLES,
    HIPS,
    KNEES,
    L_EAR,
    NOSE,
    R_EAR,
    SHOULDERS,
    WRISTS,
    BodyMotion,
    Points,
)
from vlar.pose.pair import ActorPair, share_together

_CLOSEST = 4  # percentile of a distance over time
_AT_TRUNK = 0.15  # body heights from the line shoulders - hips, for an arm around it
_IN_REACH = 0.40  # body heights from the other's shoulders, for a blow
_HEAD_DEPTH = 0.06  # body heights from the ears to the nose when the face looks sideways
_UNLIFTED = 0.12  # body heights over the other foot up to which a foot is on the ground
_LIMBS = (*WRISTS, *ANKLES)


def _both_ways(pair: ActorPair) -> tuple[tuple[Points, Points], ...]:
    return (pair.a, pair.b), (pair.b, pair.a)


def _across(pair: ActorPair) -> Points:
    """(T,) horizontal distance from the actor's hips to the partner's."""
    return _hips(pair.b)[:, 0] - _hips(pair.a)[:, 0]


def _ways(pair: ActorPair) -> list[float]:
    """Distance that each person moves to the right."""
    paths = [_hips(body)[:, 0] for body in pair.still]
    return [float(signals.end(path) - signals.start(path)) for path in paths]


def _hips(body: Points) -> Points:
    return body[:, HIPS].mean(axis=1)


def _shoulders(body: Points) -> Points:
    return body[:, SHOULDERS].mean(axis=1)


def _nearest(one: Points, other: Points) -> Points:
    """(T,) the least distance from any of the points (T, P, 2) to any of (T, Q, 2)."""
    return np.linalg.norm(one[:, :, None] - other[:, None], axis=-1).min(axis=(1, 2))


def _to_trunk(points: Points, body: Points) -> Points:
    """(T, P) distance from points (T, P, 2) to the line from a body's shoulders to its hips."""
    low, axis = _hips(body)[:, None], (_shoulders(body) - _hips(body))[:, None]
    along = ((points - low) * axis).sum(axis=-1) / np.maximum((axis**2).sum(axis=-1), 1e-6)
    return np.linalg.norm(points - low - np.clip(along, 0, 1)[..., None] * axis, axis=-1)


def _closest(distance: Points) -> float:
    return -float(np.percentile(distance, _CLOSEST))


@pair_attribute("hand_to_hand", "BH", centre=-0.18, width=0.08, mean=-0.5, column=64)
def hand_to_hand(pair: ActorPair) -> Measured:
    """Minus the least distance of a hand of one to a hand of the other: + hands meet, - apart."""
    return _closest(_nearest(pair.a[:, WRISTS], pair.b[:, WRISTS])), 1.0


@pair_attribute("hand_to_head", "BH", centre=-0.24, width=0.09, mean=-0.5, column=65)
def hand_to_head(pair: ActorPair) -> Measured:
    """Minus the least distance of a hand to the other's head: + at it, - away from it."""
    head = [NOSE, L_EAR, R_EAR]
    return max(_closest(_nearest(a[:, WRISTS], b[:, head])) for a, b in _both_ways(pair)), 1.0


@pair_attribute("head_to_head", "BH", centre=-0.15, width=0.08, mean=-0.5, column=66)
def head_to_head(pair: ActorPair) -> Measured:
    """Minus the least distance between the two faces: + cheek to cheek, - apart."""
    return _closest(np.linalg.norm(pair.a[:, NOSE] - pair.b[:, NOSE], axis=-1)), 1.0


@pair_attribute("hand_to_trunk", "BH", centre=-0.15, width=0.08, mean=-0.5, column=67)
def hand_to_trunk(pair: ActorPair) -> Measured:
    """Minus the least distance of a hand to the other's trunk: + at it, - away from it."""
    ways = [_to_trunk(a[:, WRISTS], b).min(axis=1) for a, b in _both_ways(pair)]
    return max(_closest(way) for way in ways), 1.0


@pair_attribute("foot_to_body", "BH", centre=-0.25, width=0.10, mean=-0.5, column=68)
def foot_to_body(pair: ActorPair) -> Measured:
    """Minus the least distance of a lifted foot to the other's body: + kicks it, - does not."""
    return max(_closest(_lifted_reach(a, b)) for a, b in _both_ways(pair)), 1.0


def _lifted_reach(one: Points, other: Points) -> Points:
    feet, body = one[:, ANKLES], other[:, [*SHOULDERS, *HIPS, *KNEES]]
    reach = np.linalg.norm(feet[:, :, None] - body[:, None], axis=-1).min(axis=2)
    lift = feet[..., 1].max(axis=1)[:, None] - feet[..., 1]
    return np.where(lift > _UNLIFTED, reach, 1.0).min(axis=1)


@pair_attribute("strike", "BH/s", centre=0.8, width=0.4, mean=-0.5, column=69)
def strike(pair: ActorPair) -> Measured:
    """Top speed at which a hand or foot nears the other's head or trunk: + a blow, - gentle."""
    return max(_rush(a, b, pair.fps) for a, b in _both_ways(pair)), 1.0


def _rush(one: Points, other: Points, fps: float) -> float:
    limbs = one[:, list(_LIMBS)] - _hips(one)[:, None]
    goal = (_shoulders(other) - _hips(one))[:, None]
    away = np.linalg.norm(limbs - np.median(goal, axis=0), axis=-1)
    nears = np.where(away < _IN_REACH, -signals.rate(away, fps), 0.0)
    return float(np.percentile(nears, 100 - _CLOSEST / 2, axis=0).max())


@pair_attribute("arms_around", "share", centre=0.25, width=0.15, mean=-0.5, column=70)
def arms_around(pair: ActorPair) -> Measured:
    """Share of the time with two hands or more at the other's trunk: + hold each other."""
    held = [(_to_trunk(a[:, WRISTS], b) < _AT_TRUNK).sum(axis=1) for a, b in _both_ways(pair)]
    return float((held[0] + held[1] >= 2).mean()), 1.0


@pair_attribute("merged", "share", centre=0.15, width=0.10, mean=-0.5, column=71)
def merged(pair: ActorPair) -> Measured:
    """Share of the time in which one hides the other, close by: + body at body."""
    return pair.hidden, 1.0


@pair_attribute("face_to_face", "cosine", centre=0.35, width=0.35, mean=0.0, column=72)
def face_to_face(pair: ActorPair) -> Measured:
    """Mutual look of the faces: + both look at each other, - one or both look away."""
    side = np.sign(_across(pair))
    look = [_facing(pair.a) * side, -_facing(pair.b) * side]
    sure = float(np.abs(look).mean())  # 0 for faces that look at the camera
    return float(np.median(look[0]) + np.median(look[1])) / 2, sure


def _facing(body: Points) -> Points:
    ears = body[:, [L_EAR, R_EAR], 0].mean(axis=1)
    return np.clip((body[:, NOSE, 0] - ears) / _HEAD_DEPTH, -1, 1)


@pair_attribute("both_act", "ratio", centre=0.55, width=0.20, mean=0.0, column=73)
def both_act(pair: ActorPair) -> Measured:
    """Speed of the calmer one's limbs over the busier one's: + both, - one alone acts."""
    slow, quick = sorted(_limb_speed(body, pair.fps) for body in (pair.a, pair.b))
    return slow / (quick + 1e-6), float(signals.step(quick, 0.5, 0.4))


def _limb_speed(body: Points, fps: float) -> float:
    away = (body - _hips(body)[:, None])[:, list(_LIMBS)]
    speed = np.linalg.norm(signals.rate(away, fps), axis=-1).max(axis=1)
    return float(np.percentile(speed, 90))


@pair_attribute("same_way", "cosine", centre=0.0, width=0.4, mean=0.0, column=74)
def same_way(pair: ActorPair) -> Measured:
    """Agreement of the two's ways across the picture: + the same way, - opposite ways."""
    a, b = _ways(pair)
    far = max(abs(a), abs(b))
    alike = 2 * a * b / (a * a + b * b + 1e-6)
    return alike, float(signals.step(far / pair.duration_s, 0.15, 0.15))


@pair_attribute("both_go", "ratio", centre=0.45, width=0.25, mean=0.0, column=75)
def both_go(pair: ActorPair) -> Measured:
    """Way of the one who goes less, over the other's way: + both go, - one stays."""
    near, far = sorted(abs(way) for way in _ways(pair))
    return near / (far + 1e-6), float(signals.step(far / pair.duration_s, 0.15, 0.15))


@pair_attribute("meet_and_part", "BH", centre=0.12, width=0.08, mean=-0.5, column=76)
def meet_and_part(pair: ActorPair) -> Measured:
    """Approach of the two against start and end: + come together and part again."""
    distance = signals.low_pass(np.abs(_across(pair)), pair.fps)
    outer = min(signals.start(distance), signals.end(distance))
    return float(outer - np.percentile(distance, _CLOSEST)), 1.0


@pair_attribute("driven_back", "BH", centre=0.07, width=0.06, mean=-0.3, column=77)
def driven_back(pair: ActorPair) -> Measured:
    """Distance that one is moved away from the other, who does not follow: + gives way, - holds."""
    side = np.sign(np.median(_across(pair)))
    a, b = pair.still
    apart = signals.low_pass(np.abs(_across(pair)), pair.fps)
    grown = float(signals.end(apart) - apart.min())
    return min(max(_away(a, -side), _away(b, side)), grown), 1.0


def _away(body: Points, side: Any) -> float:
    offset = side * _shoulders(body)[:, 0]
    return float(signals.end(offset) - offset.min())


_TOUCH = 0.10  # body heights
_TORSO = (NOSE, *SHOULDERS, *WRISTS, *HIPS)


@group_attribute("two_people", "share", centre=0.40, width=0.20, mean=-0.93, column=60)
def two_people(people: Sequence[BodyMotion]) -> Measured:
    """Share of the time with a second person: + two, - alone."""
    return share_together(people), 1.0


@pair_attribute("closing", "BH/s", centre=0.0, width=0.3, mean=0.0, column=61)
def closing(pair: ActorPair) -> Measured:
    """Speed at which the distance of two people shrinks: + come together, - part."""
    distance = _distance(pair)
    edge = max(1, len(distance) // 6)
    change = float(np.median(distance[-edge:]) - np.median(distance[:edge]))
    return -change / pair.duration_s, 1.0


@pair_attribute("contact", "share", centre=0.15, width=0.12, mean=-0.68, column=62)
def contact(pair: ActorPair) -> Measured:
    """Share of the time in which a hand or foot of one is at the other's body: + touch."""
    nearest = np.minimum(_reach(pair.a, pair.b), _reach(pair.b, pair.a))
    return float((nearest < _TOUCH).mean()), 1.0


@pair_attribute("near", "BH", centre=-0.70, width=0.35, mean=0.0, column=63)
def near(pair: ActorPair) -> Measured:
    """Minus the median distance of the hips of two people: + within reach, - apart."""
    return -float(np.median(_distance(pair))), 1.0


def _distance(pair: ActorPair) -> Points:
    return np.linalg.norm(_hips(pair.a) - _hips(pair.b), axis=1)


def _reach(one: Points, other: Points) -> Points:
    limbs, torso = one[:, [*WRISTS, *ANKLES]], other[:, list(_TORSO)]
    return np.linalg.norm(limbs[:, :, None] - torso[:, None], axis=-1).min(axis=(1, 2))
