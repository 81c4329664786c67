"""The contract of an objective, as a check: it trains a small temporal adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlar import registry
from vlar.errors import ModelError, UnknownNameError
from vlar.testing.contract import name_of, refused, registered, run
from vlar.testing.material import SmallEncoder, ordered_clips
from vlar.training.batches import Unlabelled
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import FeatureLoader
from vlar.training.distributed import ALONE, Processes
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import Objective, ObjectiveSet

SMALL = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}
N_CLIPS, N_UNLABELLED = 24, 10


@dataclass
class ObjectiveMaterial:
    """An objective and the settings that it is tried with.

    Attributes:
        name: Registered name.
        cls: Its class.
        named: The settings, by its name.
        folder: A folder for checkpoints.
    """

    name: str
    cls: type[Objective]
    named: Mapping[str, dict[str, Any]]
    folder: Path

    def training(self, checkpoints: CheckpointConfig | None = None) -> Training:
        """A training with this objective."""
        unlabelled = uses_unlabelled(self.cls)
        return training(self.named, free=unlabelled, checkpoints=checkpoints)


def check_objective(part: Any, *, settings: Mapping[str, Any] | None = None) -> None:
    """Train with an objective, again, and once more with stops.

    Args:
        part: The objective: a class, or a registered name.
        settings: Its settings; default those of ``Objective.example``.

    Raises:
        AssertionError: it breaks the contract of ``vlar.training.objectives.Objective``.
    """
    part = registry.get("objective", part) if isinstance(part, str) else part
    cls: type[Objective] = part if isinstance(part, type) else type(part)
    name = name_of("objective", cls)
    with tempfile.TemporaryDirectory() as folder, registered("objective", name, cls):
        rows = dict(settings) if settings is not None else settings_of(cls, Path(folder))
        material = ObjectiveMaterial(name, cls, {name: rows}, Path(folder))
        run("objective", name, STEPS, material)


def settings_of(cls: type[Objective], folder: Path) -> dict[str, Any]:
    """Settings of an objective for the clips of ``training``; files go into a folder."""
    _, dataset = ordered_clips(N_CLIPS)
    paths = [*dataset.paths, *(Path(f"clip {row}") for row in range(N_UNLABELLED))]
    return dict(cls.example(folder, paths, dataset.texts))


def uses_unlabelled(cls: type[Objective]) -> bool:
    """Return whether an objective reads clips without labels at its default settings."""
    return cls().unlabelled_per_clip > 0


def training(
    named: Any,
    *,
    free: bool = True,
    checkpoints: CheckpointConfig | None = None,
    processes: Processes = ALONE,
) -> Training:
    """A training of three epochs on 24 clips whose order gives the label.

    Args:
        named: Objectives by name, or with settings.
        free: Whether there are ten clips without labels.
        checkpoints: Where it is kept; None for nowhere.
        processes: Who trains.
    """
    plan = load_recipe("temporal/adapt")
    numbers = replace(plan, epochs=3, batch=8, micro_batch=4, warmup_epochs=1)
    features, dataset = ordered_clips(N_CLIPS)
    others, _ = ordered_clips(N_UNLABELLED, seed=5)
    only = [part.trains for part in ObjectiveSet(named) if part.trains]
    attached = [registry.get("adapter", name).attach(SmallEncoder()) for name in only]
    temporal = registry.get("adapter", "temporal")
    adapter: Any = attached[0] if attached else temporal.attach(SmallEncoder(), SMALL)
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, adapter.input_widths)
    extra = FeatureLoader(adapter.training_inputs(others), (), adapter.input_widths)
    return Training(
        adapter,
        loader,
        dataset,
        numbers,
        seed=2,
        checkpoints=checkpoints,
        objectives=ObjectiveSet(named),
        processes=processes,
        unlabelled=Unlabelled(extra, N_UNLABELLED) if free else None,
    )


def weights(trained: Training) -> dict[str, Any]:
    """Weights of the adapter of a training."""
    return trained.adapter.state_dict()


class Stopped(Exception):  # noqa: N818 - no error
    """A training is stopped here."""


def _described(m: ObjectiveMaterial) -> None:
    """An objective has a name and a docstring, and refuses settings that it does not have."""
    assert m.cls.name == m.name
    assert m.cls.__doc__
    message = "no_such_setting"
    refused(UnknownNameError, message, m.cls.from_settings, {message: 1})
    part: Any = m.cls
    for name in (row.name for row in fields(part) if row.init):
        errors = (ModelError, UnknownNameError)
        refused(errors, name, m.cls.from_settings, {name: {"oddity": 1}})


def _trains(m: ObjectiveMaterial) -> None:
    """A training is the same again, and reports finite losses under the objective's name."""
    runs = [m.training() for _ in range(2)]
    first, last = (run.run().epochs[-1] for run in runs)
    assert first == last
    assert set(last.losses) >= {"base", "total"}
    assert any(loss.startswith(f"{m.name}.") for loss in last.losses), sorted(last.losses)
    assert all(np.isfinite(value) for value in last.losses.values())
    assert 0 <= last.accuracy <= 1
    for parameter, array in weights(runs[0]).items():
        np.testing.assert_array_equal(weights(runs[1])[parameter], array, err_msg=parameter)


def _resumed(m: ObjectiveMaterial) -> None:
    """A training that was stopped after any step is resumed bit for bit."""
    whole = m.training()
    whole.run()
    for stop in (2, 5):
        checkpoints = CheckpointConfig(m.folder / f"{stop}", "key", every=1)
        cut: Any = m.training(checkpoints)
        plain = cut._step

        def step(*given: Any, cut: Any = cut, plain: Any = plain, stop: int = stop) -> Any:
            if cut.step == stop:
                raise Stopped
            return plain(*given)

        cut._step = step
        refused(Stopped, "", cut.run)
        torch.manual_seed(99)
        resumed = m.training(checkpoints)
        assert resumed.run().resumed_at == stop
        for parameter, array in weights(whole).items():
            np.testing.assert_array_equal(weights(resumed)[parameter], array, err_msg=parameter)


STEPS = (_described, _trains, _resumed)
