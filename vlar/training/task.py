"""A training task: which method is trained around which encoder, by which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vlar import registry
from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.heads.support import SupportItem
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask
from vlar.model.requests import Objectives
from vlar.training.hyperparameters import (
    Hyperparameters,
    adapter_settings,
    changed,
    default_recipe,
    divided,
    for_no_labels,
    load_recipe,
)
from vlar.training.towers import ResidualTower
from vlar.training.trainable import Trainable
from vlar.types import JsonDict


@dataclass(frozen=True)
class TrainingTask:
    """Definition of a training, apart from the examples."""

    encoder: Encoder
    method: str
    numbers: Hyperparameters
    recipe: str
    settings: JsonDict = field(default_factory=dict)
    seed: int = 0
    objectives: Objectives = ()
    unlabelled: Sequence[SupportItem] = ()
    start: str | None = None

    @staticmethod
    def by_recipe(
        encoder: Encoder,
        method: str,
        *,
        recipe: str | None = None,
        settings: JsonDict | None = None,
        seed: int = 0,
        objectives: Objectives = (),
        unlabelled: Sequence[SupportItem] = (),
    ) -> TrainingTask:
        """The task of a method by a recipe; None means the recipe of ``vlar adapt``.

        A method that reads pixels on a CPU gets the recipe for CPUs where there is one.

        Raises:
            UnknownNameError: the method or the recipe does not exist.
        """
        part = registry.get("adapter", method)
        slow = getattr(part, "reads", "pixels") == "pixels" and on_cpu(encoder)
        name = recipe or default_recipe(method, cpu=slow)
        return TrainingTask(
            encoder,
            method,
            load_recipe(name),
            name,
            adapter_settings(name, method, settings),
            seed,
            objectives,
            unlabelled,
        )

    @staticmethod
    def of(encoder: Encoder, task: AdaptTask) -> TrainingTask:
        """The task that an adaptation asks for; see ``by_recipe``.

        Raises:
            UsageError: a setting of the training is out of range.
        """
        settings, training = divided(task.settings)
        if task.start is not None:  # the sizes of a released file come before those of a recipe
            part: Any = task.adapter
            settings = {**part.settings_from(task.start), **settings}
        plan = TrainingTask.by_recipe(
            encoder,
            task.method.name,
            recipe=task.method.recipe,
            settings=settings,
            seed=task.seed,
            objectives=task.objectives,
            unlabelled=task.unlabelled,
        )
        labelled = task.support is not None or task.items
        numbers = plan.numbers if labelled else for_no_labels(plan.numbers)
        numbers = changed(numbers, training, plan.method) if training else numbers
        return replace(plan, numbers=numbers, start=task.start)

    def variants(self) -> list[TrainingTask]:
        """The tasks that held-out examples choose between; one unless the method has several."""
        make = getattr(registry.get("adapter", self.method), "variants", None)
        every = [self.settings] if make is None else make(self.settings)
        return [replace(self, settings=settings) for settings in every]

    def attach(self) -> Adapter:
        """The method's adapter at its start, which depends on the seed alone.

        Raises:
            UnknownNameError: no adapter has this name.
            ModelError: the encoder does not offer what it needs.
            UsageError: it has no training.
        """
        adapter: Any = attach(self.method, self.encoder, self.settings, seed=self.seed)
        if self.start is not None:
            adapter.start_from(self.start)
        return adapter

    def reading(self, base: ModelCore) -> ModelCore:
        """The core that makes the frame features which the method reads."""
        part = registry.get("adapter", self.method)
        make = getattr(part, "reading", None)
        encoder = base.encoder if make is None else make(base.encoder, self.settings)
        if encoder is base.encoder:
            return base
        return ModelCore(encoder, templates=base.template_set, name=base.name)


def attach(
    method: str, encoder: Encoder, settings: JsonDict | None = None, *, seed: int = 0
) -> Adapter:
    """A method's adapter at its start, checked to be one that can be trained.

    Args:
        method: Registered name of the adapter.
        encoder: What it wraps.
        settings: Settings of the adapter; None means its defaults.
        seed: Seed of the draws at the start.

    Raises:
        UnknownNameError: no adapter has this name.
        ModelError: the encoder does not offer what it needs.
        UsageError: it has no training.
    """
    import torch

    part = registry.get("adapter", method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapter: Adapter = part.attach(encoder, settings)
        except (ModelError, UnknownNameError) as error:  # a preset is called as the user calls it
            if method in error.message:
                raise
            kind = UnknownNameError if isinstance(error, UnknownNameError) else ModelError
            raise kind(f"method {method!r}: {error.message}") from error
    if seed and isinstance(adapter, ResidualTower):
        adapter.restart(seed)
    if not isinstance(adapter, Trainable):
        raise UsageError(f"adapter {method!r} has no training; see docs/adapters.md")
    return adapter


def on_cpu(encoder: Encoder) -> bool:
    """Return whether the towers of an encoder run on a CPU."""
    return not isinstance(encoder, TorchEncoder) or encoder.towers.device.type == "cpu"
