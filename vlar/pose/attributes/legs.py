"""Attributes of the legs: steps, jumps, kicks, knees."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import ANKLES, HIPS, KNEES, BodyMotion, Points, angle_deg

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
    """Whether the legs swing against each other (+) or together (-)."""
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
    """How high the lower foot gets over the ground line: + both feet leave the ground."""
    low = body.active.ankles[..., 1].max(axis=1)
    time = np.arange(len(low))
    down = low >= np.percentile(low, 50)
    ground = np.polyval(np.polyfit(time[down], low[down], 1), time) if down.sum() > 3 else low
    return float(np.percentile(np.clip(ground - low, -0.5, 0.5), 93)), body.trust.legs


@attribute("hop", "correlation", centre=0.0, width=0.5, mean=0.54, column=10)
def hop(body: BodyMotion) -> Measured:
    """Whether the feet go up and down together (+) or in turn (-)."""
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
    left, right = ((HIPS[k], KNEES[k], ANKLES[k]) for k in (0, 1))
    return 180 - np.stack([angle_deg(body.places, left), angle_deg(body.places, right)], axis=1)


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
