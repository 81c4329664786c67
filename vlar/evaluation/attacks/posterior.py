"""``posterior``: gradients averaged over a distribution of surrogates (TASAR)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.evaluation.attacks.base import Attack, Surrogate, Task, slope
from vlar.evaluation.attacks.gradient import Motion
from vlar.registry import register

HEADS, WIDTH, DRAWS = 3, 16, 20
SNAPSHOTS, BEFORE, RATE = 300, 100, 0.05
_SHARP, _NEAR = 1e-3, 0.1  # weight and distance of the sharpness-aware gradient
_NOISE, _BAYES = 1.5, 0.8


@register("attack", "posterior")
class Posterior(Attack):
    """Residual heads on the logits of a frozen surrogate, drawn again at every step.

    TASAR, "Transferable attack on skeletal action recognition", 2025: three heads learn with
    sharpness-aware gradients, the running moments of their weights give a normal distribution, and
    the mean gradient over drawn weights is mixed .8 to .2 with its motion gradient. A loss without
    logits stands for itself alone. Ours: plain stochastic gradients in place of their sampler.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._motion, self._moments, loss = Motion(task.natural), None, task.loss
        if isinstance(loss, Surrogate):
            with torch.no_grad():
                logits, y = loss.learned or (loss.logits(task.clean), loss.y)
            self._scale = float(logits.std(unbiased=False).clamp_min(1e-6))
            self._moments = learned_moments(logits.detach() / self._scale, y, task.random)

    def step(self, now: Tensor) -> Tensor:
        bayes = self.gradient(now)
        motion = self._motion(bayes)
        mixed = _BAYES * _level(bayes) + (1 - _BAYES) * _level(motion)
        return self.task.eps * mixed

    def gradient(self, now: Tensor) -> Tensor:
        loss, moments = self.task.loss, self._moments
        if moments is None or not isinstance(loss, Surrogate):
            return super().gradient(now)
        mean, deviation = moments
        noise = torch.randn((DRAWS, *mean.shape), generator=self.task.random).to(mean)
        weights = (mean + _NOISE * deviation * noise).flatten(0, 1)

        def expected(x: Tensor) -> Tensor:
            logits = loss.logits(x) / self._scale
            answers = self._scale * applied(weights, logits.expand(len(weights), -1, -1))
            labels = loss.y.expand(len(weights), -1)
            return F.cross_entropy(answers.flatten(0, 1), labels.flatten()) * len(logits)

        return slope(expected, now)


def _level(gradient: Tensor) -> Tensor:
    axes = tuple(range(1, gradient.ndim)) or (0,)
    return gradient / gradient.abs().mean(axes, True).clamp_min(1e-30)


def applied(weights: Tensor, logits: Tensor) -> Tensor:
    """Logits (H, N, C) after residual heads (H, 2 C WIDTH): a layer in, ReLU, a layer out."""
    into, out = weights.split(weights.shape[1] // 2, dim=1)
    hidden = logits @ into.reshape(len(weights), -1, WIDTH)
    return logits + hidden.relu() @ out.reshape(len(weights), WIDTH, -1)


def learned_moments(logits: Tensor, y: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and deviation (HEADS, 2 C WIDTH) of weights on their way; all heads learn at once.

    Args:
        logits: (L, C) of the frozen surrogate, of about unit deviation.
        y: (L,) int64.
        random: Generator of the starts and the batches.
    """
    size = 2 * logits.shape[1] * WIDTH
    weights = torch.randn((HEADS, size), generator=random).to(logits) / logits.shape[1] ** 0.5
    weights[:, size // 2 :] = 0  # a residual starts as nothing
    total, squares = torch.zeros_like(weights), torch.zeros_like(weights)
    for number in range(BEFORE + SNAPSHOTS):
        rows = torch.randint(len(y), (HEADS, min(32, len(y))), generator=random)

        def loss(at: Tensor, rows: Tensor = rows) -> Tensor:
            answers = applied(at, logits[rows])
            return F.cross_entropy(answers.flatten(0, 1), y[rows].flatten()) * HEADS

        gradient = slope(loss, weights)
        ahead = _NEAR * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        sharp = slope(loss, weights + ahead) - gradient
        weights = weights - RATE * (gradient + _SHARP / _NEAR * sharp)
        if number >= BEFORE:
            total, squares = total + weights, squares + weights**2
    mean = total / SNAPSHOTS
    return mean, (squares / SNAPSHOTS - mean**2).clamp_min(0).sqrt()
