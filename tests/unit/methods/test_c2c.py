"""C2C: order, unseen pairs, the same from saved context, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training.fakes import FakeEncoder
from vlar.encoders.base import Encoder, FrameBlock
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.heads.support import SupportItem
from vlar.methods.c2c.adapter import C2C, read_parts
from vlar.methods.c2c.network import C2CConfig
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.trainable import TrainingBatch

SMALL = {"components": 12, "hidden": 48, "width": 24}
VERBS, OBJECTS = ("fall", "rise", "stay"), ("ball", "cat", "cup")
EVERY = [(verb, noun) for verb in VERBS for noun in OBJECTS]
UNSEEN = [(VERBS[at], OBJECTS[at]) for at in range(3)]
_DRAWN = np.random.default_rng(0)
_WAY, _LOOKS = _DRAWN.normal(size=12), _DRAWN.normal(size=(3, 12))
_PLACES = {"fall": np.linspace(1, -1, 8), "rise": np.linspace(-1, 1, 8), "stay": np.zeros(8)}


def clip(pair: tuple[str, str], random: np.random.Generator) -> np.ndarray:
    """(8, 12): falling is rising backwards, with the same frames."""
    look = _LOOKS[OBJECTS.index(pair[1])]
    moved = look + _PLACES[pair[0]][:, None] * _WAY
    return moved + 0.1 * random.normal(size=(1, 12)) + 0.05 * random.normal(size=(8, 12))


def clips(pairs, each: int, seed: int) -> tuple[np.ndarray, Dataset]:
    random, items, rows = np.random.default_rng(seed), [], []
    for verb, noun in pairs:
        for _ in range(each):
            name, parts = f"{len(items)}", {"verb": verb, "object": noun}
            items.append(SupportItem(Path(name), None, (f"{verb} {noun}",), name, parts))
            rows.append(clip((verb, noun), random))
    labels = sorted({item.label for item in items})
    return np.array(rows, np.float32), Dataset.of(labels, items)


def trained(encoder: Encoder | None = None, epochs: int = 50, shuffle: bool = False, **more) -> C2C:
    features, dataset = clips([pair for pair in EVERY if pair not in UNSEEN], 6, 0)
    if shuffle:  # the control: verbs that have nothing to do with what is seen
        # Half of the clips of a verb are exchanged with half of those of the object's other verb.
        objects = np.array([label.split()[1] for label in dataset.y])
        for noun in OBJECTS:
            one, other = np.flatnonzero(objects == noun).reshape(2, 6)[:, ::2]
            features[[*one, *other]] = features[[*other, *one]]
    adapter = C2C.attach(encoder or FakeEncoder(), {**SMALL, **more})
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, adapter.input_widths)
    numbers = {"epochs": epochs, "batch": 18, "warmup_epochs": 1, "learning_rate": 4e-3}
    plan = replace(load_recipe("c2c/adapt"), **numbers)
    Training(adapter, loader, dataset, plan).run()
    return adapter


def accuracy(adapter: C2C, pairs) -> tuple[float, float]:
    """Share of new clips whose pair, and whose verb, is right among all pairs."""
    features, dataset = clips(pairs, 4, 7)
    scores = adapter.pair_similarity(adapter.context(features), EVERY)
    given = [EVERY[at] for at in scores.argmax(axis=1)]
    right = [f"{verb} {noun}" == y for (verb, noun), y in zip(given, dataset.y, strict=True)]
    verbs = [verb == y.split()[0] for (verb, _), y in zip(given, dataset.y, strict=True)]
    return float(np.mean(right)), float(np.mean(verbs))


@pytest.fixture(scope="module")
def learned() -> C2C:
    return trained()


def test_pairs_that_training_never_showed_are_recognised(learned: C2C):
    assert accuracy(learned, UNSEEN)[0] > 0.6  # chance: 1 in 9
    assert accuracy(learned, EVERY)[0] > 0.9


def test_shuffled_verbs_are_at_chance():
    _, verb = accuracy(trained(epochs=25, shuffle=True), EVERY)
    assert verb < 0.6  # 9 pairs of 4 clips and 3 verbs; the right ones reach 0.9


def test_without_order_rising_and_falling_are_the_same(learned: C2C):
    features, _ = clips([("rise", "cup"), ("fall", "cat")], 3, 5)
    backwards = features[:, ::-1].copy()
    pooled = trained(epochs=2, ordered=False)
    pairs = [(verb, noun) for verb in ("rise", "fall") for noun in OBJECTS]
    ways = [pooled.pair_similarity(pooled.context(x), pairs) for x in (features, backwards)]
    np.testing.assert_allclose(*ways, atol=1e-6)
    ways = [learned.pair_similarity(learned.context(x), pairs) for x in (features, backwards)]
    rising = [way[:, :3].max(axis=1) > way[:, 3:].max(axis=1) for way in ways]
    assert rising[0].tolist() == [True] * 3 + [False] * 3
    assert rising[1].tolist() == [False] * 3 + [True] * 3


def far_apart(pairs, each: int, seed: int) -> tuple[np.ndarray, Dataset]:
    """The same clips, each in a place of its own: clips differ more than their frames do."""
    features, dataset = clips(pairs, each, seed)
    random = np.random.default_rng(seed + 100)
    return features + 3 * random.normal(size=(len(features), 1, 12)).astype(np.float32), dataset


def verbs_right(form: str) -> float:
    """Share of new clips whose verb is right, learned from clips that are far apart."""
    features, dataset = far_apart(EVERY, 6, 0)
    adapter = C2C.attach(FakeEncoder(), {**SMALL, "verbs_from": form})
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths, adapter.input_widths)
    numbers = {"epochs": 20, "batch": 18, "warmup_epochs": 1, "learning_rate": 4e-3}
    Training(adapter, loader, dataset, replace(load_recipe("c2c/adapt"), **numbers)).run()
    asked, truth = far_apart(EVERY, 4, 7)
    scores = adapter.pair_similarity(adapter.context(asked), EVERY)
    given = [EVERY[at][0] for at in scores.argmax(axis=1)]
    return float(np.mean([v == y.split()[0] for v, y in zip(given, truth.y, strict=True)]))


@pytest.mark.slow
def test_where_clips_differ_most_verbs_are_read_from_what_changes_within_a_clip():
    assert verbs_right("both") > 0.9
    assert verbs_right("frames") < 0.7  # 1 in 3 is chance


@pytest.mark.parametrize("form", ["frames", "deviations", "similarities", "both"])
def test_every_form_of_inputs_has_its_widths(form):
    adapter = C2C.attach(FakeEncoder(), {**SMALL, "verbs_from": form})
    features = clips(EVERY, 1, 0)[0][:, :5]  # fewer frames than are read
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    assert inputs.shape[2] == sum(adapter.input_widths)
    assert np.isfinite(adapter.context(features)).all()
    still = np.repeat(features[:, :1], 5, axis=1)
    assert np.isfinite(adapter.context(still)).all()


def test_similarities_do_not_know_the_way_and_deviations_do():
    blocks = [(0, FrameBlock("all", 12, "embedding"))]
    features = clips(EVERY, 2, 0)[0]
    turned = 2 * features.mean(axis=1, keepdims=True) - features  # what rose falls
    for form, same in (("similarities", True), ("deviations", False)):
        config = C2CConfig(verbs_from=form)
        (_, one), (_, other) = (read_parts(x, blocks, config) for x in (features, turned))
        assert np.allclose(one, other, atol=0.02) == same
    other_place = features + 5  # and neither knows what is shown
    config = C2CConfig(verbs_from="deviations")
    moved = [read_parts(x, blocks, config)[1] for x in (features, other_place)]
    np.testing.assert_allclose(*moved, atol=1e-5)


def test_vectors_texts_and_features_stay_those_of_the_encoder(learned: C2C):
    encoder = FakeEncoder()
    features, _ = clips(EVERY, 1, 3)
    np.testing.assert_array_equal(learned.pool(features), encoder.pool(features))
    np.testing.assert_array_equal(learned.encode_text(OBJECTS), encoder.encode_text(OBJECTS))


def test_scores_of_listed_pairs_are_those_of_all_pairs(learned: C2C):
    features, _ = clips(EVERY, 2, 4)
    inputs = torch.from_numpy(learned.training_inputs(features))
    with torch.no_grad():
        texts = [learned._encoded(words) for words in (learned.verbs, learned.objects)]
        whole = learned.network(inputs, *texts).pair.flatten(1).numpy() - 1
    listed = learned.pair_similarity(learned.context(features), EVERY)
    np.testing.assert_allclose(listed, whole, atol=1e-5)
    alone = learned.pair_similarity(learned.context(features[3:4]), EVERY[4:5])
    assert alone[0, 0] == pytest.approx(listed[3, 4], abs=1e-6)


def test_half_precision_context_gives_nearly_the_same(learned: C2C):
    context = learned.context(clips(EVERY, 1, 6)[0])
    halved = learned.pair_similarity(context.astype(np.float16), EVERY)
    np.testing.assert_allclose(halved, learned.pair_similarity(context, EVERY), atol=5e-3)


def test_words_without_examples_go_by_their_text(learned: C2C):
    context = learned.context(clips(EVERY, 1, 6)[0])
    found = learned.pair_similarity(context, [("hover", "cup"), ("rise", "plate")])
    assert found.shape == (9, 2)
    assert np.isfinite(found).all()
    assert learned.pair_similarity(context, []).shape == (9, 0)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 20), clips_=st.integers(0, 3), seed=st.integers(0, 9))
def test_any_clip_gives_similarities_in_their_range(learned, frames, clips_, seed):
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(clips_, frames, 12)).astype(np.float32)
    found = learned.pair_similarity(learned.context(features), EVERY)
    assert found.shape == (clips_, 9)
    assert (np.abs(found) <= 1 + 1e-5).all()


@pytest.mark.parametrize("changed", [{"mixed": 0.0}, {"mixed": 1.0}, {"crossed": True}])
def test_every_form_of_the_training_runs(changed):
    adapter = trained(epochs=2, **changed)
    assert np.isfinite(adapter.context(clips(EVERY, 1, 3)[0])).all()


def test_what_is_not_in_parts_is_refused():
    adapter = C2C.attach(FakeEncoder(), SMALL)
    with pytest.raises(UsageError, match="no 'object'; give a CSV"):
        adapter.read_label_parts([{"verb": "open"}], [1])
    with pytest.raises(UsageError, match="a verb and an object of each label"):
        adapter.training_classes(["open door"])


def test_settings_and_encoders_that_do_not_fit_are_named():
    with pytest.raises(UnknownNameError, match="frame block of fake"):
        C2C.attach(FakeEncoder(), {"blocks": ["sound"]})
    with pytest.raises(ModelError, match="c2c setting width is 1"):
        C2C.attach(FakeEncoder(), {"width": 1})
    with pytest.raises(ModelError, match="hidden \\* components"):
        C2C.attach(FakeEncoder(), {"hidden": 4096, "components": 4096})


def test_few_clips_and_unlabelled_ones_have_a_loss():
    adapter = trained(epochs=1)
    adapter.network.train()
    features, dataset = clips(EVERY, 1, 0)
    adapter.read_label_parts(*dataset.label_parts())
    classes = adapter.training_classes(dataset.texts)
    known = torch.tensor([True, False, False])
    batch = TrainingBatch(torch.from_numpy(features[:3]), torch.eye(9)[:3], known=known)
    found = adapter.training_step(batch, classes)
    assert found.logits.shape == (3, 9)
    assert torch.isfinite(found.losses["total"])
    assert "dependence" not in found.losses  # of one clip there is none
    none = replace(batch, known=torch.zeros(3, dtype=torch.bool))
    assert float(adapter.training_step(none, classes).losses["total"]) == 0
