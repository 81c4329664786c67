"""Every registered recipe: its numbers hold together, and fewer epochs are always accepted."""

from __future__ import annotations

import pytest

from vlar import registry
from vlar.training.hyperparameters import Hyperparameters, default_recipe, recipes

NAMES = sorted(recipes())


def test_every_method_has_a_recipe_for_adapt():
    for method in registry.names("adapter"):
        for cpu in (False, True):
            assert default_recipe(method, cpu=cpu) in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_numbers_hold_together(name: str):
    numbers = recipes()[name]
    assert isinstance(numbers, Hyperparameters)
    steps = numbers.epochs * 10
    rates = [numbers.rate(step, 10, numbers.learning_rate) for step in range(steps)]
    assert 0 <= min(rates) <= max(rates) <= numbers.learning_rate * (1 + 1e-9)
    method = name.partition("/")[0]
    known = {*registry.names("adapter"), "general"}
    assert method in known


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_fewer_epochs_scale_what_counts_in_epochs(name: str, epochs: int):
    numbers = recipes()[name]
    fewer = numbers.replaced(epochs=epochs)
    assert fewer.epochs == epochs
    assert fewer.warmup_epochs <= epochs
    assert fewer.average_from <= epochs
    given = numbers.replaced(epochs=epochs, warmup_epochs=0.5, average_from=1)
    assert (given.warmup_epochs, given.average_from) == (0.5, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 5, 6, 30])
def test_any_batch_is_split_evenly(name: str, batch: int):
    numbers = recipes()[name].replaced(batch=batch)
    assert numbers.batch == batch
    micro = numbers.micro_batch
    assert micro is None or micro >= batch or batch % micro == 0
