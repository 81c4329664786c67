"""Bodies of skeleton towers for the tests: small ones, their inputs, and a short training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlar.methods.skeleton_towers.config import BODIES, TowerConfig, loaded
from vlar.methods.skeleton_towers.network import TowerBody, members


def body(name: str, **settings: Any) -> TowerBody:
    """A body of one stream in eval mode, from a fixed seed."""
    settings = {"streams": ("joint",), "frames": 16, "people": 1, **settings}
    torch.manual_seed(0)
    made = loaded(BODIES, name)(members(TowerConfig(body=name, **settings))[0][1])
    return made.eval()


def size(network: nn.Module, labels: int = 0) -> int:
    """Parameters, with those of a linear head for as many labels."""
    head = (network.width + 1) * labels if isinstance(network, TowerBody) else 0
    return sum(parameter.numel() for parameter in network.parameters()) + head


def scene(
    n: int, people: int, frames: int, joints: int, seed: int = 0, channels: int = 3
) -> tuple[Tensor, Tensor]:
    """Streams (n, M, C, T, V) and a mask of ones (n, M, T, V)."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, people, channels, frames, joints, generator=random)
    return x, torch.ones(n, people, frames, joints)


def train(
    network: TowerBody, x: Tensor, seen: Tensor, y: Tensor, *, steps: int, labels: int = 2
) -> nn.Linear:
    """Train a body with a linear head, and leave both in eval mode."""
    torch.manual_seed(1)
    head = nn.Linear(network.width, labels)
    both = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(both, lr=5e-3)
    network.train()
    for _ in range(steps):
        loss = nn.functional.cross_entropy(head(network(x, seen).vectors), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    return head


@torch.no_grad()
def right(network: TowerBody, head: nn.Linear, x: Tensor, seen: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    return float((head(network(x, seen).vectors).argmax(dim=1) == y).float().mean())
