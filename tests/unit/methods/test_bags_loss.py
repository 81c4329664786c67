"""Bags of texts: golden values, and what must not matter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from vlar.errors import UsageError
from vlar.methods.maxi.objective import mil_nce

GOLDEN = Path(__file__).parents[2] / "golden" / "vl_mil_nce.safetensors"


def test_it_equals_the_golden_values():
    kept = load_file(GOLDEN)
    logits, labels = kept["in.logits"], kept["in.pseudo_label"]
    found = {
        "mil_nce": mil_nce(logits, 3, labels),
        "mil_nce_diagonal": mil_nce(logits, 3),
        "mil_nce_both_ways": mil_nce(logits, 3, labels, both_ways=True),
    }
    for name, value in found.items():
        torch.testing.assert_close(value[None], kept[f"out.{name}"], atol=1e-5, rtol=0)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_one_text_a_bag_is_info_nce(count: int, seed: int):
    logits = torch.randn(count, count, generator=torch.Generator().manual_seed(seed))
    wanted = F.cross_entropy(logits, torch.arange(count))
    torch.testing.assert_close(mil_nce(logits, 1), wanted, atol=1e-6, rtol=0)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000), st.booleans())
def test_the_order_inside_a_bag_does_not_matter(count: int, size: int, seed: int, both: bool):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, count * size, generator=random)
    labels = torch.randint(3, (count,), generator=random)
    order = torch.cat([bag * size + torch.randperm(size, generator=random) for bag in range(count)])
    one, other = (mil_nce(z, size, labels, both_ways=both) for z in (logits, logits[:, order]))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_text_that_comes_twice_counts_twice():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    twice = logits[:, [0, 0, 1, 1]]
    torch.testing.assert_close(mil_nce(twice, 2), mil_nce(logits, 1))
    uneven = torch.tensor([[2.0, 2.0, 0.0, 5.0], [0.0, 0.0, 1.0, 1.0]])
    own = 2 * torch.e**2 / (2 * torch.e**2 + 1 + torch.e**5)
    other = 2 * torch.e / (2 + 2 * torch.e)
    wanted = -(torch.log(torch.tensor(own)) + torch.log(torch.tensor(other))) / 2
    torch.testing.assert_close(mil_nce(uneven, 2), wanted.float())


def test_equal_bags_share_the_mass():
    logits = torch.tensor([[50.0, 50.0], [50.0, 50.0]])
    loss = mil_nce(logits, 1, torch.tensor([4, 4]))
    assert float(loss) == pytest.approx(float(torch.tensor(2.0).log()))


def test_what_is_not_a_bag_for_each_clip_is_refused():
    with pytest.raises(UsageError, match=r"\(2, 5\).*bags of 2"):
        mil_nce(torch.zeros(2, 5), 2)
    with pytest.raises(UsageError, match=r"3.*for 2 clips"):
        mil_nce(torch.zeros(2, 4), 2, torch.zeros(3))
