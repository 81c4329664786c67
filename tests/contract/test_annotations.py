"""Every registered format of annotations keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_annotation


@pytest.mark.parametrize("name", registry.names("annotation"))
def test_it_keeps_the_contract(name: str):
    check_annotation(name)
