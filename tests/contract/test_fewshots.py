"""Every registered few-shot head keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import numpy as np
import pytest

from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.heads.model_selection import auto_heads, choose, methods
from vlar.testing import check_fewshot

NAMES = registry.names("fewshot")


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str):
    check_fewshot(name)


def test_the_closed_forms_are_there():
    assert {"prototype", "cache", "ridge"} <= set(NAMES)


def test_the_registry_answers_which_heads_can_be_asked_for_and_which_auto_tries():
    assert {"mixture", "stacking"} <= set(NAMES) - set(methods())
    assert auto_heads() == ["ridge", "prototype"]
    features = np.random.default_rng(0).normal(size=(4, 8, 12)).astype(np.float32)
    blocks = (FrameBlock("look", 12, "appearance"),)
    with pytest.raises(UsageError, match="'mixture' is made of other heads"):
        choose(features, blocks, ["a", "b"] * 2, method="mixture")
