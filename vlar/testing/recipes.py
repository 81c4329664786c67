"""The contract of a recipe, as a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vlar import registry
from vlar.testing.contract import run
from vlar.training.hyperparameters import Hyperparameters

Protocols = Mapping[str, Hyperparameters]


def check_recipe(part: Any) -> None:
    """Try the hyperparameters of a recipe with few epochs and any batch.

    Args:
        part: The recipe: a function that gives hyperparameters by protocol, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.training.hyperparameters``.
    """
    name = part if isinstance(part, str) else part.__name__
    make: Callable[[], Protocols] = registry.get("recipe", part) if isinstance(part, str) else part
    run("recipe", name, STEPS, make)


def _types(make: Callable[[], Protocols]) -> None:
    """A recipe gives hyperparameters by the names of its protocols, and the same every time."""
    protocols = make()
    assert protocols, "no protocol"
    assert all(isinstance(name, str) and name for name in protocols)
    assert all(isinstance(numbers, Hyperparameters) for numbers in protocols.values())
    assert make() == protocols


def _rates(make: Callable[[], Protocols]) -> None:
    """Learning rates stay between 0 and the rate that is stated."""
    for name, numbers in make().items():
        rates = [numbers.rate(n, 10, numbers.learning_rate) for n in range(numbers.epochs * 10)]
        assert 0 <= min(rates) <= max(rates) <= numbers.learning_rate * (1 + 1e-9), name


def _epochs(make: Callable[[], Protocols]) -> None:
    """Fewer epochs are always accepted, and scale what counts in epochs."""
    for name, numbers in make().items():
        for epochs in (1, 2, 3):
            fewer = numbers.replaced(epochs=epochs)
            assert fewer.epochs == epochs, name
            assert fewer.warmup_epochs <= epochs, name
            assert fewer.average_from <= epochs, name
            numbers_set = numbers.replaced(epochs=epochs, warmup_epochs=0.5, average_from=1)
            assert (numbers_set.warmup_epochs, numbers_set.average_from) == (0.5, 1), name


def _batches(make: Callable[[], Protocols]) -> None:
    """Any batch is split evenly, since gradients of parts are averaged."""
    for name, numbers in make().items():
        for batch in (1, 5, 6, 30):
            other = numbers.replaced(batch=batch)
            assert other.batch == batch, name
            micro = other.micro_batch
            assert micro is None or micro >= batch or batch % micro == 0, name


STEPS = (_types, _rates, _epochs, _batches)
