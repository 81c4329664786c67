"""SpikePoint at the sizes of its paper (Ren et al., ICLR 2024, arXiv 2310.07189), in plain torch.

Neither code nor weights of SpikePoint were released: the names are this project's, and what the
paper leaves open (threshold, reset, votes by mean) is stated below. EventTransAct cannot be built
as published, since two of its modules were not released.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlar.errors import UsageError

_VOTES = 10  # outputs a class
SMALL, LARGE = (32, 64, 128, 256), (64, 128, 256, 512)
FULL: dict[str, dict[str, Any]] = {"spikepoint": {"widths": LARGE, "num_classes": 11}}


class _Spike(torch.autograd.Function):
    """A step whose derivative is that of an arc tangent, 1 / (1 + (pi u)^2)."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        (u,) = inputs
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return grad_outputs[0] / (1 + (torch.pi * u) ** 2)


class ReleasedNeuron(nn.Module):
    """Leaky integrate-and-fire with a learned time constant from 2, threshold 1, reset to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(()))  # the sigmoid of it is one over the constant

    def forward(self, current: Tensor) -> Tensor:
        """Spikes (T, ...) of currents (T, ...)."""
        keep = 1 - torch.sigmoid(self.rate)
        u = torch.zeros_like(current[0])
        spikes: list[Tensor] = []
        for step in current:
            u = keep * u + step
            spike: Any = _Spike.apply(u - 1)
            u = u * (1 - spike)
            spikes.append(spike)
        return torch.stack(spikes)


class _Layer(nn.Module):
    """A 1 x 1 convolution without bias, its norm and neurons, of (T, N, C, points)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm1d(outputs)
        self.neuron = ReleasedNeuron()

    def forward(self, x: Tensor) -> Tensor:
        flat = self.bn(self.conv(x.flatten(0, 1)))
        return self.neuron(flat.unflatten(0, x.shape[:2]))


class _Residual(nn.Module):
    """Layers whose spikes are added to the spikes that they read."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_Layer(a, b) for a, b in pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x


class SpikePoint(nn.Module):
    """Groups of points as rates -> votes of neurons (N, classes).

    Args:
        config: ``widths`` (``SMALL`` or ``LARGE``), ``num_classes``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        one, two, three, four = config["widths"]
        self.classes = config["num_classes"]
        self.offsets = nn.Sequential(_Layer(6, one), _Residual(one, one // 2, one))
        self.centres = nn.Sequential(_Layer(3, one), _Residual(one, one // 2, one))
        self.merge = nn.Sequential(
            _Layer(one, two),
            _Residual(two, two),
            _Layer(two, three),
            _Residual(three, three),
            _Layer(three, four),
        )
        self.hidden = _Layer(four, four)
        self.votes = _Layer(four, _VOTES * self.classes)

    def forward(self, offsets: Tensor, centres: Tensor) -> Tensor:
        """Mean votes (N, classes) in 0..1.

        Args:
            offsets: Spikes or rates (T, N, 6, groups, points).
            centres: Spikes or rates (T, N, 3, groups).
        """
        steps, clips, channels, groups, points = offsets.shape
        flat = offsets.reshape(steps, clips, channels, groups * points)
        local = self.offsets(flat).unflatten(3, (groups, points)).amax(-1)
        x = self.merge(local + self.centres(centres)).amax(-1, keepdim=True)
        spikes = self.votes(self.hidden(x))[..., 0]  # (T, N, votes)
        return spikes.unflatten(2, (self.classes, _VOTES)).mean((0, 3))


def load(name: str, path: str | Path) -> nn.Module:
    """A network of event cameras with the weights of a file, in evaluation mode.

    Args:
        name: ``spikepoint``. No weights of it were released: files are those that were saved here.
        path: ``.pt``, ``.pth`` or ``.safetensors``; settings of another size in ``<path>.json``.

    Raises:
        UsageError: no such network, or names or shapes do not fit; the message counts them.
        ModelError: the file is missing or damaged, or holds more than data.
    """
    from vlar.training import released

    if name == "event-transact":
        raise UsageError(
            "the network of EventTransAct cannot be built as published: two of its modules were "
            "not released; use vlar adapt --method event-transact"
        )
    if name not in FULL:
        raise UsageError(f"no released network {name!r}; there are {', '.join(FULL)}")
    state, config = released.read(path)
    settings = dict(FULL[name])
    if (votes := state.get("votes.conv.weight")) is not None and votes.ndim == 3:
        settings["num_classes"] = len(votes) // _VOTES
        settings["widths"] = SMALL if votes.shape[1] == SMALL[-1] else LARGE
    return released.fill(SpikePoint({**settings, **config}), state, path)
