"""Parts that the networks of towers share.

Letters: N clips, T frames, K inputs of a frame, C labels, P prompts a label, D joint width.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

WAVES = 4  # frequencies of the time position
LABEL_GAIN = 0.15  # the texts of labels move slower than the clips


class ResidualNetwork(nn.Module):
    """The base of networks that move clips, and the texts of the labels they are trained for.

    A network writes ``residual``, zero at the start. ``register_labels`` makes the residuals of
    ``concepts``.
    """

    labels: nn.Parameter

    @abstractmethod
    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the vectors of the clips, (N, D)."""

    def register_labels(self, count: int, dim: int) -> None:
        """Make the residuals of C labels, zero."""
        self.labels = nn.Parameter(torch.zeros(count, dim))

    def vectors(self, inputs: Tensor, pooled: Tensor) -> Tensor:
        """Clip vectors (N, D) of unit length from the encoder's own ones (N, D)."""
        return F.normalize(pooled + self.residual(inputs), dim=-1)

    def concepts(self, texts: Tensor) -> Tensor:
        """Texts (C, P, D) of the labels, P prompts each, to concepts (C, D) of unit length."""
        moved = F.normalize(texts + self.label_residual()[:, None], dim=-1)
        return F.normalize(moved.mean(dim=1), dim=-1)

    def label_residual(self) -> Tensor:
        """(C, D) that is added to every text of a trained label."""
        return self.labels * LABEL_GAIN


def register_directions(network: nn.Module, sizes: Sequence[int], components: int) -> None:
    """Make room for the directions that ``fit_directions`` finds of each part of a frame.

    Args:
        network: Gets the buffers ``mean0``, ``axes0`` ...
        sizes: Entries of each part.
        components: Directions of each.
    """
    for number, size in enumerate(sizes):
        network.register_buffer(f"mean{number}", torch.zeros(size))
        network.register_buffer(f"axes{number}", torch.zeros(size, components))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that gives zero at the start."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def small_step(moved: Tensor, inputs: int) -> Tensor:
    """A residual (N, D) scaled so that one step of the optimiser moves a unit vector a little."""
    return moved * (1 / math.sqrt(moved.shape[-1] * inputs))


def layers(width: int, heads: int, count: int, dropout: float) -> nn.ModuleList:
    """Layers of a transformer with the norm first and twice the width inside."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        for _ in range(count)
    )


def positions(x: Tensor) -> Tensor:
    """(T, 2 waves) of x (N, T, ...): where in the window a frame is, whatever T."""
    count = x.shape[1]
    phase_now = (torch.arange(count, device=x.device, dtype=x.dtype) + 0.5) / count
    phase = math.pi * phase_now[:, None] * torch.arange(1, WAVES + 1, device=x.device)
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


def draw(logits: Tensor, temperature: float, *, seed: int | None) -> Tensor:
    """One choice by Gumbel noise, exact forward and soft backward (Jang et al. 2017).

    Args:
        logits: (..., A).
        temperature: Above 0; high ones let the gradient reach choices that were not drawn.
        seed: Seed of the noise; None for the largest logit without noise.

    Returns:
        (..., A) one-hot, with the gradients of ``softmax((logits + noise) / temperature)``.
    """
    if seed is not None:
        generator = torch.Generator(logits.device).manual_seed(seed)
        noise = torch.empty_like(logits).exponential_(generator=generator)
        logits = logits - noise.clamp_min(1e-20).log()
    soft = (logits / temperature).softmax(dim=-1)
    hard = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach()) if soft.requires_grad else hard
