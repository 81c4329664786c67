"""Every registered attack keeps the contract (``vlar/evaluation/attacks/base.py``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.refusals import refused
from vlar import registry
from vlar.errors import UnknownNameError, UsageError
from vlar.evaluation.attacks import no_box, posterior
from vlar.evaluation.attacks.base import Surrogate, attack

NAMES = registry.names("attack")
FOLLOW = [name for name in NAMES if registry.get("attack", name).needs_loss]
SHAPE = (6, 10, 2, 3)  # clips, frames, joints, coordinates


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(no_box, "EPOCHS", 2)
    monkeypatch.setattr(posterior, "SNAPSHOTS", 12)
    monkeypatch.setattr(posterior, "BEFORE", 4)


def clips(seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=SHAPE).cumsum(axis=1).astype(np.float32))


def surrogate(seed: int = 0) -> Surrogate:
    weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32))
    y = torch.arange(len(clips())) % 4
    return Surrogate(lambda x: x.nan_to_num().flatten(1) @ weights, y)


def linear(x: Tensor) -> Tensor:
    rows = x.nan_to_num().flatten(1)
    return rows @ torch.linspace(-1, 1, rows.shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_eps_0_changes_no_bit(name: str):
    x = clips()
    found = attack(name, surrogate(), x, eps=0.0, steps=3, seed=1)
    assert torch.equal(found, x)
    assert found is not x


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_no_number_moves_farther_than_eps(name: str, eps: float):
    x = clips()
    x[0, 2, 1] = torch.nan
    before = x.clone()
    found = attack(name, surrogate(), x, eps=eps, steps=3, seed=1)
    assert found.dtype == x.dtype
    assert torch.equal(found.isnan(), x.isnan())
    far = (found - x).nan_to_num().abs().max()
    assert 0 < far <= eps + 1e-6
    assert torch.equal(x.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", [linear, lambda x: linear(x).mean()], ids=["clips", "mean"])
def test_the_loss_does_not_fall_on_a_linear_model(name: str, loss: Callable[[Tensor], Tensor]):
    x = clips(3)
    found = attack(name, loss, x, eps=0.05, steps=4, seed=2)
    assert (loss(found) >= loss(x)).all()
    if name in ("fgsm", "mi", "pgd"):
        assert (loss(found) > loss(x)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_samples(name: str):
    x = clips(1)
    first, second = (attack(name, surrogate(), x, eps=0.1, steps=2, seed=5) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_one_clip_of_frames_and_numbers_is_taken_too(name: str):
    x = clips()[0].flatten(1)
    found = attack(name, lambda x: x.sum(), x, eps=0.1, steps=2, seed=0)
    assert found.shape == x.shape


@pytest.mark.parametrize("name", FOLLOW)
def test_a_model_without_gradients_is_refused_and_no_box_offered(name: str):
    for loss in (lambda x: torch.tensor(float(x.detach().sum())), None):
        refused(UsageError, "no-box", attack, name, loss, clips(), eps=0.1, steps=2)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(FOLLOW)))
def test_an_attack_without_a_model_asks_none(name: str):
    def loss(x: Tensor) -> Tensor:
        raise AssertionError("the model was asked")

    del loss
    assert not torch.equal(attack(name, None, clips(), eps=0.1, steps=2), clips())


ROWS = {
    "eps below 0": ("eps is -0.1", {"eps": -0.1}),
    "eps not finite": ("eps is nan", {"eps": float("nan")}),
    "no step": ("steps is 0", {"steps": 0}),
    "integers": ("float tensor", {"x": torch.ones(SHAPE).long()}),
    "no tensor": ("float tensor", {"x": np.ones(SHAPE)}),
    "no clip": ("float tensor", {"x": torch.ones(0, 3, 2)}),
    "another motion": (r"natural is of shape \(6, 3\)", {"natural": torch.ones(6, 3)}),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_one_line(name: str, case: str):
    says, values = ROWS[case]
    given = {"x": clips(), "eps": 0.1, "steps": 2, **values}
    caught = refused(UsageError, says, attack, name, surrogate(), given.pop("x"), **given)
    assert "\n" not in str(caught.value)


def test_an_unknown_attack_names_the_nearest():
    refused(UnknownNameError, "did you mean 'pgd'", attack, "pgdd", linear, clips(), eps=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_each_names_its_source(name: str):
    assert (registry.get("attack", name).__doc__ or "").strip()
