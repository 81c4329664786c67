"""Attributes of the trunk: going down and up, bending, lying, upside down, bouncing."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import (
    ANKLES,
    ELBOWS,
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
    """Agreement of the way across the picture with the look of the face: + forward, - backward."""
    speed = body.rate(signals.low_pass(body.hips, body.fps))[:, 0]
    ears = body.places[:, [L_EAR, R_EAR], 0].mean(axis=1)
    facing = np.clip((body.places[:, NOSE, 0] - ears) / _HEAD_DEPTH, -1, 1)
    total = float(np.abs(speed).sum())
    agreement = float((np.sign(speed) * facing * np.abs(speed)).sum()) / (total + 1e-6)
    sure = float(signals.step(total / len(speed), 0.15, 0.15))
    return agreement, body.trust.shoulders * sure


_SHORT_DEG = 35.0  # a torso foreshortened by more bends towards or away from the camera


def _hip_height(body: BodyMotion) -> Points:
    return signals.low_pass(body.hips[:, 1], body.fps)


def tilt_deg(body: BodyMotion) -> Points:
    """(T,) angle of the torso from upright in the picture; 90 lies flat."""
    torso = body.shoulders - body.hips
    angle = np.degrees(np.arctan2(np.abs(torso[:, 0]), -torso[:, 1]))
    return signals.low_pass(angle, body.fps)


def pitch_deg(body: BodyMotion) -> Points:
    """(T,) the larger of the tilt and the bend in depth that a shortened torso shows."""
    length = np.linalg.norm(body.shoulders - body.hips, axis=1)
    share = np.clip(length / max(float(np.percentile(length, 90)), 1e-6), 0, 1)
    depth = np.degrees(np.arccos(share))
    return np.maximum(
        tilt_deg(body), signals.low_pass(np.where(depth > _SHORT_DEG, depth, 0), body.fps)
    )


@attribute("hip_down", "BH", centre=0.0, width=0.10, mean=0.01, column=18)
def hip_down(body: BodyMotion) -> Measured:
    """Height of the hips at the start less at the end: + goes down, - comes up."""
    height = _hip_height(body)
    return float(signals.end(height) - signals.start(height)), body.trust.hips


@attribute("hip_dip", "BH", centre=0.10, width=0.06, mean=-0.79, column=19)
def hip_dip(body: BodyMotion) -> Measured:
    """Depth of the hips below both start and end: + down and up again."""
    height = _hip_height(body)
    lowest = max(signals.start(height), signals.end(height))
    return float(np.percentile(height, 95) - lowest), body.trust.hips


@attribute("pitch_max", "deg", centre=40, width=15, mean=-0.32, column=20)
def pitch_max(body: BodyMotion) -> Measured:
    """Largest bend of the torso: + bends or leans over, - upright."""
    return float(np.percentile(pitch_deg(body), 92)), body.trust.hips * body.trust.shoulders


@attribute("pitch_change", "deg", centre=28, width=12, mean=-0.34, column=21)
def pitch_change(body: BodyMotion) -> Measured:
    """Range of the torso's bend: + bends or straightens, - keeps its angle."""
    pitch = pitch_deg(body)
    change = float(np.percentile(pitch, 92) - np.percentile(pitch, 8))
    return change, body.trust.hips * body.trust.shoulders


@attribute("pitch_end", "deg", centre=0, width=20, mean=0.11, column=22)
def pitch_end(body: BodyMotion) -> Measured:
    """Bend at the end less at the start: + bends down, - straightens up."""
    pitch = pitch_deg(body)
    return float(signals.end(pitch) - signals.start(pitch)), body.trust.hips * body.trust.shoulders


@attribute("lying", "deg", centre=55, width=15, mean=-0.78, column=23)
def lying(body: BodyMotion) -> Measured:
    """Median tilt of the torso: + horizontal, - upright."""
    return float(np.median(tilt_deg(body))), body.trust.hips * body.trust.shoulders


@attribute("upside", "share", centre=0.10, width=0.08, mean=-0.67, column=24)
def upside_down(body: BodyMotion) -> Measured:
    """Share of the time with the hips above the shoulders: + upside down."""
    part = body.active
    share = float((part.hips[:, 1] < part.shoulders[:, 1]).mean())
    return share, body.trust.hips * body.trust.shoulders


@attribute("bounce", "BH", centre=0.018, width=0.010, mean=0.04, column=25)
def bounce(body: BodyMotion) -> Measured:
    """Quick up and down of the hips (standard deviation): + bounces."""
    part = body.active
    return float(signals.high_pass(part.hips[:, 1], part.fps).std()), body.trust.hips


@attribute("bounce_freq", "Hz", centre=1.5, width=0.6, mean=-0.14, column=26)
def bounce_rate(body: BodyMotion) -> Measured:
    """Bounces a second: + quick, - slow."""
    part = body.active
    spread = float(signals.high_pass(part.hips[:, 1], part.fps).std())
    frequency, share = signals.dominant_frequency(part.hips[:, 1], part.fps, 0.7)
    sure = float(signals.step(spread, 0.012, 0.01)) * min(1.0, 2 * share)
    return frequency, body.trust.hips * sure


@attribute("low_body", "BH", centre=-0.25, width=0.10, mean=-0.84, column=27)
def low_body(body: BodyMotion) -> Measured:
    """Minus the median height of the hips over the lowest point: + near the ground."""
    lowest = body.places[..., 1].max(axis=1)
    return -float(np.median(lowest - body.hips[:, 1])), body.trust.hips * body.trust.legs


@attribute("hip_sway", "BH", centre=0.018, width=0.010, mean=-0.08, column=28)
def hip_sway(body: BodyMotion) -> Measured:
    """Quick swing of the hips sideways over the feet (standard deviation): + sways."""
    part = body.active
    over = part.hips[:, 0] - part.ankles[..., 0].mean(axis=1)
    return float(signals.high_pass(over, part.fps).std()), body.trust.hips * body.trust.legs


@attribute("torso_twist", "share", centre=0.35, width=0.20, mean=-0.33, column=29)
def torso_twist(body: BodyMotion) -> Measured:
    """Range of the shoulders' width less that of the hips', over the largest: + twists."""
    part = body.active

    def spread(points: tuple[int, int]) -> float:
        width = np.abs(part.places[:, points[0], 0] - part.places[:, points[1], 0])
        low, high = np.percentile(signals.low_pass(width, part.fps), [5, 95])
        return float(high - low) / max(float(high), 0.05)

    return spread(SHOULDERS) - 0.5 * spread(HIPS), body.trust.hips * body.trust.shoulders


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
    """Repetition of the limbs' movement after one period: + cyclic, - once."""
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
