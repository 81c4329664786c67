"""The loss of body parts and their descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from vlar.errors import UsageError
from vlar.methods.body_parts.adapter import part_contrastive

GOLDEN = Path(__file__).parents[2] / "golden" / "gap_part_loss.safetensors"


def test_it_equals_the_published_loss():
    golden = load_file(GOLDEN)
    given_ = (golden[f"in.{name}"] for name in ("visual", "text", "label", "scale"))
    found = part_contrastive(*given_)
    assert (found - golden["out.loss_per_part"]).abs().max() < 4e-7
    assert abs(found.mean() - golden["out.loss_mean"][0]) < 4e-7


def test_one_clip_has_no_loss():
    vectors = torch.randn(5, 1, 6)
    loss = part_contrastive(vectors, torch.randn(5, 1, 6), torch.tensor([3]), torch.ones(5))
    assert loss.tolist() == pytest.approx([0.0] * 5, abs=1e-7)


def test_clips_of_one_label_have_equal_targets():
    """Two clips of one label and of one vector get the same gradient, wherever they stand."""
    visual = torch.randn(1, 4, 6)
    visual[:, 2] = visual[:, 0]
    text = torch.randn(1, 4, 6)
    text[:, 2] = text[:, 0]
    visual.requires_grad_()
    part_contrastive(
        visual, text, torch.tensor([7, 1, 7, 2]), torch.full((1,), 3.0)
    ).sum().backward()
    assert visual.grad is not None
    assert torch.allclose(visual.grad[:, 0], visual.grad[:, 2], atol=1e-7)
    assert not torch.allclose(visual.grad[:, 0], visual.grad[:, 1], atol=1e-4)


def test_the_text_of_a_part_reaches_only_that_part():
    visual = torch.randn(5, 4, 6, requires_grad=True)
    text = torch.randn(5, 4, 6, requires_grad=True)
    loss = part_contrastive(visual, text, torch.tensor([0, 1, 1, 2]), torch.ones(5))
    loss[2].backward()
    assert visual.grad is not None
    assert text.grad is not None
    touched = visual.grad.abs().amax(dim=(1, 2)) > 0
    assert touched.tolist() == [False, False, True, False, False]
    assert (text.grad.abs().amax(dim=(1, 2)) > 0).tolist() == touched.tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.floats(0.1, 20.0), st.integers(0, 99))
def test_it_is_never_negative_and_blind_to_order_and_length(clips, parts, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    visual, text = (torch.randn(parts, clips, 5, generator=generator) for _ in range(2))
    labels = torch.randint(0, 3, (clips,), generator=generator)
    factors = torch.full((parts,), scale)
    loss = part_contrastive(visual, text, labels, factors)
    turned = torch.randperm(clips, generator=generator)
    other = part_contrastive(visual[:, turned] * 3, text[:, turned], labels[turned], factors)
    assert (loss >= -1e-6).all()
    assert torch.allclose(loss, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "labels", "scale"),
    [((2, 4, 5), 4, 2), ((2, 3, 6), 4, 2), ((2, 4, 6), 3, 2), ((2, 4, 6), 4, 3)],
)
def test_shapes_that_do_not_fit_are_refused(text, labels, scale):
    with pytest.raises(UsageError, match="give"):
        part_contrastive(
            torch.ones(2, 4, 6), torch.ones(text), torch.zeros(labels), torch.ones(scale)
        )
