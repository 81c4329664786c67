"""Losses that methods for other domains share, by their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from vlar.training.domain_losses import barlow, info_max, kl_gaussian


@pytest.mark.parametrize("count", [5, 3])
def test_information_is_largest_where_clips_are_sure_of_all_labels(count: int):
    sharp = 1000 * torch.eye(count)
    sharp.requires_grad_(True)
    loss = info_max(sharp)
    assert loss.item() == pytest.approx(-math.log(count), abs=1e-6)
    loss.backward()
    assert torch.isfinite(sharp.grad).all()
    assert info_max(torch.zeros(4, count)).item() == pytest.approx(0, abs=1e-6)
    assert info_max(torch.eye(count)[:1].repeat(4, 1) * 50).item() == pytest.approx(0, abs=1e-6)
    soft = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # (1/4, 3/4) and (1/2, 1/2)
    mean = (0.25 * math.log(4) + 0.75 * math.log(4 / 3) + math.log(2)) / 2
    both = -(0.375 * math.log(0.375) + 0.625 * math.log(0.625))
    assert info_max(soft).item() == pytest.approx(mean - both, abs=1e-6)


def test_barlow_compares_standardised_features():
    a = torch.tensor([[1.0, 1], [-1, 1], [1, -1], [-1, -1]])  # two features that do not correlate
    assert barlow(a, a).item() == pytest.approx(0, abs=1e-6)
    assert barlow(3 * a + 7, 0.1 * a).item() == pytest.approx(0, abs=1e-5)
    assert barlow(a, -a).item() == pytest.approx(0.5 * (4 + 4), abs=1e-5)
    assert barlow(a, a.flip(1)).item() == pytest.approx(0.5 * (2 + 3.9e-3 * 2), abs=1e-5)
    assert barlow(a, a.flip(1), weight=1.0).item() == pytest.approx(2, abs=1e-5)
    still = torch.ones(4, 2, requires_grad=True)
    barlow(still, a).backward()
    assert torch.isfinite(still.grad).all()


def test_divergence_of_normal_distributions():
    zero = torch.zeros(3, 1)
    assert kl_gaussian(zero + 1, zero, zero, zero).item() == pytest.approx(0.5)
    assert kl_gaussian(zero, zero, zero, zero).item() == 0
    wide = torch.full((2, 4), math.log(4.0))
    none = torch.zeros(2, 4)
    found = kl_gaussian(none, wide, none, none).item()
    assert found == pytest.approx(4 * 0.5 * (4 - math.log(4) - 1), rel=1e-6)
    rows = torch.tensor([[2.0], [0.0]])  # the mean over rows
    assert kl_gaussian(rows, rows * 0, rows * 0, rows * 0).item() == pytest.approx(1)
    normal = torch.distributions.Normal
    p, q = (
        normal(torch.tensor(0.3), torch.tensor(1.7)),
        normal(torch.tensor(-1.0), torch.tensor(0.6)),
    )
    row = torch.tensor([[0.3, math.log(1.7**2), -1.0, math.log(0.36)]])
    wanted = torch.distributions.kl_divergence(p, q).item()
    assert kl_gaussian(*row.split(1, dim=1)).item() == pytest.approx(wanted, rel=1e-5)
