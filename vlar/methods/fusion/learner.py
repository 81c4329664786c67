"""``pretrained``: a first training without labels on all clips, then one with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlar.adapters.base import Adapter
from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.heads.support import SupportItem
from vlar.methods.fusion.adapter import Fusion
from vlar.methods.fusion.devices import Devices
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.examples import read_examples
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, fit
from vlar.training.learners import Learner
from vlar.training.loop import Training
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.types import Float32

_CLIP = "a clip"  # what every clip is called where labels do not count


@dataclass
class _Features:
    """Frame features of examples, each computed once."""

    rows: dict[tuple[Path, object], Float32] = field(default_factory=dict[Any, Float32])

    def get(self, item: SupportItem) -> Float32 | None:
        return self.rows.get((item.path, item.window))

    def put(self, item: SupportItem, features: Float32) -> None:
        self.rows[item.path, item.window] = features


@dataclass(frozen=True)
class PretrainedTask(TrainingTask):
    """A training that begins with given weights, and reads its inputs as they were fitted."""

    state: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def attach(self) -> Adapter:
        adapter = super().attach()
        assert isinstance(adapter, Fusion)
        adapter.begin_with(self.state)
        return adapter


@register("learner", "pretrained", status="null here")
@dataclass(frozen=True)
class Pretrained(Learner):
    """Hidden patches and devices of all clips first, labelled or not; then the labels.

    Attributes:
        pretrain_epochs: Passes over all clips without labels; 0 leaves the first training out.
    """

    pretrain_epochs: int = setting(40, at_least=0, at_most=100_000)

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Train twice.

        Raises:
            UsageError: the method hides nothing, no clip has a label, or objectives are given.
        """
        plan = TrainingTask.of(core.encoder, task)
        adapter = plan.attach()
        if not isinstance(adapter, Fusion) or not isinstance(adapter.network.block, Devices):
            raise UsageError(
                f"learner 'pretrained' has nothing to hide in method {task.method.name!r}; use "
                "'masked-imu'"
            )
        if task.support is None or task.objectives:
            raise UsageError("learner 'pretrained' takes labelled clips, and no objectives")
        cache, progress = _Features(), task.progress
        everything = [*task.items, *task.unlabelled]
        examples = read_examples(plan.reading(core), everything, progress, cache)
        state = self.pretrain(plan, adapter, examples.features)
        fine = PretrainedTask(
            plan.encoder,
            plan.method,
            plan.numbers,
            plan.recipe,
            plan.settings,
            plan.seed,
            state=state,
        )
        options = FitOptions(task.unknown, task.balance, reading=progress, cache=cache)
        adapted = fit(fine, core, task.support, task.items, options)
        failed_paths = {failure.path for failure in adapted.report.failed}
        more = [failure for failure in examples.failed if failure.path not in failed_paths]
        return replace(
            adapted, report=replace(adapted.report, failed=(*adapted.report.failed, *more))
        )

    def pretrain(self, task: TrainingTask, adapter: Fusion, features: Float32) -> Mapping[str, Any]:
        """The weights after a training on features (n, T, F) whose labels do not count."""
        paths = [Path(str(row)) for row in range(len(features))]
        dataset = Dataset.single([_CLIP], [_CLIP] * len(paths), [str(p) for p in paths], paths)
        loader = FeatureSource(features).loader(adapter, dataset, range(len(paths)))
        if self.pretrain_epochs:
            numbers = task.numbers.replaced(epochs=self.pretrain_epochs)
            training = Training(adapter, loader, dataset, numbers, seed=task.seed)
            adapter.pretraining = True
            training.run()
        return {k: v for k, v in adapter.network.state_dict().items() if k != "labels"}
