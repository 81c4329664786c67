"""Attributes of the trunk: going down and up, bending, lying, upside down, bouncing."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import HIPS, SHOULDERS, BodyMotion, Points

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
    """How far the hips go below both start and end: + down and up again."""
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
