"""Every registered reader keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_reader


@pytest.mark.parametrize("name", registry.names("reader"))
def test_it_keeps_the_contract(name: str):
    check_reader(name)
