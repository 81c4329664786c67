"""Pairs of clips that exchange who is seen: cross-sample aggregation.

Source: Zhang et al., "SkeletonX: data-efficient skeleton-based action recognition via cross-sample
feature aggregation", 2025. Letters: N clips, a and b features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vlar.errors import UsageError

NO_PARTNER = -1


class Pairs(NamedTuple):
    """A partner for each clip.

    Attributes:
        same_action: (N,) int64, a clip of the same action by another subject; -1 where none is.
        same_subject: (N,) int64, a clip of another action by the same subject; -1 where none is.
    """

    same_action: npt.NDArray[np.int64]
    same_subject: npt.NDArray[np.int64]


def pairs(
    actions: Sequence[object], subjects: Sequence[object], random: np.random.Generator
) -> Pairs:
    """Draw the partners of N clips.

    Args:
        actions: N labels.
        subjects: N names of who is seen.
        random: Draws among the clips that qualify.

    Raises:
        UsageError: other numbers of labels and subjects.
    """
    if len(actions) != len(subjects):
        raise UsageError(f"{len(actions)} actions and {len(subjects)} subjects; give one each")
    action, subject = _codes(actions), _codes(subjects)
    same, by_same = action[:, None] == action, subject[:, None] == subject
    return Pairs(_drawn(same & ~by_same, random), _drawn(~same & by_same, random))


def cross(n: Tensor, m: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors ``[n ; m]`` of clips and partners with one part exchanged.

    Args:
        n: (N, a) what says who is seen.
        m: (N, b) what says what is done.
        partner: (N,) int64, the partner of each clip.

    Returns:
        ``[n of the partner ; m]``, which shows the action of the clip, and ``[n ; m of the
        partner]``, which shows that of the partner; both (N, a + b).
    """
    return torch.cat([n[partner], m], dim=1), torch.cat([n, m[partner]], dim=1)


def _codes(names: Sequence[object]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _drawn(allowed: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """(N,) one allowed column of each row (N, N), or -1."""
    chance = np.where(allowed, random.random(allowed.shape), -1.0)
    if not len(chance):
        return np.zeros(0, np.int64)
    return np.where(allowed.any(axis=1), chance.argmax(axis=1), NO_PARTNER)
