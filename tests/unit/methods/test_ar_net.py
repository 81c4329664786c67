"""The policy of sizes: facts of costs and draws, what is encoded, and what a budget may be."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import ModelError, UsageError
from vlar.methods.ar_net.adapter import ArNetAdapter
from vlar.methods.ar_net.network import cost, hold
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.tower_network import draw

LABELS = ("red", "green")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


def pictures(n: int, t: int = 4) -> np.ndarray:
    """Every second clip is red, the others are green; noise on both."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 90, (n, t, 32, 32, 3), np.uint8)
    frames[::2, ..., 0] += 150
    frames[1::2, ..., 1] += 150
    return frames


@pytest.mark.parametrize(
    ("table", "chosen", "wanted"),
    [((4, 2, 1, 0), [[0, 2, 3]], [5]), ((1, 0.5, 0, 0), [[1, 1, 1], [3, 2, 0]], [1.5, 1])],
)
def test_cost_is_the_sum_over_the_frames(table: Any, chosen: Any, wanted: Any):
    decisions = np.eye(4, dtype=np.float32)[np.array(chosen)]
    np.testing.assert_allclose(cost(decisions, np.array(table)), wanted)


def test_random_choices_cost_what_their_usage_says():
    random, usage, table = np.random.default_rng(0), np.array([0.2, 0.3, 0.5]), (4.0, 1.0, 0.0)
    rows = np.eye(3)[random.choice(3, (20_000, 6), p=usage)]
    assert cost(rows, np.array(table)).mean() == pytest.approx(6 * usage @ table, rel=0.01)


def test_a_skip_holds_the_frames_after_it():
    assert (
        hold([0, 2, 0, 4, 0, 0, 0, 1, 0]) == [False] * 2 + [True, False] + [True] * 3 + [False] * 2
    )
    assert hold([1, 1, 1]) == [False] * 3
    assert hold([4, 9]) == [False, True]


@pytest.mark.parametrize("temperature", [0.3, 5.0])
def test_a_draw_is_exact_and_has_gradients(temperature: float):
    logits = torch.randn(5, 7, 4, requires_grad=True)
    one, same, other = (draw(logits, temperature, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert set(one.detach().unique().tolist()) == {0.0, 1.0}
    assert torch.equal(one.detach().sum(dim=-1), torch.ones(5, 7))
    (one * torch.arange(4.0)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().min() > 0
    plain = draw(logits.detach(), temperature, seed=None)
    assert torch.equal(plain.argmax(dim=-1), logits.argmax(dim=-1))


def test_draws_follow_the_logits():
    logits = torch.tensor([0.6, 0.3, 0.1]).log().expand(20_000, 3)
    found = draw(logits, 1.0, seed=5).mean(dim=0)
    np.testing.assert_allclose(found, [0.6, 0.3, 0.1], atol=0.015)


def forced(adapter: ArNetAdapter, choice: int) -> None:
    with torch.no_grad():
        adapter.network.choose.weight.zero_()
        adapter.network.choose.bias.fill_(0).index_fill_(0, torch.tensor([choice]), 50.0)
    adapter.refresh()


def test_a_skipped_frame_is_not_encoded(encoder: Encoder, monkeypatch: pytest.MonkeyPatch):
    adapter = ArNetAdapter.attach(encoder)
    assert adapter.config.sizes == (32, 24, 16)
    assert adapter.network.table == pytest.approx([1, 345984 / 600000, 172224 / 600000, 0, 0, 0])
    clip = clips_of(pictures(1, 7))[0]
    asked: list[tuple[int, int]] = []
    for each, side in zip(adapter.chosen.at, adapter.config.sizes, strict=True):
        plain = each.encode

        def encode(clips: Any, plain: Any = plain, side: int = side) -> Any:
            asked.append((side, len(clips[0].data)))
            return plain(clips)

        monkeypatch.setattr(each, "encode", encode, raising=False)
    forced(adapter, 5)  # four frames a skip: the first at the best size, then 1 to 4 and 5, 6
    row = adapter.encode([clip])[0]
    assert len(asked) == 1
    assert asked[0][1] == 1
    np.testing.assert_array_equal(row.features[:, :-1], row.features[:1, :-1].repeat(7, axis=0))
    assert row.features[:, -1].tolist() == [1, 0, 0, 0, 0, 0, 0]
    asked.clear()
    forced(adapter, 0)
    full = adapter.encode([clip])[0]
    assert asked == [(32, 7)]
    own = encoder.encode([clip])[0].features
    np.testing.assert_allclose(full.features[:, :-1], own, atol=1e-5)
    rows = encoder.pool(own[:, None]).mean(axis=0)
    np.testing.assert_allclose(full.vector, rows / np.linalg.norm(rows), atol=1e-5)
    assert adapter.clip_cost(clip) == 1
    forced(adapter, 2)
    assert adapter.clip_cost(clip) == pytest.approx(172224 / 600000)


def test_held_frames_keep_the_decision_and_the_state(encoder: Encoder):
    adapter = ArNetAdapter.attach(encoder)
    small = torch.randn(2, 9, 3, 32, 32)
    with torch.inference_mode():
        adapter.network.steps.fill_(adapter.config.fade)
        decisions, held = adapter.network.decide(small, seed=3)
    lengths = [0, 0, 0, 1, 2, 4]
    for rows, told in zip(decisions.argmax(dim=2).tolist(), held.tolist(), strict=True):
        assert hold([lengths[choice] for choice in rows]) == told
        assert rows[0] < 3
    assert held.any()


def test_it_learns_to_spare_and_to_answer(encoder: Encoder):
    """Colours can be told at the smallest size, so a policy that pays for operations finds it."""
    found: dict[float, float] = {}
    frames = pictures(16)
    clips = [replace(c, path=Path(str(row))) for row, c in enumerate(clips_of(frames))]
    y = [LABELS[row % 2] for row in range(16)]
    for saving in (0.0, 3.0):
        adapter = ArNetAdapter.attach(encoder, {"saving": saving, "fade": 20})
        inputs = np.stack([adapter.clip_inputs(clip, as_drawn).numpy() for clip in clips])
        paths = [clip.path for clip in clips]
        dataset = Dataset.single(LABELS, y, [str(path) for path in paths], paths)
        numbers = load_recipe("ar-net/adapt").replaced(epochs=25, batch=8, learning_rate=1e-2)
        Training(adapter, FeatureLoader(inputs, paths), dataset, numbers).run()
        words = adapter.encode_text([f"{label}" for label in LABELS])
        assert words.shape == (2, adapter.dim)
        found[saving] = float(np.mean([adapter.clip_cost(clip) for clip in clips]))
        assert float(adapter.network.steps) == 50
    assert found[3.0] < 0.35
    assert found[3.0] < found[0.0]


def as_drawn(frames: Any, size: Any, colours: bool = True) -> Any:
    raise AssertionError("features of frozen encoders are not changed")


def test_another_size_is_near_and_the_same_size_is_the_encoder(encoder: Encoder):
    clip = clips_of(pictures(1))
    assert encoder.resized(32, 32) is encoder  # type: ignore[attr-defined]
    small = encoder.resized(24, 16)  # type: ignore[attr-defined]
    assert (small.preprocess.height, small.preprocess.width) == (24, 16)
    assert small.fingerprint != encoder.fingerprint
    near = float(small.encode(clip)[0].vector @ encoder.encode(clip)[0].vector)
    assert 0.9 < near < 1 - 1e-6


def test_lite_reads_other_sizes():
    lite = load_encoder("lite-objects")
    small = lite.resized(132, 132)  # type: ignore[attr-defined]
    assert small.cost((2, 9, 9, 3)) < 0.35 * lite.cost((2, 9, 9, 3))
    # Published: 407 and 860 million; the classifier and the first layer are counted here too.
    assert lite.cost((1, 9, 9, 3)) == pytest.approx(1.267e9, rel=0.03)
    clip = clips_of(pictures(1, 2))
    assert small.encode(clip)[0].features.shape == lite.encode(clip)[0].features.shape
    assert not np.allclose(small.encode(clip)[0].vector, lite.encode(clip)[0].vector)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"budget": 0.01}, UsageError, "below the cheapest choice: 0.0359 of the operations"),
        ({"budget": 0.2, "skips": []}, UsageError, "cheapest choice: 0.287"),
        ({"budget": 1.5}, ModelError, "budget is 1.5"),
        ({"sizes": [32, 20]}, UsageError, "multiples of 8 pixels, got 20 x 20; choose 16"),
        ({"sizes": [16, 32]}, ModelError, "sizes that fall"),
        ({"skips": [0]}, ModelError, "whole numbers from 1"),
        ({"small": 4}, ModelError, "small is 4"),
    ],
)
def test_settings_out_of_range_are_one_line(encoder: Encoder, settings: Any, error: Any, told: str):
    refused(error, told, ArNetAdapter.attach, encoder, settings)


def test_sizes_are_asked_of_encoders_that_have_them():
    refused(ModelError, "it needs sizes", ArNetAdapter.attach, load_encoder("lite"))
    lite = load_encoder("lite-objects")
    refused(UsageError, "multiples of 4", lite.resized, 130, 133)  # type: ignore[attr-defined]
