"""``lite-hands``: hands take the place of an unseen body, and change nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.unit.pose.hand_figure import DrawnHand, S
from vlar.encoders.lite import hands as lite_hands
from vlar.encoders.lite.body import MOTION_WEIGHT, BodyBlock
from vlar.encoders.lite.hands import HandBlock
from vlar.errors import ModelError
from vlar.numeric import unit
from vlar.pose import hand_features, networks
from vlar.pose.attributes.base import hand_attribute_names
from vlar.pose.features import POSE_WIDTH
from vlar.types import Float32

TEXTS = ["holding something", "walking", "a quiet evening", "swipe left with a finger"]


def rows(hand: DrawnHand) -> Float32:
    """(S, HANDS_WIDTH) frame features of a drawn hand."""
    found = np.zeros((S, hand_features.HANDS_WIDTH), np.float32)
    found[:, 0] = 1
    found[:, 1:64] = hand.points().reshape(S, -1)
    found[:, 64:66] = 1
    found[:, -2], found[:, -1] = np.arange(S) / 10, 4 / 3
    return found


def embed(texts: Sequence[str]) -> Float32:
    return unit(np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32))


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> tuple[BodyBlock, BodyBlock]:
    """Bodies alone, and with hands; no network is needed to pool and to read texts."""
    monkeypatch.setattr("vlar.encoders.lite.body.PoseExtractor", lambda: None)
    monkeypatch.setattr(lite_hands, "HandReader", lambda: None)
    alone = BodyBlock(embed, "", "unused")
    return alone, BodyBlock(embed, "", "unused", HandBlock())


def test_hands_fill_what_an_unseen_body_leaves(blocks: tuple[BodyBlock, BodyBlock]):
    _, both = blocks
    nobody = np.zeros((S, POSE_WIDTH), np.float32)
    clip = np.concatenate([nobody, rows(DrawnHand(x=0.3 + 0.05 * np.arange(S)))], axis=1)
    objects = unit(np.ones((1, 5), np.float32))
    (vector,) = both.video(objects, clip[None])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    hands = vector[-len(hand_attribute_names()) - 1 :]
    assert np.linalg.norm(hands) == pytest.approx(MOTION_WEIGHT, abs=1e-6)
    assert hands[hand_attribute_names().index("hand_right")] > 0.05
    assert hands[-1] == 0
    unseen = vector[5 + both.width]
    assert unseen == pytest.approx(0, abs=1e-3)


def test_without_hands_a_clip_is_that_of_lite(blocks: tuple[BodyBlock, BodyBlock]):
    alone, both = blocks
    nobody = np.zeros((1, S, both.frame_width), np.float32)
    objects = unit(np.ones((1, 5), np.float32))
    before = alone.video(objects, nobody[..., :POSE_WIDTH])
    after = both.video(objects, nobody)
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    assert not after[:, before.shape[1] :].any()


def test_scores_of_clips_without_hands_have_one_scale(blocks: tuple[BodyBlock, BodyBlock]):
    alone, both = blocks
    objects = unit(np.random.default_rng(1).normal(size=(len(TEXTS), 5)).astype(np.float32))
    before, after = alone.text(objects, TEXTS), both.text(objects, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
    scale = np.sqrt(1 + HandBlock.text_weight**2)
    np.testing.assert_allclose(scale * after[:, : before.shape[1]], before, atol=1e-6)
    assert both.logit_scale == pytest.approx(scale * alone.logit_scale)
    hands = after[:, before.shape[1] :]
    assert (hands[:, -1] > 0).tolist() == [False, True, True, False]


def test_the_blocks_of_bodies_keep_their_fingerprint(
    blocks: tuple[BodyBlock, BodyBlock], monkeypatch: pytest.MonkeyPatch
):
    """What lets a library of ``lite`` gain hands and keep the rest."""
    alone, both = blocks
    before, after = alone.block_fingerprints(32), both.block_fingerprints(32)
    assert set(after) == {"motion", "unseen_body", "hands"}
    assert after["motion"] == before["motion"]
    assert after["unseen_body"] != before["unseen_body"]
    assert both.fingerprint != alone.fingerprint
    monkeypatch.setattr(lite_hands, "VERSION", -1)
    assert both.block_fingerprints(32)["hands"] != after["hands"]


def test_hands_are_numbers_of_their_version():
    """A change of these numbers needs a higher VERSION in vlar/pose/hand_features.py."""
    assert hand_features.VERSION == 1
    found = hand_features.hand_vector(rows(DrawnHand(x=0.3 + 0.05 * np.arange(S), stretch=0.3)))
    weights = np.cos(np.arange(len(found)))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert (float(found @ weights), float(np.abs(found).sum())) == pytest.approx(
        (-0.4761, 3.8379), abs=2e-3
    )


def test_without_its_networks_the_command_is_named(monkeypatch: pytest.MonkeyPatch):
    from vlar.encoders.lite.encoder import LiteHandsEncoder

    monkeypatch.setattr(networks, "has_hands", lambda: False)
    with pytest.raises(ModelError, match="vlar models get lite-motion"):
        LiteHandsEncoder.load_hands(None)  # type: ignore[arg-type]


def test_still_frames_are_looked_at_once():
    frames = np.repeat(np.arange(8, dtype=np.uint8), 4)[:, None, None, None]
    assert hand_features.frames_to_look_at(frames) == list(range(0, 32, 4))
    many = np.arange(32, dtype=np.uint8)[:, None, None, None]
    assert len(hand_features.frames_to_look_at(many)) <= hand_features.MOST_FRAMES
