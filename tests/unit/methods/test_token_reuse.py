"""Token reuse: the full tower at its limits, what is spared between them, and its refusals."""

# pyright: basic
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import videos
from tests.clips import features_of, vectors_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar import registry
from vlar.adapters.views import require_blocks
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.methods.token_reuse.adapter import TokenReuse
from vlar.methods.token_reuse.reuse import reuse_cost, reused_features
from vlar.model.model import Model, load

PATCHES = 16  # of the tiny tower: 32 pixels, patches of 8


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return require_blocks(load_encoder(f"openclip:{folder}"), "test")


def attached(encoder: TorchEncoder, **settings: Any) -> TokenReuse:
    return registry.get("adapter", "token-reuse").attach(encoder, settings)


def corner(n_frames: int = 11) -> np.ndarray:
    """(1, T, 32, 32, 3): noise that stands still, and a bright patch that blinks in a corner."""
    still = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    frames = np.repeat(still[None], n_frames, axis=0)
    frames[1::2, :8, :8] = 255
    return frames[None]


def noise(n_frames: int = 11) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (1, n_frames, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("layer", "depth", "kept", "patches", "share"),
    [(4, 12, 196, 196, 1.0), (4, 12, 49, 196, 0.502538), (0, 3, 3, 15, 0.25), (2, 4, 7, 15, 0.75)],
)
def test_the_share_of_a_frame(layer: int, depth: int, kept: int, patches: int, share: float):
    assert reuse_cost(layer, depth, kept, patches) == pytest.approx(share, abs=1e-6)


def test_with_all_patches_it_is_the_tower_bit_for_bit(encoder: TorchEncoder):
    for frames in (noise(), corner(3)):
        same = attached(encoder, keep=1.0, threshold=0.0)
        np.testing.assert_array_equal(features_of(same, frames), features_of(encoder, frames))


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 3, 8])
def test_the_split_tower_with_all_patches_is_the_tower(
    encoder: TorchEncoder, layer: int, every: int
):
    vision = encoder.towers.vision_view()
    pixels = torch.stack([encoder.pixels_of(frames[0]) for frames in (noise(7), corner(7))])
    with torch.no_grad():
        found = reused_features(vision, pixels, layer, PATCHES, every)
        wanted = torch.stack([encoder.towers.image(clip) for clip in pixels])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"keep": 0.05}, {"keep": 0.5}, {"threshold": 0.1}])
def test_a_still_clip_is_the_tower(encoder: TorchEncoder, settings: dict[str, float]):
    still = np.repeat(noise(1), 11, axis=1)
    found = features_of(attached(encoder, **settings), still)
    np.testing.assert_allclose(found, features_of(encoder, still), atol=1e-6)


def test_what_changed_is_computed_and_the_rest_is_old(encoder: TorchEncoder):
    """One patch blinks: the largest changes beat random ones, and more patches come nearer."""
    vision, pixels = encoder.towers.vision_view(), encoder.pixels_of(corner()[0])[None]
    generator = torch.Generator().manual_seed(0)

    def random(now: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.rand(now.shape[:2], generator=generator)

    def miss(kept: int, **more: Any) -> float:
        with torch.no_grad():
            found = reused_features(vision, pixels, 0, kept, 8, **more)
            whole = encoder.towers.image(pixels[0])[None]
        return float((1 - torch.cosine_similarity(found, whole, dim=-1)).mean())

    misses = [miss(kept) for kept in (1, 4, PATCHES)]
    assert misses[0] < miss(1, change=random) / 2
    assert misses[-1] < 1e-6
    assert misses[1] <= misses[0]


def test_a_threshold_leaves_what_hardly_moves(encoder: TorchEncoder):
    vision, pixels = encoder.towers.vision_view(), encoder.pixels_of(corner(5)[0])[None]
    none = reused_features(vision, pixels, 0, PATCHES, 8, threshold=2.0)
    some = reused_features(vision, pixels, 0, PATCHES, 8, threshold=1e-3)
    one = reused_features(vision, pixels, 0, 1, 8)
    with torch.no_grad():
        whole = encoder.towers.image(pixels[0])[None]
    assert float((none - whole).abs().max()) > 1e-3
    torch.testing.assert_close(some, one, atol=1e-5, rtol=1e-5)  # the one patch that blinks
    whole_frames = reused_features(vision, pixels, 0, PATCHES, 1, threshold=2.0)
    torch.testing.assert_close(whole_frames, whole, atol=1e-5, rtol=1e-5)


def test_a_clip_is_the_same_alone_and_in_company(encoder: TorchEncoder):
    adapter = attached(encoder, keep=0.3, threshold=0.01)
    frames = np.concatenate([noise(), corner()])
    together = vectors_of(adapter, frames)
    for row in range(2):
        np.testing.assert_array_equal(vectors_of(adapter, frames[row : row + 1])[0], together[row])


def test_the_cost_of_a_clip_is_the_share_of_its_frames(encoder: TorchEncoder):
    shape = (9, 40, 48, 3)
    full = encoder.cost(shape)
    assert attached(encoder).cost(shape) == full
    found = attached(encoder, keep=0.25, layer=1).cost(shape) / full
    assert found == pytest.approx((2 + 7 * reuse_cost(1, 3, 4, PATCHES)) / 9, abs=1e-6)
    assert found < 0.7


def test_fewer_products_run_than_in_the_tower(encoder: TorchEncoder):
    """Counted by torch on what runs, next to the share that is stated."""
    from vlar.encoders.clip.operations import multiply_adds

    vision, pixels = encoder.towers.vision_view(), encoder.pixels_of(noise(8)[0])[None]
    full, some = (
        multiply_adds(lambda kept=kept: reused_features(vision, pixels, 0, kept, 8))
        for kept in (PATCHES, 2)
    )
    assert some < 0.45 * full


def test_a_saved_model_answers_the_same(encoder: TorchEncoder, tmp_path: Path):
    for label, value in (("red", 250), ("green", 5)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for row in range(2):
            picture = np.full((48, 64, 3), 90 + 10 * row, np.uint8)
            picture[10:30, 10:40] = (value, 255 - value, 60)
            file = tmp_path / "clips" / label / f"{row}.mp4"
            videos.make_video(file, 8, picture=lambda _, p=picture: p)
    base = Model(encoder)
    made = base.adapt(tmp_path / "clips", method="token-reuse", settings={"keep": 0.25})
    clip = tmp_path / "clips" / "red" / "0.mp4"
    again = load(made.save(tmp_path / "mine"))
    assert again.encoder.settings == {"keep": 0.25, "threshold": 0.0, "layer": 1, "every": 8}
    before, after = (model.classify(clip).to_dict() for model in (made, again))
    assert {**before, "model": ""} == {**after, "model": ""}
    refused(
        UsageError, "nothing to train", base.adapt, tmp_path / "clips",
        method="token-reuse", objectives=["consistency"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"keep": 0.0}, "keep is 0.0; use a number above 0"),
        ({"keep": 1.5}, "up to 1"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"layer": 3}, "layer is 3; use a number below 3"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_wrong_settings(encoder: TorchEncoder, settings: dict[str, Any], told: str):
    refused(ModelError, told, attached, encoder, **settings)


def test_encoders_without_blocks_are_refused():
    lite = load_encoder("lite")
    refused(ModelError, "works inside a ViT", registry.get("adapter", "token-reuse").attach, lite)
    wordless = load_encoder("torchvision:mc3_18?random_init=true&frames=2&size=32")
    refused(ModelError, "", registry.get("adapter", "token-reuse").attach, wordless)
