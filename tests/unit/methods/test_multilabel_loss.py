"""Yes or no for each label."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from vlar.methods.msq.network import asymmetric_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-3.0, 0.5, 1.0]])
TARGETS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def test_without_focus_it_is_binary_cross_entropy():
    wanted = F.binary_cross_entropy_with_logits(LOGITS, TARGETS)
    torch.testing.assert_close(asymmetric_loss(LOGITS, TARGETS), wanted)


def test_easy_absent_labels_count_less():
    p = LOGITS.sigmoid()
    wanted = -(TARGETS * p.log() + (1 - TARGETS) * p**2 * (1 - p).log()).mean()
    torch.testing.assert_close(asymmetric_loss(LOGITS, TARGETS, focus_absent=2), wanted)
    wanted = -(TARGETS * (1 - p) * p.log() + (1 - TARGETS) * (1 - p).log()).mean()
    torch.testing.assert_close(asymmetric_loss(LOGITS, TARGETS, focus_shown=1), wanted)


def test_extreme_logits_stay_finite():
    far = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = asymmetric_loss(far, torch.tensor([[0.0, 1.0]]), focus_shown=2, focus_absent=2)
    loss.backward()
    assert torch.isfinite(loss)
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()
