"""The prompt experts: nothing at the start, shares that sum to 1, prompts that follow motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from vlar import registry
from vlar.errors import ModelError, UnknownNameError
from vlar.methods.temporal.adapter import Temporal, balance_loss, causal
from vlar.methods.temporal.drawn import PromptedFrames, drawn, flow_maps, people_maps
from vlar.pose.track import Tracks
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training, score
from vlar.types import Clip, Window

SMALL = {"width": 16, "heads": 2, "components": 6, "experts": 3, "n_prompts": 2, "drawn": []}
Plar: type[Temporal] = registry.get("adapter", "plar")


def expert_shares(adapter: Temporal, features: np.ndarray) -> np.ndarray:
    """(N, E) how the experts are mixed for each clip."""
    frames = torch.from_numpy(adapter.small(features))[..., : adapter.n_inputs]
    with torch.inference_mode():
        return adapter.network.route(frames).numpy()


SIDE = 96


def clip(data: np.ndarray, step_s: float = 0.1) -> Clip:
    times = np.arange(len(data)) * step_s
    return Clip(Path("a.mp4"), Window(0, max(step_s, float(times[-1]))), "video", data, times)


def moving(count: int = 8) -> np.ndarray:
    """A textured square moves to the right over a textured floor."""
    random = np.random.default_rng(0)
    floor = random.integers(60, 200, (12, 12, 1)).repeat(8, 0).repeat(8, 1).repeat(3, 2)
    square = random.integers(0, 256, (6, 6, 1)).repeat(4, 0).repeat(4, 1).repeat(3, 2)
    frames = np.repeat(floor[None], count, axis=0).astype(np.uint8)
    for at, frame in enumerate(frames):
        frame[36:60, 10 + 3 * at : 34 + 3 * at] = square
    return frames


@pytest.mark.parametrize("prompts", [[], ["flow"], ["text"], ["flow", "text"]])
def test_at_the_start_it_is_the_encoder(prompts: list[str]):
    encoder = FakeEncoder()
    adapter = Plar.attach(encoder, {**SMALL, "prompts": prompts})
    rows, plain = adapter.encode([clip(moving())]), encoder.encode([clip(moving())])
    np.testing.assert_allclose(rows[0].vector, plain[0].vector, atol=1e-6)
    np.testing.assert_array_equal(rows[0].features[:, :12], plain[0].features)
    assert rows[0].features.shape == (8, adapter.frame_dim)
    assert sum(block.width for block in adapter.frame_blocks) == adapter.frame_dim
    np.testing.assert_array_equal(adapter.encode_text(LABELS), encoder.encode_text(LABELS))


def test_with_no_gate_and_an_even_router_prompts_do_not_count():
    """W_r = 0 and g = 0: every clip has the same mix, and drawn frames change nothing."""
    adapter = Plar.attach(FakeEncoder(), {**SMALL, "drawn": ["flow"]})
    with torch.no_grad():
        adapter.network.router.weight.zero_()
        torch.nn.init.normal_(adapter.network.leave.weight)
    features = np.random.default_rng(0).normal(size=(4, 8, adapter.frame_dim)).astype(np.float32)
    adapter.fit_inputs(features)
    other = features.copy()
    other[..., 12:] += 1
    np.testing.assert_array_equal(adapter.pool(features), adapter.pool(other))
    np.testing.assert_allclose(expert_shares(adapter, features), 1 / 3, atol=1e-6)
    with torch.no_grad():
        adapter.network.gates.fill_(0.5)
    assert np.abs(adapter.pool(features) - adapter.pool(other)).max() > 1e-4


@settings(max_examples=20, deadline=None)
@given(clips=st.integers(1, 4), frames=st.integers(1, 12), seed=st.integers(0, 9))
def test_shares_sum_to_one_whatever_the_clip(clips: int, frames: int, seed: int):
    adapter = Plar.attach(FakeEncoder(), SMALL)
    features = np.random.default_rng(seed).normal(size=(clips, frames, 12)).astype(np.float32)
    adapter.fit_inputs(features)
    np.testing.assert_allclose(expert_shares(adapter, features).sum(axis=1), 1, atol=1e-6)
    assert np.isfinite(adapter.pool(features)).all()


def test_balance_is_zero_for_equal_shares_and_largest_for_one_expert():
    assert float(balance_loss(torch.full((5, 4), 0.25))) == pytest.approx(0, abs=1e-6)
    assert float(balance_loss(torch.eye(4)[[2, 2, 2]])) == pytest.approx(3)
    assert float(balance_loss(torch.eye(4))) == pytest.approx(0, abs=1e-6)  # specific, and even


def test_frames_do_not_look_ahead():
    mask = causal(2, 3)
    assert mask.tolist() == [
        [False, False, True, True, True],
        [False, False, True, True, True],
        [False, False, False, True, True],
        [False, False, False, False, True],
        [False, False, False, False, False],
    ]


def test_flow_marks_what_moves_and_not_what_the_camera_does():
    maps = flow_maps(moving(), np.arange(8) * 0.1)
    assert maps.shape[0] == 8
    assert 0 <= maps.min() <= maps.max() <= 1
    height, width = maps.shape[1:]
    row, column = np.mgrid[:height, :width]
    inside = (row > height * 0.36) & (row < height * 0.64) & (column < width * 0.65)
    assert maps[:, inside].mean() > 4 * maps[:, ~inside].mean()
    still = np.repeat(moving()[:1], 8, axis=0)
    assert not flow_maps(still, np.arange(8) * 0.1).any()
    assert not flow_maps(moving(), np.arange(8) * 1.0).any()  # a second apart
    assert not flow_maps(moving()[:1], np.zeros(1)).any()


def test_people_are_marked_where_they_are():
    points = np.zeros((1, 8, 33, 3), np.float32)
    points[..., :2] = np.random.default_rng(0).uniform(0.6, 0.9, (1, 8, 33, 2))
    maps = people_maps(moving(), Tracks(points, np.ones((1, 8), np.float32)))
    height, width = maps.shape[1:]
    assert maps[:, int(0.75 * height), int(0.75 * width)].min() > 0.5
    assert maps[:, : height // 3].max() == 0
    none = Tracks(points[:0], np.ones((0, 8), np.float32))
    assert not people_maps(moving(), none).any()


def test_drawing_brightens_the_marked_place_and_leaves_even_maps_alone():
    frames, maps = moving(2), np.zeros((2, 10, 10), np.float32)
    np.testing.assert_array_equal(drawn(frames, maps, 0.5), frames)
    maps[0, :5] = 1
    shown = drawn(frames, maps, 0.5)
    assert shown.dtype == np.uint8
    assert shown[0, :30].mean() > frames[0, :30].mean()
    assert shown[0, -30:].mean() < frames[0, -30:].mean()
    np.testing.assert_array_equal(shown[1], frames[1])


def test_prompted_features_differ_only_where_something_moves():
    encoder = PromptedFrames(FakeEncoder(), ("flow",), 0.5)
    assert [block.name for block in encoder.frame_blocks] == ["look", "flow", "look with flow"]
    seen = encoder.encode([clip(moving())])[0].features
    assert np.abs(seen[:, 12:] - seen[:, :8]).max() > 1e-3
    still = encoder.encode([clip(np.repeat(moving()[:1], 8, axis=0))])[0].features
    np.testing.assert_array_equal(still[:, 12:], still[:, :8])
    session = encoder.session().encode([clip(moving())])[0].features
    np.testing.assert_array_equal(session, seen)
    assert Plar.attach(FakeEncoder(), {"drawn": []}).source.fingerprint == FakeEncoder().fingerprint


def test_it_learns_order_and_keeps_the_experts_in_use():
    features, task = ordered_clips(40)
    others, held = ordered_clips(40, seed=0)
    adapter = Plar.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    loader = FeatureLoader(inputs, task.paths, adapter.input_widths)
    plan = replace(load_recipe("plar/adapt"), epochs=30, batch=16, learning_rate=1e-2)
    training = Training(adapter, loader, task, plan)
    found = training.run()
    assert {"task", "balance"} <= found.epochs[-1].losses.keys()
    asked = torch.from_numpy(adapter.training_inputs(others))
    logits = score(training.method, asked, training.classes, 2)
    right = logits.argmax(dim=1).numpy() == np.array(held.columns)
    assert right.mean() > 0.8
    shares = expert_shares(adapter, features).mean(axis=0)
    assert shares.min() > 0.05


def test_it_reads_the_features_of_another_adapter():
    inner = Temporal.attach(
        FakeEncoder(), {"width": 8, "heads": 2, "components": 4, "blocks": ["look"]}
    )
    adapter = Plar.attach(inner, SMALL)
    features = np.random.default_rng(0).normal(size=(2, 8, 12)).astype(np.float32)
    np.testing.assert_array_equal(adapter.pool(features), inner.pool(features))


def test_what_cannot_be_made_is_refused():
    class Wrist(FakeEncoder):
        modality = "wrist"

    with pytest.raises(ModelError, match="needs bodies, and encoder 'fake' finds none"):
        Plar.attach(FakeEncoder(), {"drawn": ["people"]})
    with pytest.raises(ModelError, match="drawn into pictures, and encoder 'fake' reads 'wrist'"):
        Plar.attach(Wrist(), {"drawn": ["flow"]})
    assert Plar.attach(Wrist(), {"drawn": []}).frame_dim == 12
    with pytest.raises(UnknownNameError, match="'drawn'"):
        Plar.attach(FakeEncoder(), {"drawn": ["music"]})
    with pytest.raises(ModelError, match="each of them once"):
        Plar.attach(FakeEncoder(), {"drawn": ["flow", "flow"]})
    with pytest.raises(ModelError, match="a multiple of heads"):
        Plar.attach(FakeEncoder(), {"width": 10, "heads": 4})
    with pytest.raises(UnknownNameError, match="frame block of fake"):
        Plar.attach(FakeEncoder(), {**SMALL, "blocks": ["sound"]})
