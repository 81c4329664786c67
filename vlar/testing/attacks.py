"""The contract of an attack, as a check; clips are random walks of joints."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlar import registry
from vlar.errors import UsageError
from vlar.evaluation.attacks.base import Attack, Surrogate, attack
from vlar.testing.contract import name_of, refused, registered, run

SHAPE = (6, 10, 2, 3)  # clips, frames, joints, coordinates
_RISES = ("fgsm", "mi", "pgd")  # steps along the gradient, which a linear loss rises on
REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "eps below 0": ("eps is -0.1", {"eps": -0.1}),
    "eps not finite": ("eps is nan", {"eps": float("nan")}),
    "no step": ("steps is 0", {"steps": 0}),
    "integers": ("float tensor", {"x": torch.ones(SHAPE).long()}),
    "no tensor": ("float tensor", {"x": np.ones(SHAPE)}),
    "no clip": ("float tensor", {"x": torch.ones(0, 3, 2)}),
    "another motion": (r"natural is of shape \(6, 3\)", {"natural": torch.ones(6, 3)}),
}


def check_attack(part: Any) -> None:
    """Try an attack on random clips of joints and a linear classifier.

    Args:
        part: The attack: a class, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.evaluation.attacks.base.Attack``.
    """
    part = registry.get("attack", part) if isinstance(part, str) else part
    cls: type[Attack] = part if isinstance(part, type) else type(part)
    name = name_of("attack", cls)
    with registered("attack", name, cls):
        run("attack", name, STEPS, (name, cls))


Material = tuple[str, type[Attack]]


def clips(seed: int = 0) -> Tensor:
    """Clips of the shape ``SHAPE``: random walks."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=SHAPE).cumsum(axis=1).astype(np.float32))


def surrogate(seed: int = 0) -> Surrogate:
    """A linear classifier of the clips."""
    weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32))
    y = torch.arange(len(clips())) % 4
    return Surrogate(lambda x: x.nan_to_num().flatten(1) @ weights, y)


def linear(x: Tensor) -> Tensor:
    """A loss (N,) that is linear in the samples."""
    rows = x.nan_to_num().flatten(1)
    return rows @ torch.linspace(-1, 1, rows.shape[1])


def _documented(m: Material) -> None:
    """The docstring of an attack names its source."""
    assert (m[1].__doc__ or "").strip()


def _zero(m: Material) -> None:
    """An eps of 0 changes no bit, and gives a copy, as the control of every attack."""
    x = clips()
    moved = attack(m[0], surrogate(), x, eps=0.0, steps=3, seed=1)
    assert torch.equal(moved, x)
    assert moved is not x


def _within(m: Material) -> None:
    """Every number moves by eps at most, some do, and NaN and the clip itself stay."""
    for eps in (0.01, 0.3):
        x = clips()
        x[0, 2, 1] = torch.nan
        before = x.clone()
        moved = attack(m[0], surrogate(), x, eps=eps, steps=3, seed=1)
        assert moved.dtype == x.dtype
        assert torch.equal(moved.isnan(), x.isnan())
        far = float((moved - x).nan_to_num().abs().max())
        assert 0 < far <= eps + 1e-6, f"{far:.4g} of {eps}"
        assert torch.equal(x.nan_to_num(), before.nan_to_num())


def _loss(m: Material) -> None:
    """The loss does not fall on a linear model, of clips or of their mean."""
    x = clips(3)

    def mean(x: Tensor) -> Tensor:
        return linear(x).mean()

    for loss in (linear, mean):
        moved = attack(m[0], loss, x, eps=0.05, steps=4, seed=2)
        assert (loss(moved) >= loss(x)).all()
        assert m[0] not in _RISES or (loss(moved) > loss(x)).all()


def _seed(m: Material) -> None:
    """The same seed gives the same samples, so that a result can be had again."""
    x = clips(1)
    first, second = (attack(m[0], surrogate(), x, eps=0.1, steps=2, seed=5) for _ in range(2))
    assert torch.equal(first, second)


def _single(m: Material) -> None:
    """One clip of frames and numbers (T, K) is taken too."""
    x = clips()[0].flatten(1)

    def total(x: Tensor) -> Tensor:
        return x.sum()

    assert attack(m[0], total, x, eps=0.1, steps=2, seed=0).shape == x.shape


def _model(m: Material) -> None:
    """A model without gradients is refused where needs_loss, and else none is asked for."""
    if not m[1].needs_loss:
        assert not torch.equal(attack(m[0], None, clips(), eps=0.1, steps=2), clips())
        return

    def blind(x: Tensor) -> Tensor:
        return torch.tensor(float(x.detach().sum()))

    for loss in (blind, None):
        refused(UsageError, "no-box", attack, m[0], loss, clips(), eps=0.1, steps=2)


def _refusals(m: Material) -> None:
    """Bad input is refused in one line."""
    for says, values in REFUSALS.values():
        call: dict[str, Any] = {"x": clips(), "eps": 0.1, "steps": 2, **values}
        error = refused(UsageError, says, attack, m[0], surrogate(), call.pop("x"), **call)
        assert "\n" not in str(error)


STEPS = (_documented, _zero, _within, _loss, _seed, _single, _model, _refusals)
