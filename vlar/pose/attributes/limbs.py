"""Attributes of the arms: raised, moving, stretched, swung."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import (
    ANKLES,
    ELBOWS,
    HIPS,
    KNEES,
    SHOULDERS,
    WRISTS,
    BodyMotion,
    Points,
    angle_deg,
)

_STILL_FOOT, _LIFTED = 0.15, 0.10  # body heights per second, body heights


def _between(body: BodyMotion) -> Points:
    """(T, 2) from the right ankle to the left one."""
    return body.ankles[:, 0] - body.ankles[:, 1]


def _ankle_rate(body: BodyMotion) -> Points:
    return body.rate(body.relative[:, ANKLES])


def leg_speed(body: BodyMotion) -> float:
    """Mean speed of the ankles relative to the hips, body heights per second."""
    return float(np.linalg.norm(_ankle_rate(body), axis=-1).mean())


def _moving(body: BodyMotion) -> float:
    return float(signals.step(leg_speed(body), 0.3, 0.3))


@attribute("leg_swing", "BH", centre=0.08, width=0.05, mean=-0.09, column=5)
def leg_swing(body: BodyMotion) -> Measured:
    """Spread of the distance between the feet: + strides, - feet keep their distance."""
    return float(np.std(_between(body.active), axis=0).max()), body.trust.legs


@attribute("leg_alt", "correlation", centre=0.0, width=0.5, mean=0.28, column=6)
def leg_alternation(body: BodyMotion) -> Measured:
    """Alternation of the legs: + they swing against each other, - together."""
    part = body.active
    if leg_speed(part) <= 0.1:
        return 0.0, body.trust.legs * _moving(part)
    rate = _ankle_rate(part)[..., 0]
    against = -signals.correlation(rate[:, 0], rate[:, 1])
    return against, body.trust.legs * _moving(part)


@attribute("leg_open", "BH", centre=0.06, width=0.04, mean=-0.44, column=7)
def leg_opening(body: BodyMotion) -> Measured:
    """Spread of the feet's distance sideways without crossing: + legs open and close."""
    across = _between(body.active)[:, 0]
    size = np.abs(across)
    same_side = abs(float(across.mean())) / (float(size.mean()) + 1e-6)
    return float(size.std()) * same_side, body.trust.legs


@attribute("step_freq", "1/s", centre=1.6, width=0.6, mean=0.45, column=8)
def step_rate(body: BodyMotion) -> Measured:
    """Steps a second: + quick, - slow."""
    part = body.active
    frequency, share = signals.dominant_frequency(_between(part)[:, 0], part.fps)
    return 2 * frequency, body.trust.legs * _moving(part) * min(1.0, 2 * share)


@attribute("airborne", "BH", centre=0.05, width=0.025, mean=-0.09, column=9)
def airborne(body: BodyMotion) -> Measured:
    """Height of the lower foot over the ground line: + both feet leave the ground."""
    low = body.active.ankles[..., 1].max(axis=1)
    time = np.arange(len(low))
    down = low >= np.percentile(low, 50)
    ground = np.polyval(np.polyfit(time[down], low[down], 1), time) if down.sum() > 3 else low
    return float(np.percentile(np.clip(ground - low, -0.5, 0.5), 93)), body.trust.legs


@attribute("hop", "correlation", centre=0.0, width=0.5, mean=0.54, column=10)
def hop(body: BodyMotion) -> Measured:
    """Common movement of the feet up and down: + together, - in turn."""
    part = body.active
    rate = part.rate(part.ankles[..., 1])
    sure = signals.step(np.abs(rate).mean(), 0.25, 0.2)
    return signals.correlation(rate[:, 0], rate[:, 1]), body.trust.legs * float(sure)


@attribute("kick", "BH", centre=0.20, width=0.08, mean=-0.7, column=11)
def kick(body: BodyMotion) -> Measured:
    """Largest height of one foot over the other: + one leg is lifted."""
    return float(np.percentile(np.abs(_between(body.active)[:, 1]), 95)), body.trust.legs


@attribute("leg_energy", "BH/s", centre=0.45, width=0.30, mean=-0.31, column=12)
def leg_energy(body: BodyMotion) -> Measured:
    """Mean speed of the feet as seen from the hips: + busy legs, - still legs."""
    return leg_speed(body.active), body.trust.legs


def knee_bend_deg(body: BodyMotion) -> Points:
    """(T, 2) how far each knee is bent; 0 is straight."""
    legs_left, legs_right = ((HIPS[k], KNEES[k], ANKLES[k]) for k in (0, 1))
    return 180 - np.stack(
        [angle_deg(body.places, legs_left), angle_deg(body.places, legs_right)], axis=1
    )


def _knee_trust(body: BodyMotion) -> float:
    return body.trust.knees * max(body.trust.legs, 0.3)


@attribute("knee_bent", "deg", centre=40, width=20, mean=-0.63, column=13)
def knee_bent(body: BodyMotion) -> Measured:
    """Median bend of the knees: + seated or crouching, - straight legs."""
    bend = signals.low_pass(knee_bend_deg(body).mean(axis=1), body.fps)
    return float(np.median(bend)), _knee_trust(body)


@attribute("knee_end", "deg", centre=0, width=25, mean=0.01, column=14)
def knee_end(body: BodyMotion) -> Measured:
    """Bend of the knees at the end less at the start: + they bend, - they straighten."""
    bend = signals.low_pass(knee_bend_deg(body).mean(axis=1), body.fps)
    return float(signals.end(bend) - signals.start(bend)), _knee_trust(body)


@attribute("knee_osc", "deg", centre=18, width=10, mean=-0.55, column=15)
def knee_oscillation(body: BodyMotion) -> Measured:
    """Quick bending and stretching of the knees (standard deviation): + again and again."""
    part = body.active
    return float(signals.high_pass(knee_bend_deg(part), part.fps).std(axis=0).max()), _knee_trust(
        body
    )


@attribute("one_leg_stand", "share", centre=0.25, width=0.15, mean=-0.85, column=16)
def one_leg_stand(body: BodyMotion) -> Measured:
    """Share of the time on one still foot with the other one up: + stands on one leg."""
    part = body.active
    ankles = part.ankles
    speed = np.linalg.norm(part.rate(ankles), axis=-1)
    lower = ankles[..., 1].argmax(axis=1)
    still = speed[np.arange(len(speed)), lower] < _STILL_FOOT
    lifted = np.abs(ankles[:, 0, 1] - ankles[:, 1, 1]) > _LIFTED
    return float((still & lifted).mean()), body.trust.legs


@attribute("kneeling", "share", centre=0.15, width=0.12, mean=-0.79, column=17)
def kneeling(body: BodyMotion) -> Measured:
    """Share of the time with a bent knee at the ground and the hips above it: + kneels."""
    ground = body.ankles[..., 1].max(axis=1)[:, None]
    knees = body.places[:, KNEES, 1]
    hips = body.hips[:, 1][:, None]
    down = (knees > ground - 0.08) & (knee_bend_deg(body) > 60) & (hips < knees - 0.12)
    return float(down.any(axis=1).mean()), _knee_trust(body)


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


def _arms_moving(body: BodyMotion) -> float:
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
    return ratio, body.trust.both_arms * _arms_moving(body.active)


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
    return ratio, body.trust.arm * _arms_moving(part)


@attribute("swipe_left", "BH", centre=0.0, width=0.12, mean=0.06, column=41)
def swipe_left(body: BodyMotion) -> Measured:
    """Way of the raised hand to the left of the picture (+) or to the right (-)."""
    part = body.active
    path = (part.wrists - part.shoulders[:, None])[:, part.busy_arm, 0]
    way = -float((part.rate(path) * _raised_weight(part)).sum()) / part.fps
    return way, body.trust.arm * _arms_moving(part)


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
    """Common movement of the hands up and down: + together, - in turn."""
    rate = body.active.wrist_rate[..., 1]
    together = signals.correlation(rate[:, 0], rate[:, 1])
    return together, body.trust.both_arms * _arms_moving(body.active)


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
