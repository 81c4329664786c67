"""The recipe's learning rates are the reference's."""

from __future__ import annotations

import pytest

from tests.unit.adapters import golden
from vlar.errors import UnknownNameError, UsageError
from vlar.training.recipes.tc_clip import PROTOCOLS, UnshiftedCosine, protocol

NAMES = {
    "zero_shot": "zero-shot",
    "few_shot": "few-shot",
    "base2novel": "base-to-novel",
    "fully_supervised": "fully-supervised",
}


@pytest.mark.parametrize("told", NAMES)
def test_rates(told: str) -> None:
    wanted = golden.facts("lr")[told]
    plan = protocol(NAMES[told])
    assert (plan.epochs, plan.warmup_epochs) == (wanted["epochs"], wanted["warmup_epochs"])
    assert (plan.learning_rate, plan.lowest_rate) == (wanted["lr"], wanted["lr_min"])
    schedule = UnshiftedCosine.of(plan, wanted["iters_per_epoch"])
    for iteration, (base, tenfold) in wanted["at_iteration"].items():
        if iteration != "initial":
            assert schedule.rate(int(iteration), plan.learning_rate) == pytest.approx(
                base, rel=1e-9
            )
            rate = schedule.rate(int(iteration), 10 * plan.learning_rate)
            assert rate == pytest.approx(tenfold, rel=1e-9)


def test_the_rate_stays_at_its_lowest_behind_the_end() -> None:
    schedule = UnshiftedCosine(100, 0, 1e-8)
    assert schedule.rate(100, 1e-6) == schedule.rate(1000, 1e-6) == pytest.approx(1e-8)


def test_wrong_names_and_numbers() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'zero-shot'"):
        protocol("zeroshot")
    with pytest.raises(UsageError, match="20 warm-up iterations of 10"):
        UnshiftedCosine(10, 20, 0.0)
    assert set(PROTOCOLS) == set(NAMES.values())
