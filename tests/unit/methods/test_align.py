"""The map to sentences: nothing at the start, words after labels or captions, and its refusals."""

# pyright: basic
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.sentence_tower import SENTENCE_WIDTH
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.align.adapter import Align, caption_loss
from vlar.methods.distill.objective import write_teacher
from vlar.training.batches import Dataset, Unlabelled
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.trainable import TrainingBatch

SPEC = "torchvision:mc3_18?random_init=true&frames=2&size=32"
LABELS = ("swimming in a pool", "riding a horse", "cooking an egg")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(SPEC)


def clips(encoder: Encoder, each: int = 4, seed: int = 0) -> np.ndarray:
    """(3 each, rows, F): three kinds of clips, one after the other."""
    random = np.random.default_rng(9)
    kinds = random.normal(size=(3, 1, encoder.frame_dim))
    noise = np.random.default_rng(seed).normal(
        size=(3 * each, encoder.feature_rows, encoder.frame_dim)
    )
    return (np.tile(kinds, (each, 1, 1)) + 0.3 * noise).astype(np.float32)


def learned(encoder: Encoder, texts: list[str] | None = None, **settings: Any) -> Align:
    features = clips(encoder)
    adapter = Align.attach(encoder, {"hidden": 32, **settings})
    paths = [Path(f"{row}.mp4") for row in range(len(features))]
    y = [LABELS[row % 3] for row in range(len(features))]
    dataset = Dataset.single(LABELS, y, [str(p) for p in paths], paths)
    if texts is not None:
        facts = [{"text": texts[row % 3]} for row in range(len(features))]
        dataset = replace(dataset, facts=facts)
    numbers = replace(load_recipe("align/adapt"), epochs=15, batch=12, warmup_epochs=0.5)
    loader = FeatureLoader(adapter.training_inputs(features), paths)
    Training(adapter, loader, dataset, numbers, seed=0).run()
    return adapter


def test_at_the_start_it_is_the_encoder(encoder: Encoder):
    adapter, features = Align.attach(encoder), clips(encoder)
    np.testing.assert_array_equal(adapter.pool(features), encoder.pool(features))
    np.testing.assert_array_equal(adapter.encode_text(LABELS), encoder.encode_text(LABELS))


def test_words_are_answered_after_labels(encoder: Encoder):
    adapter, others = learned(encoder), clips(encoder, seed=5)
    found = adapter.pool(others)
    scores = found @ adapter.encode_text(LABELS).T
    assert (scores.argmax(axis=1) == np.arange(len(others)) % 3).mean() == 1
    np.testing.assert_array_equal(adapter.encode_text(LABELS), encoder.encode_text(LABELS))
    own = found[:, :-SENTENCE_WIDTH]
    before = encoder.pool(others)[:, :-SENTENCE_WIDTH]
    cosines = (own * before).sum(axis=1) / np.linalg.norm(own, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-5)  # the block of clips only loses length
    again = Align.attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    np.testing.assert_array_equal(again.pool(others), found)


def test_captions_teach_other_words_than_the_labels(encoder: Encoder):
    texts = ["a dog barks at a tree", "somebody plays the piano", "snow falls on a city"]
    adapter = learned(encoder, texts, by="captions")
    scores = adapter.pool(clips(encoder, seed=5)) @ adapter.encode_text(texts).T
    assert (scores.argmax(axis=1) == np.arange(12) % 3).mean() > 0.9


def test_an_image_tower_teaches_clips_without_labels(encoder: Encoder, tmp_path: Path):
    """Labels count for nothing in the loss, and the tower is wrong about one labelled clip."""
    features, free = clips(encoder, 1), clips(encoder, 4, seed=3)
    paths = [tmp_path / f"{row}.mp4" for row in range(3)]
    others = [tmp_path / f"free{row}.mp4" for row in range(12)]
    answers = 8 * np.tile(np.eye(3), (5, 1))
    answers[0] = 4 * np.eye(3)[1]  # of a labelled clip; wrong, so that the temperature is finite
    write_teacher(tmp_path / "tower.csv", [*paths, *others], LABELS, answers)
    adapter = Align.attach(encoder, {"hidden": 32})
    dataset = Dataset.single(LABELS, list(LABELS), [str(p) for p in paths], paths)
    numbers = replace(load_recipe("align/adapt"), epochs=40, batch=3, warmup_epochs=0.5)
    named = {"distill": {"teachers": [str(tmp_path / "tower.csv")], "ratio": 4.0}}
    Training(
        adapter, FeatureLoader(adapter.training_inputs(features), paths), dataset, numbers, seed=0,
        objectives=ObjectiveSet(named),
        unlabelled=Unlabelled(FeatureLoader(adapter.training_inputs(free), others), 12),
    ).run()  # fmt: skip
    scores = adapter.pool(clips(encoder, seed=5)) @ adapter.encode_text(LABELS).T
    assert (scores.argmax(axis=1) == np.arange(12) % 3).mean() > 0.9


def test_the_loss_of_captions():
    eye = torch.eye(3)
    wanted = math.log(1 + 2 * math.exp(-2))
    assert float(caption_loss(eye, eye, 0.5)) == pytest.approx(wanted, abs=1e-6)
    twice = torch.stack([eye[0], eye[0], eye[1]])  # equal captions are not each other's negatives
    assert float(caption_loss(twice, twice, 0.01)) == pytest.approx(2 * math.log(2) / 3, abs=1e-4)


def test_a_batch_without_captions_is_refused(encoder: Encoder):
    adapter = Align.attach(encoder, {"by": "captions"})
    classes, features = adapter.training_classes(LABELS), clips(encoder, 1)
    batch = TrainingBatch(
        torch.from_numpy(adapter.training_inputs(features)), torch.eye(3), rows=(0, 1, 2),
        facts=({}, {}, {}),
    )  # fmt: skip
    refused(UsageError, "column text", adapter.training_step, batch, classes)


def test_refusals(encoder: Encoder):
    refused(ModelError, "network without texts", Align.attach, FakeEncoder())
    refused(UnknownNameError, "by", Align.attach, encoder, {"by": "label"})
    refused(ModelError, "hidden is 0", Align.attach, encoder, {"hidden": 0})
