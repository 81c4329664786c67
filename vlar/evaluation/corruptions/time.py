"""Faults in time: frames that are lost, that stand still, that come in another order.

Every frame of the result is a frame of the clip.
"""

from __future__ import annotations

import numpy as np

from vlar.evaluation.corruptions.base import Corruption
from vlar.registry import register
from vlar.types import UInt8


@register("corruption", "drop")
class Drop(Corruption):
    """Lost frames, shown as the frame before; ``levels`` are the share that is lost."""

    family = "time"
    levels = (0.1, 0.25, 0.4, 0.6, 0.8)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``; the first frame always arrives."""
        order = 1 + random.permutation(len(frames) - 1)
        shown = np.arange(len(frames))
        shown[order[: _count(level, len(frames) - 1)]] = 0
        return frames[np.maximum.accumulate(shown)]


@register("corruption", "freeze")
class Freeze(Corruption):
    """A picture that stands still; ``levels`` are the share of the clip during which it does."""

    family = "time"
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        still = _count(level, len(frames) - 1)
        start = int(random.random() * (len(frames) - still))
        shown = np.arange(len(frames))
        shown[start : start + still + 1] = start
        return frames[shown]


@register("corruption", "shuffle")
class Shuffle(Corruption):
    """Frames that change places; ``levels`` are the share of the frames that do."""

    family = "time"
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``; every chosen frame takes the place of the next chosen one."""
        order = random.permutation(len(frames))
        chosen = order[: max(_count(level, len(frames)), min(2, len(frames)))]
        shown = np.arange(len(frames))
        shown[chosen] = np.roll(chosen, 1)
        return frames[shown]


@register("corruption", "reverse")
class Reverse(Corruption):
    """The clip from its end to its start, at every severity; twice gives the clip."""

    family = "time"
    levels = (1.0, 1.0, 1.0, 1.0, 1.0)
    graded = False

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        del level, random
        return frames[::-1]


def _count(share: float, n: int) -> int:
    """How many of n a share is; at least one where there is one."""
    return min(n, max(1, round(share * n)))
