"""Every registered learner keeps the contract, and adapters name learners that exist."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_learner

LEARNERS = registry.names("learner")
METHODS = {name: registry.get("adapter", name).learner for name in registry.names("adapter")}


@pytest.mark.parametrize("name", LEARNERS)
def test_it_keeps_the_contract(name: str):
    check_learner(name)


@pytest.mark.parametrize("name", LEARNERS)
def test_some_adapter_names_it(name: str):
    assert name in METHODS.values()


@pytest.mark.parametrize("method", METHODS)
def test_every_adapter_names_a_learner_that_exists(method: str):
    assert METHODS[method] in LEARNERS
