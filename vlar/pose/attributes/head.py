"""Attributes of the head: turned up or down, nodding, shaking."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import L_EAR, NOSE, R_EAR, BodyMotion, Points

_HEAD = 0.11  # body heights from the ears to the nose, seen from the side
_HALF_WIDTH = 0.05  # body heights from the middle of the head to an ear, seen from the front


def _nose(body: BodyMotion) -> Points:
    """(T, 2) from between the ears to the nose, body heights."""
    return body.places[:, NOSE] - body.places[:, [L_EAR, R_EAR]].mean(axis=1)


def _angle_deg(share: Points) -> Points:
    return np.degrees(np.arcsin(np.clip(share, -1, 1)))


@attribute("face_up", "deg", centre=-10, width=15, mean=0.2, column=30)
def face_up(body: BodyMotion) -> Measured:
    """Median elevation of the face: + looks up, - looks down."""
    return float(np.median(_angle_deg(-_nose(body)[:, 1] / _HEAD))), body.trust.shoulders


@attribute("head_nod", "deg", centre=5, width=3, mean=-0.64, column=31)
def head_nod(body: BodyMotion) -> Measured:
    """Quick change of the elevation of the face (standard deviation): + nods."""
    angle = _angle_deg(-_nose(body)[:, 1] / _HEAD)
    return float(signals.high_pass(angle, body.fps).std()), body.trust.shoulders


@attribute("head_shake", "deg", centre=8, width=4, mean=-0.8, column=32)
def head_shake(body: BodyMotion) -> Measured:
    """Quick turning of the face to left and right (standard deviation): + shakes."""
    angle = _angle_deg(_nose(body)[:, 0] / (2 * _HALF_WIDTH))
    return float(signals.high_pass(angle, body.fps).std()), body.trust.shoulders
