from __future__ import annotations

import pytest
import torch

from vlar.methods.soar.objective import ramp, reverse


@pytest.mark.parametrize("strength", [0.0, 0.2, 3.0])
def test_values_stay_and_gradients_turn(strength: float):
    x = torch.randn(3, 4, requires_grad=True)
    y = reverse(x, strength)
    assert torch.equal(y, x)
    (y * torch.arange(4.0)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -strength * torch.arange(4.0).expand(3, 4))


def test_the_ramp_rises_from_nothing():
    values = [ramp(p / 10) for p in range(11)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] == pytest.approx(0.9999092, abs=1e-6)
