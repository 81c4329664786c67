"""Attributes of locomotion and of turning."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import HIPS, L_EAR, NOSE, R_EAR, SHOULDERS, BodyMotion

# Width of the shoulders, as a share of the torso's length, that clearly faces the camera.
_TURN_WIDTH = 0.15
_HEAD_DEPTH = 0.06  # body heights from the ears to the nose when the face looks sideways


def _sideways(body: BodyMotion) -> float:
    distance = abs(signals.end(body.hips)[0] - signals.start(body.hips)[0])
    return float(distance) / max(0.85 * body.duration_s, 0.3)


@attribute("travel", "BH/s", centre=0.30, width=0.20, mean=-0.5, column=0)
def travel(body: BodyMotion) -> Measured:
    """Speed across the picture: + goes from place to place, - stays."""
    return _sideways(body), body.trust.shoulders


@attribute("fast", "BH/s", centre=1.1, width=0.4, mean=-0.87, column=1)
def fast(body: BodyMotion) -> Measured:
    """The same speed on a scale of running: + fast, - slow."""
    return _sideways(body), body.trust.shoulders


@attribute("approach", "1/s", centre=0.0, width=0.15, mean=-0.26, column=2)
def approach(body: BodyMotion) -> Measured:
    """Growth of the picture of the body a second, less a zoom's: + comes nearer, - goes away."""
    torso = np.linalg.norm(
        body.picture[:, SHOULDERS].mean(axis=1) - body.picture[:, HIPS].mean(axis=1), axis=-1
    )
    width = np.linalg.norm(body.picture[:, SHOULDERS[0]] - body.picture[:, SHOULDERS[1]], axis=-1)
    size = np.log(np.maximum(np.hypot(torso, width), 1e-4)) - np.log(body.camera_scale)
    change = float(signals.end(size) - signals.start(size))
    sure = signals.step(abs(change), 0.12, 0.12)  # bending changes it by less
    return change / max(0.85 * body.duration_s, 0.5), body.trust.shoulders * body.trust.hips * sure


@attribute("turn", "share", centre=0.15, width=0.12, mean=-0.57, column=3)
def turn(body: BodyMotion) -> Measured:
    """Share of the time that faces the less frequent way, front or back: + turns round."""
    part = body.active
    across = part.places[:, SHOULDERS[0], 0] - part.places[:, SHOULDERS[1], 0]
    torso = float(np.median(np.linalg.norm(part.shoulders - part.hips, axis=1)))
    side = np.sign(across)[np.abs(across) > _TURN_WIDTH * torso]
    if not len(side):
        return 0.0, body.trust.shoulders
    return float(min((side > 0).mean(), (side < 0).mean())), body.trust.shoulders


@attribute("forward", "cosine", centre=0.3, width=0.4, mean=-0.0, column=4)
def forward(body: BodyMotion) -> Measured:
    """Whether the way across the picture is the way the face looks: + forward, - backward."""
    speed = body.rate(signals.low_pass(body.hips, body.fps))[:, 0]
    ears = body.places[:, [L_EAR, R_EAR], 0].mean(axis=1)
    facing = np.clip((body.places[:, NOSE, 0] - ears) / _HEAD_DEPTH, -1, 1)
    total = float(np.abs(speed).sum())
    agreement = float((np.sign(speed) * facing * np.abs(speed)).sum()) / (total + 1e-6)
    sure = float(signals.step(total / len(speed), 0.15, 0.15))
    return agreement, body.trust.shoulders * sure
