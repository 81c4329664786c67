from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.heads.fewshot.balanced import logit_adjust
from vlar.methods.long_tail.objectives import (
    balanced_softmax,
    body_mix,
    class_betas,
    effective_number,
    part_mix,
    remix_share,
    upper_body,
)


def test_equal_counts_change_nothing():
    torch.manual_seed(0)
    logits, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = balanced_softmax(logits, y, [7, 7, 7, 7])
    torch.testing.assert_close(loss, functional.cross_entropy(logits, y))
    shares = functional.one_hot(y, 4)
    torch.testing.assert_close(balanced_softmax(logits, shares, [7.0] * 4), loss)
    adjusted = torch.from_numpy(logit_adjust(logits.numpy(), [5] * 4))
    torch.testing.assert_close(adjusted.softmax(1), logits.double().softmax(1))


def test_adjusted_logits_of_the_prior_alone_are_flat():
    counts = np.array([1.0, 10.0, 100.0])
    assert np.ptp(logit_adjust(np.log(counts)[None], counts)) == pytest.approx(0, abs=1e-12)
    half = logit_adjust(np.zeros((1, 3)), counts, tau=0.5)
    assert half.argmax() == 0
    assert half[0, 0] - half[0, 2] == pytest.approx(0.5 * np.log(100))


def test_a_rare_label_gets_a_larger_gradient_for_frequent_ones():
    logits = torch.zeros(1, 2, requires_grad=True)
    balanced_softmax(logits, torch.tensor([0]), [1, 9]).backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([-0.9, 0.9])


def test_effective_numbers():
    assert effective_number([1, 100], 0.99) == pytest.approx([1.968943, 0.031057], abs=1e-6)
    assert class_betas([3, 50, 200])[[0, 2]] == pytest.approx([0.99, 0.9999])
    assert effective_number([4, 4, 4]) == pytest.approx([1, 1, 1])
    assert effective_number([2, 30, 400]).sum() == pytest.approx(3)


def test_the_much_rarer_label_takes_a_mixed_clip():
    assert remix_share(31, 10) == 0.0
    assert remix_share(10, 31) == 1.0
    assert remix_share(30, 10) == remix_share(10, 30) == 0.64
    inputs = torch.arange(4.0)[:, None, None] * torch.ones(1, 25, 1)
    partner, y = torch.tensor([1, 0, 3, 2]), torch.tensor([0, 1, 0, 0])
    mixed, weights = part_mix(inputs, partner, y, [100, 2])
    assert weights.tolist() == pytest.approx([0.0, 1.0, 0.64, 0.64])
    assert (mixed[0, :16] == 0).all()
    assert (mixed[0, 16:] == 1).all()
    assert (inputs[1] == 1).all()


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 6, 2, 7, 4)])
def test_a_mixed_body_is_the_upper_one_and_the_lower_one_bit_for_bit(shape: tuple[int, ...]):
    joints = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    joints[0, ..., 0, 0] = torch.nan
    before, partner = joints.clone(), torch.tensor([2, 3, 1, 1])
    upper = torch.arange(shape[-2]) % 3 == 0
    mixed = body_mix(joints, partner, upper)
    by_joints = body_mix(joints, joints[partner], upper)
    assert by_joints.numpy().tobytes() == mixed.numpy().tobytes()
    for row, other in enumerate(partner.tolist()):
        for joint, kept in enumerate(upper.tolist()):
            wanted = joints[row if kept else other][..., joint, :]
            assert mixed[row][..., joint, :].numpy().tobytes() == wanted.numpy().tobytes()
    assert joints.numpy().tobytes() == before.numpy().tobytes()


def test_upper_bodies_have_the_weights_of_the_paper():
    assert upper_body("ntu25").mean() == 0.64
    assert upper_body("kinect20_utd").mean() == 0.55
    assert upper_body("sbu15").sum() == 8


def test_a_body_of_other_joints_is_refused():
    with pytest.raises(UsageError, match=r"upper is of shape \(3,\)"):
        body_mix(torch.zeros(2, 4, 5, 3), torch.tensor([1, 0]), torch.ones(3).bool())


def test_a_label_without_a_clip_is_named():
    refused(UsageError, "label 1 has 0 clips", effective_number, [3, 0])
    with pytest.raises(UsageError, match="one number a label"):
        balanced_softmax(torch.zeros(1, 3), torch.tensor([0]), [1, 2])
    refused(UsageError, r"beta is 1\.0", effective_number, [1, 2], 1.0)
    refused(UsageError, "the number of its examples", logit_adjust, np.zeros((1, 2)), [1, 0])
