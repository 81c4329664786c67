"""An origin inside the hull of all joints, learned for each scene (CHASE, Wen et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FIRST, _SECOND = 64, 8


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
    seen = torch.isfinite(points).all(dim=-1)
    flat = scores.masked_fill(~seen, -torch.inf).flatten(1)
    # A scene without any joint has no softmax.
    flat = torch.where(seen.flatten(1).any(dim=1, keepdim=True), flat, 0.0)
    weights = torch.softmax(flat, dim=1)
    known = torch.where(seen[..., None], points, 0.0).flatten(1, 3)
    origin = torch.einsum("np,npc->nc", weights, known)
    return points - origin[:, None, None, None], origin


class HullShift(nn.Module):
    """Scores of all joints of all people and frames from the whole scene; one shift for everybody.

    The scene is read relative to the mean of its joints, so that moving it changes no score.
    """

    def __init__(self, frames: int, people: int, joints: int) -> None:
        super().__init__()
        self.sizes = frames, people, joints
        self.enter = nn.Linear(3, _FIRST, bias=False)
        self.inner = nn.Linear(_FIRST, _SECOND, bias=False)
        self.leave = nn.Linear(_SECOND, frames * people * joints, bias=False)

    def forward(self, points: Tensor, seen: Tensor) -> Tensor:
        """Joints (N, T, M, V, 3) and ``seen`` (N, T, M, V) to moved ones, 0 where not seen."""
        weight = seen.flatten(1)[..., None]
        count = weight.sum(dim=1, keepdim=True).clamp(min=1)
        flat = points.flatten(1, 3)
        away = (flat - (flat * weight).sum(dim=1, keepdim=True) / count) * weight
        # A linear layer alone would have the mean 0.
        pooled = torch.relu(self.enter(away)).sum(dim=1) / count[:, 0]
        scores = self.leave(torch.relu(self.inner(pooled))).view(-1, *self.sizes)
        hidden = torch.where(seen[..., None] > 0, points, torch.nan)
        return torch.nan_to_num(hull_shift(hidden, scores)[0])
