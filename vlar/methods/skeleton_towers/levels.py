"""HD-GCN: levels of a body, seen from a joint, and attention over them (Lee et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlar.media.skeleton.layouts import levels
from vlar.methods.skeleton_towers.graphs import hierarchy, normed
from vlar.methods.skeleton_towers.network import Given, Space, hidden, mean_over

_BRANCHES = 4  # a level itself, to the next, back, and the nearest by features
_LEVELS_NEAR = 3


class Hierarchy(Space):
    """Neighbouring levels in full connection, nearest joints, and a weight for each pair of levels.

    Joints that are not read of a layout are in no level.
    """

    member: Tensor

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__(inputs, outputs, given)
        rows = list(given.joints)
        name, centre = given.config.layout, given.centre
        graph = hierarchy(name, centre)[:, :, rows][..., rows]
        self.graph = nn.Parameter(torch.from_numpy(normed(graph)))
        self.levels, self.near = len(graph), min(given.config.neighbours, len(rows))
        of = torch.from_numpy(levels(name, centre)[rows].copy())
        pairs = torch.arange(self.levels)[:, None]
        member = ((of == pairs) | (of == pairs + 1)).float()
        self.register_buffer("member", member, persistent=False)
        self.inner = max(1, outputs // _BRANCHES)
        whole = self.levels * self.inner
        self.enter = nn.Sequential(nn.Conv2d(inputs, whole, 1), nn.BatchNorm2d(whole), nn.ReLU())
        self.branches = nn.Conv2d(whole, 3 * whole, 1, groups=self.levels)
        # An edge convolution of x_v and x_u - x_v is one of each joint and one of its neighbour.
        self.own = nn.Conv2d(whole, whole, 1, groups=self.levels)
        self.other = nn.Conv2d(whole, whole, 1, groups=self.levels, bias=False)
        self.weigh = nn.Conv1d(outputs, self.inner, 1)
        self.weigh_other = nn.Conv1d(outputs, self.inner, 1, bias=False)
        self.score = nn.Conv1d(self.inner, 1, 1)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T, V)."""
        r, _, t, v = x.shape
        small = hidden(self.enter(x), seen)
        sizes = r, self.levels, -1, t, v
        values = hidden(self.branches(small), seen).view(r, self.levels, 3, self.inner, t, v)
        linked = values @ self.graph[:, :, None]
        near = self.nearest(small, seen).view(sizes)
        return self.gathered(torch.cat([linked.flatten(2, 3), near], dim=2), seen)

    def nearest(self, small: Tensor, seen: Tensor | None) -> Tensor:
        """Edge convolution: the largest answer of the nearest joints, (R, L C / 4, T, V)."""
        r, _, t, v = small.shape
        mean = mean_over(small, seen, (-2,)).view(r * self.levels, self.inner, v).transpose(1, 2)
        at = torch.cdist(mean, mean).topk(self.near, dim=2, largest=False).indices
        other = self.other(small).view(r * self.levels, self.inner, t, v)
        index = at.flatten(1)[:, None, None].expand(-1, self.inner, t, -1)
        most = other.gather(3, index).view(*other.shape, self.near).amax(dim=4)
        return hidden(self.own(small), seen) + most.view_as(small)

    def gathered(self, found: Tensor, seen: Tensor | None) -> Tensor:
        """Sum of the levels (R, L, C', T, V) by the attention over them, (R, C', T, V)."""
        r = len(found)
        share = self.member.expand(r, -1, -1)
        most = found.amax(dim=3)
        if seen is not None:
            share = share * (seen.amax(dim=1)[:, None] > 0)
            hid = seen[:, None, None] == 0
            most = found.masked_fill(hid, -torch.inf).amax(dim=3).nan_to_num(neginf=0.0)
        share = share / share.sum(dim=2, keepdim=True).clamp(min=1)
        pooled = torch.einsum("rlcv,rlv->rcl", most, share)
        own, other = self.weigh(pooled), self.weigh_other(pooled)
        rows = pooled.transpose(1, 2)
        at = torch.cdist(rows, rows).topk(min(_LEVELS_NEAR, self.levels), 2, largest=False).indices
        index = at.flatten(1)[:, None].expand(-1, self.inner, -1)
        near = other.gather(2, index).view(r, self.inner, self.levels, -1).amax(dim=3)
        weight = torch.sigmoid(self.score(torch.relu(own + near)))
        return torch.einsum("rlctv,rl->rctv", found, weight[:, 0])
