"""Attributes of the path of a hand near the camera: where its tip goes, when it comes and goes."""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.attributes.base import Measured
from vlar.pose.attributes.hand_base import hand_attribute
from vlar.pose.hands.motion import HandMotion, HandsMotion, Points

_BORDER = (2.0, 1.5)  # palm lengths from the border: half, and nearly no, trust
_MOVED = 0.04  # frame heights; shorter steps of a path are noise


def _path(hand: HandMotion) -> Points:
    """(n, 2) the tip of the index finger from the first to the last detection."""
    return hand.tip[hand.span]


def _longest(hands: HandsMotion) -> HandMotion:
    """The hand that goes farther."""
    return max(hands.hands, key=lambda hand: _length(_path(hand)))


def _length(path: Points) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def _shift(hands: HandsMotion) -> tuple[Points, float]:
    hand = _longest(hands)
    path = _path(hand)
    moved = signals.end(path) - signals.start(path)
    return moved, float(np.clip((len(path) - 1) / 3, 0, 1))


@hand_attribute("hand_right", "frame heights", centre=0.0, width=0.20, mean=0.0, column=8)
def hand_right(hands: HandsMotion) -> Measured:
    """How far the finger tip gets across the picture: + to the right, - to the left."""
    moved, sure = _shift(hands)
    return float(moved[0]), sure


@hand_attribute("hand_up", "frame heights", centre=0.0, width=0.20, mean=0.0, column=9)
def hand_up(hands: HandsMotion) -> Measured:
    """How far the finger tip gets up the picture: + up, - down."""
    moved, sure = _shift(hands)
    return -float(moved[1]), sure


@hand_attribute("hand_path", "frame heights", centre=0.45, width=0.30, mean=-0.27, column=10)
def hand_path(hands: HandsMotion) -> Measured:
    """Length of the path of the finger tip: + the hand moves, - it stays."""
    return _length(_path(_longest(hands))), 1.0


@hand_attribute("hand_turns", "turns", centre=0.5, width=0.25, mean=-0.39, column=11)
def hand_turns(hands: HandsMotion) -> Measured:
    """How far the path of the finger tip turns to one side in all: + circles, - goes straight."""
    path = signals.smooth(_path(_longest(hands)), 0.7)
    steps = np.diff(path, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > _MOVED / 2]
    if len(steps) < 3:
        return 0.0, 0.0
    angle = np.arctan2(steps[:, 1], steps[:, 0])
    turn = (np.diff(angle) + np.pi) % (2 * np.pi) - np.pi
    return float(abs(turn.sum()) / (2 * np.pi)), 1.0


@hand_attribute("hand_returns", "share", centre=0.5, width=0.25, mean=0.38, column=12)
def hand_returns(hands: HandsMotion) -> Measured:
    """How much of its path the finger tip goes back: + to and fro or round, - straight on."""
    path = _path(_longest(hands))
    length = _length(path)
    back = 1 - float(np.linalg.norm(path[-1] - path[0])) / (length + 1e-6)
    return back, float(signals.step(length, 0.3, 0.2))


@hand_attribute("hand_enters", "share", centre=0.15, width=0.15, mean=-0.22, column=13)
def hand_enters(hands: HandsMotion) -> Measured:
    """Share of the clip before the first hand is seen: + a hand comes in, - is there already."""
    first = int(np.flatnonzero(hands.any_known)[0])
    return first / hands.n_frames, _at_border(hands, first) if first else 1.0


@hand_attribute("hand_leaves", "share", centre=0.15, width=0.15, mean=-0.31, column=14)
def hand_leaves(hands: HandsMotion) -> Measured:
    """Share of the clip after the last hand is seen: + the hand goes away, - stays to the end."""
    after = hands.n_frames - 1 - int(np.flatnonzero(hands.any_known)[-1])
    sure = _at_border(hands, hands.n_frames - 1 - after) if after else 1.0
    return after / hands.n_frames, sure


def _at_border(hands: HandsMotion, frame: int) -> float:
    """Trust that a hand comes or goes: far from the border it was only not found."""
    there = [hand for hand in hands.hands if hand.known[frame]]
    room = [
        float(np.concatenate([hand.palm[frame], (hands.aspect, 1.0) - hand.palm[frame]]).min())
        / hand.length
        for hand in there
    ]
    return float(1 - signals.step(min(room), *_BORDER))


@hand_attribute("hand_seen", "share", centre=0.55, width=0.30, mean=0.2, column=15)
def hand_seen(hands: HandsMotion) -> Measured:
    """Share of the clip with a hand: + nearly always, - only for a moment."""
    return float(hands.any_known.mean()), 1.0


@hand_attribute("hand_near", "frame heights", centre=0.16, width=0.08, mean=0.29, column=16)
def hand_near(hands: HandsMotion) -> Measured:
    """Length of the palm in the picture: + close to the camera, - far from it."""
    return max(hand.length for hand in hands.hands), 1.0


@hand_attribute("hand_nears", "log ratio", centre=0.0, width=0.25, mean=0.0, column=17)
def hand_nears(hands: HandsMotion) -> Measured:
    """Growth of the palm in the picture from start to end: + comes to the camera, - goes away."""
    lengths = np.log(hands.main.lengths[hands.main.span])
    sure = float(np.clip((len(lengths) - 1) / 3, 0, 1))
    return float(signals.end(lengths) - signals.start(lengths)), sure
