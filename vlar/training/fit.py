"""From labelled examples to a trained model: one path for features and for recordings.

A training is compared with the best closed form on examples that neither has been fitted to. Their
factors in the answer follow from that (``vlar.training.stacking``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlar.adapters.base import Adapter
from vlar.adapters.trainable import Trainable
from vlar.encoders.composed import ComposedLabels
from vlar.errors import SupportError
from vlar.fewshot import Choice, FewShotHead, choose
from vlar.fewshot.heads.components import ComponentsHead
from vlar.fewshot.heads.stacking import StackingHead
from vlar.fewshot.report import AdaptReport, TrainingReport
from vlar.fewshot.signature_kinds import plain_kind
from vlar.fewshot.support import Support, SupportItem
from vlar.model.adapt import Adapted, balanced, guarded
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, read_complete
from vlar.model.scenes import scene_posterior
from vlar.training.cost import TrainingCost
from vlar.training.dataset import Dataset
from vlar.training.fit_options import FitOptions
from vlar.training.loop import Training
from vlar.training.objective_set import ObjectiveSet
from vlar.training.results import Trained
from vlar.training.sources import FeatureSource, RecordingSource, TrainingSource, read_on_disk
from vlar.training.stacking import Stacked, stacking_passes, stacking_weights, train_on
from vlar.training.task import TrainingTask
from vlar.types import Failure, Float32, Float64


@dataclass(frozen=True)
class FittedAdapter:
    """A trained adapter and the head that answers with it.

    Attributes:
        adapter: The trained adapter.
        head: The trained similarity, alone or with closed forms.
        choice: The closed forms tried; None without one.
        report: How it was trained.
        held_out: (n, C) logits of the examples by heads that did not learn from them; None where
            none were held out.
    """

    adapter: Adapter
    head: FewShotHead
    choice: Choice | None
    report: TrainingReport
    held_out: Float64 | None = None


def fit(
    task: TrainingTask,
    base: ModelCore,
    support: Support,
    items: Sequence[SupportItem],
    options: FitOptions | None = None,
) -> Adapted:
    """Train the adapter of a task on examples and give the core and head that answer with it.

    Args:
        task: What is trained.
        base: The core of the wrapped encoder, which encodes examples to features.
        support: Where the examples come from.
        items: The examples to use.
        options: See ``FitOptions``.

    Raises:
        SupportError: a label is left without any clip that can be read.
        ModelError: the encoder does not offer what the method needs.
        TrainingError: a loss is not finite, or the checkpoints belong to another training.
    """
    options = options or FitOptions()
    adapter = task.attach()
    assert isinstance(adapter, Trainable)
    ObjectiveSet(task.objectives).check_unlabelled(bool(task.unlabelled))
    examples: EncodedExamples | None = None
    source: TrainingSource = RecordingSource(items, task.unlabelled)
    if adapter.reads == "features":
        reading = task.reading(base)
        options.fill(reading, [*items, *task.unlabelled])
        examples = read_complete(reading, support, items, options.reading, options.cache)
        items = examples.items
        free = read_on_disk(reading, task.unlabelled, options.reading, options.cache)
        examples = replace(examples, failed=(*examples.failed, *free.failed))
        source = FeatureSource(examples.features, free.features, free.paths)
    dataset = _dataset(support, items, base, examples, task)
    several = dataset.targets.form == "multi-hot"
    if several and not adapter.several_labels:
        dataset.targets.require_single(f"method {task.method!r}")
    options = replace(options, stack=options.stack and not several)
    cost = _cost(task, dataset, source, options)
    begin = time.process_time()
    training, trained = train(task, adapter, dataset, source, options, cost)
    long = cost.is_long()
    _check_labels(dataset, training)
    if several:
        failed = (*_unread(training, trained), *(examples.failed if examples else ()))
        return answers_any(task, training, trained, dataset, failed, begin)
    if examples is None:
        good = [item for row, item in enumerate(items) if row not in training.loader.failed]
        examples = _read_trained(adapter, support, good, options)
        examples = replace(examples, failed=(*_unread(training, trained), *examples.failed))
        dataset = Dataset.of(support.labels, examples.items)
        source = RecordingSource(examples.items, task.unlabelled)
    fitted = _fitted(task, training, trained)
    if options.stack:
        stacked = stacking_weights(task, dataset, source, cost, long=long)
        fitted = _stacked(fitted, dataset, examples.features, stacked)
    seconds = round(time.process_time() - begin, 1)
    fitted = replace(fitted, report=replace(fitted.report, seconds=seconds))
    return _adapted(fitted, dataset, examples, options)


def fit_features(task: TrainingTask, dataset: Dataset, features: Float32) -> FittedAdapter:
    """Train an adapter that reads features, and weigh it against the best closed form.

    Args:
        task: What is trained.
        dataset: n examples.
        features: (n, T, F) their frame features from the wrapped encoder.
    """
    begin = time.process_time()
    source = FeatureSource(features)
    cost = _cost(task, dataset, source, FitOptions())
    fitted = _fitted(task, *train_on(task, dataset, source, on_step=cost))
    stacked = stacking_weights(task, dataset, source, long=cost.is_long())
    seconds = round(time.process_time() - begin, 1)
    fitted = replace(fitted, report=replace(fitted.report, seconds=seconds))
    return _stacked(fitted, dataset, features, stacked)


def answers_any(
    task: TrainingTask,
    training: Training,
    trained: Trained,
    dataset: Dataset,
    failed: tuple[Failure, ...],
    begin: float,
) -> Adapted:
    """A trained adapter that answers about any labels, without a head of examples.

    Args:
        task: What was trained.
        training: Its training.
        trained: How it ended.
        dataset: The clips that it learned from.
        failed: Clips that could not be read.
        begin: CPU time of this process when it began, in seconds.
    """
    fitted = _fitted(task, training, trained)
    core = ModelCore(fitted.adapter, templates=fitted.adapter.templates)
    shown = dataset.targets.member.sum(axis=0).astype(int).tolist()
    counts = {label: n for label, n in zip(dataset.labels, shown, strict=True) if n}
    seconds = round(time.process_time() - begin, 1)
    told = replace(fitted.report, seconds=seconds)
    report = AdaptReport(counts, failed, None, told, recordings=len(dataset))
    return Adapted(core, None, report)


def answers(
    task: TrainingTask,
    training: Training,
    support: Support,
    examples: EncodedExamples,
    options: FitOptions | None = None,
) -> Adapted:
    """The core and head of a finished training, without a closed form next to it.

    Learners that train in a way of their own end with it.

    Args:
        task: What was trained.
        training: Its training, after ``finish``.
        support: Where the examples come from.
        examples: All examples, of whichever training.
        options: See ``FitOptions``.
    """
    trained = Trained((), training.step, tuple(training.loader.failed.values()), 0)
    dataset = Dataset.of(support.labels, examples.items)
    return _adapted(_fitted(task, training, trained), dataset, examples, options or FitOptions())


def _adapted(
    fitted: FittedAdapter, dataset: Dataset, examples: EncodedExamples, options: FitOptions
) -> Adapted:
    """The core of a trained adapter, and its head with concepts, rejector and report."""
    core = ModelCore(fitted.adapter, templates=fitted.adapter.templates)
    return guarded(
        core,
        balanced(fitted.head, dataset.y, options.balance),
        examples,
        examples.features,
        core.encode_labels(dataset.texts),
        options.unknown,
        fitted.choice,
        fitted.report,
        held_out=fitted.held_out,
    )


def train(
    task: TrainingTask,
    adapter: Adapter,
    dataset: Dataset,
    source: TrainingSource,
    options: FitOptions,
    cost: TrainingCost | None = None,
) -> tuple[Training, Trained]:
    """Train an adapter at its start on all clips of a data set.

    Args:
        task: What is trained.
        adapter: From ``task.attach``.
        dataset: The labels of the clips; none at all for a training without labels.
        source: The clips.
        options: Checkpoints and callbacks.
        cost: Reports what it costs; None for that of this training alone.
    """
    cost = cost or _cost(task, dataset, source, options)
    loader = source.loader(adapter, dataset, range(len(dataset)))
    training = Training(
        adapter,
        loader,
        dataset,
        task.numbers,
        seed=task.seed,
        checkpoints=options.checkpoints,
        objectives=ObjectiveSet(task.objectives),
        unlabelled=source.unlabelled(adapter),
        processes=options.processes,
    )
    cost.start()
    return training, training.run(options.on_epoch, on_step=cost)


def _cost(
    task: TrainingTask, dataset: Dataset, source: TrainingSource, options: FitOptions
) -> TrainingCost:
    once = task.numbers.passes(len(dataset))
    folds = stacking_passes(task, dataset, source) if options.stack else 0
    return TrainingCost(f"{task.method} by {task.recipe}", once, options.clips, folds)


def _dataset(
    support: Support,
    items: Sequence[SupportItem],
    base: ModelCore,
    examples: EncodedExamples | None,
    task: TrainingTask,
) -> Dataset:
    """The examples, with their scenes from words where an objective reads them."""
    dataset = Dataset.of(support.labels, items)
    parts = ObjectiveSet(task.objectives).parts.values()
    told = all(facts.get("scene") for facts in dataset.facts)
    if examples is None or told or not any(part.reads_scenes for part in parts):
        return dataset
    return replace(dataset, scenes=scene_posterior(base, examples.vectors))


def _read_trained(
    adapter: Adapter, support: Support, items: Sequence[SupportItem], options: FitOptions
) -> EncodedExamples:
    """The examples as the trained adapter encodes them."""
    core = ModelCore(adapter, templates=adapter.templates)
    cache = options.filled_cache(core, items)
    return read_complete(core, support, items, options.reading, cache)


def _unread(training: Training, trained: Trained) -> tuple[Failure, ...]:
    """Recordings that could not be decoded in a training, the unlabelled ones last."""
    free = training.batches.unlabelled
    return trained.failed if free is None else (*trained.failed, *free.loader.failed.values())


def _check_labels(dataset: Dataset, training: Training) -> None:
    readable = [row for row in range(len(dataset)) if row not in training.loader.failed]
    shown = dataset.targets.member[readable].max(axis=0, initial=0.0).tolist()
    missing = [label for label, there in zip(dataset.labels, shown, strict=True) if not there]
    if missing:
        first = next(iter(training.loader.failed.values()))
        raise SupportError(
            f"no example of {missing[0]!r} can be read ({first.message}); replace the broken videos"
        )


def _fitted(task: TrainingTask, training: Training, trained: Trained) -> FittedAdapter:
    """The adapter with the trained similarity alone, as its method has it."""
    adapter = training.adapter
    report = TrainingReport(
        method=task.method,
        recipe=task.recipe,
        steps=trained.steps,
        parameters=sum(p.numel() for _, p in training.named),
        loss=trained.epochs[-1].losses["total"] if trained.epochs else 0.0,
        seconds=0.0,
    )
    labels, kind = training.dataset.labels, plain_kind(adapter.frame_blocks)
    head: FewShotHead = StackingHead.alone(labels, kind, adapter.logit_scale)
    if isinstance(adapter, ComposedLabels):
        parts, _ = training.dataset.label_parts()
        pairs = [(each["verb"], each["object"]) for each in parts]
        head = ComponentsHead.alone(labels, pairs, kind, adapter.pair_scale)
    return FittedAdapter(adapter, head, None, report)


def _stacked(
    fitted: FittedAdapter,
    dataset: Dataset,
    features: Float32,
    stacked: Stacked,
) -> FittedAdapter:
    """The same with a closed form next to the trained similarity, at their weights."""
    adapter, weights = fitted.adapter, stacked.weights
    closed, choice = choose(
        features, adapter.frame_blocks, dataset.y, labels=dataset.labels, groups=dataset.groups
    )
    head = StackingHead.of(closed, weights.closed, weights.trained * adapter.logit_scale)
    report = replace(
        fitted.report,
        closed_weight=weights.closed,
        trained_weight=weights.trained,
        held_out=stacked.accuracy,
    )
    return replace(fitted, head=head, choice=choice, report=report, held_out=stacked.logits)
