"""Every registered rejector keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_rejector

NAMES = registry.names("rejector")


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str):
    check_rejector(name)


def test_familiarity_is_there():
    assert "familiarity" in NAMES
