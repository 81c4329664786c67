"""Trained model from labelled examples: one path for features and for recordings.

A training is compared with the best closed form on examples that neither has been fitted to. Their
factors in the answer follow from that (``vlar.training.fusion_weights``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.statistics import gathering
from vlar.encoders.protocols import ComposedLabels
from vlar.errors import SupportError, UsageError
from vlar.files import resources
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.components import ComponentsHead
from vlar.heads.fewshot.stacking import StackingHead
from vlar.heads.model_selection import Choice, choose
from vlar.heads.signatures import plain_kind
from vlar.heads.support import Support, SupportItem
from vlar.heads.targets import Targets
from vlar.model.adapt import FAMILIARITY, Adapted, balanced, guarded
from vlar.model.adapt_report import AdaptReport, TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, FeatureCache, read_complete
from vlar.model.requests import NO_BALANCE
from vlar.numeric import softmax
from vlar.training.batches import Dataset
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.distributed import ALONE, Processes, fill_cache
from vlar.training.fusion_weights import Stacked, stacking_passes, stacking_weights, train_on
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.progress import EpochCallback, Trained, TrainingCost
from vlar.training.sources import FeatureSource, RecordingSource, TrainingSource, read_on_disk
from vlar.training.task import TrainingTask
from vlar.training.trainable import Trainable
from vlar.types import Failure, Float32, Float64, ProgressCallback


@cache
def scene_names() -> tuple[str, ...]:
    """The names of places in ``text_banks/scenes.txt``, in file order."""
    text = resources.find("text_banks", "scenes", ".txt").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def scene_posterior(core: ModelCore, vectors: Float32) -> Float32:
    """Probability of each place: the softmax of scaled cosines, as with any label list.

    A stand-in for the scene network of Zhai et al. (SOAR), 2023, section 3.3.

    Args:
        core: The core that encoded the clips.
        vectors: (n, D) float32 unit vectors of clips.

    Returns:
        (n, S) float32; the columns are ``scene_names``, rows sum to 1.

    Raises:
        UsageError: the text of the model depends on the clip.
    """
    if core.conditions_text:
        raise UsageError(
            f"in model {core.name!r} a text has another vector for each clip, so places have "
            "none; add a column 'scene' to the CSV of the support set"
        )
    cosine = vectors @ core.encode_queries(scene_names()).T
    return softmax(core.encoder.logit_scale * cosine).astype(np.float32)


@dataclass(frozen=True)
class FitOptions:
    """Options of ``fit``, apart from the task.

    Attributes:
        unknown: Registered name of the rejector that decides ``unknown``.
        balance: ``adjust`` for a head that does not prefer labels with more examples.
        stack: Weigh the training against a closed form on held-out examples; else the trained
            similarity alone answers.
        checkpoints: Where checkpoints are written; None writes none.
        cache: Frame features that were computed before; None for none.
        reading: Called as examples are read.
        clips: Called with the clips of each training step.
        on_epoch: Called after each epoch of the final training.
        processes: Processes that train together; each makes the same model.
        trained_cache: Given the trained core, where its features are kept while several processes
            compute them; None for none.
    """

    unknown: str = FAMILIARITY
    balance: str = NO_BALANCE
    stack: bool = True
    checkpoints: CheckpointConfig | None = None
    cache: FeatureCache | None = None
    reading: ProgressCallback | None = None
    clips: ProgressCallback | None = None
    on_epoch: EpochCallback | None = None
    processes: Processes = ALONE
    trained_cache: Callable[[ModelCore], FeatureCache] | None = None

    def fill(self, core: ModelCore, items: Sequence[SupportItem]) -> None:
        """Let several processes encode recordings into ``cache``; nothing where one works alone."""
        fill_cache(self.processes, core, items, self.cache, self.reading)

    def filled_cache(self, core: ModelCore, items: Sequence[SupportItem]) -> FeatureCache | None:
        """Features of the trained core, where several processes compute them; else None."""
        if self.processes.alone or self.trained_cache is None:
            return None
        cache = self.trained_cache(core)
        fill_cache(self.processes, core, items, cache, self.reading)
        return cache


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
    task, *others = task.variants()
    adapter = task.attach()
    assert isinstance(adapter, Trainable)
    objectives = ObjectiveSet(task.objectives)
    objectives.check_unlabelled(bool(task.unlabelled))
    examples: EncodedExamples | None = None
    source: TrainingSource = RecordingSource(items, task.unlabelled)
    if adapter.reads == "features":
        reading = task.reading(base)
        options.fill(reading, [*items, *task.unlabelled])
        examples = read_complete(reading, support, items, options.reading, options.cache)
        items = examples.items
        free = read_on_disk(reading, task.unlabelled, options.reading, options.cache)
        examples = replace(examples, failed=(*examples.failed, *free.failed))
        source = FeatureSource(examples.features, free.features, free.paths, free.facts)
    dataset = _dataset(support, items, base, examples, task)
    several = dataset.targets.form == "multi-hot"
    if several and not adapter.several_labels:
        dataset.targets.require_single(f"method {task.method!r}")
    elsewhere = any(part.other_domain for part in objectives)
    options = replace(options, stack=options.stack and not several and not elsewhere)
    others = others if options.stack else []
    cost = _cost(task, dataset, source, options, len(others))
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
    stacked = None
    if options.stack:
        best, stacked = _chosen([task, *others], dataset, source, cost, long)
        if best is not task:
            task = best
            training, trained = train_on(task, dataset, source, on_step=cost)
    fitted = _fitted(task, training, trained)
    if stacked is not None:
        fitted = _stacked(fitted, dataset, examples.features, stacked)
    return _adapted(_timed(fitted, begin), dataset, examples, options)


def _timed(fitted: FittedAdapter, begin: float) -> FittedAdapter:
    """The same with the CPU time since ``begin`` in its report."""
    seconds = round(time.process_time() - begin, 1)
    return replace(fitted, report=replace(fitted.report, seconds=seconds))


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
    fitted = _timed(_fitted(task, training, trained), begin)
    core = ModelCore(fitted.adapter, templates=fitted.adapter.templates)
    shown = dataset.targets.member.sum(axis=0).astype(int).tolist()
    counts = {label: n for label, n in zip(dataset.labels, shown, strict=True) if n}
    report = AdaptReport(counts, failed, None, fitted.report, recordings=len(dataset))
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
    if fitted.adapter.names_norms and not examples.statistics.layers:
        with gathering(fitted.adapter) as layers:  # examples are features of the wrapped encoder
            fitted.adapter.pool(examples.features)
        examples = replace(examples, statistics=layers())
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


def _chosen(
    tasks: Sequence[TrainingTask],
    dataset: Dataset,
    source: TrainingSource,
    cost: TrainingCost,
    long: bool,
) -> tuple[TrainingTask, Stacked]:
    """The variant of a method that answers best about examples that it did not learn from."""
    results = [(task, stacking_weights(task, dataset, source, cost, long=long)) for task in tasks]
    return min(results, key=lambda row: row[1].weights.loss)


def _cost(
    task: TrainingTask,
    dataset: Dataset,
    source: TrainingSource,
    options: FitOptions,
    others: int = 0,
) -> TrainingCost:
    once = task.numbers.passes(len(dataset))
    folds = stacking_passes(task, dataset, source) * (1 + others) if options.stack else 0
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
    with gathering(adapter) as layers:
        examples = read_complete(core, support, items, options.reading, cache)
    return replace(examples, statistics=layers())


def _unread(training: Training, trained: Trained) -> tuple[Failure, ...]:
    """Recordings that could not be decoded in a training, the unlabelled ones last."""
    free = training.batches.unlabelled
    return trained.failed if free is None else (*trained.failed, *free.loader.failed.values())


def _check_labels(dataset: Dataset, training: Training) -> None:
    readable = [row for row in range(len(dataset)) if row not in training.loader.failed]
    shown = dataset.targets.member[readable].max(axis=0, initial=0.0).tolist()
    missing = [label for label, is_shown in zip(dataset.labels, shown, strict=True) if not is_shown]
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
        pairs = [(part["verb"], part["object"]) for part in parts]
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
        paths, failed = set(free.paths), free.failed
        items = [item for item in items if item.path in paths]
        if free.features is not None:
            source = FeatureSource(free.features)
    if len(items) < 2:
        why = f" ({failed[0].message})" if failed else ""
        raise SupportError(f"{len(items)} unlabelled clips can be read{why}; give at least two")
    targets = Targets(tuple(texts), np.zeros((len(items), len(texts)), np.float32))
    dataset = Dataset(targets, [item.group for item in items], [item.path for item in items])
    begin = time.process_time()
    training, trained = train(task, adapter, dataset, source, options)
    return answers_any(task, training, trained, dataset, (*trained.failed, *failed), begin)
