from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import UsageError
from vlar.methods.exchange.objective import NO_PARTNER, cross, pairs

clips = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=20)


@given(clips, st.integers(0, 1000))
def test_partners_are_what_they_are_called_or_named_as_missing(drawn, seed: int):
    actions, subjects = [a for a, _ in drawn], [s for _, s in drawn]
    found = pairs(actions, subjects, np.random.default_rng(seed))
    for row, (action, subject) in enumerate(drawn):
        for kind, partner in zip(found._fields, (int(each[row]) for each in found), strict=True):
            want = (True, False) if kind == "same_action" else (False, True)
            fits = [(a == action, s == subject) == want for a, s in drawn]
            assert partner == NO_PARTNER if not any(fits) else fits[partner]


def test_all_partners_are_drawn():
    seen = {int(pairs("aaab", "wxyz", np.random.default_rng(s)).same_action[0]) for s in range(40)}
    assert seen == {1, 2}


def test_equal_clips_are_crossed_into_themselves_bit_for_bit():
    n, m = torch.randn(1, 3).expand(4, 3), torch.randn(1, 2).expand(4, 2)
    partner = torch.tensor([1, 0, 3, 2])
    for crossed in cross(n, m, partner):
        assert torch.equal(crossed, torch.cat([n, m], dim=1))


def test_parts_are_exchanged():
    n, m = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
    own, others = cross(n, m, torch.tensor([1, 0]))
    assert own.tolist() == [[2, 10], [1, 20]]
    assert others.tolist() == [[1, 20], [2, 10]]


def test_other_numbers_are_refused():
    with pytest.raises(UsageError, match="2 actions and 1 subjects"):
        pairs([1, 2], ["a"], np.random.default_rng(0))
