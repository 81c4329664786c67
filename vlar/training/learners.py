"""Learners: a closed solution, a training, or nothing to learn but a closed form on top."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.adapters.settings import check_settings, read_settings
from vlar.errors import SupportError, UsageError
from vlar.heads.fewshot.stacking import StackingHead
from vlar.heads.model_selection import choose
from vlar.heads.targets import check_single
from vlar.model.adapt import Adapted, balanced, fit_examples, guarded
from vlar.model.adapt_report import TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete, read_examples
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, fit, fit_without_labels
from vlar.training.fusion_weights import Rows, Scored, held_out_stacking
from vlar.training.progress import TrainingCost
from vlar.training.sources import halves, partition
from vlar.training.task import TrainingTask
from vlar.types import Float32, Float64, JsonDict


class Learner(ABC):
    """A way of learning: by training, by a closed solution, without the source's data, ...

    An adapter names its learner (``Adapter.learner``), and a user may name another one
    (``vlar adapt --learner``). The fields of a learner that is a dataclass are settings of its own,
    such as the rounds of a federated training; it is made for each adaptation.

    Attributes:
        without_examples: Whether it starts from the given model alone: ``AdaptTask.support`` is
            None, and there may be no unlabelled clips either.
        from_labels: Whether labelled clips are all that it needs; False for one that learns from
            clients, or from a model that has learned.
        facts: Columns of a support set that it reads next to ``vlar.heads.support.FACTS``.
    """

    without_examples: ClassVar[bool] = False
    from_labels: ClassVar[bool] = True
    facts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, task: AdaptTask) -> tuple[Learner, AdaptTask]:
        """The learner with those of the task's settings that are its own, and the rest.

        Raises:
            ModelError: a setting has another type or is out of range.
        """
        if not is_dataclass(cls):
            return cls(), task
        part: Any = cls
        names = [row.name for row in fields(part) if row.init]
        learner_settings = {name: value for name, value in task.settings.items() if name in names}
        adapter_settings = {
            name: value for name, value in task.settings.items() if name not in learner_settings
        }
        learner = read_settings(part, learner_settings, "learner setting")
        check_settings(learner, "learner setting")
        return learner, task.with_settings(adapter_settings)

    @abstractmethod
    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Learn a method from examples.

        Args:
            core: Its encoder is wrapped; it is not changed.
            task: The method, the examples and what else the user asks for.

        Returns:
            A core and a head that answers with the labels of the support set.

        Raises:
            SupportError: a label is left without any clip that can be read.
            UsageError: the learner has no use for a part of the task.
        """


class Solvable(Protocol):
    """Interface of an adapter for this learner."""

    def solve(
        self,
        features: Float32,
        columns: npt.NDArray[np.int64],
        labels: list[str],
        free: Float32 | None = None,
        *,
        seed: int = 0,
        groups: Sequence[str] | None = None,
    ) -> Any:
        """Find the parameters from (n, T, F) frame features, (n,) labels and free clips.

        Clips of one of the ``groups`` (n names, such as people) may be held out together.
        """
        ...


@register("learner", "solved")
class SolvedLearner(Learner):
    """Let an adapter find its parameters by itself, in closed form or by a training of its own."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Solve the map of an adapter from examples.

        Raises:
            UsageError: objectives are given, or no labels.
        """
        if task.objectives or task.support is None:
            raise UsageError(
                f"method {task.method.name!r} is solved at once, from labelled clips; it has "
                "no objectives: give a support set alone, or use a method that is trained, such as "
                "'temporal'"
            )
        # A wrong setting is found before clips are read.
        task.adapter.attach(core.encoder, task.settings)
        examples = read_complete(core, task.support, task.items, task.progress)
        free = self._free(core, task)
        dataset = Dataset.of(task.support.labels, examples.items)
        dataset.targets.require_single(f"method {task.method.name!r}")
        begin = time.process_time()
        features = examples.features
        cost = TrainingCost(f"{task.method} by a closed solution", 1, None)

        def solved(settings: JsonDict, part: Dataset, features: Float32) -> tuple[Adapter, Any]:
            adapter = task.adapter.attach(core.encoder, settings)
            columns, labels = np.array(part.columns, np.int64), list(part.labels)
            solution = cast("Solvable", adapter).solve(
                features, columns, labels, free, seed=task.seed, groups=part.groups
            )
            return adapter, solution

        adapter, last = solved(task.settings, dataset, features)
        folds = halves(partition(dataset)) if cost.is_long() else partition(dataset)
        # What was chosen by held-out labels is not chosen again for each fold of clips.
        settled, blocks = adapter.settings, core.encoder.frame_blocks

        def learned(kept: Rows, held: Rows, part: Dataset) -> Scored:
            fold_adapter, _ = solved(settled, part, features[kept])
            return features, blocks, _cosines(fold_adapter, features[held], dataset.texts)

        weights = held_out_stacking(dataset, folds, learned).weights
        closed, choice = choose(
            features, blocks, dataset.y, labels=dataset.labels, groups=dataset.groups
        )
        head = StackingHead.of(closed, weights.closed, weights.trained * adapter.logit_scale)
        report = TrainingReport(
            method=task.method.name,
            recipe="a closed solution",
            steps=len(last.objective) - 1,
            parameters=sum(array.size for array in adapter.state_dict().values()),
            loss=float(last.objective[-1]),
            seconds=round(time.process_time() - begin, 1),
            closed_weight=weights.closed,
            trained_weight=weights.trained,
            held_out=None if np.isnan(weights.accuracy) else weights.accuracy,
        )
        wrapped = ModelCore(adapter, templates=adapter.templates)
        concepts = wrapped.encode_labels(dataset.texts)
        balanced_head = balanced(head, dataset.y, task.balance)
        return guarded(
            wrapped, balanced_head, examples, features, concepts, task.unknown, choice, report
        )

    def _free(self, core: ModelCore, task: AdaptTask) -> Float32 | None:
        if not task.unlabelled:
            return None
        examples = read_examples(core, task.unlabelled, task.progress)
        if not examples.encoded:
            raise SupportError(f"no unlabelled clip can be read ({examples.failed[0].message})")
        return examples.features


def _cosines(adapter: Adapter, features: Float32, texts: list[str]) -> Float64:
    """(m, C) scaled cosines of clips and labels."""
    concepts = ModelCore(adapter, templates=adapter.templates).encode_labels(texts)
    return adapter.logit_scale * (adapter.pool(features) @ concepts.T).astype(np.float64)


@register("learner", "attached")
class AttachedLearner(Learner):
    """Attach an adapter without parameters, and fit a closed form to what it makes of the clips."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Fit the closed form that held-out examples choose.

        Raises:
            UsageError: objectives or unlabelled clips are given, or no labels.
        """
        support = task.support
        if support is None or task.objectives or task.unlabelled:
            raise UsageError(
                f"method {task.method.name!r} has nothing to train; give labelled clips alone, "
                "without objectives and unlabelled clips, or use a method such as 'temporal'"
            )
        adapter = task.adapter.attach(core.encoder, task.settings)
        wrapped = ModelCore(adapter, templates=adapter.templates)
        check_single(support.labels, task.items, f"method {task.method.name!r}")
        examples = read_complete(wrapped, support, task.items, task.progress)
        return fit_examples(
            wrapped, support.labels, examples, unknown=task.unknown, balance=task.balance
        )


@register("learner", "trained")
class TrainedLearner(Learner):
    """Train the method's adapter; see ``vlar.training.fit``."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        plan = TrainingTask.of(core.encoder, task)
        options = FitOptions(
            unknown=task.unknown,
            balance=task.balance,
            reading=task.progress,
            clips=task.progress,
        )
        if task.support is None:
            plan = replace(plan, unlabelled=())
            return fit_without_labels(plan, core, task.unlabelled, options)
        return fit(plan, core, task.support, task.items, options)
