"""A loss over the legal states of a label tree: a coarse label alone, or with one of its kinds.

Letters: N clips, C fine labels, J coarse labels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def tree_loss(fine: Tensor, coarse: Tensor, parent: Tensor, y: Tensor) -> Tensor:
    """Minus the mean log probability of the state that a clip shows.

    With sigmoid scores ``s``, a state is a coarse label alone or a fine one with its parent; its
    weight is ``exp(sum of s in the state)``. Source: the tree loss that PCAN takes from Chen et
    al., "Label relation graphs enhanced hierarchical residual network", 2022.

    Args:
        fine: (N, C) logits.
        coarse: (N, J) logits; J = 0 leaves the softmax over sigmoid scores.
        parent: (C,) int64 column of each fine label's parent; ignored where J = 0.
        y: (N,) int64 fine labels.

    >>> zeros = torch.zeros(1, 5), torch.zeros(1, 2)
    >>> round(float(tree_loss(*zeros, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0]))), 6)
    1.826654
    """
    scores, above = fine.sigmoid(), coarse.sigmoid()
    kinds = scores + above[:, parent] if coarse.shape[1] else scores
    states = torch.cat([kinds, above], dim=1)
    own = kinds.gather(1, y[:, None])[:, 0]
    return (states.logsumexp(dim=1) - own).mean()
