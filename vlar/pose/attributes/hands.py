"""Attributes of the hands: together, apart, clapping, at the head, at the floor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.pose import signals
from vlar.pose.attributes.base import Measured, attribute, hand_attribute
from vlar.pose.body import KNEES, L_EAR, MOUTH, NOSE, R_EAR, BodyMotion
from vlar.pose.hand_motion import THUMB_TIP, TIPS, HandMotion, HandsMotion, Points, strongest

_PINCHED = 0.45  # palm lengths between the tips of thumb and index finger
_STRETCHED, _FOLDED = 1.55, 1.35  # extension of a finger


def _change(hands: HandsMotion, signal: str) -> Measured:
    """End less start of a signal, of the hand in which it changes most."""
    values = [
        (float(signals.end(part) - signals.start(part)), _enough(hand))
        for hand in hands.hands
        for part in [getattr(hand, signal)[hand.span]]
    ]
    return strongest(values)


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
    """Visible side of the hand (median): + the palm, - the back."""
    sides = [float(np.median(hand.facing[hand.known])) for hand in hands.hands]
    return float(np.mean(sides)), 1.0


@hand_attribute("fingers_up", "cosine", centre=0.0, width=0.6, mean=0.57, column=7)
def fingers_up(hands: HandsMotion) -> Measured:
    """Direction of the hand (median): + up, - down, 0 to the side."""
    return float(np.median(hands.main.up[hands.main.known])), 1.0


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
    cells = hands.cells(hand.grasp[frame], frame, _HALF * hand.length)
    return cells.mean(axis=0) if len(cells) else np.full(3, np.nan)


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
            grasp, half = hand.grasp[frame], 1.2 * hand.length
            near |= (np.abs(rows - grasp[1]) <= half)[:, None] & (
                np.abs(columns - grasp[0]) <= half
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
    masks: list[npt.NDArray[np.bool_]] = []
    if hands.face is None:
        return masks
    for hand in hands.hands:
        visible = hand.known & np.isfinite(hands.face).all(axis=(1, 2))
        if visible.sum() < _LEAST_WITH_FACE:
            continue
        tips = hand.points[visible][:, [THUMB_TIP, *TIPS], :2]
        away = np.linalg.norm(tips[:, :, None] - hands.face[visible][:, None, :3], axis=-1).min(
            axis=1
        )
        near = away < _AT_FACE * hand.length
        if near.all(axis=1).mean() < _EVERYWHERE:
            masks.append(near)
    return masks


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
    visible = [hand.known & np.isfinite(nose).all(axis=1) for hand in hands.hands]
    faces = [
        -float(np.median(np.linalg.norm(hand.palm[mask] - nose[mask], axis=-1))) / hand.length
        for hand, mask in zip(hands.hands, visible, strict=True)
        if mask.any()
    ]
    return max(faces), 1.0


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
    """Distance of the finger tip across the picture: + to the right, - to the left."""
    moved, sure = _shift(hands)
    return float(moved[0]), sure


@hand_attribute("hand_up", "frame heights", centre=0.0, width=0.20, mean=0.0, column=9)
def hand_up(hands: HandsMotion) -> Measured:
    """Distance of the finger tip up the picture: + up, - down."""
    moved, sure = _shift(hands)
    return -float(moved[1]), sure


@hand_attribute("hand_path", "frame heights", centre=0.45, width=0.30, mean=-0.27, column=10)
def hand_path(hands: HandsMotion) -> Measured:
    """Length of the path of the finger tip: + the hand moves, - it stays."""
    return _length(_path(_longest(hands))), 1.0


@hand_attribute("hand_turns", "turns", centre=0.5, width=0.25, mean=-0.39, column=11)
def hand_turns(hands: HandsMotion) -> Measured:
    """Total turn of the path of the finger tip to one side: + circles, - goes straight."""
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
    """Share of its path that the finger tip goes back: + to and fro or round, - straight on."""
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
    visible = [hand for hand in hands.hands if hand.known[frame]]
    room = [
        float(np.concatenate([hand.palm[frame], (hands.aspect, 1.0) - hand.palm[frame]]).min())
        / hand.length
        for hand in visible
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
