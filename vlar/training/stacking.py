"""How much a training and a closed form may say: by what they say of examples they did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter, Trainable
from vlar.encoders.base import Encoder, FrameBlock
from vlar.errors import SupportError
from vlar.fewshot import choose, signature
from vlar.fewshot.cross_validation import make_problem
from vlar.fewshot.heads.stacking import StackingWeights, fit_stacking
from vlar.fewshot.support import SupportItem
from vlar.model.adapt import read_examples
from vlar.model.core import ModelCore
from vlar.training.dataset import Task, attach
from vlar.training.hyperparameters import Plan
from vlar.types import Float32, Float64, JsonDict

if TYPE_CHECKING:
    from vlar.training.loop import Trained, Training, Watch

Rows = npt.NDArray[Any]
# Rows to train on and rows held out, to all features and the logits of the latter.
Without = Callable[[Rows, Rows], tuple[Float32, Float64]]


def weigh(
    encoder: Encoder,
    method: str,
    task: Task,
    features: Float32,
    plan: Plan,
    seed: int,
    settings: JsonDict | None,
) -> tuple[StackingWeights, float | None]:
    """Factors of closed form and training, from examples that neither has seen.

    The encoder's frame features (n, T, F) are what both read.
    """

    def without(kept: Rows, held: Rows) -> tuple[Float32, Float64]:
        part = task.part(kept.tolist())
        training, _ = train_on(encoder, method, part, features[kept], plan, seed, settings)
        return features, held_out_logits(training, features[held], len(task.labels))

    return _weigh(task, _one_partition(task), encoder.frame_blocks, without)


def weigh_videos(
    encoder: Encoder,
    method: str,
    task: Task,
    items: Sequence[SupportItem],
    plan: Plan,
    seed: int,
    settings: JsonDict | None,
    watch: Watch | None = None,
) -> tuple[StackingWeights, float | None]:
    """The same for a method that reads pixels: it is trained on either half of the examples.

    Two halves cost as much as one whole training, and every example is held out once.

    Args:
        encoder: What the method is put around.
        method: Registered name of the adapter.
        task: n examples.
        items: The same examples; all of them can be read.
        plan: Of each training.
        seed: Of all draws.
        settings: Of the adapter.
        watch: Called after each epoch of either training.
    """
    from vlar.training.data import Videos
    from vlar.training.loop import Training

    def without(kept: Rows, held: Rows) -> tuple[Float32, Float64]:
        adapter = attach(method, encoder, settings, seed=seed)
        part = task.part(kept.tolist())
        videos = Videos([items[i] for i in kept], part.columns, adapter)
        Training(adapter, videos, task.texts, plan, seed=seed).run(watch)
        return answers(adapter, items, task.texts, held)

    folds = _one_partition(task)
    halves = [np.any(folds[start::2], axis=0) for start in range(min(2, len(folds)))]
    return _weigh(task, halves, encoder.frame_blocks, without)


def answers(
    adapter: Adapter, items: Sequence[SupportItem], texts: Sequence[str], held: Rows
) -> tuple[Float32, Float64]:
    """Frame features (n, T, F) of all examples, and logits (m, C) of those held out."""
    model = ModelCore(adapter, templates=adapter.templates)
    examples = read_examples(model, items)
    if examples.failed:
        raise SupportError(f"{examples.failed[0].message}; it could be read before")
    seen = examples.encoded
    concepts = model.encode_queries(texts)
    rows: list[Float32] = []
    for one in (seen[i] for i in held):
        words = concepts
        if one.context is not None:
            words = model.conditioned_queries(texts, one.context[None])[0]
        rows.append(one.vector @ words.T)
    return np.stack([one.features for one in seen]), adapter.logit_scale * np.array(
        rows, np.float64
    )


def _weigh(
    task: Task, folds: Sequence[Rows], blocks: Sequence[FrameBlock], without: Without
) -> tuple[StackingWeights, float | None]:
    n, n_labels = len(task.y), len(task.labels)
    closed, cosines = (np.full((n, n_labels), np.nan) for _ in range(2))
    for out in folds:
        kept, held = np.flatnonzero(~out), np.flatnonzero(out)
        part = task.part(kept.tolist())
        if len(set(part.y)) < n_labels:
            continue  # a label would be without any example
        features, cosines[held] = without(kept, held)
        head, _ = choose(features[kept], blocks, part.y, labels=task.labels, groups=part.groups)
        closed[held] = head.logits(signature(features[held], blocks, head.kind))
    told = ~np.isnan(closed[:, 0])
    target = np.array(task.columns)[told]
    weights = fit_stacking(closed[told], cosines[told], target)
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


def train_on(
    encoder: Encoder,
    method: str,
    task: Task,
    features: Float32,
    plan: Plan,
    seed: int,
    settings: JsonDict | None,
    watch: Watch | None = None,
) -> tuple[Training, Trained]:
    """One training of a fresh adapter on frame features (n, T, F)."""
    from vlar.training.data import Features
    from vlar.training.loop import Training

    adapter = attach(method, encoder, settings, seed=seed)
    assert isinstance(adapter, Trainable)
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    examples = Features(inputs, task.columns, task.paths, adapter.input_widths)
    training = Training(adapter, examples, task.texts, plan, seed=seed)
    return training, training.run(watch)


def held_out_logits(training: Training, features: Float32, n_labels: int) -> Float64:
    """Logits (m, C) of features that were not trained on."""
    import torch

    from vlar.training.loop import score

    inputs = torch.from_numpy(training.method.training_inputs(features)).to(training.device)
    return score(training.method, inputs, training.classes, n_labels).double().numpy()
