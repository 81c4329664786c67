"""Attacks along the gradient of a model: once, many times, with momentum, through the motion."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vlar.evaluation.attacks.base import Attack, Task
from vlar.registry import register
from vlar.types import Float64

_BANDWIDTH = 0.15  # of the kernel over time, as a share of the clip
_LEAST = 1e-13  # of the variance, added so that motionless joints have coefficients


@register("attack", "fgsm")
class FastGradient(Attack):
    """One step of length eps along the sign of the gradient (Goodfellow et al. 2015)."""

    one_step: ClassVar[bool] = True

    def step(self, now: Tensor) -> Tensor:
        return self.task.eps * self.gradient(now).sign()


@register("attack", "pgd")
class ProjectedGradient(Attack):
    """Steps of 2.5 eps / steps along the sign, from a random start (Madry et al. 2018)."""

    def start(self) -> Tensor:
        shape, random = self.task.clean.shape, self.task.random
        drawn = 2 * torch.rand(shape, generator=random).to(self.task.clean) - 1
        return self.task.clean + self.task.eps * drawn

    def step(self, now: Tensor) -> Tensor:
        return 2.5 * self.task.eps / self.task.steps * self.gradient(now).sign()


@register("attack", "mi")
class Momentum(Attack):
    """Steps along the sign of a sum of normalised gradients (Dong et al. 2018).

    Attributes:
        way: All steps together, in eps.
    """

    way: ClassVar[float] = 1.0

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._sum = torch.zeros_like(task.clean)

    def step(self, now: Tensor) -> Tensor:
        gradient = self.gradient(now)
        axes = tuple(range(1, gradient.ndim)) or (0,)
        self._sum = self._sum + gradient / gradient.abs().mean(axes, True).clamp_min(1e-30)
        return self.way * self.task.eps / self.task.steps * self._sum.sign()


@register("attack", "motion")
class MotionMomentum(Momentum):
    """``mi`` with gradients that also went through the motion, by its AR(1) and AR(2).

    Lu et al., "Hard no-box adversarial attack on skeleton-based human action recognition", 2023.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._motion = Motion(task.natural)

    def gradient(self, now: Tensor) -> Tensor:
        return self._motion(super().gradient(now))


class Motion:
    """Mean of the first-order and the second-order motion gradient of clips.

    Args:
        natural: (N, T, ...) recorded motion, or one clip (T, K).
    """

    def __init__(self, natural: Tensor) -> None:
        rows = _in_time(natural.double())
        self._fits = [fit_ar(rows.cpu().numpy(), order)[:order] for order in (1, 2)]

    def __call__(self, gradient: Tensor) -> Tensor:
        rows = _in_time(gradient.double())
        moved = sum(motion_gradient(rows.cpu().numpy(), fit) for fit in self._fits) / 2
        back = torch.from_numpy(moved).to(gradient)
        if gradient.ndim < 3:
            return back.reshape(gradient.shape)
        return back.reshape(-1, len(gradient), *gradient.shape[2:]).transpose(0, 1)


def _in_time(x: Tensor) -> Tensor:
    """(T, K') of clips (N, T, ...) or of one clip (T, ...)."""
    return x.transpose(0, 1).flatten(1) if x.ndim > 2 else x.reshape(len(x), -1)


def fit_ar(x: Float64, order: int) -> Float64:
    """Time-varying autoregression ``x_t = c_1 x_(t-1) + .. + c_p x_(t-p) + e`` of each column.

    Least squares at every frame, weighted by a Gaussian kernel over the frames.

    Args:
        x: (T, K); frames with NaN count for nothing. Where T is not above ``order``, all are 0.
        order: p, at least 1.

    Returns:
        (p + 1, T, K): c_1 to c_p, then e.
    """
    x = np.asarray(x, np.float64)
    if len(x) <= order:
        return np.zeros((order + 1, *x.shape))
    frames = np.arange(len(x))
    width = max(_BANDWIDTH * len(x), 1.0)
    kernel = np.exp(-0.5 * ((frames[:, None] - frames[None, order:]) / width) ** 2)  # (T, T - p)
    rows = np.stack([x[order - lag : len(x) - lag] for lag in range(order + 1)])
    measured = np.isfinite(rows).all(axis=0)
    centre = np.nan_to_num(rows).mean(axis=(0, 1))  # for the numbers' sake
    rows = np.where(measured, rows - centre, 0.0)
    total = np.maximum(kernel @ measured, 1e-30)
    mean = kernel @ rows / total
    spread = np.empty((len(x), x.shape[1], order + 1, order + 1))
    for a in range(order + 1):
        for b in range(order + 1):
            spread[..., a, b] = kernel @ (rows[a] * rows[b]) / total - mean[a] * mean[b]
    within = spread[..., 1:, 1:]
    least = _LEAST * np.trace(within, axis1=-2, axis2=-1) + 1e-24
    solved = np.linalg.solve(within + least[..., None, None] * np.eye(order), spread[..., 1:, :1])
    weights = np.moveaxis(solved[..., 0], -1, 0)
    constant = mean[0] + centre - (weights * (mean[1:] + centre)).sum(axis=0)
    return np.concatenate([weights, constant[None]])


def motion_gradient(g: Float64, coefficients: Float64) -> Float64:
    """Gradient that a frame has also through the frames that follow from it.

    Order 1: ``g_(t-1) + A_t g_t``; order 2: ``g_(t-2) + C_(t-1) g_(t-1) + (D_t + C_t C_(t-1)) g_t``
    (Lu et al. 2023).

    Args:
        g: (T, K) gradient of the loss by each frame.
        coefficients: (order, T, K) of the motion, without the constant.
    """
    g, coefficients = np.asarray(g, np.float64), np.asarray(coefficients, np.float64)
    paths, moved = [np.ones_like(g)], g.copy()  # effect of frame t - k on frame t, for each k
    for away in range(1, len(coefficients) + 1):
        path = np.zeros_like(g)
        for lag in range(1, away + 1):
            path[lag:] += coefficients[lag - 1][lag:] * paths[away - lag][:-lag]
        paths.append(path)
        moved[:-away] += path[away:] * g[away:]
    return moved
