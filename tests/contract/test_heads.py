"""Every registered head of a model folder keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.heads.base import ModelHead
from vlar.testing import check_head

NAMES = registry.names("head")


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str):
    check_head(name)


def test_timeline_is_there():
    assert "timeline" in NAMES


def test_a_head_that_forgets_an_array_is_found():
    part: type[ModelHead] = registry.get("head", "timeline")

    class Forgetful(part):
        def state(self):
            return dict(list(super().state().items())[:-1])

    with pytest.raises(AssertionError, match="is the same after"):
        check_head(Forgetful)
