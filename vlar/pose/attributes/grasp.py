"""Attributes of two hands together, of what a hand holds or leaves, and of a hand at the face."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.attributes.base import Measured
from vlar.pose.attributes.hand_base import hand_attribute
from vlar.pose.hands.motion import THUMB_TIP, TIPS, HandMotion, HandsMotion

_TOUCH = 1.6  # palm lengths between two palms
_AT_FACE = 0.8  # palm lengths between the finger tips and a place of the face
_LEAST_WITH_FACE = 2  # frames with a hand and a face
_EVERYWHERE = 0.3  # share of the frames with tips at mouth, eyes and ear
_HALF = 0.75  # palm lengths from the middle of the grasp to its side


@hand_attribute("both_hands", "share", centre=0.35, width=0.25, mean=-0.51, column=18)
def both_hands(hands: HandsMotion) -> Measured:
    """Share of the time with a hand in which two are seen: + both hands, - one."""
    return float(hands.both_known.sum() / hands.any_known.sum()), 1.0


@hand_attribute("hands_together", "share", centre=0.35, width=0.25, mean=-0.65, column=19)
def hands_together(hands: HandsMotion) -> Measured:
    """Share of the time with both in which the hands touch: + at one thing, - apart."""
    if not hands.both_known.any():
        return 0.0, 0.0
    return float((hands.apart < _TOUCH).mean()), 1.0


@hand_attribute("hands_part", "palms", centre=0.0, width=0.8, mean=0.0, column=20)
def hands_part(hands: HandsMotion) -> Measured:
    """Distance of the palms at the end less at the start: + they part, - they meet."""
    if hands.both_known.sum() < 3:
        return 0.0, 0.0
    return float(signals.end(hands.apart) - signals.start(hands.apart)), 1.0


def _held(hands: HandsMotion, hand: HandMotion, frame: int) -> np.ndarray:
    """(3,) mean colour of the grasp in a frame."""
    found = hands.cells(hand.grasp[frame], frame, _HALF * hand.length)
    return found.mean(axis=0) if len(found) else np.full(3, np.nan)


@hand_attribute("grasp_changes", "colour", centre=0.10, width=0.06, mean=-0.24, column=21)
def grasp_changes(hands: HandsMotion) -> Measured:
    """Change of colour in the grasp, first to last: + takes or leaves a thing, - the same."""
    hand = hands.main
    change = np.abs(_held(hands, hand, hand.first) - _held(hands, hand, hand.last)).mean()
    return float(change), float(np.isfinite(change)) * float(hand.last - hand.first > 1)


@hand_attribute("place_changes", "colour", centre=0.10, width=0.06, mean=-0.38, column=22)
def place_changes(hands: HandsMotion) -> Measured:
    """Change of the picture where the hand was, over that elsewhere: + changed, - as before."""
    size = hands.scene.shape[1]
    away = np.abs(hands.scene[-1] - hands.scene[0]).mean(axis=-1)
    columns = (np.arange(size) + 0.5) / size * hands.aspect
    rows = (np.arange(size) + 0.5) / size
    near = np.zeros_like(away, dtype=bool)
    for hand in hands.hands:
        for frame in np.flatnonzero(hand.known):
            place, half = hand.grasp[frame], 1.2 * hand.length
            near |= (np.abs(rows - place[1]) <= half)[:, None] & (
                np.abs(columns - place[0]) <= half
            )
    if not near.any() or near.all():
        return 0.0, 0.0
    return float(away[near].mean() - np.median(away[~near])), 1.0


def _at_face(hands: HandsMotion, place: int) -> Measured:
    """Share of the frames with face and hand in which finger tips are at a place of the face."""
    shares = [float(near[:, place].mean()) for near in _near_face(hands)]
    return (max(shares), 1.0) if shares else (0.0, 0.0)


def _near_face(hands: HandsMotion) -> list[npt.NDArray[np.bool_]]:
    """(n, 3) of each hand: whether finger tips are at mouth, eyes and ear; none without a face.

    The body networks place a face on a hand that fills the picture. Then its tips are everywhere.
    """
    found: list[npt.NDArray[np.bool_]] = []
    if hands.face is None:
        return found
    for hand in hands.hands:
        seen = hand.known & np.isfinite(hands.face).all(axis=(1, 2))
        if seen.sum() < _LEAST_WITH_FACE:
            continue
        tips = hand.points[seen][:, [THUMB_TIP, *TIPS], :2]
        away = np.linalg.norm(tips[:, :, None] - hands.face[seen][:, None, :3], axis=-1).min(axis=1)
        near = away < _AT_FACE * hand.length
        if near.all(axis=1).mean() < _EVERYWHERE:
            found.append(near)
    return found


@hand_attribute("hand_mouth", "share", centre=0.30, width=0.20, mean=0.0, column=23)
def hand_mouth(hands: HandsMotion) -> Measured:
    """Share of the time with finger tips at the mouth: + eats, drinks, brushes teeth."""
    return _at_face(hands, 0)


@hand_attribute("hand_eyes", "share", centre=0.30, width=0.20, mean=0.0, column=24)
def hand_eyes(hands: HandsMotion) -> Measured:
    """Share of the time with finger tips at the eyes: + rubs them, paints lashes."""
    return _at_face(hands, 1)


@hand_attribute("hand_ear", "share", centre=0.30, width=0.20, mean=0.0, column=25)
def hand_ear(hands: HandsMotion) -> Measured:
    """Share of the time with finger tips at the ear in view: + phones, listens."""
    return _at_face(hands, 2)


@hand_attribute("hand_face", "palms", centre=-2.0, width=1.0, mean=0.0, column=26)
def hand_face(hands: HandsMotion) -> Measured:
    """Minus the median distance of the nearest hand from the nose: + at the head, - below it."""
    if hands.face is None or not _near_face(hands):
        return 0.0, 0.0
    nose = hands.face[:, 3]
    seen = [hand.known & np.isfinite(nose).all(axis=1) for hand in hands.hands]
    found = [
        -float(np.median(np.linalg.norm(hand.palm[at] - nose[at], axis=-1))) / hand.length
        for hand, at in zip(hands.hands, seen, strict=True)
        if at.any()
    ]
    return max(found), 1.0
