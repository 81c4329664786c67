"""Attributes of two people: together, near, coming closer, touching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import numpy.typing as npt

from vlar.pose.attributes.base import Measured, attribute_of_people
from vlar.pose.body import ANKLES, HIPS, LEAST_FRAMES, NOSE, SHOULDERS, WRISTS, BodyMotion, Points

_ENOUGH = 0.3  # of the actor's frames, for two people to be measured
_TOUCH = 0.10  # body heights
_CLOSE = 0.5  # body heights between the hips, for one to hide the other
_TORSO = (NOSE, *SHOULDERS, *WRISTS, *HIPS)

_OfPair = Callable[["Pair"], Measured]


@dataclass(frozen=True)
class Pair:
    """The actor and the partner seen most, in the frames in which both were really seen.

    Attributes:
        share: Of the clip's frames.
        a: (T, 33, 2) the actor, as the real camera sees him, in body heights of the two.
        b: (T, 33, 2) the partner.
        still: Both again, each as a camera that stands still sees them.
        hidden: Share of the clip's frames in which just one is seen, the two having been close
            when both were last (or next) seen: one body in front of the other.
        fps: Frames a second.
    """

    share: float
    a: Points
    b: Points
    still: tuple[Points, Points]
    hidden: float
    fps: float

    @property
    def together(self) -> float:
        """Share of the clip's frames with both, one of them hidden or not."""
        return self.share + self.hidden

    @property
    def duration_s(self) -> float:
        """Seconds, as if no frame between were missing; at least 0.3."""
        return max(len(self.a) / self.fps, 0.3)


def pair_of(people: Sequence[BodyMotion]) -> Pair | None:
    """The pair that is seen together most; None where that is too little to be measured."""
    pairs = [_pair(people[0], other) for other in people[1:]]
    best = max(pairs, key=lambda pair: pair.together, default=None)
    return best if best and best.together > _ENOUGH and len(best.a) >= LEAST_FRAMES else None


def _pair(a: BodyMotion, b: BodyMotion) -> Pair:
    begin = max(a.first, b.first)
    stop = min(a.first + len(a.picture), b.first + len(b.picture))
    at = np.arange(begin, max(stop, begin))
    both = at[a.known[at - a.first] & b.known[at - b.first]]
    rows_a, rows_b = both - a.first, both - b.first
    height = (a.body_height + b.body_height) / 2
    gap = (
        np.linalg.norm(a.picture[rows_a] - b.picture[rows_b], axis=-1)[:, HIPS].mean(axis=1)
        / height
    )
    return Pair(
        share=len(both) * a.seen / len(a.picture),
        a=a.picture[rows_a] / height,
        b=b.picture[rows_b] / height,
        still=(a.places[rows_a], b.places[rows_b]),
        hidden=_hidden(a, b, both, gap) * a.seen / len(a.picture),
        fps=a.fps,
    )


def _hidden(a: BodyMotion, b: BodyMotion, both: npt.NDArray[np.int_], gap: Points) -> int:
    """How many frames one of two close people (``gap`` body heights in ``both``) is alone in."""
    seen = set((a.first + np.flatnonzero(a.known)).tolist())
    alone = np.array(sorted(seen ^ set((b.first + np.flatnonzero(b.known)).tolist())), int)
    if not len(both) or not len(alone):
        return 0
    nearest = np.abs(alone[:, None] - both).argmin(axis=1)
    return int((gap[nearest] < _CLOSE).sum())


def attribute_of_pair(
    name: str, unit: str, centre: float, width: float
) -> Callable[[_OfPair], _OfPair]:
    """Function decorator: a measurement of a pair, silent where two are not seen together."""

    def add(function: _OfPair) -> _OfPair:
        @wraps(function)
        def measured(people: Sequence[BodyMotion]) -> Measured:
            pair = pair_of(people)
            return function(pair) if pair else (0.0, 0.0)

        attribute_of_people(name, unit, centre, width)(measured)
        return function

    return add


@attribute_of_people("two_people", "share", 0.40, 0.20)
def two_people(people: Sequence[BodyMotion]) -> Measured:
    """Share of the time with a second person: + two, - alone."""
    return max((_pair(people[0], other).together for other in people[1:]), default=0.0), 1.0


@attribute_of_pair("closing", "BH/s", 0.0, 0.3)
def closing(pair: Pair) -> Measured:
    """How fast the distance of two people shrinks: + come together, - part."""
    distance = _distance(pair)
    edge = max(1, len(distance) // 6)
    change = float(np.median(distance[-edge:]) - np.median(distance[:edge]))
    return -change / pair.duration_s, 1.0


@attribute_of_pair("contact", "share", 0.15, 0.12)
def contact(pair: Pair) -> Measured:
    """Share of the time in which a hand or foot of one is at the other's body: + touch."""
    nearest = np.minimum(_reach(pair.a, pair.b), _reach(pair.b, pair.a))
    return float((nearest < _TOUCH).mean()), 1.0


@attribute_of_pair("near", "BH", -0.70, 0.35)
def near(pair: Pair) -> Measured:
    """Minus the median distance of the hips of two people: + within reach, - apart."""
    return -float(np.median(_distance(pair))), 1.0


def _distance(pair: Pair) -> Points:
    a, b = pair.a[:, HIPS].mean(axis=1), pair.b[:, HIPS].mean(axis=1)
    return np.linalg.norm(a - b, axis=1)


def _reach(one: Points, other: Points) -> Points:
    limbs, torso = one[:, [*WRISTS, *ANKLES]], other[:, list(_TORSO)]
    return np.linalg.norm(limbs[:, :, None] - torso[:, None], axis=-1).min(axis=(1, 2))
