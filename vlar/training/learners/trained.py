"""From a support set to a trained model: what ``Model.adapt`` does for a method that is trained.

An adapter that reads frame features trains in seconds, so it is also trained without a part of the
examples, as often as there are parts. What these trainings and a closed form say about the
examples they did not see decides how much either may say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder
from vlar.errors import SupportError
from vlar.fewshot import Choice, choose
from vlar.fewshot.heads.stacking import StackingHead, StackingWeights
from vlar.fewshot.report import TrainingReport
from vlar.fewshot.signature_kinds import plain_kind
from vlar.fewshot.support import Support, SupportItem
from vlar.model.adapt import FAMILIARITY, Adapted, EncodedExamples, guarded, read_complete
from vlar.model.core import ModelCore
from vlar.registry import register
from vlar.training.dataset import Task, attach
from vlar.training.hyperparameters import Plan, adapter_settings, default_recipe, load_recipe
from vlar.training.stacking import train_on, weigh, weigh_videos
from vlar.types import Failure, Float32, JsonDict, ProgressCallback

if TYPE_CHECKING:
    from vlar.training.data import Examples as TrainingSet
    from vlar.training.loop import Epoch, Keep, Trained, Training, Watch


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
    head: StackingHead
    choice: Choice | None
    report: TrainingReport
    failed: tuple[Failure, ...] = ()


@register("learner", "trained")
def learn(
    core: ModelCore,
    support: Support,
    items: Sequence[SupportItem],
    method: str,
    seed: int,
    progress: ProgressCallback | None,
    unknown: str,
) -> Adapted:
    """Train a method on the examples of a support set; see ``Model.adapt``."""
    recipe = default_recipe(method)
    adapter = attach(method, core.encoder, adapter_settings(recipe, method), seed=seed)
    if getattr(adapter, "reads", "pixels") == "features":
        seen = read_complete(core, support, items, progress)
        task = Task.of(support.labels, seen.items)
        fitted = fit_features(
            core.encoder,
            method,
            task,
            seen.features,
            recipe=recipe,
            seed=seed,
            settings=adapter_settings(recipe, method),
        )
        return finish(fitted, task, seen, seen.failed, unknown)
    return _learn_from_pixels(
        core.encoder, adapter, support, items, recipe, seed, progress, unknown
    )


def _learn_from_pixels(
    encoder: Encoder,
    adapter: Adapter,
    support: Support,
    items: Sequence[SupportItem],
    recipe: str,
    seed: int,
    progress: ProgressCallback | None,
    unknown: str,
) -> Adapted:
    from vlar.training.data import Videos

    task, plan = Task.of(support.labels, items), load_recipe(recipe)
    if progress is not None:
        progress(0, total=3 * plan.epochs)  # all examples, and either half of them
    videos = Videos(items, task.columns, adapter)

    def watch(epoch: Epoch) -> None:
        del epoch
        if progress is not None:
            progress(1)

    fitted = fit_alone(adapter, videos, task, plan, recipe, seed=seed, watch=watch)
    good = [item for row, item in enumerate(items) if row not in videos.failed]
    seen = read_complete(ModelCore(adapter, templates=adapter.templates), support, good)
    task = Task.of(support.labels, seen.items)
    begin = time.process_time()
    settings = adapter_settings(recipe, adapter.name)
    weights, held = weigh_videos(
        encoder, adapter.name, task, seen.items, plan, seed, settings, watch
    )
    seconds = fitted.report.seconds + time.process_time() - begin
    report = replace(fitted.report, seconds=round(seconds, 1))
    fitted = replace(fitted, report=report)
    fitted = _joined(fitted, task, seen.features, weights, held)
    return finish(fitted, task, seen, (*fitted.failed, *seen.failed), unknown)


def _joined(
    fitted: Fitted, task: Task, features: Float32, weights: StackingWeights, held: float | None
) -> Fitted:
    """The same with a closed form beside the trained similarity, as they were weighed."""
    adapter = fitted.adapter
    closed, choice = choose(
        features, adapter.frame_blocks, task.y, labels=task.labels, groups=task.groups
    )
    head = StackingHead.of(closed, weights.closed, weights.trained * adapter.logit_scale)
    report = replace(
        fitted.report,
        closed_weight=weights.closed,
        trained_weight=weights.trained,
        held_out=held,
    )
    return replace(fitted, head=head, choice=choice, report=report)


def finish(
    fitted: Fitted,
    task: Task,
    examples: EncodedExamples,
    failed: tuple[Failure, ...],
    unknown: str = FAMILIARITY,
) -> Adapted:
    """The core and the head of a trained adapter: its concepts, its ``unknown`` and its report.

    Args:
        fitted: The result of the training.
        task: The examples.
        examples: The same, as the adapted model encodes them.
        failed: Examples that could not be read.
        unknown: Registered name of the rejector.
    """
    core = ModelCore(fitted.adapter, templates=fitted.adapter.templates)
    return guarded(
        core,
        fitted.head,
        replace(examples, failed=failed),
        examples.features,
        core.encode_queries(task.texts),
        unknown,
        fitted.choice,
        fitted.report,
    )


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
    weights, held = weigh(encoder, method, task, features, plan, seed, settings)
    training, trained = train_on(encoder, method, task, features, plan, seed, settings, watch)
    adapter = training.adapter
    report = _report(method, recipe, training, trained, time.process_time() - begin)
    alone = StackingHead.alone(task.labels, plain_kind(adapter.frame_blocks), adapter.logit_scale)
    fitted = Fitted(adapter, alone, None, report)
    return _joined(fitted, task, features, weights, held)


def fit_alone(
    adapter: Adapter,
    examples: TrainingSet,
    task: Task,
    plan: Plan,
    recipe: str,
    *,
    seed: int = 0,
    watch: Watch | None = None,
    keep: Keep | None = None,
) -> Fitted:
    """Train an adapter; its similarity alone answers, as its method has it.

    Args:
        adapter: At its start; it is changed.
        examples: What is trained on.
        task: The same examples by label and path.
        plan: The numbers.
        recipe: Its name, for the report.
        seed: Of all draws.
        watch: Called after each epoch.
        keep: Where checkpoints go; None keeps none.

    Raises:
        SupportError: a label is left without any clip that can be read.
        TrainingError: a loss is no number, or the checkpoints are of another training.
    """
    from vlar.training.loop import Training

    begin = time.process_time()
    training = Training(adapter, examples, task.texts, plan, seed=seed, keep=keep)
    trained = training.run(watch)
    readable = {task.y[row] for row in range(len(task.y)) if row not in examples.failed}
    if missing := [label for label in task.labels if label not in readable]:
        first = next(iter(examples.failed.values()))
        raise SupportError(
            f"no example of {missing[0]!r} can be read ({first.message}); replace the broken videos"
        )
    report = _report(adapter.name, recipe, training, trained, time.process_time() - begin)
    head = StackingHead.alone(task.labels, plain_kind(adapter.frame_blocks), adapter.logit_scale)
    return Fitted(adapter, head, None, report, trained.failed)


def _report(
    method: str, recipe: str, training: Training, trained: Trained, seconds: float
) -> TrainingReport:
    return TrainingReport(
        method=method,
        recipe=recipe,
        steps=trained.steps,
        parameters=sum(p.numel() for _, p in training.named),
        loss=trained.epochs[-1].losses["total"] if trained.epochs else 0.0,
        seconds=round(seconds, 1),
    )
