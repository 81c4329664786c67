"""Every registered captioner keeps the contract; those that need a file or weights skip."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_captioner


@pytest.mark.parametrize("name", registry.names("captioner"))
def test_it_keeps_the_contract(name: str):
    check_captioner(name)
