"""The recipe's learning rates are the reference's, by the schedule that a training runs."""

from __future__ import annotations

import pytest

from tests.unit.methods import golden
from vlar.errors import UnknownNameError, UsageError
from vlar.methods.tc_clip.adapter import tc_clip
from vlar.training.hyperparameters import Hyperparameters, load_recipe

NAMES = {
    "zero_shot": "zero-shot",
    "few_shot": "few-shot",
    "base2novel": "base-to-novel",
    "fully_supervised": "fully-supervised",
}


@pytest.mark.parametrize("told", NAMES)
def test_rates(told: str) -> None:
    wanted = golden.facts("lr")[told]
    numbers = load_recipe(f"tc-clip/{NAMES[told]}")
    assert (numbers.epochs, numbers.warmup_epochs) == (wanted["epochs"], wanted["warmup_epochs"])
    assert (numbers.learning_rate, numbers.lowest_rate) == (wanted["lr"], wanted["lr_min"])
    per_epoch = wanted["iters_per_epoch"]
    for iteration, (base, tenfold) in wanted["at_iteration"].items():
        if iteration != "initial":
            for rate, found in (
                (numbers.learning_rate, base),
                (10 * numbers.learning_rate, tenfold),
            ):
                ours = numbers.rate(int(iteration), per_epoch, rate)
                assert ours == pytest.approx(found, rel=1e-9)


def test_the_rate_stays_at_its_lowest_behind_the_end() -> None:
    numbers = Hyperparameters(
        epochs=1, warmup_epochs=0, lowest_rate=1e-8, schedule="unshifted-cosine"
    )
    at_the_end = numbers.rate(100, 100, 1e-6)
    assert at_the_end == numbers.rate(1000, 100, 1e-6) == pytest.approx(1e-8)


def test_wrong_names_and_numbers() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tc-clip/zero-shot'"):
        load_recipe("tc-clip/zeroshot")
    with pytest.raises(UsageError, match="warmup_epochs 20 is more than epochs 10"):
        Hyperparameters(epochs=10, warmup_epochs=20)
    assert set(tc_clip()) == set(NAMES.values())
