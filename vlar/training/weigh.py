"""How much a training and a closed form may say: by what they say of examples they did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlar.adapters.base import Trainable
from vlar.encoders.base import Encoder
from vlar.fewshot import choose, signature
from vlar.fewshot.joint import JointWeights, fit_joint
from vlar.fewshot.problem import make_problem
from vlar.training.plan import Plan
from vlar.training.task import Task, attach
from vlar.types import Float32, Float64, JsonDict

if TYPE_CHECKING:
    from vlar.training.loop import Trained, Training, Watch


def weigh(
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
        training, _ = train_on(encoder, method, part, features[kept], plan, seed, settings)
        cosines[held] = held_out_logits(training, features[held], n_labels)
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

    adapter = attach(method, encoder, settings)
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
