"""A training on clips without any label: its model answers about any labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlar.adapters.trainable import Trainable
from vlar.errors import SupportError
from vlar.fewshot.support import SupportItem
from vlar.fewshot.targets import Targets
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.training.dataset import Dataset
from vlar.training.fit import answers_any, train
from vlar.training.fit_options import FitOptions
from vlar.training.objective_set import ObjectiveSet
from vlar.training.sources import FeatureSource, RecordingSource, TrainingSource, read_on_disk
from vlar.training.task import TrainingTask


def fit_without_labels(
    task: TrainingTask,
    base: ModelCore,
    items: Sequence[SupportItem],
    options: FitOptions | None = None,
) -> Adapted:
    """Train the adapter of a task on unlabelled clips alone.

    Args:
        task: What is trained; one of its objectives must learn without labels.
        base: The core of the wrapped encoder.
        items: The clips.
        options: See ``FitOptions``; nothing is weighed against a closed form.

    Raises:
        SupportError: fewer than two clips can be read.
        UsageError: no objective learns without labels, or it lacks a dictionary.
        TrainingError: a loss is not finite, or the checkpoints belong to another training.
    """
    options = replace(options or FitOptions(), stack=False)
    texts = ObjectiveSet(task.objectives).labels()
    adapter = task.attach()
    assert isinstance(adapter, Trainable)
    failed = ()
    source: TrainingSource = RecordingSource(items)
    if adapter.reads == "features":
        reading = task.reading(base)
        options.fill(reading, items)
        free = read_on_disk(reading, items, options.reading, options.cache)
        there, failed = set(free.paths), free.failed
        items = [item for item in items if item.path in there]
        if free.features is not None:
            source = FeatureSource(free.features)
    if len(items) < 2:
        why = f" ({failed[0].message})" if failed else ""
        raise SupportError(f"{len(items)} unlabelled clips can be read{why}; give at least two")
    dataset = _dataset(texts, items)
    begin = time.process_time()
    training, trained = train(task, adapter, dataset, source, options)
    return answers_any(task, training, trained, dataset, (*trained.failed, *failed), begin)


def _dataset(texts: Sequence[str], items: Sequence[SupportItem]) -> Dataset:
    shown = np.zeros((len(items), len(texts)), np.float32)
    groups, paths = [item.group for item in items], [item.path for item in items]
    return Dataset(Targets(tuple(texts), shown), groups, paths)
