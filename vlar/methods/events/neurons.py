"""Spiking neurons, linear attention and the selective scan, as pure functions of PyTorch.

Letters: N clips, T moments, L tokens, D width, S states of a channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

SLOPE = 4.0  # of the sigmoid whose derivative takes the place of the derivative of a step


class _Spikes(torch.autograd.Function):
    """All moments of the neurons in one node; the gradient runs through the kept potentials."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau: Tensor, threshold: float, reset: float) -> Tensor:
        potential, spikes = torch.empty_like(current), torch.empty_like(current)
        level, share = torch.full_like(current[0], reset), 1 / float(tau)
        for moment, drive in enumerate(current + reset if reset else current):
            now = torch.lerp(level, drive, share, out=potential[moment])
            fired = now >= threshold
            spikes[moment] = fired
            level = now.masked_fill(fired, reset)
        ctx.save_for_backward(potential, spikes, tau)
        ctx.threshold, ctx.reset = threshold, reset
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        potential, spikes, tau = ctx.saved_tensors
        near = (potential - ctx.threshold).mul_(SLOPE).sigmoid_()
        total = near.addcmul_(near, near, value=-1).mul_(gradients[0]).mul_(SLOPE)
        keep, share = 1 - spikes[:-1], 1 / float(tau)
        for moment in range(len(total) - 2, -1, -1):
            total[moment].addcmul_(total[moment + 1], keep[moment], value=1 - share)
        moved = potential - ctx.reset  # by each moment, from where the one before left it
        moved[1:].addcmul_(keep, potential[:-1] - ctx.reset, value=-1)
        of_tau = -share * (total * moved).sum()
        return total.mul_(share), of_tau.reshape(tau.shape), None, None


def lif(
    current: Tensor, *, tau: float | Tensor = 2.0, threshold: float = 1.0, reset: float = 0.0
) -> Tensor:
    """Spikes of leaky integrate-and-fire neurons.

    ``u <- u + (I - (u - reset)) / tau``; a neuron with ``u >= threshold`` fires, and its potential
    is set to ``reset`` (hard reset). The derivative of the step is that of a sigmoid; no gradient
    runs through the reset. In the notation of SpikMamba and SpikePoint.

    Args:
        current: (T, ...) input of each moment; neurons start at ``reset``.
        tau: Time constant in moments, above 1; a tensor of one entry is learned.
        threshold: Potential at which a neuron fires.
        reset: Potential after a spike.

    Returns:
        (T, ...) of 0 and 1.
    """
    current = torch.as_tensor(current)
    constant = torch.as_tensor(tau, dtype=current.dtype, device=current.device)
    spikes: Tensor = _Spikes.apply(current, constant, threshold, reset)
    return spikes


class Neuron(nn.Module):
    """Neurons with a learned time constant along the second dimension, or a plain rectifier.

    Args:
        kind: ``lif`` or ``none``.
        threshold: Potential at which a neuron fires.
    """

    def __init__(self, kind: str, threshold: float = 1.0) -> None:
        super().__init__()
        self.spiking, self.threshold = kind == "lif", threshold
        if self.spiking:
            self.log_tau = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, ...) currents to spikes, or to what is above 0."""
        if not self.spiking:
            return F.relu(x)
        tau = 1 + self.log_tau.exp()
        return lif(x.transpose(0, 1), tau=tau, threshold=self.threshold).transpose(0, 1)


def linear_attention(q: Tensor, k: Tensor, v: Tensor, turn: Tensor | None = None) -> Tensor:
    """Attention with the weights ``q k / sum q k``, linear in L: equal to its quadratic form.

    Args:
        q: (..., L, D), positive.
        k: (..., L, D), positive.
        v: (..., L, E).
        turn: (L, D / 2) unit complex numbers, which turn pairs of entries of queries and keys; the
            sum that divides is of those that are not turned (rotary positions of SpikMamba).

    Returns:
        (..., L, E).
    """
    total = (q * k.mean(dim=-2, keepdim=True)).sum(dim=-1, keepdim=True)
    if turn is not None:
        q, k = _turned(q, turn), _turned(k, turn)
    return q @ (k.transpose(-2, -1) @ v / k.shape[-2]) / total


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


def _recurrence(decay: Tensor, inputs: Tensor, *, backwards: bool = False) -> Tensor:
    """States ``h <- decay h + inputs`` of a sequence in pieces, (size, N, count, ...).

    The first pass finds the states at the ends of the pieces from zero, the second all states.
    """
    places, pieces = range(len(decay)), range(decay.shape[2])
    if backwards:
        places, pieces = places[::-1], pieces[::-1]
    state, whole = torch.zeros_like(inputs[0]), torch.ones_like(inputs[0])
    for level in places:
        state.mul_(decay[level]).add_(inputs[level])
        whole.mul_(decay[level])
    starts, start = torch.empty_like(state), torch.zeros_like(state[:, 0])
    for piece in pieces:
        starts[:, piece] = start
        start = torch.addcmul(state[:, piece], whole[:, piece], start)
    states, state = torch.empty_like(inputs), starts
    for level in places:
        state = torch.addcmul(inputs[level], decay[level], state, out=states[level])
    return states


class _States(torch.autograd.Function):
    """The recurrence as one node: its gradient is the recurrence backwards."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor) -> Tensor:
        states = _recurrence(decay, inputs)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        later = torch.cat([decay[1:], torch.zeros_like(decay[:1])])
        later[-1, :, :-1] = decay[0, :, 1:]
        of_inputs = _recurrence(later, gradients[0], backwards=True)
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        before[0, :, 1:] = states[-1, :, :-1]
        return before.mul_(of_inputs), of_inputs


def selective_scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """State-space recurrence ``h <- exp(delta a) h + delta b x``, ``y = c h``, from ``h = 0``.

    The sequence is cut into about sqrt(L) pieces that run side by side. No decay is ever inverted,
    so long sequences do not overflow.

    Args:
        x: (N, L, D).
        delta: (N, L, D) steps, positive.
        a: (D, S), negative.
        b: (N, L, S).
        c: (N, L, S).

    Returns:
        (N, L, D).
    """
    n, length, _ = x.shape
    size = math.isqrt(max(length - 1, 0)) + 1
    count = -(-length // size)

    def pieces(tensor: Tensor) -> Tensor:
        """(N, L, W) to (size, N, count, W): the same place of all pieces in one row."""
        padded = F.pad(tensor, (0, 0, 0, size * count - length))
        return padded.reshape(n, count, size, -1).permute(2, 0, 1, 3).contiguous()

    steps = pieces(delta)
    decay = (steps.unsqueeze(-1) * a).exp()
    inputs = (steps * pieces(x)).unsqueeze(-1) * pieces(b).unsqueeze(-2)
    states: Tensor = _States.apply(decay, inputs)
    y = (states @ pieces(c).unsqueeze(-1)).squeeze(-1)
    return y.permute(1, 2, 0, 3).reshape(n, size * count, -1)[:, :length]
