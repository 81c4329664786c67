"""Every registered objective, and one made here that uses every hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.adapters.settings import setting
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.temporal.adapter import Temporal
from vlar.testing import check_objective
from vlar.testing.objectives import SMALL, training, weights
from vlar.training.data import ClipView
from vlar.training.objectives import Objective, ObjectiveSet, Step, TrainingContext
from vlar.training.trainable import TrainingBatch

SHIPPED = registry.names("objective")


@registry.register("objective", "every-hook")
@dataclass
class EveryHook(Objective):
    """Uses every hook: a head of its own, a memory, a sampler, a view, unlabelled clips."""

    weight: float = setting(0.1, at_least=0)
    name: ClassVar[str] = "every-hook"
    calls: list[str] = field(default_factory=list, init=False)
    memory: Tensor | None = field(default=None, init=False)
    head: nn.Linear | None = field(default=None, init=False)

    @property
    def unlabelled_per_clip(self) -> float:
        return 0.5

    @property
    def module(self) -> nn.Module | None:
        return self.head

    def views(self) -> Mapping[str, ClipView]:
        return {"reversed": ClipView({"time_jitter": 0.1}, lambda x, random: x.flip(0))}

    def begin(self, context: TrainingContext) -> None:
        self.calls.append("begin")
        assert context.shown.shape == (24, 2)
        assert context.n_unlabelled == 10
        assert context.facts[0]["group"] == "g0"
        self.head = nn.Linear(12, len(context.texts))
        self.memory = torch.zeros(len(context.texts))

    def before_epoch(self, epoch: int) -> None:
        self.calls.append(f"epoch {epoch}")

    def order(self, epoch: int, random: np.random.Generator) -> Sequence[int]:
        return random.integers(0, 24, 24).tolist()  # with repeats

    def before_step(self, number: int) -> None:
        self.calls.append(f"step {number}")

    def change_batch(self, batch: TrainingBatch, random: np.random.Generator) -> TrainingBatch:
        noise = torch.from_numpy(random.normal(scale=0.01, size=batch.inputs.shape)).float()
        return replace(batch, inputs=batch.inputs + noise)

    def base_weight(self, progress: float) -> float:
        return 1.0 - 0.5 * progress

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        batch, vectors = step.batch, step.output.vectors
        assert batch.known is not None
        assert vectors is not None
        assert self.head is not None
        assert self.memory is not None
        assert len(batch.rows) == len(batch.facts) == int(batch.known.sum()) < len(batch.inputs)
        turned = step.forward(batch.views["reversed"])
        assert turned.logits.shape == step.output.logits.shape
        self.memory = 0.9 * self.memory + 0.1 * step.output.logits.detach().mean(dim=0)
        own = batch.loss(self.head(vectors) + self.memory)
        apart = (turned.logits - step.output.logits).square().mean()
        return {"own": self.weight * own, "apart": 1e-3 * apart * float(step.random.random())}

    def after_step(self, number: int) -> None:
        self.calls.append(f"stepped {number}")

    def after_epoch(self, epoch: int) -> None:
        self.calls.append(f"ended {epoch}")

    def state(self) -> dict[str, Any]:
        return {"memory": self.memory}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.memory = state["memory"]


@pytest.mark.parametrize("name", [*SHIPPED, "every-hook"])
def test_it_keeps_the_contract(name: str):
    check_objective(name)


def test_every_hook_is_called_in_order():
    run = training(["every-hook"])
    run.run()
    part = run.objectives.parts["every-hook"]
    assert isinstance(part, EveryHook)
    first = ["begin", "epoch 0", "step 0", "stepped 0", "step 1", "stepped 1", "step 2"]
    assert part.calls[:7] == first
    assert part.calls[-1] == "ended 2"
    assert part.head is not None
    assert part.head.weight.grad is not None  # its parameters are optimised
    assert "head" not in " ".join(weights(run))  # and are not part of the adapter


def test_what_does_not_fit_is_refused():
    refused(UsageError, "needs unlabelled clips", training, ["consistency"], free=False)
    refused(UsageError, "no objective uses them", training, [])
    refused(UsageError, "named twice", ObjectiveSet, ["consistency", "consistency"])
    refused(UnknownNameError, "did you mean 'consistency'", ObjectiveSet, ["consistencies"])
    refused(ModelError, "threshold is 2", ObjectiveSet, {"consistency": {"threshold": 2}})


def test_an_objective_of_one_adapter_is_refused_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(EveryHook, "trains", "aligned")
    part = ObjectiveSet(["every-hook"])
    context: Any = SimpleNamespace(method=Temporal.attach(FakeEncoder(), SMALL))
    refused(UsageError, r"trains the adapter 'aligned', and .* 'temporal'", part.begin, context, 0)


def test_two_samplers_are_refused(monkeypatch: pytest.MonkeyPatch):
    @registry.register("objective", "other-order")
    @dataclass
    class OtherOrder(EveryHook):
        name: ClassVar[str] = "other-order"

    monkeypatch.setattr(OtherOrder, "views", lambda self: {})
    refused(UsageError, "both choose the order", training(["every-hook", "other-order"]).run)


def test_consistency_learns_from_confident_answers_only():
    logits = torch.tensor([[9.0, 0.0], [0.2, 0.0], [0.0, 9.0]])
    known = torch.tensor([True, False, False])
    batch = TrainingBatch(
        torch.zeros(3, 1, 1), torch.eye(2)[[0, 0, 0]], known=known, views={"strong": torch.ones(3)}
    )
    asked: list[Tensor] = []

    def forward(inputs: Tensor) -> Any:
        asked.append(inputs)
        return replace(output, logits=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    from vlar.training.trainable import TrainingOutput

    output = TrainingOutput(logits, {"total": torch.zeros(())})
    part = registry.get("objective", "consistency").from_settings({"warmup": 0.0, "weight": 2.0})
    step = Step(0, 0.5, batch, output, forward, np.random.default_rng(0))
    (term,) = part.terms(step).values()
    assert len(asked[0]) == 2  # unlabelled clips alone
    wanted = 2.0 * float(torch.nn.functional.cross_entropy(
        torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    )) / 2  # fmt: skip
    assert float(term) == pytest.approx(wanted, rel=1e-6)
