"""Contract of attacks: samples in, samples within ``eps`` of them out.

Letters: N clips, T frames, K numbers of a frame, C labels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar import registry
from vlar.errors import UsageError
from vlar.media.skeleton.layouts import Layout, tree

Loss = Callable[[Tensor], Tensor]
_OFFER = "the attack 'no-box' needs no model"


@dataclass(frozen=True)
class Surrogate:
    """Loss (N,) of a classifier on clips (N, ...), with what ``posterior`` learns from.

    Attributes:
        logits: Clips to (N, C), with gradients.
        y: (N,) int64 right labels of the attacked clips.
        learned: Logits (L, C) and labels (L,) of the clips that the classifier learned from; None
            takes the attacked clips.
    """

    logits: Callable[[Tensor], Tensor]
    y: Tensor
    learned: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), self.y, reduction="none")


@dataclass(frozen=True)
class Task:
    """One call of ``attack``; its arguments, checked."""

    loss: Loss | None
    clean: Tensor
    natural: Tensor
    eps: float
    steps: int
    random: torch.Generator


class Attack(ABC):
    """One way to move samples. Registered as ``@register("attack", NAME)``; made for one task.

    Attributes:
        needs_loss: False for an attack that reads no model.
        one_step: Whether it takes a single step, whatever ``steps`` is.
    """

    needs_loss: ClassVar[bool] = True
    one_step: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    def start(self) -> Tensor:
        """Samples before the first step; the clean ones by default."""
        return self.task.clean

    @abstractmethod
    def step(self, now: Tensor) -> Tensor:
        """Change (...) that is added to the samples; afterwards they are moved back within eps."""

    def gradient(self, now: Tensor) -> Tensor:
        """Gradient of the loss by the samples; 0 where a sample is NaN.

        Raises:
            UsageError: the loss has no gradient.
        """
        assert self.task.loss is not None
        return slope(self.task.loss, now)


def slope(loss: Loss, now: Tensor) -> Tensor:
    """Gradient of the sum of a loss by the samples.

    Raises:
        UsageError: it has none.
    """
    with torch.enable_grad():
        free = now.detach().clone().requires_grad_(True)
        value = loss(free).sum()
        gradients: Sequence[Tensor | None] = [None]
        if value.requires_grad:
            gradients = torch.autograd.grad(value, free, allow_unused=True)
    if gradients[0] is None:
        raise UsageError(f"the model gives no gradients by its inputs; {_OFFER}")
    return gradients[0].nan_to_num()


def attack(
    name: str,
    loss: Loss | None,
    x: Tensor,
    *,
    eps: float,
    steps: int = 10,
    seed: int = 0,
    natural: Any = None,
) -> Tensor:
    """Samples near ``x`` for which a loss is larger.

    Args:
        name: Registered name: ``fgsm``, ``mi``, ``pgd``, ``motion``, ``posterior``, ``no-box``.
        loss: Samples like ``x`` to a number, or to (N,) numbers. ``posterior`` learns from a
            ``Surrogate``. None for ``no-box``; where one is given, clips it falls on stay clean.
        x: (N, T, ...) float clips, or one clip (T, K); NaN is not moved.
        eps: Most that a number changes, in the unit of ``x``; 0 changes none.
        steps: At least 1; ``fgsm`` takes one.
        seed: Seed of all draws.
        natural: Recorded motion like ``x``, for attacks that follow it; None takes ``x``.

    Raises:
        UnknownNameError: no attack has this name.
        UsageError: a value out of range, samples of another type or shape, or no gradients.
    """
    part: type[Attack] = registry.get("attack", name)
    _check(x, eps, steps)
    if part.needs_loss and loss is None:
        raise UsageError(f"attack {name!r} follows the gradients of a model, got none; {_OFFER}")
    motion = x if natural is None else torch.as_tensor(natural).to(x)
    if motion.shape != x.shape:
        raise UsageError(f"natural is of shape {tuple(motion.shape)}, x of {tuple(x.shape)}")
    if eps == 0:
        return x.clone()
    random = torch.Generator().manual_seed(seed)
    attack_part = part(Task(loss, x, motion, eps, steps, random))
    moved = _within(attack_part.start(), x, eps)
    for _ in range(1 if part.one_step else steps):
        moved = _within(moved + attack_part.step(moved), x, eps)
    return moved if loss is None else _risen(loss, x, moved)


def _check(x: Any, eps: float, steps: int) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 1 or not x.numel():
        shape = tuple(getattr(x, "shape", ())) or type(x).__name__
        raise UsageError(f"samples to attack must be a float tensor (N, T, ...), got {shape}")
    if not (math.isfinite(eps) and eps >= 0):
        raise UsageError(f"eps is {eps}; give 0 or more, in the unit of the samples")
    if steps < 1:
        raise UsageError(f"steps is {steps}; give 1 or more")


def _within(moved: Tensor, x: Tensor, eps: float) -> Tensor:
    moved = torch.minimum(torch.maximum(moved, x - eps), x + eps)
    return torch.where((moved - x).abs() > eps, torch.nextafter(moved, x), moved)


def _risen(loss: Loss, x: Tensor, found: Tensor) -> Tensor:
    """The samples found, or the clean ones where the loss fell."""
    with torch.no_grad():
        fell = loss(found) < loss(x)
    if fell.ndim == 1 and len(fell) == len(x):
        fell = fell.reshape(-1, *(1,) * (x.ndim - 1))
    return torch.where(fell if fell.numel() in (1, len(x)) else fell.any(), x, found)


Points = npt.NDArray[np.floating[Any]]


def bone_drift(before: Points, after: Points, layout: str | Layout) -> float:
    """Change of the lengths of all bones over all lengths; unseen joints (NaN) are left out.

    Args:
        before: (T, M, V, C), or any leading axes.
        after: Likewise.
        layout: Layout of the V joints.

    Raises:
        UsageError: another number of joints, or two shapes.
    """
    points, up = np.array(tree(layout)).T
    if before.shape != after.shape or before.ndim < 2 or before.shape[-2] != len(points) + 1:
        raise UsageError(
            f"joints of shape {before.shape} and {after.shape}; give two of (T, M, V, C) with "
            f"{len(points) + 1} joints"
        )
    old, new = (
        np.linalg.norm(p[..., points, :] - p[..., up, :], axis=-1).astype(np.float64)
        for p in (before, after)
    )
    return float(np.nansum(np.abs(new - old)) / max(np.nansum(old + 0 * new), 1e-12))


def acceleration(before: Points, after: Points) -> float:
    """Mean length of the change (T, ..., C) of accelerations, in units of the points a frame²."""
    moved = np.diff(np.asarray(after, np.float64) - before, n=2, axis=0)
    length = np.linalg.norm(moved, axis=-1)
    return float(np.nanmean(length)) if np.isfinite(length).any() else 0.0
