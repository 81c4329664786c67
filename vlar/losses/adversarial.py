"""Gradient reversal: a part that predicts something makes what it reads free of it.

Source: Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse(x: Tensor, strength: float) -> Tensor:
    """The same values; the gradient is multiplied by ``-strength`` (equation 17 of the source).

    Args:
        x: Any shape.
        strength: At least 0; 0 stops the gradient.
    """
    return _Reverse.apply(x, strength)  # pyright: ignore[reportReturnType]


def ramp(progress: float, *, steepness: float = 10.0) -> float:
    """From 0 at the start to nearly 1 at the end: ``2 / (1 + exp(-steepness p)) - 1``.

    The schedule of the source, section 5.2: a predictor that knows nothing yet gives noise.

    Args:
        progress: Share of the training that is over, 0 to 1.
        steepness: Of the rise, above 0.
    """
    return 2 / (1 + math.exp(-steepness * progress)) - 1
