from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import UsageError
from vlar.heads.concept_heads import roll_up
from vlar.language.tree import Tree


@given(tops=st.lists(st.integers(0, 3), min_size=1, max_size=8), n=st.integers(0, 4))
def test_coarse_sums_are_fine_sums(tops, n):
    tree = Tree({f"fine {i}": f"coarse {top}" for i, top in enumerate(tops)})
    fine = np.random.default_rng(0).random((n, len(tops)))
    coarse = roll_up(fine, tree)
    np.testing.assert_allclose(coarse.sum(axis=1), fine.sum(axis=1), atol=1e-12)
    for column, name in enumerate(tree.coarse):
        own = [i for i, top in enumerate(tops) if f"coarse {top}" == name]
        np.testing.assert_allclose(coarse[:, column], fine[:, own].sum(axis=1), atol=1e-12)


def test_another_number_of_columns_is_named():
    with pytest.raises(UsageError, match=r"shape \(1, 3\), and the label tree has 2 fine labels"):
        roll_up(np.zeros((1, 3)), Tree({"a": "x", "b": "x"}))
