"""Attentive semantic units: the encoder at the start, parts of frames, units that are chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import LabelError, ModelError
from vlar.methods.asu.adapter import Asu, label_units
from vlar.methods.asu.network import RegionAttention
from vlar.model.model import Model
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training

SMALL = {"width": 8, "heads": 2, "moments": 4}
LABELS = ("archery", "climb stairs", "pour")


def features(n: int = 3, t: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, t, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    loaded = load_encoder(f"openclip:{folder}")
    assert isinstance(loaded, TorchEncoder)
    return loaded


@pytest.mark.parametrize("settings", [{}, {"layers": 0}, {"selected": 4096}])
def test_at_the_start_it_is_the_encoder(settings: dict[str, Any]):
    adapter = Asu.attach(FakeEncoder(), {**SMALL, **settings})
    adapter.training_classes(LABELS)
    assert adapter.config.grid == 0  # R = 0: this encoder cannot tell parts apart
    np.testing.assert_array_equal(adapter.pool(features()), FakeEncoder().pool(features()))
    np.testing.assert_array_equal(adapter.encode_text(LABELS), FakeEncoder().encode_text(LABELS))


@pytest.mark.parametrize("grid", [0, 1, 2, 3])
def test_inside_a_clip_it_starts_as_the_clip(clip: TorchEncoder, grid: int):
    adapter = Asu.attach(clip, {"grid": grid, "heads": 2, "region_blocks": 2})
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 40, 48, 3), dtype=np.uint8)
    (ours,), (theirs,) = (one.encode(clips_of(frames)) for one in (adapter, clip))
    np.testing.assert_allclose(ours.vector, theirs.vector, atol=1e-6)
    assert ours.features.shape == (4, adapter.frame_dim)
    assert adapter.frame_dim == clip.dim * (1 + grid**2)
    assert adapter.reads == ("pixels" if grid else "features")


def test_one_part_that_is_the_frame_is_the_class_token(clip: TorchEncoder):
    vision = clip.towers.vision_view()
    parts = RegionAttention(vision, 1, 2)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = parts(images)
        torch.testing.assert_close(seen[:, 1], seen[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(seen[:, 0], vision.features(images), atol=1e-5, rtol=0)


def test_a_part_depends_on_its_patches_alone_in_one_block(clip: TorchEncoder):
    vision = clip.towers.vision_view()
    parts = RegionAttention(vision, 2, 1)
    inside = parts._inside(vision.n_patches)
    assert inside.any(dim=1).all()
    assert inside.any(dim=0).all()
    x = torch.randn(1, 1 + vision.n_patches, vision.width)
    own = x[:, :1].expand(-1, 4, -1)
    changed = x.clone()
    changed[:, 1:][:, ~inside[0]] += torch.randn(int((~inside[0]).sum()), vision.width)
    block = vision.blocks[-1]
    with torch.no_grad():
        one, other = (
            parts._attended(block, tokens, own, inside, parts.adapters[0])
            for tokens in (x, changed)
        )
    torch.testing.assert_close(one[:, 0], other[:, 0])
    assert (one[:, 3] - other[:, 3]).abs().max() > 1e-3


def test_shares_of_units_sum_to_one_and_name_what_is_shown():
    adapter = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "object: dog"]})
    word = adapter.network.units[1].numpy()
    shown = adapter.units_shown(np.repeat(word[None], 8, axis=0), most=2)
    assert shown[0][0] == "object: dog"
    assert sum(share for _, share in shown) == pytest.approx(1, abs=1e-5)
    tokens = torch.from_numpy(adapter.tokens(features()))
    torch.testing.assert_close(adapter.network.shown(tokens).sum(dim=-1), torch.ones(3, 4))


def test_units_come_from_the_labels_and_new_labels_have_new_ones():
    adapter = Asu.attach(FakeEncoder(), SMALL)
    assert adapter.config.units == ()
    adapter.training_classes(LABELS)
    first = adapter.config.units
    assert "object: bow" in first
    assert first == tuple(map(str, label_units(LABELS, FakeEncoder())))
    before = adapter.fingerprint
    adapter.training_classes(("kick ball", "brush hair", "shoot gun"))
    assert "object: bow" not in adapter.config.units
    assert adapter.fingerprint != before
    given = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "scene: field"]})
    given.training_classes(LABELS)
    assert given.config.units == ("object: bow", "scene: field")


def test_a_bank_of_units_becomes_part_of_the_settings(tmp_path: Path):
    from vlar.generators.descriptions.base import write_units

    units = write_units("archery, pour", tmp_path / "units.json")
    adapter = Asu.attach(FakeEncoder(), {**SMALL, "unit_bank": str(tmp_path / "units.json")})
    assert adapter.config.units == tuple(map(str, units))
    (tmp_path / "units.json").unlink()
    again = Asu.attach(FakeEncoder(), adapter.settings)
    assert again.fingerprint == adapter.fingerprint
    with pytest.raises(LabelError, match="is not 'GROUP: WORD'"):
        Asu.attach(FakeEncoder(), {"unit_bank": "everyday_actions"})


@pytest.mark.parametrize("ground", [0.0, 0.1])
def test_it_learns_from_moments(ground: float):
    clips, dataset = ordered_clips(24)
    adapter = Asu.attach(FakeEncoder(), {**SMALL, "units": ["object: bow", "motion: running"],
                                         "ground": ground})  # fmt: skip
    loader = FeatureLoader(adapter.training_inputs(clips), dataset.paths, adapter.input_widths)
    numbers = replace(load_recipe("asu/adapt"), epochs=40, learning_rate=1e-2)
    epochs = Training(adapter, loader, dataset, numbers).run().epochs
    assert epochs[-1].losses["total"] < epochs[0].losses["total"]
    assert epochs[-1].accuracy > 0.7 > epochs[0].accuracy  # order alone tells these labels apart
    moved = adapter.pool(clips) - FakeEncoder().pool(clips)
    assert np.abs(moved).max() > 0.01


def test_on_lite_it_reads_parts_of_frames(lite_model: Model):
    adapter = Asu.attach(lite_model.encoder)
    assert adapter.config.grid == 2
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 40, 48, 3), dtype=np.uint8)
    (ours,), (theirs,) = (one.encode(clips_of(frames)) for one in (adapter, lite_model.encoder))
    np.testing.assert_array_equal(ours.vector, theirs.vector)
    assert adapter.tokens(ours.features[None]).shape == (1, 2, 5, lite_model.words.dim)


def test_what_does_not_fit_is_named():
    with pytest.raises(ModelError, match=r"width is 16; use 12 or less.*'fake'"):
        Asu.attach(FakeEncoder(), {"width": 16})
    with pytest.raises(ModelError, match=r"patch_tokens.*'fake' shows none"):
        Asu.attach(FakeEncoder(), {"grid": 2})
    with pytest.raises(ModelError, match="layers is 0, so nothing is trained"):
        Asu.attach(FakeEncoder(), {**SMALL, "layers": 0}).trainable()
