"""Private parts of a network: ``W + gamma U V``, W shared and the rest a client's own (FSAR)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_OWN, _ORIGINAL = ".parametrizations.", ".original"


class LowRank(nn.Module):
    """A shared weight (..., R, K) with what a client adds to it, zero at the start."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        *lead, rows, columns = weight.shape
        self.up = nn.Parameter(torch.randn(*lead, rows, rank) / rows**0.5)
        self.down = nn.Parameter(torch.randn(*lead, rank, columns) / columns**0.5)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, shared: Tensor) -> Tensor:
        """The weight that the client uses."""
        return shared + self.gamma * (self.up @ self.down)


def places(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Owner and name of the weights with a private part: learned graphs, else the last map."""
    owners = list(module.modules())
    graphs = [m for m in owners if isinstance(getattr(m, "graph", None), nn.Parameter)]
    last = [m for m in owners if type(m) is nn.Linear][-1:]
    return [(m, "graph") for m in graphs] or [(m, "weight") for m in last]


def add_private(module: nn.Module, rank: int, seed: int) -> None:
    """Give weights of a network their private part; draws depend on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for owner, name in places(module):
            parametrize.register_parametrization(owner, name, LowRank(getattr(owner, name), rank))


def plain_state(module: nn.Module, *, used: bool) -> dict[str, Tensor]:
    """State without private parts: the weights that the client uses, else the shared ones."""
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        path, mark, tail = name.partition(_OWN)
        if tail.endswith(_ORIGINAL):
            last = tail.removesuffix(_ORIGINAL)
            weight = getattr(module.get_submodule(path), last) if used else tensor
            state[f"{path}.{last}"] = weight.detach()
        elif not mark:
            state[name] = tensor
    return state


def keyed(name: str) -> str:
    """Name of a weight in messages: ``private.NAME`` for a private part, else ``shared.NAME``."""
    is_adapted = _OWN in name and not name.endswith(_ORIGINAL)
    return f"{'private' if is_adapted else 'shared'}.{name}"
