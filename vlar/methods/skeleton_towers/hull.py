"""An origin inside the hull of all joints, learned for each scene (CHASE, Wen et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor


def hull_shift(points: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scenes moved by one vector, the mean of their joints by the softmax of scores.

    The origin lies inside the convex hull of the joints. A scene that is moved as a whole gives the
    same places. Joints that are not seen get no weight.

    Args:
        points: (N, T, M, V, C), NaN where a joint is not seen.
        scores: (N, T, M, V).

    Returns:
        Places (N, T, M, V, C), NaN as before, and the origins (N, C); 0 where no joint is seen.
    """
    is_visible = torch.isfinite(points).all(dim=-1)
    flat = scores.masked_fill(~is_visible, -torch.inf).flatten(1)
    # A scene without any joint has no softmax.
    flat = torch.where(is_visible.flatten(1).any(dim=1, keepdim=True), flat, 0.0)
    finite_points = torch.where(is_visible[..., None], points, 0.0).flatten(1, 3)
    origin = origins(finite_points, flat[..., None])[:, 0]
    return points - origin[:, None, None, None], origin


def origins(points: Tensor, scores: Tensor) -> Tensor:
    """(N, S, C) means of points (N, P, C) by the softmax over P of scores (N, P, S)."""
    return torch.einsum("npc,nps->nsc", points, scores.softmax(dim=1))
