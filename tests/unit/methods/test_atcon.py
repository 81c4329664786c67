"""ATCoN: scales of frames, their confidence and agreement, and learning without source clips."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests import skeletons
from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from vlar.errors import UsageError
from vlar.heads.fewshot.stacking import StackingHead
from vlar.methods.atcon.adapter import LocalTemporal, confidence, subsets
from vlar.methods.atcon.objective import centroid_labels
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.fusion_weights import train_on
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.progress import Trained
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask


def test_confidence_is_relative_to_the_batch():
    logits = torch.zeros(2, 3, 4)
    logits[1, 2, 0] = 100
    found = confidence(logits, 3.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 0], [0, 0, 6]]), atol=1e-5, rtol=0)
    assert not confidence(torch.zeros(2, 3, 4), 3.0).any()
    one, two = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    found = confidence(torch.stack([one, two]).log()[None], 1.0)
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0]]))
    half = torch.tensor([0.9, 0.1]).pow(2)
    sure = 1 - float(torch.special.entr(half / half.sum()).sum()) / math.log(2)
    least = 1 - float(torch.special.entr(one).sum()) / math.log(2)
    found = confidence(torch.stack([one.log(), 2 * one.log()])[None], 1.0)[0]
    assert float(found[1] / found[0]) == pytest.approx(sure / least, rel=1e-5)


def test_subsets_are_ordered_and_at_most_nine():
    assert subsets(5, 5) == [[0, 1, 2, 3, 4]]
    assert len(subsets(5, 3)) == 9
    for rows in subsets(5, 3) + subsets(5, 2):
        assert rows == sorted(set(rows))
    assert len({tuple(row) for row in subsets(5, 2)}) == 9


def test_centroids_are_refined_over_all_clips():
    random = np.random.default_rng(0)
    ways = np.eye(3, 6) + 0.1
    y = np.arange(60) % 3
    rows = ways[y] + 0.2 * random.normal(size=(60, 6))
    vectors = torch.nn.functional.normalize(torch.from_numpy(rows), dim=1)
    bent = torch.from_numpy(ways + 0.6 * random.normal(size=ways.shape))
    plain = (vectors @ torch.nn.functional.normalize(bent, dim=1).T).argmax(dim=1)
    found = centroid_labels(vectors, bent)
    assert (found.numpy() == y).mean() > (plain.numpy() == y).mean()
    lone = torch.from_numpy(np.concatenate([ways, -ways.sum(axis=0, keepdims=True)]))
    assert int(centroid_labels(vectors, lone).max()) < 3  # a centroid without clips stays


SETTINGS = {"width": 16, "components": 4}


@pytest.fixture(scope="module")
def source() -> Training:
    features, dataset = ordered_clips(40)
    task = TrainingTask.by_recipe(FakeEncoder(), "local-temporal", settings=SETTINGS)
    task = replace(task, numbers=task.numbers.replaced(epochs=30, batch=8, warmup_epochs=2))
    return train_on(task, dataset, FeatureSource(features))[0]


def test_time_is_read_and_a_clip_is_the_same_alone(source: Training):
    features, dataset = ordered_clips(80)
    logits = held_out_logits(source, features[40:])
    y = np.array(dataset.columns)[40:]
    assert (logits.argmax(axis=1) == y).mean() > 0.8
    vectors = source.adapter.pool(features[:5])
    np.testing.assert_array_equal(vectors[3], source.adapter.pool(features[3:4])[0])
    words = source.adapter.encode_text([f"a video of a person {y}." for y in LABELS])
    assert words.shape == (2, 12)
    tower = source.adapter
    assert isinstance(tower, LocalTemporal)
    answers = (tower.pool(features[40:]) @ tower.network.now().detach().numpy().T).argmax(axis=1)
    assert (answers == y).mean() > 0.8  # as in use, each clip weighed for itself


def adapted(
    source: Training, shifted: Any, epochs: int = 6, **weights: Any
) -> tuple[LocalTemporal, Trained]:
    made = LocalTemporal.attach(source.adapter.encoder, source.adapter.settings)
    made.load_state_dict(source.adapter.state_dict())
    made.frozen = True
    paths = [Path(str(row)) for row in range(len(shifted))]
    dataset = Dataset.single(LABELS, [LABELS[0]] * len(paths), ["g"] * len(paths), paths)
    dataset.targets.member[:] = 0
    loader = FeatureLoader(made.training_inputs(shifted), paths)
    numbers = source.numbers.replaced(epochs=epochs, batch=8, warmup_epochs=0, average="none",
                                      learning_rate=1e-3, label_smoothing=0.0)  # fmt: skip
    training = Training(made, loader, dataset, numbers, objectives=ObjectiveSet({"atcon": weights}))
    return made, training.run()


@pytest.mark.parametrize("weights", [{}, {"texts": False, "refresh": 2}, {"centroids": 0.0}])
def test_labels_do_not_collapse_and_the_classifier_stays(source: Training, weights: Any):
    features, dataset = ordered_clips(80)
    shifted = features[40:] + np.linspace(-0.5, 0.5, 12, dtype=np.float32)
    made, _ = adapted(source, shifted, **weights)
    before, after = source.adapter.state_dict(), made.state_dict()
    for name, value in before.items():
        kept = name.startswith(("leave", "labels", "words", "mean", "axes"))
        assert np.array_equal(value, after[name]) == kept, name
    shares = torch.from_numpy(10 * made.pool(shifted) @ made.network.now().detach().numpy().T)
    mean = shares.softmax(dim=1).mean(dim=0)
    assert float(torch.special.entr(mean).sum()) > 0.8 * math.log(2)
    right = (shares.argmax(dim=1).numpy() == np.array(dataset.columns)[40:]).mean()
    assert right > 0.8


def test_each_term_is_left_out_by_a_weight_of_zero(source: Training):
    features, _ = ordered_clips(16)
    names = {"information", "centroids", "answers", "video", "features"}
    for out in sorted(names):
        losses = adapted(source, features, epochs=1, **{out: 0.0})[1].epochs[0].losses
        assert {name.removeprefix("atcon.") for name in losses if "atcon." in name} == names - {out}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atcon")
    for domain, frames in (("source", 40), ("target", 24)):
        for wave, label in ((True, "wave"), (False, "sit down")):
            (folder / domain / label).mkdir(parents=True)
            for number in range(3):
                file = folder / domain / label / f"{label[0]}{number}_skeleton.json"
                skeletons.write_ucla(file, wave, frames=frames + 2 * number)
    (folder / "empty").mkdir()
    (folder / "x_skeleton.json").write_text("{")
    (folder / "broken.csv").write_text("path,domain\nx_skeleton.json,there\n")
    return folder


def test_a_folder_adapts_without_its_source(place: Path):
    def vlar_(*words: str) -> Any:
        return invoke(list(words))

    mine, there = str(place / "mine"), str(place / "there")
    settings = [word for pair in ("epochs=8", "batch=4", "width=16") for word in ("--set", pair)]
    done = vlar_("adapt", str(place / "source"), "--model", "skeleton", "--method",
                 "local-temporal", "--out", mine, *settings)  # fmt: skip
    assert done.exit_code == 0, done.output
    shutil.rmtree(place / "source")
    adapt = ["adapt", "--model", mine, "--method", "source-free", "--set", "epochs=4"]
    done = vlar_(*adapt, "--unlabelled", str(place / "target"), "--out", there)
    assert done.exit_code == 0, done.output
    assert re.search(r"entropy of an answer 0\.\d\d -> 0\.\d\d", done.output), done.output
    before, after = vlar.load(mine), vlar.load(there)
    assert isinstance(after.head.head, StackingHead)  # the closed form stays
    assert "the adapted model is taken" in after.report.note
    assert before.encoder.fingerprint != after.encoder.fingerprint
    assert after.report.recordings == 6
    for number in range(3):
        clip = place / "target" / "wave" / f"w{number}_skeleton.json"
        assert after.classify(clip).label == "wave"
    for name, value in before.encoder.state_dict().items():
        if name.startswith(("leave", "labels")):
            np.testing.assert_array_equal(value, after.encoder.state_dict()[name])
    for folder, says in (("empty", "no recording in this folder"), ("broken.csv", "can be read")):
        done = vlar_(*adapt, "--unlabelled", str(place / folder), "--out", str(place / "bad"))
        assert (done.exit_code, says in done.output) == (2, True), done.output
    model = vlar.load("skeleton")
    refused(UsageError, "no trained local-temporal tower", model.adapt, None,
            method="source-free", unlabelled=place / "target")  # fmt: skip
    refused(UsageError, "from --unlabelled clips", before.adapt, place / "target",
            method="source-free")  # fmt: skip
    refused(UsageError, "got 'width'", before.adapt, None, method="source-free",
            unlabelled=place / "target", settings={"width": 8})  # fmt: skip
