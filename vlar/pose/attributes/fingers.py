"""Attributes of the fingers of a hand near the camera: open, closed, pinching, pointing, turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.attributes.base import Measured
from vlar.pose.attributes.hand_base import hand_attribute
from vlar.pose.hands.motion import HandMotion, HandsMotion, strongest

_PINCHED = 0.45  # palm lengths between the tips of thumb and index finger
_STRETCHED, _FOLDED = 1.55, 1.35  # extension of a finger


def _change(hands: HandsMotion, signal: str) -> Measured:
    """End less start of a signal, of the hand in which it changes most."""
    found = [
        (float(signals.end(part) - signals.start(part)), _enough(hand))
        for hand in hands.hands
        for part in [getattr(hand, signal)[hand.span]]
    ]
    return strongest(found)


def _enough(hand: HandMotion) -> float:
    """Trust of a change over time: 0 for two frames, 1 from four on."""
    return float(np.clip((hand.known.sum() - 1) / 3, 0, 1))


def _pointing(hand: HandMotion) -> npt.NDArray[np.bool_]:
    """(S,) whether the index finger alone is stretched."""
    index, others = hand.extension[:, 0], hand.extension[:, 1:]
    return (
        (index > _STRETCHED)
        & (others.max(axis=1) < _STRETCHED)
        & (np.median(others, axis=1) < _FOLDED)
    )


@hand_attribute("fingers_open", "ratio", centre=1.45, width=0.25, mean=0.12, column=0)
def fingers_open(hands: HandsMotion) -> Measured:
    """Median reach of the fingers over that of their bases: + flat hand, - fist or grasp."""
    return float(np.median([np.median(hand.openness[hand.known]) for hand in hands.hands])), 1.0


@hand_attribute("hand_opens", "ratio", centre=0.0, width=0.25, mean=0.0, column=1)
def hand_opens(hands: HandsMotion) -> Measured:
    """Reach of the fingers at the end less at the start: + opens, lets go, - closes, grasps."""
    return _change(hands, "openness")


@hand_attribute("fingers_move", "ratio", centre=0.10, width=0.06, mean=0.62, column=2)
def fingers_move(hands: HandsMotion) -> Measured:
    """Change of the fingers' reach over time (standard deviation): + busy fingers, - still."""
    spread = [float(h.openness[h.span].std()) for h in hands.hands]
    return max(spread), max(_enough(hand) for hand in hands.hands)


@hand_attribute("pinches", "share", centre=0.35, width=0.20, mean=-0.05, column=3)
def pinches(hands: HandsMotion) -> Measured:
    """Share of the time with the tips of thumb and index finger together: + pinches."""
    return max(float((h.pinch < _PINCHED)[h.known].mean()) for h in hands.hands), 1.0


@hand_attribute("points", "share", centre=0.35, width=0.20, mean=-0.64, column=4)
def points(hands: HandsMotion) -> Measured:
    """Share of the time with the index finger alone stretched: + points."""
    return max(float(_pointing(h)[h.known].mean()) for h in hands.hands), 1.0


@hand_attribute("turns_over", "share", centre=0.8, width=0.4, mean=0.13, column=5)
def turns_over(hands: HandsMotion) -> Measured:
    """Range of the side that is seen (palm 1, back -1): + the hand turns over or twists."""
    ranges = [float(np.ptp(hand.facing[hand.known])) for hand in hands.hands]
    return max(ranges), max(_enough(hand) for hand in hands.hands)


@hand_attribute("palm_seen", "share", centre=0.0, width=0.5, mean=-0.38, column=6)
def palm_seen(hands: HandsMotion) -> Measured:
    """Which side of the hand is seen (median): + the palm, - the back."""
    sides = [float(np.median(hand.facing[hand.known])) for hand in hands.hands]
    return float(np.mean(sides)), 1.0


@hand_attribute("fingers_up", "cosine", centre=0.0, width=0.6, mean=0.57, column=7)
def fingers_up(hands: HandsMotion) -> Measured:
    """Where the hand points (median): + up, - down, 0 to the side."""
    return float(np.median(hands.main.up[hands.main.known])), 1.0
