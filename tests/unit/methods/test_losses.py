"""Losses as plain functions, and what follows from the kind of labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vlar.heads.support import SupportItem
from vlar.heads.targets import Targets
from vlar.methods.consistency.objective import pseudo_label_loss
from vlar.methods.ez_clip.network import agreement, motion_loss, softened_contrastive
from vlar.methods.froster.adapter import feature_distance
from vlar.training.batches import batch_targets, label_task
from vlar.training.label_losses import (
    LabelParts,
    LabelTargets,
    OneLabel,
    SeveralLabels,
    part_cross_entropy,
    shared_cross_entropy,
    soft_cross_entropy,
)
from vlar.training.trainable import TrainingBatch

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])


def test_classification():
    hard = F.cross_entropy(LOGITS, torch.tensor([0, 2]))
    assert torch.equal(soft_cross_entropy(LOGITS, torch.eye(3)[[0, 2]]), hard)
    both = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    wanted = F.cross_entropy(LOGITS, torch.tensor([[0.5, 0.5, 0], [0, 0, 1.0]]))
    assert torch.allclose(shared_cross_entropy(LOGITS, both), wanted)
    assert float(shared_cross_entropy(LOGITS, torch.zeros(2, 3))) == 0
    parts = part_cross_entropy({"verb": LOGITS, "object": LOGITS}, {"verb": torch.eye(3)[[0, 2]]})
    assert torch.equal(parts, hard)


def test_contrast_and_motion():
    agree = agreement(torch.eye(3)[[0, 1, 0]])
    assert torch.equal(agree, torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]))
    good, _ = softened_contrastive(10 * agree, agree, 10.0)
    assert float(good) == pytest.approx(0, abs=1e-6)
    assert float(motion_loss(torch.ones(2, 4, 3))) == 1
    assert float(motion_loss(torch.ones(2, 1, 3))) == 1
    assert float(motion_loss(torch.randn(2, 4, 3))) < 1


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_distillation(kind: str):
    teacher = F.normalize(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    student = teacher.clone().requires_grad_(True)
    same = feature_distance(student, teacher, kind)
    assert same.item() == pytest.approx(0, abs=1e-6)
    same.backward()
    assert torch.isfinite(student.grad).all()
    assert float(feature_distance(-teacher, teacher, kind)) == pytest.approx(2, abs=1e-5)


def test_pseudo_labels_take_confident_clips_alone():
    weak = torch.tensor([[5.0, 0.0], [0.1, 0.0]], requires_grad=True)
    strong = torch.tensor([[0.0, 2.0], [0.0, 2.0]], requires_grad=True)
    loss, counts = pseudo_label_loss(weak, strong, threshold=0.9)
    assert counts.tolist() == [True, False]
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2)) / 2, rel=1e-6)
    loss.backward()
    assert weak.grad is None
    assert not strong.grad[1].any()
    none, counts = pseudo_label_loss(weak[:0], strong[:0])
    assert none.item() == 0
    assert len(counts) == 0


# Kinds of labels


def items(*rows: tuple[tuple[str, ...], dict[str, str]]) -> list[SupportItem]:
    from pathlib import Path

    return [SupportItem(Path(f"{i}"), None, labels, "g", parts) for i, (labels, parts) in
            enumerate(rows)]  # fmt: skip


def test_one_label_smoothed():
    task = OneLabel()
    shown = LabelTargets(torch.eye(4)[[1]])
    wanted = torch.tensor([[0.025, 0.925, 0.025, 0.025]])
    assert torch.allclose(task.targets(shown, 0.1).labels, wanted)
    assert task.metrics(wanted, shown, {}) == {"accuracy": 1.0}


def test_several_labels_from_a_support_set():
    found = Targets.of(["a", "b", "c"], items((("a", "c"), {}), (("b",), {})))
    task = label_task(found)
    assert isinstance(task, SeveralLabels)
    targets = batch_targets(task, torch.tensor(found.member), 0.0)
    logits = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    assert task.metrics(logits, targets, {}) == {"accuracy": 1.0, "r_precision": 0.5}
    assert torch.equal(task.loss(logits, targets, {}), shared_cross_entropy(logits, targets.labels))
    smooth = batch_targets(task, torch.tensor(found.member), 0.2).labels
    assert smooth.unique().tolist() == pytest.approx([0.1, 0.9])


def test_labels_in_parts_from_a_support_set():
    rows = items(
        (("open door",), {"verb": "open", "object": "door"}),
        (("close door",), {"verb": "close", "object": "door"}),
        (("open box",), {"verb": "open", "object": "box"}),
    )
    labels = ["open door", "close door", "open box"]
    found = Targets.of(labels, rows)
    task = label_task(found)
    assert isinstance(task, LabelParts)
    targets = batch_targets(task, torch.tensor(found.member), 0.0)
    assert targets.parts["object"].tolist() == [[0, 1], [0, 1], [1, 0]]
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    found_metrics = task.metrics(logits, targets, {})
    assert found_metrics == {"accuracy": 2.0, "verb": 2.0, "object": 3.0}
    verbs = torch.tensor([[0.0, 5.0], [5.0, 0.0], [0.0, 5.0]])
    assert task.metrics(logits, targets, {"verb": verbs})["verb"] == 3.0
    plain = soft_cross_entropy(logits, targets.labels)
    assert torch.equal(task.loss(logits, targets, {}), plain)
    more = task.loss(logits, targets, {"verb": verbs}) - plain
    assert torch.allclose(more, soft_cross_entropy(verbs, targets.parts["verb"]), atol=1e-6)
    mixed = targets.mixed(torch.tensor([1, 0, 2]), 0.25)
    assert mixed.parts["verb"][0].tolist() == pytest.approx([0.75, 0.25])


def test_unlabelled_clips_do_not_count():
    known = torch.tensor([True, False])
    batch = TrainingBatch(torch.zeros(2, 1), torch.tensor([[1.0, 0, 0], [0, 0, 0]]), known=known)
    assert torch.equal(batch.loss(LOGITS), soft_cross_entropy(LOGITS[:1], torch.eye(3)[:1]))
    assert batch.metrics(LOGITS) == {"accuracy": 1.0}
    free = batch.unlabelled(torch.zeros(5, 1))
    assert float(free.loss(torch.ones(5, 3, requires_grad=True)[:, :3] * 0)) == 0
