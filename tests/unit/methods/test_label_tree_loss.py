from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vlar.methods.label_tree.objective import tree_loss


@pytest.mark.parametrize(("c", "j"), [(5, 2), (3, 3), (7, 1)])
def test_zero_logits(c, j):
    loss = tree_loss(
        torch.zeros(4, c), torch.zeros(4, j), torch.arange(c) % j, torch.tensor([0, 1, 2, 0])
    )
    assert float(loss) == pytest.approx(math.log(c + j * math.exp(-0.5)), abs=1e-6)


def test_without_coarse_labels_it_is_cross_entropy_of_sigmoids():
    torch.manual_seed(0)
    fine, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = tree_loss(fine, torch.zeros(6, 0), torch.zeros(4, dtype=torch.long), y)
    torch.testing.assert_close(loss, F.cross_entropy(fine.sigmoid(), y))


def test_it_pulls_the_label_and_its_parent():
    fine = torch.zeros(1, 4, requires_grad=True)
    coarse = torch.zeros(1, 2, requires_grad=True)
    parent = torch.tensor([0, 0, 1, 1])
    tree_loss(fine, coarse, parent, torch.tensor([2])).backward()
    assert fine.grad is not None
    assert coarse.grad is not None
    assert fine.grad[0].argmin() == 2
    assert fine.grad[0, 2] < 0 < fine.grad[0, 0]
    assert coarse.grad[0, 1] < 0 < coarse.grad[0, 0]
