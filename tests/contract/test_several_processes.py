"""Every registered method and objective: two processes learn what one does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.contract import test_objectives as objectives
from tests.unit.encoders.clip import models
from tests.unit.training.several import in_processes
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.testing.objectives import settings_of, training, uses_unlabelled, weights
from vlar.testing.trainables import LABELS, PARTS, TARGETS
from vlar.training.distributed import ALONE, Processes
from vlar.training.trainable import Trainable, TrainingBatch

TRAINABLE = [
    name
    for name in registry.names("adapter")
    if issubclass(registry.get("adapter", name), Trainable)
    and registry.get("adapter", name).contract_base == "clip"
]
#: Of the largest entry of a gradient: sums are taken in another order.
TOLERANCE = 2e-5
#: Of a loss, relative. AdamW divides a gradient near 0 by its own size, so weights come apart more.
LOSSES = 1e-4


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


def batch_of(adapter: Any) -> TrainingBatch:
    random = torch.Generator().manual_seed(0)
    tail = (adapter.frame_dim,) if adapter.reads == "features" else (3, 32, 32)
    inputs = torch.randn(4, adapter.n_frames, *tail, generator=random)
    return TrainingBatch(inputs, TARGETS)


def gradients(name: str, encoder: Encoder, processes: Processes = ALONE) -> dict[str, np.ndarray]:
    """Gradients of one step of a method at its start, dropout included, and the loss."""
    torch.manual_seed(0)
    adapter: Any = registry.get("adapter", name).attach(encoder)
    assert isinstance(adapter, Trainable)
    adapter.read_label_parts(PARTS, [1, 1, 1])
    classes = adapter.training_classes(LABELS)
    named = adapter.trainable()
    adapter.module.train()
    spreader = None if processes.alone else processes.spread
    torch.manual_seed(1)
    output = adapter.training_step(replace(batch_of(adapter), spreader=spreader), classes)
    output.losses["total"].backward()
    processes.average_gradients(parameter for _, parameter in named)
    found = {key: p.grad.numpy() for key, p in named if p.grad is not None}
    return {**found, "loss": output.losses["total"].detach().numpy()}


def distance(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    largest = max(float(np.abs(array).max(initial=0)) for array in one.values())
    return max(float(np.abs(one[k] - other[k]).max(initial=0)) for k in one) / largest


@pytest.mark.parametrize(
    "names", [["temporal", "ez-clip"], pytest.param(TRAINABLE, marks=pytest.mark.slow)]
)
def test_methods_have_the_gradients_of_one_process(names: list[str], encoder: Encoder):
    def all_of_them(processes: Processes) -> dict[str, dict[str, np.ndarray]]:
        return {name: gradients(name, encoder, processes) for name in names}

    first, second = in_processes(2, all_of_them)
    alone = all_of_them(ALONE)
    for name, found in alone.items():
        assert distance(found, first[name]) < TOLERANCE, name
        assert distance(first[name], second[name]) == 0, name


def test_halves_that_are_not_gathered_have_other_gradients(encoder: Encoder):
    """The control: a contrast of the clips of each half alone is another loss."""
    whole = gradients("ez-clip", encoder)

    def apart(processes: Processes) -> dict[str, np.ndarray]:
        torch.manual_seed(0)
        adapter: Any = registry.get("adapter", "ez-clip").attach(encoder)
        classes, named = adapter.training_classes(LABELS), adapter.trainable()
        adapter.module.train()
        rows = processes.shares(4)[processes.rank]
        batch = batch_of(adapter)
        torch.manual_seed(1)
        half = TrainingBatch(batch.inputs[rows], batch.targets[rows])
        output = adapter.training_step(half, classes)
        output.losses["total"].backward()
        processes.average_gradients(parameter for _, parameter in named)
        found = {key: p.grad.numpy() for key, p in named if p.grad is not None}
        return {**found, "loss": output.losses["total"].detach().numpy()}

    assert distance(whole, in_processes(2, apart)[0]) > 100 * TOLERANCE


#: Objectives whose adapter has norms over a batch, which several processes would not share.
ONE_PROCESS = ("atcon",)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*objectives.SHIPPED, "every-hook"])
def test_every_objective_trains_as_in_one_process(name: str, tmp_path: Path):
    part = registry.get("objective", name)
    free, named = uses_unlabelled(part), {name: settings_of(part, tmp_path)}

    def trained(processes: Processes) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
        made = training(named, free=free, processes=processes)
        epochs = made.run().epochs
        return [dict(epoch.losses) for epoch in epochs], weights(made)

    alone, _ = trained(ALONE)
    if name in ONE_PROCESS:
        with pytest.raises(AssertionError, match="normalises over the clips of a batch"):
            in_processes(2, trained)
        return
    first, second = in_processes(2, trained)
    assert len(alone) == len(first[0]) == 3
    for wanted, found in zip(alone, first[0], strict=True):
        assert found == pytest.approx(wanted, rel=LOSSES, abs=1e-5)
    for key, array in first[1].items():
        np.testing.assert_array_equal(array, second[1][key], err_msg=key)
