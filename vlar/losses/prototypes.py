"""Prototypes that treat false negatives and false positives of a label apart.

Source: Li et al., "Prototypical calibrating ambiguous samples for micro-action recognition" (PCAN),
2024. Letters: N clips, C labels, E features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

_TEMPERATURE = 0.125
# Of the three kinds of false negatives: the coarse head right, the fine head right, none right.
# The factors multiply scores before the softmax, as a temperature does.
_SHARPNESS = (1.0, 0.1, 0.5)


@dataclass(frozen=True)
class Confusions:
    """Which clips of a batch are taken for what.

    Attributes:
        negatives: Three (N, C) masks: clip i shows label c, and this head misses it (the other head
            is right), this head has it (the other is wrong), or both are wrong.
        positives: (N, C): clip i is taken for label c, which it does not show.
    """

    negatives: tuple[Tensor, Tensor, Tensor]
    positives: Tensor

    @staticmethod
    def of(y: Tensor, answer: Tensor, other_right: Tensor, n_labels: int) -> Confusions:
        """Sort the clips of a batch.

        Args:
            y: (N,) int64 labels.
            answer: (N,) int64 answers of this head.
            other_right: (N,) bool, whether the head of the other level is right.
            n_labels: C.
        """
        shows = F.one_hot(y, n_labels).bool()
        wrong = answer != y
        kinds = (wrong & other_right, ~wrong & ~other_right, wrong & ~other_right)
        first, second, third = (shows & kind[:, None] for kind in kinds)
        taken = F.one_hot(answer, n_labels).bool() & wrong[:, None]
        return Confusions((first, second, third), taken)


def refined(
    space: Tensor, memory: Tensor, y: Tensor, probability: Tensor, sets: Confusions
) -> Tensor:
    """Cross-entropies of similarities to prototypes that move with the confused clips.

    ``(cos(u, m_c) + p (cos(u, sum of FN_c) - 1)) / 0.125`` for each kind of false negatives, and
    ``(cos(u, m_c) + p (-cos(u, sum of FP_c) - 1)) / 0.125`` for false positives, with
    ``p = 0.125 (1 - probability of the own label)`` at the own label alone. A label without clips
    of a kind keeps ``cos(u, m_c)``.

    Args:
        space: (N, E) features u of the clips.
        memory: (C, E) prototypes m.
        y: (N,) int64 labels.
        probability: (N, C) of the head.
        sets: The confused clips.

    Returns:
        The sum of the four mean cross-entropies.
    """
    unit = F.normalize(space, dim=1)
    near = unit @ F.normalize(memory, dim=1).T
    own = F.one_hot(y, len(memory)).bool()
    doubt = _TEMPERATURE * (1 - probability.gather(1, y[:, None]))
    total = space.sum() * 0.0
    signs = ((mask, 1.0, sharp) for mask, sharp in zip(sets.negatives, _SHARPNESS, strict=True))
    for mask, sign, sharpness in (*signs, (sets.positives, -1.0, 1.0)):
        group = F.normalize(mask.to(space).T @ space, dim=1)
        pull = doubt * (sign * unit @ group.T - 1)
        moved = torch.where(own & mask.any(dim=0), pull, torch.zeros_like(pull))
        total = total + F.cross_entropy(sharpness * (near + moved) / _TEMPERATURE, y)
    return total


def diversity(space: Tensor, y: Tensor) -> Tensor:
    """Frobenius norm of the cosines between the mean features of the labels of a batch.

    The source keeps the diagonal, a constant; it is left out here.

    Args:
        space: (N, E).
        y: (N,) int64 labels.
    """
    labels = y.unique()
    means = torch.stack([space[y == label].mean(dim=0) for label in labels])
    cosines = F.normalize(means, dim=1) @ F.normalize(means, dim=1).T
    # The square root has no gradient at 0.
    apart = cosines - torch.eye(len(labels), dtype=cosines.dtype, device=cosines.device)
    return (apart.square().sum() + 1e-12).sqrt()
