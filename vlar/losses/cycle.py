"""What two groups of labels share: one is rebuilt from the other, and back (ActionHub, CoCo).

Zhou et al., "ActionHub: a large-scale action video description dataset for zero-shot action
recognition", 2024, arXiv 2401.11654. Its equations could not be compared; these are our reading.

Letters: S seen labels, U unseen labels, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

#: Below it a row is rebuilt from one other row, and nothing shared is asked for.
LOWEST_TEMPERATURE = 0.05


class Reconstruction(NamedTuple):
    """One group rebuilt from another.

    Attributes:
        weights: (U, S), rows that sum to 1.
        rebuilt: (U, D), the weighted means of the other group's vectors.
    """

    weights: Tensor
    rebuilt: Tensor


def reconstruct(seen: Tensor, unseen: Tensor, temperature: float) -> Reconstruction:
    """Each unseen label as a mean of seen ones: ``softmax(Z_U Z_S^T / temperature) Z_S``.

    Args:
        seen: (S, D) vectors, of unit length where cosines are meant.
        unseen: (U, D).
        temperature: Above 0.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature is {temperature}; use a number above 0")
    weights = (unseen @ seen.T / temperature).softmax(dim=-1)
    return Reconstruction(weights, weights @ seen)


def cycle_consistency(seen: Tensor, unseen: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding each label again after the way through the other group.

    The seen labels are rebuilt from the rebuilt unseen ones, and the other way round; a label is
    found where its own vector is the nearest to what came back. All labels alike cannot win here,
    as they would with a mere distance.

    Args:
        seen: (S, D) vectors of unit length.
        unseen: (U, D).
        temperature: From ``LOWEST_TEMPERATURE``.

    Raises:
        ValueError: the temperature is lower.
    """
    if temperature < LOWEST_TEMPERATURE:
        raise ValueError(
            f"the temperature is {temperature}; below {LOWEST_TEMPERATURE} pairs of labels copy "
            "each other"
        )
    ways = [_way(a, b, temperature) for a, b in ((seen, unseen), (unseen, seen))]
    return torch.stack(ways).mean()


def _way(start: Tensor, other: Tensor, temperature: float) -> Tensor:
    there = reconstruct(start, other, temperature).rebuilt
    back = F.normalize(reconstruct(there, start, temperature).rebuilt, dim=-1)
    logits = back @ start.detach().T / temperature
    return F.cross_entropy(logits, torch.arange(len(start), device=start.device))
