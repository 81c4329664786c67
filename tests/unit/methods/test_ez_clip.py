"""EZ-CLIP's rules beyond the golden shape: any size, batches, number types, settings, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from benchmarks import ez_clip_plain as plain
from tests.clips import features_of, vectors_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar import registry
from vlar.adapters.views import require_blocks
from vlar.encoders.base import load_encoder
from vlar.encoders.clip import openclip_loader
from vlar.encoders.clip.towers import weights_hash
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.ez_clip.adapter import EzClip
from vlar.methods.ez_clip.network import EzClipConfig, EzClipNetwork

TEXTS = ["riding a bike", "cooking", "opening the door slowly"]


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 5, 40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return folder


def moved(adapter: EzClip) -> EzClip:
    """Away from its start, so that every part counts."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for tensor in adapter.module.state_dict().values():
            torch.nn.init.normal_(tensor, std=0.2)
    adapter.refresh()
    return adapter


@pytest.fixture(scope="module")
def adapter(folder: Path) -> EzClip:
    """Not to be changed by a test."""
    return moved(EzClip.attach(load_encoder(f"openclip:{folder}"), {"n_frames": 5}))


def small(
    size: int, depth: int, config: EzClipConfig, *, width: int = 32, quick: bool = True
) -> tuple[Any, EzClipNetwork]:
    """A random CLIP of a given size and depth; no part of its EZ-CLIP is at its start."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        clip = CLIP(
            20,
            {"image_size": size, "patch_size": 8, "width": width, "head_width": width // 4,
             "layers": depth},
            {"context_length": 12, "vocab_size": 50, "width": 24, "heads": 2, "layers": depth + 1},
            quick_gelu=quick,
        ).eval().requires_grad_(False)  # fmt: skip
        vision, text = openclip_loader.vision_view(clip), openclip_loader.text_view(clip)
        network = EzClipNetwork.build(vision, text, config, lambda: clip.logit_scale)
        for tensor in network.parts.state_dict().values():
            torch.nn.init.normal_(tensor, std=0.2)
    return clip, network


def words() -> Tensor:
    """(4, 12) ids whose highest, the end of the text, stands at different places."""
    ids = torch.randint(1, 48, (4, 12), generator=torch.Generator().manual_seed(1))
    for row, end in enumerate((2, 11, 6, 4)):
        ids[row, end] = 49
        ids[row, end + 1 :] = 0
    return ids


def videos(n_frames: int, size: int) -> Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(3, n_frames, 3, size, size, generator=random)


SHAPES = [
    (32, 3, 4, {}),
    (16, 2, 7, {"visual_hidden": 5, "text_hidden": 50}),
    (40, 4, 2, {"prompts": "shallow", "temporal_embedding": True}),
    (24, 1, 3, {"prompts": "none"}),
    (8, 3, 5, {"prompts": "none", "time_adapters": True}),  # one patch
    (32, 2, 3, {"time_adapters": True, "visual_hidden": 0}),  # both, which the original has not
    (32, 2, 1, {"prompts": "none", "time_adapters": True, "text_hidden": 0}),  # one frame
]


@pytest.mark.parametrize(("size", "depth", "n_frames", "more"), SHAPES)
def test_any_shape_equals_the_formulas_without_shortcuts(
    size: int, depth: int, n_frames: int, more: dict[str, Any]
) -> None:
    clip, network = small(size, depth, EzClipConfig(n_frames=n_frames, **more))
    seen = videos(n_frames, size)
    with torch.no_grad():
        literal = plain.encode_videos(clip, network.parts, seen)
        np.testing.assert_allclose(network.frames(seen), literal, rtol=0, atol=1e-5)
        full = network.frames(seen, lambda name, tensor: None)
        np.testing.assert_allclose(full, literal, rtol=0, atol=1e-5)
        texts = plain.encode_texts(clip, network.parts, words())
        np.testing.assert_allclose(network.texts(words()), texts, rtol=0, atol=1e-5)
    with torch.enable_grad():  # no shortcut in place
        np.testing.assert_allclose(network.frames(seen).detach(), literal, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "depth", "n_frames", "more"), SHAPES[:3] + SHAPES[4:6])
def test_losses_and_gradients_equal_those_without_shortcuts(
    size: int, depth: int, n_frames: int, more: dict[str, Any]
) -> None:
    clip, network = small(size, depth, EzClipConfig(n_frames=n_frames, **more), quick=False)
    seen, labels = videos(n_frames, size), [2, 0, 2]  # one label twice, two of four in no video
    parameters = list(network.parts.parameters())
    targets = torch.nn.functional.one_hot(torch.tensor(labels), 4).float()
    output = network.step(seen, targets, words())
    losses = output.losses
    wanted = plain.losses(clip, network.parts, seen, labels, words())
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(wanted[name].item(), abs=1e-5), name
    ours, right = (torch.autograd.grad(found["total"], parameters) for found in (losses, wanted))
    for got, want in zip(ours, right, strict=True):
        assert (got - want).abs().max() <= 1e-4 * want.abs().max() + 1e-6
    with torch.no_grad():
        names = torch.nn.functional.normalize(network.texts(words()), dim=-1)
        video = torch.nn.functional.normalize(network.frames(seen).mean(dim=1), dim=-1)
        np.testing.assert_allclose(
            output.logits.detach(), clip.logit_scale.exp() * video @ names.T, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 5_204_736),
        ({"n_frames": 16}, 5_278_464),
        ({"prompts": "none", "time_adapters": True}, 8_681_472),
    ],
)
def test_trained_parameters_at_full_size(settings: dict[str, Any], count: int) -> None:
    assert _trained("ViT-B-16", settings) == count


def test_trained_parameters_of_the_large_model() -> None:
    assert _trained("ViT-L-14", {}) == 16_360_704


def _trained(arch: str, settings: dict[str, Any]) -> int:
    import open_clip

    with torch.device("meta"):
        clip = CLIP(**open_clip.get_model_config(arch))
        vision, text = openclip_loader.vision_view(clip), openclip_loader.text_view(clip)
        network = EzClipNetwork.build(
            vision, text, EzClipConfig(**settings), lambda: clip.logit_scale
        )
    return sum(p.numel() for p in network.parts.parameters())


def test_its_start(folder: Path, frames: np.ndarray) -> None:
    """Adapters change nothing; prompts are small, random, and within their bounds."""
    encoder = require_blocks(load_encoder(f"openclip:{folder}"), "test")
    before = weights_hash(encoder.towers.model)
    same = EzClip.attach(encoder, {"prompts": "none", "time_adapters": True})
    np.testing.assert_allclose(features_of(same, frames), features_of(encoder, frames), atol=1e-6)
    np.testing.assert_allclose(same.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-6)
    fresh = EzClip.attach(encoder)
    prompts = fresh.state_dict()["temporal_prompts"]
    assert prompts.shape == (3, 8, 32)
    assert 0.05 < np.abs(prompts).max() <= (6 / (768 + 32)) ** 0.5
    assert np.abs(features_of(fresh, frames) - features_of(encoder, frames)).max() > 1e-4
    assert weights_hash(encoder.towers.model) == before


def test_the_contract(adapter: EzClip, frames: np.ndarray) -> None:
    assert registry.get("adapter", "ez-clip") is EzClip
    features = features_of(adapter, frames)
    np.testing.assert_allclose(np.linalg.norm(adapter.pool(features), axis=1), 1, atol=1e-6)
    assert adapter.encode_text([]).shape == (0, 24)
    assert adapter.encode([]) == []
    assert adapter.logit_scale == 100
    assert adapter.count_tokens("cat") == 3
    refused(UsageError, "takes video clips", features_of, adapter, frames[:, :0])
    refused(UsageError, "takes video clips", features_of, adapter, frames[0])


def test_a_video_is_the_same_alone_and_in_a_batch(adapter: EzClip, frames: np.ndarray) -> None:
    together = features_of(adapter, frames)
    for i in range(len(frames)):
        np.testing.assert_array_equal(features_of(adapter, frames[i : i + 1])[0], together[i])
    words = adapter.encode_text(TEXTS)
    for i, text in enumerate(TEXTS):
        adapter.refresh()  # forget the vectors
        np.testing.assert_array_equal(adapter.encode_text([text])[0], words[i])


def test_one_batch_through_the_network_does_not_mix_videos(adapter: EzClip) -> None:
    seen = videos(5, 32)
    with torch.no_grad():
        both, swapped = adapter.network.frames(seen), adapter.network.frames(seen.flip(0))
    assert torch.allclose(both, swapped.flip(0), atol=1e-6)


def test_the_order_of_frames_matters(adapter: EzClip, frames: np.ndarray) -> None:
    backwards = vectors_of(adapter, frames[:, ::-1].copy())
    assert np.abs(vectors_of(adapter, frames) - backwards).max() > 1e-4
    plain_clip = adapter.encoder
    same = vectors_of(plain_clip, frames[:, ::-1].copy())
    np.testing.assert_allclose(vectors_of(plain_clip, frames), same, atol=1e-6)


@pytest.mark.parametrize("n_frames", [1, 3, 10])
def test_other_numbers_of_frames(adapter: EzClip, n_frames: int) -> None:
    """Prompts are resampled along time: twice the frames, a still prompt stays what it is."""
    seen = np.random.default_rng(1).integers(0, 256, (1, n_frames, 40, 50, 3), dtype=np.uint8)
    assert np.isfinite(features_of(adapter, seen)).all()
    rows = torch.stack(list(adapter.network.parts.prompts(n_frames)))
    assert rows.shape == (3, n_frames, 32)
    table = adapter.network.parts.temporal_prompts
    assert table is not None
    assert rows.min() >= table.min()
    assert rows.max() <= table.max()
    assert torch.equal(torch.stack(list(adapter.network.parts.prompts(5))), table)


def test_texts_are_encoded_once(adapter: EzClip, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    whole = EzClipNetwork.texts

    def counted(self: EzClipNetwork, ids: Tensor, **more: Any) -> Tensor:
        calls.append(len(ids))
        return whole(self, ids, **more)

    monkeypatch.setattr(EzClipNetwork, "texts", counted)
    fresh = moved(EzClip.attach(adapter.encoder, adapter.settings))
    first = fresh.encode_text(TEXTS)
    used = len(calls)
    np.testing.assert_array_equal(fresh.encode_text(TEXTS[::-1]), first[::-1])
    assert len(calls) == used > 0
    monkeypatch.setattr("vlar.methods.ez_clip.adapter._CACHED_TEXTS", 2)
    assert fresh.encode_text([*TEXTS, "more"]).shape == (4, 24)
    np.testing.assert_array_equal(fresh.encode_text(TEXTS), first)
    fresh.refresh()
    before = len(calls)
    fresh.encode_text(TEXTS[:1])
    assert len(calls) == before + 1


def test_a_clip_of_transformers(tmp_path: Path, frames: np.ndarray) -> None:
    models.save_clip(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    same = EzClip.attach(encoder, {"prompts": "none"})
    np.testing.assert_allclose(features_of(same, frames), features_of(encoder, frames), atol=1e-6)
    np.testing.assert_allclose(same.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-6)
    away = moved(EzClip.attach(encoder, {"temporal_embedding": True}))
    assert np.abs(features_of(away, frames) - features_of(encoder, frames)).max() > 0.01


def test_bfloat16_autocast(adapter: EzClip) -> None:
    seen = videos(5, 32)
    with torch.no_grad():
        exact = adapter.network.frames(seen)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = adapter.network.frames(seen)
    cosine = torch.nn.functional.cosine_similarity(exact, rounded.float(), dim=-1)
    assert cosine.min() > 0.99


def test_bfloat16_weights(folder: Path, frames: np.ndarray) -> None:
    """The parts stay in float32, so that small steps are not lost."""
    half = moved(EzClip.attach(load_encoder(f"openclip:{folder}?precision=bfloat16")))
    assert {p.dtype for p in half.module.parameters()} == {torch.float32}
    for vectors in (features_of(half, frames), half.encode_text(TEXTS)):
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()


def test_own_state_only_and_back(adapter: EzClip, frames: np.ndarray) -> None:
    state = adapter.state_dict()
    assert len(state) == 1 + 4 * 3 + 4 * 3
    other = EzClip.attach(adapter.encoder, adapter.settings)
    assert other.fingerprint != adapter.fingerprint
    other.load_state_dict(state)
    assert other.fingerprint == adapter.fingerprint
    np.testing.assert_allclose(features_of(other, frames), features_of(adapter, frames), atol=1e-6)
    with pytest.raises(ModelError, match="lacks 'temporal_prompts'"):
        other.load_state_dict({k: v for k, v in state.items() if k != "temporal_prompts"})


def test_a_wrong_pairing_is_a_clear_error() -> None:
    class Other:
        name = "lite"

    with pytest.raises(ModelError, match=r"needs vit_blocks.*'lite' shows none"):
        EzClip.attach(Other())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompts", "wide"), ("n_frames", 0), ("visual_hidden", -1), ("text_hidden", -3),
        ("motion_weight", -1), ("target_sharpness", float("nan")), ("prompt_dropout", 1.0),
        ("drop", 1.5), ("logit_scale", 0), ("n_frames", "8"), ("drop", None),
        ("time_adapters", "no"), ("templates", 3), ("visual_hidden", 2.5),
    ],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: object) -> None:
    refused(ModelError, f"EZ-CLIP setting {name} is ", EzClipConfig.from_dict, {name: value})


def test_settings() -> None:
    config = EzClipConfig(prompts="shallow", visual_hidden=7)
    assert EzClipConfig.from_dict(config.to_dict()) == config
    assert (config.hidden("visual", 64), config.hidden("text", 50)) == (7, 12)
    refused(UnknownNameError, "did you mean 'prompts'", EzClipConfig.from_dict, {"prompt": "deep"})
