from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vlar.encoders.lite import space as lite_anchors
from vlar.encoders.lite import towers
from vlar.encoders.lite.space import KIND_WEIGHTS, Anchors, ObjectSpace, load_anchors, phrases
from vlar.encoders.lite.towers import TextTower
from vlar.files import resources
from vlar.language.bank import load_bank

TOWER_HASH = towers.MINILM.sha256 + towers.TOKENIZER.sha256


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return TextTower()


@pytest.fixture(scope="module")
def anchors(tower: TextTower) -> Anchors:
    return load_anchors(tower, TOWER_HASH, "tests")


@pytest.fixture(scope="module")
def space(tower: TextTower, anchors: Anchors) -> ObjectSpace:
    return ObjectSpace(tower, anchors)


def object_named(name: str) -> int:
    return [entry.label for entry in load_bank("imagenet_objects").entries].index(name)


def test_the_packaged_vectors_are_those_of_the_bank(tower: TextTower, anchors: Anchors):
    """Every 60th phrase of each kind is computed again; a stale file would differ."""
    for kind in lite_anchors.KINDS:
        pairs = phrases(kind)
        texts = [text for _, text in pairs]
        np.testing.assert_array_equal(anchors.objects[kind], [number for number, _ in pairs])
        assert len(anchors.vectors[kind]) == len(anchors.objects[kind]) == len(texts)
        for row in range(0, len(texts), 60):
            vector = tower([texts[row]])[0] - anchors.mean
            cosine = vector @ anchors.vectors[kind][row] / np.linalg.norm(vector)
            assert cosine > 0.99, (kind, texts[row], cosine)


def test_lists_are_read_part_by_part():
    golf_ball = object_named("golf ball")
    assert [text for number, text in phrases("scene") if number == golf_ball] == [
        "golf course",
        "fairway",
        "short grass",
        "flag",
    ]
    assert len(phrases("name")) == 1000
    assert {number for number, _ in phrases("activity")} == set(range(1000))


def test_the_packaged_vectors_are_used(anchors: Anchors):
    def never(_: Sequence[str]) -> Any:
        raise AssertionError("the packaged vectors do not fit the bank; run write_packaged")

    assert load_anchors(never, TOWER_HASH, "tests").digest == anchors.digest


def test_another_bank_is_computed_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anchors: Anchors
):
    bank = resources.find("text_banks", "imagenet_objects", ".json")
    changed = tmp_path / "text_banks" / bank.name
    changed.parent.mkdir()
    changed.write_bytes(bank.read_bytes() + b"\n")
    for seed in bank.parent.glob("imagenet_objects.*.npz"):
        (changed.parent / seed.name).write_bytes(seed.read_bytes())
    monkeypatch.setattr(resources, "folder", lambda _: changed.parent)
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []

    def embed(texts: Sequence[str]) -> Any:
        calls.extend(texts)
        return np.full((len(texts), 384), 0.05, np.float32) + 0.01 * len(texts[0])

    first = load_anchors(embed, TOWER_HASH, "tests")
    assert first.digest != anchors.digest
    assert len(calls) > 5000
    calls.clear()
    second = load_anchors(embed, TOWER_HASH, "tests")
    assert not calls
    np.testing.assert_array_equal(first.vectors["scene"], second.vectors["scene"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("swinging a golf club", "golf ball"),
        ("riding a bike down a forest trail", "mountain bike"),
        ("playing the cello", "cello"),
        ("shooting an arrow with a bow", "bow (archery)"),
    ],
)
def test_a_text_brings_its_object_to_mind(space: ObjectSpace, text: str, name: str):
    ranks = np.argsort(-space.text([text])[0])
    assert object_named(name) in ranks[:5]


def test_a_clip_of_an_object_prefers_its_action(space: ObjectSpace):
    logits = np.zeros((1, 4, 1000), dtype=np.float32)
    logits[..., object_named("golf ball")] = 12.0
    actions = ["playing the cello", "playing golf", "cooking soup", "riding a horse"]
    scores = space.text(actions) @ space.video(logits)[0]
    assert actions[int(scores.argmax())] == "playing golf"


def test_a_clip_of_nothing_favours_no_text(space: ObjectSpace):
    """The same probability for every object is the zero direction, whatever the text."""
    vectors = space.text(["playing golf", "walking"])
    np.testing.assert_allclose(vectors.sum(axis=1), 0, atol=1e-4)


def test_objects_without_a_sentence_of_a_kind_use_their_activities(
    space: ObjectSpace, anchors: Anchors
):
    silent = np.setdiff1d(np.arange(1000), anchors.objects["also"])
    assert len(silent)
    text = space.text(["fishing with a rod at a lake"])
    assert np.isfinite(text).all()
    assert set(KIND_WEIGHTS) == set(lite_anchors.KINDS)


@settings(max_examples=25, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=3).map(lambda s: (*s, 1000)),
        elements=st.floats(-80, 80, width=32),
        fill=st.floats(-10, 10, width=32),
    )
)
def test_any_scores_give_finite_vectors(space: ObjectSpace, logits: Any):
    vectors = space.video(logits)
    assert vectors.shape == (len(logits), 1000)
    assert vectors.dtype == np.float32
    norm = np.linalg.norm(vectors, axis=1)
    assert (np.isclose(norm, 1, atol=1e-4) | (norm == 0)).all()


def test_the_order_of_frames_does_not_matter(space: ObjectSpace):
    logits = np.random.default_rng(0).normal(size=(1, 6, 1000)).astype(np.float32) * 3
    np.testing.assert_allclose(space.video(logits), space.video(logits[:, ::-1]), atol=1e-6)


def test_many_texts_equal_single_ones(space: ObjectSpace):
    texts = [f"carrying {n} boxes" for n in range(70)] + ["carrying 3 boxes", ""]
    many = space.text(texts)
    for row in (0, 3, 41, 69, 70, 71):
        np.testing.assert_array_equal(many[row], space.text([texts[row]])[0])
