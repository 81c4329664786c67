"""STC-Net: curves through space and time, and graphs of joints at a distance. A reconstruction.

Lee et al., "Leveraging spatio-temporal dependency for skeleton-based action recognition", ICCV
2023. No code was released; what its text leaves open is this project's choice.

Letters: R people, C channels, T frames, V joints; curve u starts at joint u of the first frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.methods.skeleton_towers.channel import Scales, TowerTopology
from vlar.methods.skeleton_towers.graphs import dilated
from vlar.methods.skeleton_towers.network import Given, Time

_KEYS = 8  # channels in which joints are compared
_SHARP = 10.0  # factor from their cosine to a logit
_SUBSETS = 3


def links(query: Tensor, key: Tensor, seen: Tensor | None = None) -> Tensor:
    """Links of each joint to the most similar one of the next frame.

    The value is 1 for the most similar joint and 0 for others; the gradient is that of a softmax
    over the similarities.

    Args:
        query: (R, K, T, V), as the keys.
        key: To be compared with.
        seen: (R, T, V); no link leads to a joint that is not seen, where another one is.

    Returns:
        (R, T - 1, V, V): rows are joints of a frame, columns those of the next.
    """
    one, two = F.normalize(query[:, :, :-1], dim=1), F.normalize(key[:, :, 1:], dim=1)
    near = torch.einsum("rktu,rktv->rtuv", one, two) * _SHARP
    if seen is not None:
        near = near - (1 - seen[:, 1:, None]) * 1e4
    soft = near.softmax(dim=-1)
    hard = F.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft)
    return hard + (soft - soft.detach())


def follow(steps: Tensor) -> Tensor:
    """Links (R, T - 1, V, V) to the joint (columns) of each curve (rows) in T frames, one-hot."""
    products = [torch.eye(steps.shape[-1]).to(steps).expand_as(steps[:, 0])]
    for step in steps.unbind(1):
        products.append(products[-1] @ step)
    return torch.stack(products, dim=1)


class Curves(nn.Module):
    """Features along curves, scattered back to the joints that the curves visit.

    A curve gathers the features of its joints. Convolutions over time relate them within the curve,
    and an attention relates the means of all curves; a joint gets the mean of its visits.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = nn.Conv2d(width, 2 * _KEYS, 1)
        self.along = nn.Conv2d(width, width, (5, 1), padding=(2, 0), groups=width)
        self.ends = nn.Conv1d(width, 2 * _KEYS, 1)

    def places(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, T, V, V) of ``follow`` for x (R, C, T, V)."""
        query, key = self.pair(x).chunk(2, dim=1)
        return follow(links(query, key, seen))

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C, T, V); 0 at joints that no curve visits."""
        places = self.places(x, seen)
        curves = torch.einsum("rctv,rtuv->rctu", x, places)
        means = curves.mean(dim=2)
        one, two = self.ends(means).chunk(2, dim=1)
        among = torch.softmax(one.mT @ two * _KEYS**-0.5, dim=-1)
        related = self.along(curves) + (means @ among.mT)[:, :, None]
        visits = places.sum(dim=2).clamp(min=1)[:, None]
        return torch.einsum("rctu,rtuv->rctv", related, places) / visits


class CurveScales(Time):
    """Convolutions of ``Scales`` on the joints and on what curves add, 0 at the start."""

    def __init__(self, inputs: int, outputs: int, stride: int, given: Given) -> None:
        super().__init__(inputs, outputs, stride, given)
        self.curves, self.scales = Curves(inputs), Scales(inputs, outputs, stride, given)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) to (R, C', T', V)."""
        return self.scales(x + self.share * self.curves(x, seen), seen)


class Dilated(TowerTopology):
    """Topologies of channels whose kernels cover joints at a distance, and the joint itself.

    With the dilation d, kernel w = 1, 2, 3 covers the joints from (w - 1) d + 1 to w d bones away.
    Graphs are fixed and only their edges are refined, so another dilation has the same weights.
    """

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__(inputs, outputs, given)
        hops, rows = given.config.dilation, list(given.joints)
        far = dilated(given.config.layout, _SUBSETS * hops)[:, rows][:, :, rows]
        far = torch.from_numpy(far > 0).float()
        near = far.unflatten(0, (_SUBSETS, hops)).sum(dim=1) + torch.eye(far.shape[1])
        del self.graph
        self.register_buffer("graph", near / near.sum(dim=1, keepdim=True), persistent=False)

    def topology(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, 3, C', V, V), 0 between joints that are not covered."""
        return super().topology(x, seen) * (self.graph > 0)[:, None]
