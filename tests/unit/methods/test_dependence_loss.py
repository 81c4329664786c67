from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import UsageError
from vlar.methods.dear.dependence import hsic_gaussian, mmd


def normals(rows: int, columns: int, seed: int) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=drawn, dtype=torch.float64)


@pytest.mark.parametrize("biased", [True, False])
def test_independent_features_have_almost_none(biased: bool):
    a, b = normals(400, 4, 0), normals(400, 4, 1)
    apart = float(hsic_gaussian(a, b, sigma=2.0, biased=biased))
    assert abs(apart) < 2e-3
    assert float(hsic_gaussian(a, a, sigma=2.0, biased=biased)) > 10 * abs(apart)


def test_the_biased_form_is_its_definition():
    a, b = normals(9, 3, 2), normals(9, 5, 3)
    k = torch.exp(-(torch.cdist(a, a) ** 2) / (2 * 3))
    kernel = torch.exp(-(torch.cdist(b, b) ** 2) / (2 * 5))
    h = torch.eye(9, dtype=torch.float64) - 1 / 9
    wanted = torch.trace(k @ h @ kernel @ h) / 64
    assert float(hsic_gaussian(a, b)) == pytest.approx(float(wanted), abs=1e-12)


def test_the_unbiased_form_is_a_mean_over_ordered_quadruples():
    """Its U-statistic, written out: indices that all differ."""
    a, b = normals(6, 2, 4), normals(6, 2, 5)
    k = torch.exp(-(torch.cdist(a, a) ** 2) / 4)
    other = torch.exp(-(torch.cdist(b, b) ** 2) / 4)
    total, count = 0.0, 0
    for i in range(6):
        for j in set(range(6)) - {i}:
            for q in set(range(6)) - {i, j}:
                for r in set(range(6)) - {i, j, q}:
                    term = k[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
                    total, count = total + float(term), count + 1
    assert float(hsic_gaussian(a, b, biased=False)) == pytest.approx(total / count, abs=1e-12)


@given(st.integers(0, 50), st.booleans())
def test_it_is_symmetric(seed: int, biased: bool):
    a, b = normals(12, 3, seed), normals(12, 2, seed + 1)
    one, other = hsic_gaussian(a, b, biased=biased), hsic_gaussian(b, a, biased=biased)
    assert float(one) == pytest.approx(float(other), abs=1e-12)


def test_equal_sets_have_no_distance():
    a = normals(20, 3, 6)
    assert float(mmd(a, a)) == pytest.approx(0, abs=1e-12)
    assert float(mmd(a, a.flip(0))) == pytest.approx(0, abs=1e-12)
    assert float(mmd(a, a + 2)) > 0.1


def test_gradients_are_finite_for_equal_rows():
    a = torch.ones(5, 3, requires_grad=True)
    (hsic_gaussian(a, normals(5, 2, 7).float()) + mmd(a, a + 1)).backward()
    assert a.grad is not None
    assert bool(torch.isfinite(a.grad).all())


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="3 and 2 rows"):
        hsic_gaussian(normals(3, 2, 0), normals(2, 2, 0))
    with pytest.raises(UsageError, match="4 at least"):
        hsic_gaussian(normals(3, 2, 0), normals(3, 2, 0), biased=False)
    with pytest.raises(UsageError, match="rows alike"):
        mmd(normals(3, 2, 0), normals(3, 4, 0))
