"""Every registered attack keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from tests.refusals import refused
from vlar import registry
from vlar.errors import UnknownNameError
from vlar.evaluation.attacks import no_box, posterior
from vlar.evaluation.attacks.base import attack
from vlar.testing import check_attack
from vlar.testing.attacks import clips, linear


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(no_box, "EPOCHS", 2)
    monkeypatch.setattr(posterior, "SNAPSHOTS", 12)
    monkeypatch.setattr(posterior, "BEFORE", 4)


@pytest.mark.parametrize("name", registry.names("attack"))
def test_it_keeps_the_contract(name: str):
    check_attack(name)


def test_an_unknown_attack_names_the_nearest():
    refused(UnknownNameError, "did you mean 'pgd'", attack, "pgdd", linear, clips(), eps=0.1)
