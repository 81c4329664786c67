"""Probabilities of coarse labels from those of fine ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.text.tree import Tree
from vlar.types import Float64


def roll_up(probability: npt.ArrayLike, tree: Tree) -> Float64:
    """Sum the probabilities of the fine labels of each coarse label.

    Args:
        probability: (N, C), the columns in the order of ``tree.fine``.
        tree: The labels.

    Returns:
        (N, J) float64 in the order of ``tree.coarse``; rows sum to what the fine ones sum to.

    Raises:
        UsageError: another number of columns.
    """
    fine = np.asarray(probability, np.float64)
    if fine.ndim != 2 or fine.shape[1] != len(tree.fine):
        raise UsageError(
            f"probabilities have the shape {fine.shape}, and the label tree has "
            f"{len(tree.fine)} fine labels; give (N, {len(tree.fine)})"
        )
    member = np.eye(len(tree.coarse))[list(tree.parent_columns)]
    return fine @ member
