"""Spiking neurons, linear attention and the scan: equal to their slow forms, at any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlar.methods.events.neurons import Neuron, lif, linear_attention, selective_scan
from vlar.methods.events.points import complement, rate


def loop(current: torch.Tensor, tau: torch.Tensor, threshold: float, reset: float) -> torch.Tensor:
    """The recurrence step by step, with torch's own gradients but for the step itself."""
    rest, found = torch.full_like(current[0], reset), []
    for drive in current:
        level = rest + (drive - (rest - reset)) / tau
        soft = torch.sigmoid(4 * (level - threshold))
        fired = soft + ((level >= threshold).to(level.dtype) - soft).detach()
        rest = level * (1 - fired.detach()) + reset * fired.detach()
        found.append(fired)
    return torch.stack(found)


@pytest.mark.parametrize(
    ("drive", "period"), [(0.99, None), (1.2, 3), (1.5, 2), (1.9, 2), (2.0, 1), (5.0, 1)]
)
def test_a_constant_input_fires_in_its_period(drive: float, period: int | None):
    spikes = lif(torch.full((100,), drive))
    wanted = torch.zeros(100)
    if period:
        wanted[period - 1 :: period] = 1
    torch.testing.assert_close(spikes, wanted)


def test_other_constants_have_other_periods():
    # u rises by 0.4 (1 - 1/4)^k towards 0.4 + reset: -0.1, 0.2, 0.425 from -0.5 with tau 4.
    spikes = lif(torch.full((9, 2), 1.6), tau=4.0, threshold=0.4, reset=-0.5)
    assert spikes[:, 0].tolist() == [0, 0, 1] * 3
    rates = lif(torch.linspace(0, 4, 21).expand(60, -1)).mean(dim=0)
    assert (rates.diff() >= 0).all()
    assert rates[0] == 0
    assert rates[-1] == 1


def test_the_gradient_is_that_of_the_recurrence():
    random = torch.Generator().manual_seed(0)
    current = (torch.randn(12, 3, 4, generator=random, dtype=torch.float64) + 0.8).requires_grad_()
    tau = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 3, 4, generator=random, dtype=torch.float64)
    ours = torch.autograd.grad(
        (weight * lif(current, tau=tau, threshold=0.7, reset=0.1)).sum(), (current, tau)
    )
    slow = torch.autograd.grad((weight * loop(current, tau, 0.7, 0.1)).sum(), (current, tau))
    for one, other in zip(ours, slow, strict=True):
        torch.testing.assert_close(one, other)
    near = torch.full((1,), 2.0, requires_grad=True)
    lif(near).sum().backward()
    assert near.grad is not None
    assert float(near.grad) > 0.1


def test_neurons_run_along_the_second_dimension():
    x = torch.rand(2, 7, 3) * 3
    torch.testing.assert_close(Neuron("lif")(x)[1], lif(x[1]))
    torch.testing.assert_close(Neuron("none")(x - 1), (x - 1).clamp(min=0))
    assert not list(Neuron("none").parameters())


@pytest.mark.parametrize("length", [1, 5, 257])
def test_linear_attention_is_its_quadratic_form(length: int):
    random = torch.Generator().manual_seed(length)
    q, k = (torch.rand(2, 3, length, 4, generator=random) + 0.01 for _ in range(2))
    v = torch.randn(2, 3, length, 6, generator=random)
    weights = q @ k.transpose(-2, -1)
    wanted = weights / weights.sum(dim=-1, keepdim=True) @ v
    torch.testing.assert_close(linear_attention(q, k, v), wanted, atol=1e-5, rtol=1e-5)


def recurrence(x, delta, a, b, c):
    h, found = x.new_zeros(len(x), x.shape[2], a.shape[1]), []
    for t in range(x.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * a) * h + step * b[:, t, None] * x[:, t, :, None]
        found.append((h * c[:, t, None]).sum(dim=-1))
    return torch.stack(found, dim=1)


def test_turns_change_what_meets_and_not_the_sum():
    random = torch.Generator().manual_seed(1)
    q, k, v = torch.rand(3, 2, 7, 4, generator=random) + 0.1
    angles = torch.randn(7, 2, generator=random)
    rows = []
    for x in (q, k):  # pairs of entries, each turned by its angle
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()
        rows.append(torch.stack(turned, dim=-1).flatten(-2))
    total = (q @ k.transpose(-2, -1)).sum(dim=-1, keepdim=True)
    wanted = rows[0] @ rows[1].transpose(-2, -1) @ v / total
    found = linear_attention(q, k, v, torch.polar(torch.ones_like(angles), angles))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (found - linear_attention(q, k, v)).abs().max() > 0.05


@pytest.mark.parametrize("length", [1, 2, 17, 257])
@pytest.mark.parametrize("decay", [0.1, 50.0])
def test_the_scan_is_the_recurrence(length: int, decay: float):
    random = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 5, generator=random, requires_grad=True)
    delta = torch.rand(2, length, 5, generator=random, requires_grad=True)
    a = -decay * torch.rand(5, 3, generator=random)
    b, c = (torch.randn(2, length, 3, generator=random) for _ in range(2))
    ours, slow = selective_scan(x, delta, a, b, c), recurrence(x, delta, a, b, c)
    torch.testing.assert_close(ours, slow, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(y.square().sum(), (x, delta)) for y in (ours, slow)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_long_scan_neither_overflows_nor_forgets():
    x = torch.zeros(1, 4096, 1)
    x[0, 0] = 1
    ones = torch.ones(1, 4096, 1)
    y = selective_scan(x, ones, torch.tensor([[-1e-4]]), ones, ones)
    assert float(y[0, -1, 0]) == pytest.approx(np.exp(-0.4095), rel=2e-4)
    assert torch.isfinite(selective_scan(x, 20 * ones, torch.tensor([[-9.0]]), ones, ones)).all()


def test_a_value_and_its_complement():
    pairs = complement(torch.tensor([[-1.0, 0.5], [0.0, 1.0]]))
    wanted = [[[0, 1], [0.75, 0.25]], [[0.5, 0.5], [1, 0]]]
    torch.testing.assert_close(pairs, torch.tensor(wanted, dtype=torch.float32))


def test_rates_are_expected_or_drawn_from_a_seed():
    values = torch.linspace(0, 1, 11)
    torch.testing.assert_close(rate(values, 4, seed=None), values.repeat(4, 1))
    drawn = rate(values, 2000, seed=3)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    error = 3 * (values * (1 - values) / 2000).sqrt()
    assert ((drawn.mean(dim=0) - values).abs() <= error + 1e-9).all()
    assert torch.equal(drawn, rate(values, 2000, seed=3))
    assert not torch.equal(drawn, rate(values, 2000, seed=4))
    assert rate(np.full((2, 3), 0.5), 5, seed=1).shape == (5, 2, 3)


def test_a_linear_readout_of_expected_rates_is_the_mean_of_draws():
    values, weight = torch.rand(8), torch.randn(8)
    expected = (rate(values, 1, seed=None) @ weight)[0]
    runs = torch.stack([(rate(values, 16, seed=s) @ weight).mean() for s in range(256)])
    error = float((weight.square() * values * (1 - values)).sum().sqrt()) / (16 * 256) ** 0.5
    assert abs(float(runs.mean() - expected)) < 4 * error
