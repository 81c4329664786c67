"""The distance of people as a loss (CHASE, Wen et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from vlar.methods.skeleton_towers.network import Answers, Aux, Reading, TowerNetwork

_KERNELS = 5


class PeopleApart(Aux):
    """Squared discrepancy between two people of each scene, by the box that each moves in."""

    def forward(self, network: TowerNetwork, reading: Reading, answers: Answers) -> Tensor:
        """``people_apart`` of the joints after the normalisation."""
        return people_apart(reading.points, reading.seen)


def people_apart(points: Tensor, seen: Tensor) -> Tensor:
    """Squared mean discrepancy between two people of each scene.

    Of more than two people a random pair is compared. Those who move more are one set, the others
    the second one.

    Args:
        points: (N, T, M, V, 3), 0 where a joint is not seen.
        seen: (N, T, M, V).

    Returns:
        A scalar; 0 where fewer than two scenes show two people.
    """
    there = seen.amax(dim=(1, 3)) > 0
    enough = there.sum(dim=1) > 1
    if int(enough.sum()) < 2:
        return points.sum() * 0
    points, seen, there = points[enough], seen[enough], there[enough]
    drawn = (
        torch.where(there, torch.rand(there.shape), -1.0).topk(2, dim=1).indices.sort(dim=1).values
    )
    far = torch.where(seen[..., None] > 0, 0.0, torch.inf)
    high, low = (points - far).amax(dim=(1, 3)), (points + far).amin(dim=(1, 3))
    boxes = torch.nan_to_num(torch.cat([high, low], dim=-1), posinf=0.0, neginf=0.0)
    one, two = boxes.gather(1, drawn[..., None].expand(-1, -1, boxes.shape[2])).unbind(dim=1)
    return discrepancy(one, two)


def discrepancy(one: Tensor, two: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of (n, d) and (m, d), by five Gaussian kernels.

    The middle bandwidth is the mean squared distance of all rows; each is twice the one before.
    """
    rows = torch.cat([one, two])
    distance = (rows[:, None] - rows).square().sum(dim=-1)
    count = len(rows)
    middle = distance.detach().sum() / max(count * (count - 1), 1)
    widths = middle.clamp(min=1e-9) * 2.0 ** torch.arange(_KERNELS).sub(_KERNELS // 2)
    kernel = torch.exp(-distance[None] / widths[:, None, None]).sum(dim=0)
    n = len(one)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
