"""Attributes of the presence and distance of a second person: together, near, closer, touching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.pose.attributes.base import Measured, group_attribute, pair_attribute
from vlar.pose.body import ANKLES, HIPS, NOSE, SHOULDERS, WRISTS, BodyMotion, Points
from vlar.pose.pair import Pair, share_together

_TOUCH = 0.10  # body heights
_TORSO = (NOSE, *SHOULDERS, *WRISTS, *HIPS)


@group_attribute("two_people", "share", centre=0.40, width=0.20, mean=-0.93, column=60)
def two_people(people: Sequence[BodyMotion]) -> Measured:
    """Share of the time with a second person: + two, - alone."""
    return share_together(people), 1.0


@pair_attribute("closing", "BH/s", centre=0.0, width=0.3, mean=0.0, column=61)
def closing(pair: Pair) -> Measured:
    """How fast the distance of two people shrinks: + come together, - part."""
    distance = _distance(pair)
    edge = max(1, len(distance) // 6)
    change = float(np.median(distance[-edge:]) - np.median(distance[:edge]))
    return -change / pair.duration_s, 1.0


@pair_attribute("contact", "share", centre=0.15, width=0.12, mean=-0.68, column=62)
def contact(pair: Pair) -> Measured:
    """Share of the time in which a hand or foot of one is at the other's body: + touch."""
    nearest = np.minimum(_reach(pair.a, pair.b), _reach(pair.b, pair.a))
    return float((nearest < _TOUCH).mean()), 1.0


@pair_attribute("near", "BH", centre=-0.70, width=0.35, mean=0.0, column=63)
def near(pair: Pair) -> Measured:
    """Minus the median distance of the hips of two people: + within reach, - apart."""
    return -float(np.median(_distance(pair))), 1.0


def _distance(pair: Pair) -> Points:
    a, b = pair.a[:, HIPS].mean(axis=1), pair.b[:, HIPS].mean(axis=1)
    return np.linalg.norm(a - b, axis=1)


def _reach(one: Points, other: Points) -> Points:
    limbs, torso = one[:, [*WRISTS, *ANKLES]], other[:, list(_TORSO)]
    return np.linalg.norm(limbs[:, :, None] - torso[:, None], axis=-1).min(axis=(1, 2))
