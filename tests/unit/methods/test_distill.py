"""Distillation: its losses, its files, and what a student learns from right and wrong teachers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from vlar.errors import LabelError, UsageError
from vlar.methods.distill.objective import kd, read_teacher, teacher_weights, write_teacher
from vlar.methods.temporal.adapter import Temporal
from vlar.training.batches import Unlabelled
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet


def test_the_distance_to_a_teacher():
    a = torch.tensor([[1.0, 2, 3], [0, 5, 1]])
    b = torch.tensor([[0.5, 0, 1], [2, 2, 2]], requires_grad=True)
    for t in (1.0, 2.5):
        assert float(kd(a, a + 7, t)) == pytest.approx(0, abs=1e-6)
        p, q = (a / t).softmax(1), (b.detach() / t).softmax(1)
        wanted = t**2 * float((q * (q / p).log()).sum(1).mean())
        assert float(kd(a, b, t)) == pytest.approx(wanted, abs=1e-5)
    assert kd(a, b, 2.0).grad_fn is None  # no gradient reaches the teacher
    # At a high temperature T² keeps the size of the gradients.
    assert float(kd(a.double(), b.double(), 1e3)) == pytest.approx(
        float(kd(a.double(), b.double(), 2e3)), rel=1e-2
    )
    refused(UsageError, "above 0", kd, a, b, 0.0)
    refused(UsageError, "one row a clip", kd, a, b[:1], 1.0)


@pytest.mark.parametrize(
    ("losses", "g", "wanted"),
    [([1, 2], 1, [0.731059, 0.268941]), ([2, 2, 2], 5, [1 / 3] * 3), ([0, 1000], 1, [1, 0]),
     ([1, 2], 0.5, [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])],
)  # fmt: skip
def test_weights_of_teachers(losses: list[float], g: float, wanted: list[float]):
    found = teacher_weights(losses, g)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize(("losses", "g"), [([1.0], 0.0), ([math.nan], 1.0), ([], 1.0)])
def test_weights_refuse_what_has_no_answer(losses: list[float], g: float):
    refused(UsageError, "finite losses", teacher_weights, losses, g)


def test_answers_are_read_by_recording(tmp_path: Path):
    file, logits = tmp_path / "teacher.csv", np.array([[1.5, -2.0], [0.0, 3.25]])
    write_teacher(file, [tmp_path / "a.mat", tmp_path / "b.mat"], ["sit down", "clap"], logits)
    found = read_teacher(file, ["clap", "sit down"])  # in the order that is asked for
    assert found[(tmp_path / "a.mat").resolve()].tolist() == [-2.0, 1.5]
    file.write_text("path,clap,other\na.mat,1,2\n")
    assert read_teacher(file, ["clap"]) == {(tmp_path / "a.mat").resolve(): [1.0]}


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "not a CSV file"), ("path,clap\na.mat,1\n", "lacks the label 'sit down'"),
     ("file,clap,sit down\na,1,2\n", "lacks the column 'path'"),
     ("path,clap,sit down\na,1\n", "line 2 has no numbers"),
     ("path,clap,sit down\na,1,much\n", "line 2 has no numbers"),
     ("path,clap,sit down\na,1,2\nb,1,inf\n", "line 3 has a number that is not finite"),
     ("path,clap,sit down\na\0,1,2\n", "line 2|not a CSV")],
)  # fmt: skip
def test_answers_that_cannot_be_read(text: str, words: str, tmp_path: Path):
    file = tmp_path / "teacher.csv"
    file.write_text(text)
    refused(LabelError, words, read_teacher, file, ["clap", "sit down"])
    refused(LabelError, "cannot be read", read_teacher, tmp_path / "none.csv", ["clap"])


def student(teachers: list[Path], tmp_path: Path, *, free: int = 0, **settings: float) -> Training:
    """A training on six clips, and on clips without labels."""
    features, dataset = ordered_clips(76)
    more, features, dataset = features[6 : 6 + free], features[:6], dataset.part(range(6))
    adapter = Temporal.attach(FakeEncoder(), {"width": 8, "heads": 2, "components": 6,
                                              "blocks": ["look", "flow"]})  # fmt: skip
    adapter.fit_inputs(features)
    numbers = replace(
        load_recipe("temporal/adapt"), epochs=80, batch=6, warmup_epochs=1, learning_rate=2e-2
    )
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths)
    extra = None if not free else Unlabelled(
        FeatureLoader(adapter.training_inputs(more), [Path(f"free {n}") for n in range(free)]), free
    )  # fmt: skip
    named = {"distill": {"teachers": [str(file) for file in teachers], **settings}}
    training = Training(adapter, loader, dataset, numbers, seed=0,
                        objectives=ObjectiveSet(named), unlabelled=extra)  # fmt: skip
    training.run()
    return training


def answers(file: Path, count: int, free: int, sign: float = 1.0, noise: float = 0.0) -> Path:
    """A teacher who answers rightly, wrongly or by chance; its logits are far too large."""
    paths = [*(Path(f"{n}.mp4") for n in range(count)), *(Path(f"free {n}") for n in range(free))]
    right = np.array([n % 2 for n in [*range(count), *range(free)]])
    logits = 40 * sign * (np.eye(2)[right] - 0.5)
    logits += noise * np.random.default_rng(0).normal(size=logits.shape)
    write_teacher(file, paths, LABELS, logits)
    return file


def right_share(training: Training) -> float:
    """Share of other clips that the student recognises."""
    features, dataset = ordered_clips(76)
    features, dataset = features[36:], dataset.part(range(36, 76))
    adapter = training.adapter
    words = np.stack([adapter.encode_text(t).mean(axis=0) for t in adapter.label_texts(LABELS)])
    found = (adapter.pool(features) @ words.T).argmax(axis=1)
    return float((found == np.array(dataset.columns)).mean())


@pytest.mark.slow
def test_clips_without_labels_teach_through_the_teacher(tmp_path: Path):
    good = answers(tmp_path / "good.csv", 6, 30)
    # The teacher's answers about clips without labels are wrong, those that fit it are right.
    paths = [*(Path(f"{n}.mp4") for n in range(6)), *(Path(f"free {n}") for n in range(30))]
    table = np.array([*read_teacher(good, LABELS).values()])
    table[6:] = -table[6:]
    write_teacher(tmp_path / "bad.csv", paths, LABELS, table)
    shares = [
        right_share(student([tmp_path / name], tmp_path, free=30, ratio=5.0))
        for name in ("good.csv", "bad.csv")
    ]
    assert shares[0] > 0.9
    assert shares[1] < 0.5


def test_the_teacher_with_the_lower_loss_weighs_more(tmp_path: Path):
    good = answers(tmp_path / "good.csv", 6, 0)
    poor = answers(tmp_path / "poor.csv", 6, 0, sign=0.01, noise=5.0)
    done = student([good, poor], tmp_path)
    part = done.objectives.parts["distill"]
    assert part.weights[0] > part.weights[1]  # type: ignore[attr-defined]
    assert sum(part.weights) == pytest.approx(1)  # type: ignore[attr-defined]


def test_what_has_no_answer_is_refused(tmp_path: Path):
    other = tmp_path / "other.csv"
    write_teacher(other, [Path("elsewhere.mp4")], LABELS, np.zeros((1, 2)))
    refused(UsageError, "no path in it is a labelled clip", student, [other], tmp_path)
    refused(UsageError, "needs answers of a teacher", student, [], tmp_path)
