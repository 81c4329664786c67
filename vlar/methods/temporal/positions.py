"""Learned positions of frames, for other numbers of frames than they were learned with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


def interpolate_positions(table: Tensor, count: int) -> Tensor:
    """Positions of T1 frames from those of T0: straight lines between them, the ends kept.

    Args:
        table: (T0, D).
        count: T1, from 1; a single frame gets the first position.

    Returns:
        (T1, D); the table itself where T1 is T0.
    """
    table = torch.as_tensor(table)
    if count == len(table):
        return table
    if len(table) == 1:
        return table.expand(count, -1)
    return F.interpolate(table.T[None], count, mode="linear", align_corners=True)[0].T
