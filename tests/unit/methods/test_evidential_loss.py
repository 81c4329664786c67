from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlar.methods.dear.objective import avu_loss, avu_weight, edl_loss, evidence


@given(c=st.integers(2, 30))
def test_zero_logits(c):
    _, probability, vacuity = evidence(torch.zeros(3, c, dtype=torch.float64))
    assert vacuity.tolist() == pytest.approx([0.5] * 3)
    assert probability.sum(dim=1).tolist() == pytest.approx([1.0] * 3)
    targets = torch.eye(c, dtype=torch.float64)[[0, 1, 0]]
    assert float(edl_loss(torch.zeros(3, c).double(), targets)) == pytest.approx(math.log(c))


def test_large_logits_are_clipped():
    _, probability, vacuity = evidence(torch.tensor([[20.0, 0.0, 0.0]], dtype=torch.float64))
    assert float(vacuity) == pytest.approx(1.361689e-4, abs=1e-9)
    assert float(probability[0, 0]) == pytest.approx(0.999818, abs=1e-6)


@given(seed=st.integers(0, 10**6))
def test_vacuity_is_a_share_and_avu_is_not_negative(seed):
    random = torch.Generator().manual_seed(seed)
    logits = 8 * torch.randn(5, 4, generator=random)
    y = torch.randint(0, 4, (5,), generator=random)
    _, _, vacuity = evidence(logits)
    assert ((vacuity > 0) & (vacuity <= 1)).all()
    assert float(avu_loss(logits, y, weight=0.3)) >= 0


def test_avu_falls_as_a_right_clip_gets_sure_and_a_wrong_one_unsure():
    y = torch.tensor([0])
    right = [float(avu_loss(torch.tensor([[z, 0.0]]), y, weight=0.5)) for z in (1.0, 3.0, 6.0)]
    assert right == sorted(right, reverse=True)
    wrong = [float(avu_loss(torch.tensor([[-z, z]]), y, weight=0.5)) for z in (0.1, 0.2, 0.3)]
    assert all(loss > 0 for loss in wrong)


def test_the_weight_grows_from_a_hundredth_to_one():
    assert avu_weight(0, 50) == pytest.approx(0.01)
    assert avu_weight(25, 50) == pytest.approx(0.1)
    assert avu_weight(50, 50) == pytest.approx(1.0)
