"""Two people of one clip as a pair: the frames in which both are visible, in common units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.pose.body import HIPS, LEAST_FRAMES, BodyMotion, Points

_ENOUGH = 0.3  # share of the actor's frames from which two people are measured
_CLOSE = 0.5  # body heights between the hips at which one person can hide the other


@dataclass(frozen=True)
class ActorPair:
    """The actor and the partner who is visible most, in the frames in which both were detected.

    Attributes:
        share: Share of the clip's frames in which both were detected.
        a: (T, J, 2) joints of the actor in the picture, in body heights (mean of the two people).
        b: (T, J, 2) joints of the partner.
        still: Both again, as a camera that stands still records them.
        hidden: Share of the clip's frames with only one of the two, who were close to each other
            in the nearest frame with both: one body is in front of the other.
        fps: Frames per second.
    """

    share: float
    a: Points
    b: Points
    still: tuple[Points, Points]
    hidden: float
    fps: float

    @property
    def together(self) -> float:
        """Share of the clip's frames with both people, one of them hidden or not."""
        return self.share + self.hidden

    @property
    def duration_s(self) -> float:
        """Seconds of the frames with both people, without the gaps; at least 0.3."""
        return max(len(self.a) / self.fps, 0.3)


def pair_of(people: Sequence[BodyMotion]) -> ActorPair | None:
    """The actor with the partner who shares most frames; None if they share too few."""
    pairs = [_pair(people[0], other) for other in people[1:]]
    best = max(pairs, key=lambda pair: pair.together, default=None)
    return best if best and best.together > _ENOUGH and len(best.a) >= LEAST_FRAMES else None


def share_together(people: Sequence[BodyMotion]) -> float:
    """Share of the clip's frames with the actor and another person; 0 for one person."""
    return max((_pair(people[0], other).together for other in people[1:]), default=0.0)


def _pair(a: BodyMotion, b: BodyMotion) -> ActorPair:
    begin = max(a.first, b.first)
    stop = min(a.first + len(a.picture), b.first + len(b.picture))
    frames = np.arange(begin, max(stop, begin))
    both = frames[a.known[frames - a.first] & b.known[frames - b.first]]
    rows_a, rows_b = both - a.first, both - b.first
    height = (a.body_height + b.body_height) / 2
    gap = (
        np.linalg.norm(a.picture[rows_a] - b.picture[rows_b], axis=-1)[:, HIPS].mean(axis=1)
        / height
    )
    return ActorPair(
        share=len(both) * a.seen / len(a.picture),
        a=a.picture[rows_a] / height,
        b=b.picture[rows_b] / height,
        still=(a.places[rows_a], b.places[rows_b]),
        hidden=_n_hidden(a, b, both, gap) * a.seen / len(a.picture),
        fps=a.fps,
    )


def _n_hidden(a: BodyMotion, b: BodyMotion, both: npt.NDArray[np.int_], gap: Points) -> int:
    """Number of frames with one of two people who are close (``gap`` body heights in ``both``)."""
    known_a = set((a.first + np.flatnonzero(a.known)).tolist())
    known_b = set((b.first + np.flatnonzero(b.known)).tolist())
    alone = np.array(sorted(known_a ^ known_b), int)
    if not len(both) or not len(alone):
        return 0
    nearest = np.abs(alone[:, None] - both).argmin(axis=1)
    return int((gap[nearest] < _CLOSE).sum())
