"""Every registered detector keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.people.tiny_owl import save_owl
from vlar import registry
from vlar.pose import networks
from vlar.testing import check_detector


@pytest.mark.parametrize("name", registry.names("detector"))
def test_it_keeps_the_contract(name: str, tmp_path: Path):
    if name == "rfdetr":
        pytest.skip("its library is an extra; tests/unit/people/test_detectors.py has a stand-in")
    if name == "pose" and not networks.is_installed():
        pytest.skip("lite-motion was not fetched")
    check_detector(name, argument=str(save_owl(tmp_path / "owl")) if name == "hf" else None)
