"""From a support set to a trained model: what ``Model.adapt`` does for a method that is trained.

An adapter that reads frame features trains in seconds, so it is also trained without a part of the
examples, as often as there are parts. What these trainings and a closed form say about the
examples they did not see decides how much either may say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar import registry
from vlar.adaptation import Adaptation, Advance, see_examples
from vlar.adapters.base import Adapter, Trainable
from vlar.encoders.base import Encoder
from vlar.errors import SupportError, UsageError
from vlar.fewshot import Choice, choose, fit_novelty, signature
from vlar.fewshot.joint import Joint, JointWeights, fit_joint
from vlar.fewshot.problem import make_problem
from vlar.fewshot.report import AdaptReport, TrainingReport
from vlar.fewshot.statistics import available_terms
from vlar.fewshot.support import Support, SupportItem
from vlar.registry import register
from vlar.text.labels import clean_label
from vlar.training.plan import Plan, default_recipe, load_recipe
from vlar.types import Failure, Float32, Float64, JsonDict

if TYPE_CHECKING:
    from vlar.model import Model
    from vlar.training.loop import Trained, Training, Watch


@dataclass(frozen=True)
class Task:
    """A training set without its pictures.

    Attributes:
        labels: C labels as the user spells them.
        y: n labels.
        groups: n groups, held out as one.
        paths: n videos.
    """

    labels: tuple[str, ...]
    y: Sequence[str]
    groups: Sequence[str]
    paths: Sequence[Path]

    @property
    def columns(self) -> list[int]:
        """(n,) columns of the labels."""
        return [self.labels.index(label) for label in self.y]

    @property
    def texts(self) -> list[str]:
        """The C labels as a text tower reads them."""
        return [clean_label(label) for label in self.labels]

    def part(self, rows: Sequence[int]) -> Task:
        """Some of the examples."""
        return Task(
            self.labels,
            [self.y[i] for i in rows],
            [self.groups[i] for i in rows],
            [self.paths[i] for i in rows],
        )

    @staticmethod
    def of(labels: Sequence[str], items: Sequence[SupportItem]) -> Task:
        """The task of a support set."""
        return Task(
            tuple(labels),
            [item.label for item in items],
            [item.group for item in items],
            [item.path for item in items],
        )


@dataclass(frozen=True)
class Fitted:
    """A trained adapter and what answers with it.

    Attributes:
        adapter: Trained.
        head: Answers.
        choice: The closed forms tried; None without one.
        report: How it was trained.
        failed: Examples that could not be read.
    """

    adapter: Adapter
    head: Joint
    choice: Choice | None
    report: TrainingReport
    failed: tuple[Failure, ...] = ()


def attach(method: str, encoder: Encoder, settings: JsonDict | None = None) -> Adapter:
    """A method's adapter at its start, checked to be one that can be trained.

    Raises:
        UnknownNameError: no adapter has this name.
        ModelError: the encoder does not offer what it needs.
        UsageError: it has no training.
    """
    adapter: Adapter = registry.get("adapter", method).attach(encoder, settings)
    if not isinstance(adapter, Trainable):
        raise UsageError(f"adapter {method!r} has no training; see docs/adapters.md")
    return adapter


@register("learner", "trained")
def learn(
    model: Model,
    support: Support,
    items: Sequence[SupportItem],
    method: str,
    seed: int,
    progress: Advance | None,
) -> Model:
    """Train a method on the examples of a support set; see ``Model.adapt``."""
    from vlar.model import Model

    adapter = attach(method, model.encoder)
    recipe = default_recipe(method)
    if getattr(adapter, "reads", "pixels") == "features":
        seen = see_examples(model, support, items, progress)
        task = Task.of(support.labels, seen.items)
        fitted = fit_features(model.encoder, method, task, seen.features, recipe=recipe, seed=seed)
        return finish(model, fitted, task, seen.features, seen.failed)
    fitted = _fit_pixels(adapter, support, items, recipe, seed, progress)
    broken = {failure.path for failure in fitted.failed}
    good = [item for item in items if item.path not in broken]
    adapted = Model(fitted.adapter, templates=model.template_set)
    seen = see_examples(adapted, support, good, None)
    task = Task.of(support.labels, seen.items)
    return finish(model, fitted, task, seen.features, (*fitted.failed, *seen.failed))


def finish(
    model: Model,
    fitted: Fitted,
    task: Task,
    features: Float32,
    failed: tuple[Failure, ...],
) -> Model:
    """The model of a trained adapter: its head, its concepts and its ``unknown``.

    Args:
        model: The one that was adapted.
        fitted: What the training gave.
        task: The examples.
        features: (n, T, F) their frame features, as the adapted model sees them.
        failed: Examples that could not be read.
    """
    from vlar.model import Model

    adapter = fitted.adapter
    adapted = Model(adapter, templates=adapter.templates)
    examples = signature(features, adapter.frame_blocks, fitted.head.kind)
    counts = {label: list(task.y).count(label) for label in task.labels}
    adapted.adaptation = Adaptation(
        head=fitted.head,
        novelty=fit_novelty(examples, task.y, task.groups),
        owners=np.array(task.columns, np.int64),
        concepts=adapted.encode_queries(task.texts),
        blocks=adapter.frame_blocks,
        report=AdaptReport(counts, failed, fitted.choice, fitted.report),
    )
    return adapted


def fit_features(
    encoder: Encoder,
    method: str,
    task: Task,
    features: Float32,
    *,
    recipe: str,
    seed: int = 0,
    settings: JsonDict | None = None,
    plan: Plan | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Train an adapter that reads features, and weigh it against the best closed form.

    Args:
        encoder: What the features come from.
        method: Registered name of the adapter.
        task: n examples.
        features: (n, T, F).
        recipe: Name of the recipe, for the report and where ``plan`` is None.
        seed: Of all draws.
        settings: Of the adapter.
        plan: Replaces the recipe's.
        watch: Called after each epoch of the final training.
    """
    plan = plan or load_recipe(recipe)
    begin = time.process_time()
    weights, held = _weigh(encoder, method, task, features, plan, seed, settings)
    training, trained, _ = _train(encoder, method, task, features, plan, seed, settings, watch)
    adapter = training.adapter
    blocks = encoder.frame_blocks
    closed, choice = choose(features, blocks, task.y, labels=task.labels, groups=task.groups)
    factor = weights.trained * encoder.logit_scale
    report = _report(method, recipe, training, trained, time.process_time() - begin)
    report = {**report, "closed_weight": weights.closed, "trained_weight": weights.trained}
    head = Joint.of(closed, weights.closed, factor)
    return Fitted(adapter, head, choice, TrainingReport(**report, held_out=held))


def _weigh(
    encoder: Encoder,
    method: str,
    task: Task,
    features: Float32,
    plan: Plan,
    seed: int,
    settings: JsonDict | None,
) -> tuple[JointWeights, float | None]:
    """Factors of closed form and training, from examples that neither has seen."""
    folds = _one_partition(task)
    n, n_labels = len(task.y), len(task.labels)
    closed, cosines = (np.full((n, n_labels), np.nan) for _ in range(2))
    for out in folds:
        kept, held = np.flatnonzero(~out), np.flatnonzero(out)
        part = task.part(kept.tolist())
        if len(set(part.y)) < n_labels:
            continue  # a label would be without any example
        head, _ = choose(
            features[kept], encoder.frame_blocks, part.y, labels=task.labels, groups=part.groups
        )
        rows = signature(features[held], encoder.frame_blocks, head.kind)
        closed[held] = head.scores(rows)
        training, _, see = _train(encoder, method, part, features[kept], plan, seed, settings, None)
        cosines[held] = see(training, features[held])
    told = ~np.isnan(closed[:, 0])
    target = np.array(task.columns)[told]
    weights = fit_joint(closed[told], cosines[told], target)
    return weights, None if np.isnan(weights.accuracy) else weights.accuracy


def _one_partition(task: Task) -> list[np.ndarray]:
    folds = make_problem(task.y, None, task.labels, task.groups).folds
    taken: list[np.ndarray] = []
    left = np.ones(len(task.y), bool)
    for out in folds:
        if not left.any():
            break
        taken.append(out)
        left &= ~out
    return taken


def _train(
    encoder: Encoder,
    method: str,
    task: Task,
    features: Float32,
    plan: Plan,
    seed: int,
    settings: JsonDict | None,
    watch: Watch | None,
) -> tuple[Training, Trained, Any]:
    """One training on features, and what gives the logits of other features."""
    import torch

    from vlar.training.data import Features
    from vlar.training.loop import Training, score

    adapter = attach(method, encoder, settings)
    assert isinstance(adapter, Trainable)
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    examples = Features(inputs, task.columns, task.paths, adapter.input_widths)
    training = Training(adapter, examples, task.texts, plan, seed=seed)
    trained = training.run(watch)

    def see(training: Training, others: Float32) -> Float64:
        wanted = torch.from_numpy(training.method.training_inputs(others)).to(training.device)
        return score(training.method, wanted, training.classes, len(task.labels)).double().numpy()

    return training, trained, see


def _fit_pixels(
    adapter: Adapter,
    support: Support,
    items: Sequence[SupportItem],
    recipe: str,
    seed: int,
    progress: Advance | None,
) -> Fitted:
    """Train an adapter on pixels; its similarity alone answers, as the method has it."""
    from vlar.training.data import Videos
    from vlar.training.loop import Epoch, Training

    begin = time.process_time()
    task = Task.of(support.labels, items)
    plan = load_recipe(recipe)
    videos = Videos(items, task.columns, adapter)
    training = Training(adapter, videos, task.texts, plan, seed=seed)
    if progress is not None:
        progress(0, total=plan.epochs)

    def watch(epoch: Epoch) -> None:
        del epoch
        if progress is not None:
            progress(1)

    trained = training.run(watch)
    lost = {task.columns[row] for row in range(len(items)) if row not in videos.failed}
    if len(lost) < len(task.labels):
        missing = next(c for c in range(len(task.labels)) if c not in lost)
        raise SupportError(
            f"{support.source}: no example of {task.labels[missing]!r} can be read; replace the "
            "broken videos"
        )
    report = _report(adapter.name, recipe, training, trained, time.process_time() - begin)
    head = Joint.alone(task.labels, _plain_kind(adapter), adapter.logit_scale)
    return Fitted(adapter, head, None, TrainingReport(**report), trained.failed)


def _plain_kind(encoder: Encoder) -> str:
    """A signature for ``unknown``: what is there and what changes, if anything is."""
    there = available_terms(encoder.frame_blocks)
    return "mean+absdiff" if "absdiff" in there else there[0]


def _report(
    method: str, recipe: str, training: Training, trained: Trained, seconds: float
) -> JsonDict:
    return {
        "method": method,
        "recipe": recipe,
        "steps": trained.steps,
        "parameters": sum(p.numel() for _, p in training.named),
        "loss": trained.epochs[-1].losses["total"] if trained.epochs else 0.0,
        "seconds": round(seconds, 1),
    }
