"""Attributes of the arms: raised, moving, stretched, swung."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.attributes.legs import leg_speed
from vlar.pose.body import ELBOWS, SHOULDERS, WRISTS, BodyMotion, Points, angle_deg

_RAISED = 0.02  # body heights above the shoulder
# Least prominence of a turning point: body heights, share of the range.
_TURN_LEAST, _TURN_SHARE = 0.03, 0.10
_WIDE = 0.42  # body heights between the wrists, sideways


def _raised(body: BodyMotion) -> npt.NDArray[np.bool_]:
    """(T, 2) whether each wrist is above its shoulder."""
    return body.wrists[..., 1] < body.places[:, SHOULDERS, 1] - _RAISED


def _speeds(body: BodyMotion) -> Points:
    """(2,) mean speed of each wrist relative to the shoulders."""
    return np.linalg.norm(body.wrist_rate, axis=-1).mean(axis=0)


def _moving(body: BodyMotion) -> float:
    return float(signals.step(_speeds(body).max(), 0.35, 0.3))


@attribute("one_arm_up", "share", centre=0.35, width=0.20, mean=-0.62, column=33)
def one_arm_up(body: BodyMotion) -> Measured:
    """Share of the time with exactly one hand above the shoulder: + one arm raised."""
    up = _raised(body.active)
    return float(up.any(axis=1).mean() - up.all(axis=1).mean()), body.trust.arm


@attribute("both_arms_up", "share", centre=0.30, width=0.20, mean=-0.49, column=34)
def both_arms_up(body: BodyMotion) -> Measured:
    """Share of the time with both hands above the shoulders: + both arms raised."""
    return float(_raised(body.active).all(axis=1).mean()), body.trust.both_arms


@attribute("arm_energy", "BH/s", centre=0.60, width=0.35, mean=-0.3, column=35)
def arm_energy(body: BodyMotion) -> Measured:
    """Mean speed of the busier hand as seen from the shoulders: + busy, - still."""
    return float(_speeds(body.active).max()), body.trust.arm


@attribute("both_arms", "ratio", centre=0.50, width=0.20, mean=0.29, column=36)
def both_arms(body: BodyMotion) -> Measured:
    """Speed of the less busy hand over the busier one's: + both move, - one alone."""
    speeds = _speeds(body.active)
    ratio = float(speeds.min() / (speeds.max() + 1e-6))
    return ratio, body.trust.both_arms * _moving(body.active)


@attribute("arm_only", "log ratio", centre=0.3, width=0.5, mean=-0.29, column=37)
def arm_only(body: BodyMotion) -> Measured:
    """Speed of the arms over that of legs and hips: + a gesture, - the whole body."""
    part = body.active
    trunk = float(np.linalg.norm(part.rate(part.hips), axis=-1).mean())
    ratio = (float(_speeds(part).max()) + 0.05) / (leg_speed(part) + trunk + 0.05)
    return float(np.log(ratio)), body.trust.arm * max(body.trust.legs, 0.6 * body.trust.hips)


def _turns(body: BodyMotion) -> int:
    """Turning points of the busier hand along the axis with most of them."""
    path = (body.wrists - body.shoulders[:, None])[:, body.busy_arm]
    axes = np.linalg.svd(path - path.mean(axis=0), full_matrices=False)[2]
    curves = [path[:, 0], path[:, 1], *(path @ axis for axis in axes)]
    return max(
        signals.turning_points(curve, max(_TURN_LEAST, _TURN_SHARE * float(np.ptp(curve))))
        for curve in curves
    )


@attribute("wrist_rep", "turns", centre=4.0, width=2.0, mean=-0.11, column=38)
def wrist_repetition(body: BodyMotion) -> Measured:
    """Turning points of the busier hand: + the same movement again and again, - once."""
    return float(_turns(body.active)), body.trust.arm


@attribute("wrist_osc_freq", "Hz", centre=1.3, width=0.5, mean=-0.38, column=39)
def wrist_frequency(body: BodyMotion) -> Measured:
    """Back and forth movements of the busier hand a second: + quick, - slow."""
    part = body.active
    turns = _turns(part)
    path = (part.wrists - part.shoulders[:, None])[:, part.busy_arm]
    spread = signals.high_pass(path, part.fps).std(axis=0).max()
    sure = float(signals.step(spread, 0.03, 0.04)) * min(1.0, turns / 3)
    return turns / 2 / part.duration_s, body.trust.arm * sure


def _raised_weight(body: BodyMotion) -> Points:
    """(T,) weight of the busier hand: near 0 if it hangs down, 1 at chest height."""
    height = body.hips[:, 1] - body.wrists[:, body.busy_arm, 1]
    return np.clip(height / 0.3, 0.05, 1) ** 2


@attribute("wrist_horiz", "ratio", centre=0.0, width=0.3, mean=-0.02, column=40)
def wrist_direction(body: BodyMotion) -> Measured:
    """Direction of the busier hand's movement: + sideways, - up and down."""
    part = body.active
    rate = np.abs(part.wrist_rate[:, part.busy_arm]) * _raised_weight(part)[:, None]
    across, along = rate.sum(axis=0)
    ratio = float((across - along) / (across + along + 1e-6))
    return ratio, body.trust.arm * _moving(part)


@attribute("swipe_left", "BH", centre=0.0, width=0.12, mean=0.06, column=41)
def swipe_left(body: BodyMotion) -> Measured:
    """Way of the raised hand to the left of the picture (+) or to the right (-)."""
    part = body.active
    path = (part.wrists - part.shoulders[:, None])[:, part.busy_arm, 0]
    way = -float((part.rate(path) * _raised_weight(part)).sum()) / part.fps
    return way, body.trust.arm * _moving(part)


@attribute("wrist_peak", "BH/s", centre=2.6, width=1.0, mean=-0.78, column=42)
def wrist_peak(body: BodyMotion) -> Measured:
    """Highest speed of a hand as seen from the shoulders: + a throw or blow, - gentle."""
    speed = np.linalg.norm(body.active.wrist_rate, axis=-1)
    return float(np.percentile(speed, 98)), body.trust.arm


@attribute("arm_straight", "deg", centre=140, width=20, mean=-0.18, column=43)
def arm_straight(body: BodyMotion) -> Measured:
    """Angle of the elbow of the higher hand: + stretched out, - bent."""
    part = body.active
    corners = [(SHOULDERS[k], ELBOWS[k], WRISTS[k]) for k in (0, 1)]
    elbow = np.stack([angle_deg(part.places, corner) for corner in corners], axis=1)
    higher = part.wrists[..., 1].argmin(axis=1)
    return float(np.median(elbow[np.arange(len(elbow)), higher])), body.trust.arm


@attribute("arms_sym", "correlation", centre=0.0, width=0.5, mean=0.17, column=44)
def arms_symmetry(body: BodyMotion) -> Measured:
    """Whether the hands go up and down together (+) or in turn (-)."""
    rate = body.active.wrist_rate[..., 1]
    together = signals.correlation(rate[:, 0], rate[:, 1])
    return together, body.trust.both_arms * _moving(body.active)


@attribute("arms_wide", "share", centre=0.30, width=0.15, mean=-0.65, column=45)
def arms_wide(body: BodyMotion) -> Measured:
    """Share of the time with the hands far apart sideways: + arms spread."""
    wrists = body.active.wrists
    apart = np.abs(wrists[:, 0, 0] - wrists[:, 1, 0]) > _WIDE
    return float(apart.mean()), body.trust.both_arms


@attribute("hands_rise", "BH", centre=0.0, width=0.15, mean=-0.06, column=46)
def hands_rise(body: BodyMotion) -> Measured:
    """Height of the higher hand over the hips at the end less at the start: + up, - down."""
    higher = (body.wrists - body.hips[:, None])[..., 1].min(axis=1)
    height = signals.low_pass(higher, body.fps)
    return -float(signals.end(height) - signals.start(height)), body.trust.arm


@attribute("hands_front", "BH", centre=0.22, width=0.10, mean=-0.38, column=47)
def hands_front(body: BodyMotion) -> Measured:
    """Distance of the farther hand from the trunk, sideways: + reaches out, - close to it."""
    part = body.active
    reach = np.abs(part.wrists[..., 0] - part.shoulders[:, None, 0]).max(axis=1)
    return float(np.median(reach)), body.trust.arm


@attribute("hands_mid", "share", centre=0.45, width=0.20, mean=0.02, column=48)
def hands_mid(body: BodyMotion) -> Measured:
    """Share of the time with a bent arm's hand between hips and shoulders: + works there."""
    part = body.active
    axis = part.shoulders - part.hips
    length = np.maximum((axis**2).sum(axis=-1), 1e-6)
    away = part.wrists - part.hips[:, None]
    along = (away * axis[:, None]).sum(axis=-1) / length[:, None]
    corners = [(SHOULDERS[k], ELBOWS[k], WRISTS[k]) for k in (0, 1)]
    bent = np.stack([angle_deg(part.places, corner) for corner in corners], axis=1) < 150
    return float(((along > 0.1) & (along < 1) & bent).any(axis=1).mean()), body.trust.arm


@attribute("arm_circle", "turns", centre=1.5, width=0.8, mean=-0.7, column=49)
def arm_circle(body: BodyMotion) -> Measured:
    """Turns of the busier hand round and round in one sense: + circles, - to and fro."""
    part = body.active
    path = (part.wrists - part.shoulders[:, None])[:, part.busy_arm]
    away = path - signals.smooth(path, 1.0 * part.fps)
    angle = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    wide = float(np.median(np.linalg.norm(away, axis=1)))
    sure = float(signals.step(wide, 0.06, 0.05))
    return abs(float(angle[-1] - angle[0])) / (2 * np.pi), body.trust.arm * sure
