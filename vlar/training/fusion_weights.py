"""Weights of a training and a closed form, from the examples that neither has been fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import FrameBlock
from vlar.heads.fewshot.stacking import StackingWeights, fit_stacking
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.training.batches import Dataset
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.progress import StepCallback, Trained
from vlar.training.sources import TrainingSource
from vlar.training.task import TrainingTask
from vlar.types import Float32, Float64

Rows = npt.NDArray[np.intp]
#: Features (n, T, F) of all examples, their blocks, and scaled cosines (m, C) of those held out.
Scored = tuple[Float32, Sequence[FrameBlock], Float64]


@dataclass(frozen=True)
class Stacked:
    """Joint answer of a training and a closed form.

    Attributes:
        weights: Factors on the closed form's and on the trained scores.
        logits: (n, C) float64 logits of both together, by heads that did not learn from the
            example; NaN in rows that could not be held out.
    """

    weights: StackingWeights
    logits: Float64

    @property
    def accuracy(self) -> float | None:
        """Share of held-out examples recognised; None where none could be held out."""
        return None if np.isnan(self.weights.accuracy) else self.weights.accuracy


def train_on(
    task: TrainingTask,
    dataset: Dataset,
    source: TrainingSource,
    rows: list[int] | None = None,
    on_step: StepCallback | None = None,
) -> tuple[Training, Trained]:
    """Train a new adapter on some of the examples; None means all."""
    rows = list(range(len(dataset))) if rows is None else rows
    adapter = task.attach()
    loader = source.loader(adapter, dataset, rows)
    training = Training(
        adapter,
        loader,
        dataset.part(rows),
        task.numbers,
        seed=task.seed,
        objectives=ObjectiveSet(task.objectives),
        unlabelled=source.unlabelled(adapter),
    )
    return training, training.run(on_step=on_step)


def stacking_weights(
    task: TrainingTask,
    dataset: Dataset,
    source: TrainingSource,
    on_step: StepCallback | None = None,
    *,
    long: bool = False,
) -> Stacked:
    """Train without each fold in turn and compare with a closed form on what was held out.

    Args:
        task: Each of the trainings.
        dataset: n examples with one label each; all of them can be read.
        source: Their clips.
        on_step: Called after each step of each training.
        long: One training takes over a minute; there are at most two folds then.

    Returns:
        The factors and what they give on held-out examples.
    """

    def learned(kept: Rows, held: Rows, part: Dataset) -> Scored:
        training, _ = train_on(task, dataset, source, kept.tolist(), on_step)
        features, cosines = source.held_out(training, dataset, held)
        return features, training.adapter.frame_blocks, cosines

    return held_out_stacking(dataset, source.folds(dataset, long=long), learned)


def held_out_stacking(
    dataset: Dataset,
    folds: Sequence[npt.NDArray[np.bool_]],
    learned: Callable[[Rows, Rows, Dataset], Scored],
) -> Stacked:
    """Weights of what is learned without each fold in turn, and of a closed form without it.

    Args:
        dataset: n examples with one label each; all of them can be read.
        folds: (n,) masks of what is held out together.
        learned: Learns from the first rows, a data set of their own, and scores the second: gives
            features (n, T, F) of all examples, their blocks, and scaled cosines (m, C).
    """
    n, n_labels = len(dataset), len(dataset.labels)
    closed, cosines = (np.full((n, n_labels), np.nan) for _ in range(2))
    for out in folds:
        inside, held = np.flatnonzero(~out), np.flatnonzero(out)
        part = dataset.part(inside.tolist())
        if len(set(part.y)) < n_labels:
            continue  # a label would be left without an example
        features, blocks, cosines[held] = learned(inside, held, part)
        head, _ = choose(
            features[inside], blocks, part.y, labels=dataset.labels, groups=part.groups
        )
        closed[held] = head.logits(signature(features[held], blocks, head.kind))
    scored = ~np.isnan(closed[:, 0])
    target = np.array(dataset.columns)[scored]
    weights = fit_stacking(closed[scored], cosines[scored], target)
    return Stacked(weights, weights.closed * closed + weights.trained * cosines)


def stacking_passes(task: TrainingTask, dataset: Dataset, source: TrainingSource) -> int:
    """Clips that ``stacking_weights`` passes through training steps, over all epochs."""
    counts = [int((~out).sum()) for out in source.folds(dataset)]
    return sum(task.numbers.passes(count) for count in counts)
