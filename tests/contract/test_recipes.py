"""Every registered recipe keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.testing import check_recipe
from vlar.training.hyperparameters import default_recipe, recipes


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_it_keeps_the_contract(name: str):
    check_recipe(name)


@pytest.mark.slow
def test_every_method_has_a_recipe_for_adapt():
    for method in registry.names("adapter"):
        for cpu in (False, True):
            assert default_recipe(method, cpu=cpu) in recipes()


def test_every_recipe_is_one_of_an_adapter():
    assert {name.partition("/")[0] for name in recipes()} <= {
        *registry.names("adapter"),
        "general",
    }
