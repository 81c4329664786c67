"""Attributes of two people: together, near, coming closer, touching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.pose.attribute import Measured, attribute_of_people
from vlar.pose.body import ANKLES, HIPS, NOSE, SHOULDERS, WRISTS, BodyMotion, Points

_ENOUGH = 0.3  # of the actor's frames, for two people to be measured
_TOUCH = 0.10  # body heights
_TORSO = (NOSE, *SHOULDERS, *WRISTS, *HIPS)


def _common(a: BodyMotion, b: BodyMotion) -> tuple[Points, Points]:
    """The frames (pictures, in frame heights) in which both were really seen."""
    begin = max(a.first, b.first)
    stop = min(a.first + len(a.picture), b.first + len(b.picture))
    at = np.arange(begin, max(stop, begin))
    both = at[a.known[at - a.first] & b.known[at - b.first]]
    return a.picture[both - a.first], b.picture[both - b.first]


def _pair(people: Sequence[BodyMotion]) -> tuple[float, Points, Points]:
    """Share of the clip with the partner seen most, and both bodies then."""
    actor = people[0]
    frames = len(actor.picture) / max(actor.seen, 1e-6)
    pairs = [_common(actor, other) for other in people[1:]]
    if not pairs:
        none = actor.picture[:0]
        return 0.0, none, none
    a, b = max(pairs, key=lambda pair: len(pair[0]))
    return len(a) / frames, a, b


@attribute_of_people("two_people", "share", 0.40, 0.20)
def two_people(people: Sequence[BodyMotion]) -> Measured:
    """Share of the time with a second person: + two, - alone."""
    return _pair(people)[0], 1.0


@attribute_of_people("closing", "BH/s", 0.0, 0.3)
def closing(people: Sequence[BodyMotion]) -> Measured:
    """How fast the distance of two people shrinks: + come together, - part."""
    share, a, b = _pair(people)
    if share <= _ENOUGH:
        return 0.0, 0.0
    distance = _distance(a, b) / people[0].body_height
    edge = max(1, len(distance) // 6)
    change = float(np.median(distance[-edge:]) - np.median(distance[:edge]))
    return -change / max(len(distance) / people[0].fps, 0.3), 1.0


@attribute_of_people("contact", "share", 0.15, 0.12)
def contact(people: Sequence[BodyMotion]) -> Measured:
    """Share of the time in which a hand or foot of one is at the other's body: + touch."""
    share, a, b = _pair(people)
    if share <= _ENOUGH:
        return 0.0, 0.0
    nearest = np.minimum(_reach(a, b), _reach(b, a)) / people[0].body_height
    return float((nearest < _TOUCH).mean()), 1.0


@attribute_of_people("near", "BH", -0.70, 0.35)
def near(people: Sequence[BodyMotion]) -> Measured:
    """Minus the median distance of the hips of two people: + within reach, - apart."""
    share, a, b = _pair(people)
    if share <= _ENOUGH:
        return 0.0, 0.0
    return -float(np.median(_distance(a, b))) / people[0].body_height, 1.0


def _distance(a: Points, b: Points) -> Points:
    return np.linalg.norm(a[:, HIPS].mean(axis=1) - b[:, HIPS].mean(axis=1), axis=1)


def _reach(one: Points, other: Points) -> Points:
    limbs, torso = one[:, [*WRISTS, *ANKLES]], other[:, list(_TORSO)]
    return np.linalg.norm(limbs[:, :, None] - torso[:, None], axis=-1).min(axis=(1, 2))
