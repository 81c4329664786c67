"""The temporal adapter: nothing at the start, any number of frames, order after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny_models
from tests.clips import features_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from vlar.adapters.views import require_blocks
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.protocols import PatchTokens, WithRegions
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.temporal import regions
from vlar.methods.temporal.adapter import Temporal
from vlar.methods.temporal.positions import interpolate_positions
from vlar.model.model import Model
from vlar.training.data import FeatureLoader
from vlar.training.frame_inputs import directions
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training, score
from vlar.training.trainable import TrainingBatch

SMALL = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}


def trained(features, task, seed: int = 0, **settings) -> tuple[Temporal, Training]:
    adapter = Temporal.attach(FakeEncoder(), {**SMALL, **settings})
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    loader = FeatureLoader(inputs, task.paths, adapter.input_widths)
    plan = replace(load_recipe("temporal/adapt"), epochs=40, batch=16, learning_rate=5e-3)
    training = Training(adapter, loader, task, plan, seed=seed)
    training.run()
    return adapter, training


@pytest.mark.parametrize("frames", [1, 2, 8, 13])
def test_at_the_start_it_is_the_encoder(frames: int):
    encoder = FakeEncoder()
    adapter = Temporal.attach(encoder, SMALL)
    features = np.random.default_rng(1).normal(size=(3, frames, 12)).astype(np.float32)
    adapter.fit_inputs(features)
    adapter.training_classes(LABELS)
    np.testing.assert_array_equal(adapter.pool(features), encoder.pool(features))
    np.testing.assert_array_equal(adapter.encode_text(LABELS), encoder.encode_text(LABELS))


def test_on_lite_it_starts_as_lite_and_reads_what_moves(lite_model: Model):
    encoder = lite_model.encoder
    adapter = Temporal.attach(encoder)
    features = np.random.default_rng(1).random((2, 4, encoder.frame_dim)).astype(np.float32)
    adapter.fit_inputs(features)
    np.testing.assert_array_equal(adapter.pool(features), encoder.pool(features))
    moving = [b for b in encoder.frame_blocks if b.kind in ("motion", "direction", "pose")]
    assert len(adapter.input_widths) == len(moving)
    every = Temporal.attach(encoder, {"blocks": [b.name for b in encoder.frame_blocks]})
    assert len(every.input_widths) == len(encoder.frame_blocks)


def test_it_learns_order_and_its_mean_cannot():
    features, task = ordered_clips(40)
    others, held = ordered_clips(40, seed=0)
    others = others + np.random.default_rng(9).normal(size=others.shape).astype(np.float32) * 0.1
    adapter, training = trained(features, task)
    logits = score(
        adapter, torch.from_numpy(adapter.training_inputs(others)), training.classes, len(LABELS)
    )
    assert (logits.argmax(1).numpy() == held.columns).mean() > 0.9
    back = torch.from_numpy(adapter.training_inputs(np.ascontiguousarray(others[:, ::-1])))
    turned = score(adapter, back, training.classes, len(LABELS))
    assert (turned.argmax(1).numpy() == held.columns).mean() < 0.1


def test_what_was_trained_is_in_vectors_texts_and_state():
    features, task = ordered_clips(20)
    adapter, training = trained(features, task)
    logits = score(
        adapter, torch.from_numpy(adapter.training_inputs(features)), training.classes, 2
    ).numpy()
    cosines = adapter.pool(features) @ adapter.encode_text(task.texts).T
    np.testing.assert_allclose(cosines * adapter.logit_scale, logits, atol=1e-4)
    plain = FakeEncoder()
    assert not np.allclose(adapter.pool(features), plain.pool(features), atol=1e-3)
    np.testing.assert_array_equal(adapter.encode_text(["else"]), plain.encode_text(["else"]))
    again = Temporal.attach(FakeEncoder(), adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    np.testing.assert_array_equal(again.pool(features), adapter.pool(features))


def test_a_step_takes_frame_features_too():
    features, task = ordered_clips(4)
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    adapter.fit_inputs(features)
    classes = adapter.training_classes(task.texts)
    named = adapter.trainable()
    batch = TrainingBatch(torch.from_numpy(features), torch.eye(2)[torch.tensor(task.columns)])
    output = adapter.training_step(batch, classes)
    output.losses["total"].backward()
    assert output.logits.shape == (4, 2)
    assert dict(named)["leave.weight"].grad.abs().sum() > 0


def test_blocks_can_be_chosen_and_must_exist():
    adapter = Temporal.attach(FakeEncoder(), {"blocks": ["flow"]})
    features, _ = ordered_clips(4)
    adapter.fit_inputs(features)
    changed = features.copy()
    changed[..., :8] += 1
    np.testing.assert_array_equal(adapter.small(features), adapter.small(changed))
    with pytest.raises(UnknownNameError, match="did you mean 'flow'"):
        Temporal.attach(FakeEncoder(), {"blocks": ["flaw"]})
    with pytest.raises(ModelError, match="multiple of heads"):
        Temporal.attach(FakeEncoder(), {"width": 30})


def test_directions_keep_what_differs():
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 3)) @ random.normal(size=(3, 40)) + 5
    mean, axes = directions(rows, 8)
    seen = (rows - mean) @ axes
    assert np.allclose(seen[:, 3:], 0, atol=1e-6)
    assert seen[:, 0].std() == pytest.approx(1, rel=1e-6)
    many, same = directions(np.tile(rows, (40, 1)), 8)  # the other product
    np.testing.assert_allclose(many, mean, atol=0.2)
    assert same.shape == (40, 8)


@pytest.mark.parametrize("templates", ["plain", "clip"])
def test_texts_in_training_are_the_texts_in_use(templates: str, monkeypatch: pytest.MonkeyPatch):
    """A model fills its prompts in and averages them; the training has to see the same concepts."""
    monkeypatch.setattr(FakeEncoder, "templates", templates, raising=False)
    features, task = ordered_clips(12)
    adapter, training = trained(features, task)
    ours = adapter.network.concepts(training.classes).detach().numpy()
    model = Model(adapter, templates=adapter.templates)
    np.testing.assert_allclose(model.words.encode_queries(task.texts), ours, atol=1e-6)


# The measures of "Optimizing ViViT training"


@pytest.mark.parametrize(("frames", "heads", "dim"), [(3, 2, 8), (1, 4, 10), (5, 3, 12)])
def test_regions_are_the_mean_at_the_start(frames: int, heads: int, dim: int):
    tokens = torch.randn(2, frames, 9, dim)
    found = regions.pool(tokens, torch.zeros(heads, dim), torch.zeros(dim, 2))
    torch.testing.assert_close(found, tokens.mean(dim=2), atol=1e-6, rtol=0)
    started = regions.RegionPooling(dim, heads)(tokens)
    torch.testing.assert_close(started, tokens.mean(dim=2), atol=1e-6, rtol=0)


def test_each_head_picks_a_part_for_its_own_entries():
    tokens = torch.eye(4)[None, None]  # part i has a one at entry i
    query = torch.zeros(2, 4)
    query[0, 1] = query[1, 2] = 100
    found = regions.pool(tokens, query, torch.zeros(4, 1))[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 1, 1, 0]), atol=1e-6, rtol=0)
    moved = regions.pool(tokens, query, torch.ones(4, 1), torch.ones(1, 4))[0, 0]
    step = torch.nn.functional.gelu(torch.tensor(2.0))
    torch.testing.assert_close(moved, found + step, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("before", "after"), [(8, 8), (8, 32), (8, 3), (4, 7), (1, 5), (6, 1)])
def test_positions_are_interpolated_between_their_ends(before: int, after: int):
    table = torch.randn(before, 5)
    found = interpolate_positions(table, after)
    assert found.shape == (after, 5)
    torch.testing.assert_close(found[0], table[0], atol=1e-6, rtol=0)
    if after > 1:
        torch.testing.assert_close(found[-1], table[-1], atol=1e-6, rtol=0)
    if before == after:
        assert torch.equal(found, table)
    line = torch.arange(before, dtype=torch.float32)[:, None]
    wanted = torch.linspace(0, before - 1, after)[:, None]
    torch.testing.assert_close(interpolate_positions(line, after), wanted, atol=1e-5, rtol=0)


MEASURES = [{"regions": 2}, {"positions": 4}, {"regions": 3, "region_heads": 3, "positions": 16}]


@pytest.mark.parametrize("settings", MEASURES)
def test_with_each_measure_it_starts_as_the_encoder(lite_model: Model, settings: dict[str, int]):
    encoder = lite_model.encoder
    adapter = Temporal.attach(encoder, {**SMALL, "blocks": [], **settings})
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 48, 64, 3), dtype=np.uint8)
    features = features_of(adapter, frames)
    adapter.fit_inputs(features)
    np.testing.assert_array_equal(
        adapter.pool(features), encoder.pool(features_of(encoder, frames))
    )
    batch = TrainingBatch(torch.from_numpy(features), torch.tensor([[1.0, 0]]))
    classes = adapter.training_classes(LABELS)
    torch.manual_seed(0)
    named = dict(adapter.trainable())
    torch.nn.init.normal_(adapter.network.leave.weight)
    adapter.training_step(batch, classes).losses["total"].backward()
    new = [name for name in named if name.startswith(("attend", "look", "places"))]
    assert new
    assert all(bool(named[name].grad.any()) for name in new if name != "attend.down")


def towers_with_parts(folder: Path) -> list[Encoder]:
    models.save_openclip(folder / "open", models.openclip_config(quick_gelu=True))
    hf, mae = tiny_models.save("clip", folder / "hf"), tiny_models.save("videomae", folder / "mae")
    specs = f"openclip:{folder / 'open'}", f"hf:{hf}", f"videomae:{mae}"
    return [load_encoder(spec) for spec in specs]


def test_parts_of_a_vit_are_where_they_are_and_start_as_their_mean(tmp_path: Path):
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32, 3), dtype=np.uint8)
    left = frames.copy()
    left[..., :16, :] = 128
    for encoder in towers_with_parts(tmp_path):
        assert isinstance(encoder, PatchTokens)
        parts, other = (encoder.encode_regions(each[0], 2, 2) for each in (frames, left))
        rows = len(features_of(encoder, frames)[0])
        assert parts.shape == (rows, 4, encoder.dim)
        np.testing.assert_allclose(np.linalg.norm(parts, axis=2), 1, atol=1e-5)
        away = (1 - (parts * other).sum(axis=2)).mean(axis=0)
        assert min(away[0], away[2]) > max(away[1], away[3])
        (whole,) = encoder.encode_regions(frames[0], 1, 1)[:1]
        assert whole.shape == (1, encoder.dim)
        adapter = Temporal.attach(encoder, {**SMALL, "blocks": [], "regions": 2})
        features = features_of(adapter, frames)
        adapter.fit_inputs(features)
        own = encoder.pool(features_of(encoder, frames))
        np.testing.assert_array_equal(adapter.pool(features), own)


def test_parts_of_a_clip_are_the_means_of_its_patches(tmp_path: Path):
    models.save_openclip(tmp_path, models.openclip_config(quick_gelu=True))
    encoder = require_blocks(load_encoder(f"openclip:{tmp_path}"), "test")
    frames = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    view, pixels = encoder.towers.vision_view(), encoder.pixels_of(frames)
    with torch.inference_mode():
        tokens = view.patches(pixels)
        x = view.embed(pixels)
        for block in view.blocks:
            x = block.whole(x)
        torch.testing.assert_close(view.joint(x[:, 0]), view.features(pixels), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens.flatten(1, 2), view.joint(x[:, 1:]))
    mean = tokens[:, :2, 2:].mean(dim=(1, 2)).numpy()  # of 4 x 4 patches, above and to the right
    own = encoder.encode_regions(frames, 2, 2)[:, 1]
    np.testing.assert_allclose(own, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)


def test_layers_that_are_copied_compute_what_the_tower_does(tmp_path: Path):
    models.save_openclip(tmp_path, models.openclip_config(quick_gelu=True))
    encoder = load_encoder(f"openclip:{tmp_path}")
    settings = {"initial": "blocks", "layers": 2, "blocks": [], "dropout": 0.0}
    adapter = Temporal.attach(encoder, settings)
    view = require_blocks(encoder, "test").towers.vision_view()
    assert (adapter.config.width, adapter.config.heads) == (view.width, view.blocks[0].heads)
    x = torch.randn(2, 5, view.width)
    with torch.no_grad():
        for layer, block in zip(adapter.network.layers, view.blocks[-2:], strict=True):
            torch.testing.assert_close(layer(x), block.whole(x.clone()), atol=1e-5, rtol=1e-5)
    features = np.random.default_rng(1).random((2, 4, encoder.frame_dim)).astype(np.float32)
    adapter.fit_inputs(features)
    np.testing.assert_array_equal(adapter.pool(features), encoder.pool(features))
    again = Temporal.attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    refused(ModelError, "layers is 4; use up to 3", Temporal.attach, encoder,
            {**settings, "layers": 4})  # fmt: skip


def test_encoders_without_parts_or_blocks_are_refused():
    clips = load_encoder("torchvision:mc3_18?random_init=true&frames=2&size=32")
    refused(UsageError, "no patch tokens", WithRegions, clips, 2, 2)
    refused(ModelError, "patch_tokens", Temporal.attach, FakeEncoder(), {**SMALL, "regions": 2})
    refused(ModelError, "vit_blocks", Temporal.attach, FakeEncoder(), {"initial": "blocks"})
    refused(UnknownNameError, "initial", Temporal.attach, FakeEncoder(), {"initial": "block"})
    refused(ModelError, "positions is -1", Temporal.attach, FakeEncoder(), {"positions": -1})


def test_settings_of_before_are_written_as_before():
    kept = Temporal.attach(FakeEncoder(), SMALL).settings
    assert not kept.keys() & {"regions", "region_heads", "positions", "initial"}
    more = Temporal.attach(FakeEncoder(), {**SMALL, "positions": 8}).settings
    assert more == {**kept, "positions": 8}
