from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vlar.methods.coco.network import cycle_consistency, reconstruct


def rows(count: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=random), dim=-1)


def test_weights_sum_to_one_and_mix_the_other_group():
    seen, unseen = rows(5, 0), rows(3, 1)
    weights, rebuilt = reconstruct(seen, unseen, 0.1)
    assert weights.shape == (3, 5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(rebuilt, weights @ seen)
    wanted = (unseen @ seen.T / 0.1).softmax(dim=1)
    torch.testing.assert_close(weights, wanted)


def test_a_label_that_is_in_both_groups_is_rebuilt_from_itself():
    seen = rows(5, 0)
    rebuilt = reconstruct(seen, seen[:2], 0.01).rebuilt
    torch.testing.assert_close(rebuilt, seen[:2], atol=1e-4, rtol=0)


def test_shared_structure_makes_the_cycle_cheap():
    seen = rows(4, 0)
    near = F.normalize(seen + 0.1 * rows(4, 1), dim=-1)
    alone = rows(1, 7).repeat(4, 1)
    assert cycle_consistency(seen, near, 0.1) < cycle_consistency(seen, alone, 0.1)
    collapsed = rows(1, 0).repeat(4, 1)  # all labels alike must not win
    assert cycle_consistency(collapsed, collapsed, 0.1) > cycle_consistency(seen, near, 0.1)


def test_it_has_gradients_and_refuses_temperatures_that_copy():
    seen = rows(4, 0).requires_grad_()
    cycle_consistency(seen, rows(3, 1), 0.1).backward()
    assert seen.grad is not None
    assert torch.isfinite(seen.grad).all()
    assert seen.grad.any()
    with pytest.raises(ValueError, match="copy"):
        cycle_consistency(seen, rows(3, 1), 0.01)
    with pytest.raises(ValueError, match="above 0"):
        reconstruct(seen, seen, 0.0)
