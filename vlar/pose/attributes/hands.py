"""Attributes of the hands: together, apart, clapping, at the head, at the floor."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import KNEES, L_EAR, MOUTH, NOSE, R_EAR, BodyMotion, Points

_JOINED, _MEETING, _AT_HEAD = 0.13, 0.17, 0.11  # body heights
_CLAP_PROMINENCE = 0.05  # body heights


def _apart(body: BodyMotion) -> Points:
    """(T,) distance between the wrists."""
    return np.linalg.norm(body.wrists[:, 0] - body.wrists[:, 1], axis=-1)


def _closes(apart: Points) -> float:
    return float(signals.step(0.16 - np.percentile(apart, 8), 0, 0.1))


@attribute("wrists_apart", "BH", centre=0.32, width=0.12, mean=-0.21, column=50)
def wrists_apart(body: BodyMotion) -> Measured:
    """Mean distance between the hands: + far apart, - close together."""
    return float(_apart(body.active).mean()), body.trust.both_arms


@attribute("hands_joined", "share", centre=0.35, width=0.20, mean=-0.41, column=51)
def hands_joined(body: BodyMotion) -> Measured:
    """Share of the time with the hands at each other: + both hold one thing."""
    return float((_apart(body.active) < _JOINED).mean()), body.trust.both_arms


@attribute("hands_meet", "BH", centre=0.09, width=0.04, mean=-0.77, column=52)
def hands_meet(body: BodyMotion) -> Measured:
    """Quick change of the hands' distance where they do meet: + together and apart."""
    part = body.active
    apart = _apart(part)
    spread = float(signals.high_pass(apart, part.fps).std())
    return spread * _closes(apart), body.trust.both_arms


@attribute("clap_rate", "Hz", centre=0.9, width=0.5, mean=-0.29, column=53)
def clap_rate(body: BodyMotion) -> Measured:
    """Meetings of the hands a second: + claps."""
    part = body.active
    apart = _apart(part)
    meetings = signals.maxima(-apart, _CLAP_PROMINENCE)
    count = int((apart[meetings] < _MEETING).sum())
    sure = _closes(apart) * min(1.0, count / 2 + 0.2)
    return count / part.duration_s, body.trust.both_arms * sure


@attribute("hand_head", "share", centre=0.35, width=0.20, mean=-0.6, column=54)
def hand_at_head(body: BodyMotion) -> Measured:
    """Share of the time with a hand at face, ear or hair: + at the head."""
    part = body.active
    head = part.places[:, [NOSE, L_EAR, R_EAR, *MOUTH]]
    nearest = np.linalg.norm(part.wrists[:, :, None] - head[:, None], axis=-1).min(axis=(1, 2))
    return float((nearest < _AT_HEAD).mean()), body.trust.arm


@attribute("reach_low", "share", centre=0.15, width=0.12, mean=-0.52, column=55)
def reach_low(body: BodyMotion) -> Measured:
    """Share of the time with a hand below the knees: + reaches to the floor."""
    part = body.active
    knee = part.places[:, KNEES, 1].min(axis=1)
    low = part.wrists[..., 1].max(axis=1) > knee - 0.02
    return float(low.mean()), body.trust.arm * body.trust.knees
