"""Attributes of the whole body's movement in time: how much, how regular, how sudden."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import ANKLES, ELBOWS, KNEES, WRISTS, BodyMotion

_LEGS_COUNT = 0.4  # trust from which the legs count for the rhythm


def _rhythm(body: BodyMotion) -> tuple[float, float]:
    limbs = [*ELBOWS, *WRISTS]
    if body.trust.legs > _LEGS_COUNT:
        limbs += [*KNEES, *ANKLES]
    return signals.periodicity(body.relative[:, limbs], body.fps)


@attribute("energy", "BH/s", centre=0.35, width=0.20, mean=-0.05, column=56)
def energy(body: BodyMotion) -> Measured:
    """Mean speed of all joints: + vigorous, - hardly moves."""
    return float(body.active.speed.mean()), body.trust.shoulders


@attribute("periodic", "correlation", centre=0.45, width=0.20, mean=-0.69, column=57)
def periodic(body: BodyMotion) -> Measured:
    """How well the limbs' movement repeats after one period: + cyclic, - once."""
    part = body.active
    sure = float(signals.step(part.speed.mean(), 0.12, 0.1))
    return _rhythm(part)[0], body.trust.shoulders * sure


@attribute("pose_freq", "Hz", centre=1.2, width=0.5, mean=-0.05, column=58)
def rhythm_rate(body: BodyMotion) -> Measured:
    """Periods of the limbs' movement a second: + fast rhythm, - slow."""
    strength, frequency = _rhythm(body.active)
    return frequency, body.trust.shoulders * min(1.0, 1.5 * strength)


@attribute("burst", "ratio", centre=2.6, width=0.7, mean=-0.72, column=59)
def burst(body: BodyMotion) -> Measured:
    """Peak speed over mean speed: + sudden, - steady."""
    peak = float(np.percentile(body.speed, 97)) / (float(body.speed.mean()) + 0.05)
    return peak, body.trust.shoulders
