"""Models of transformers, saved and loaded by path, give their own library's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.clips import clips_of, contexts_of, features_of, vectors_of
from tests.unit.encoders.clip import models
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.pixels import patch_size_fit
from vlar.encoders.hf import XClipEncoder
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.numeric import unit

CLIP_TEXTS = ["a cat", "someone plays the guitar on a stage"]


def pixels(encoder: TorchEncoder, frames: np.ndarray) -> torch.Tensor:
    return torch.cat(list(encoder.pixel_batches(clips_of(frames)))).flatten(0, 1)


def features(output: Any) -> np.ndarray:
    output = output if isinstance(output, torch.Tensor) else output.pooler_output
    return output.numpy()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("hf_clip")
    return folder, models.save_clip(folder)


@pytest.fixture(scope="module")
def xclip(tmp_path_factory: pytest.TempPathFactory) -> tuple[XClipEncoder, Any]:
    folder = tmp_path_factory.mktemp("hf_xclip")
    model = models.save_xclip(folder)
    encoder = load_encoder(f"hf:{folder}")
    assert isinstance(encoder, XClipEncoder)
    return encoder, model


@torch.no_grad()
def test_clip(clip: tuple[Path, Any], frames: np.ndarray) -> None:
    folder, model = clip
    encoder = load_encoder(f"hf:{folder}")
    assert isinstance(encoder, TorchEncoder)
    assert (encoder.dim, encoder.max_tokens, encoder.frames_fixed) == (20, 16, False)
    wanted = features(model.get_image_features(pixel_values=pixels(encoder, frames)))
    np.testing.assert_allclose(features_of(encoder, frames).reshape(12, 20), wanted, atol=2e-5)
    ids = encoder.token_ids(CLIP_TEXTS)
    wanted = unit(features(model.get_text_features(input_ids=ids)))
    np.testing.assert_allclose(encoder.encode_text(CLIP_TEXTS), wanted, atol=5e-6)
    assert ids[0, :4].tolist() == [49406, 320, 2368, 49407]


@torch.no_grad()
@pytest.mark.parametrize("naflex", [False, True])
def test_siglip(tmp_path: Path, frames: np.ndarray, naflex: bool) -> None:
    model = models.save_siglip(tmp_path, naflex=naflex)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert isinstance(encoder, TorchEncoder)
    seen = pixels(encoder, frames)
    got = features_of(encoder, frames).reshape(12, 32)
    if naflex:
        assert seen.shape[-2:] == patch_size_fit(40, 56, 8, 16) == (24, 40)
        got_padded = _padded_naflex(model, seen, 16)
        np.testing.assert_allclose(got, got_padded, atol=2e-5)
    else:
        assert seen.shape[-2:] == (32, 32)
        np.testing.assert_allclose(got, features(model.get_image_features(seen)), atol=2e-5)
    ids = encoder.token_ids(["a cat", "the dog"])
    assert ids.shape == (2, 12)
    if not naflex:  # transformers picks SigLIP 2's tokeniser class by the model, not by the file
        assert ids[0].tolist() == [3, 6, 1] + [0] * 9
    wanted = unit(features(model.get_text_features(input_ids=ids)))
    np.testing.assert_allclose(encoder.encode_text(["a cat", "the dog"]), wanted, atol=5e-6)
    assert encoder.logit_bias == pytest.approx(float(model.logit_bias))
    assert encoder.logit_scale == pytest.approx(float(model.logit_scale.exp()), rel=1e-6)


def _padded_naflex(model: Any, seen: torch.Tensor, most: int) -> np.ndarray:
    """The way the library's own processor feeds it: padded to the most patches, with a mask."""
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    patches = torch.stack([convert_image_to_patches(image, 8) for image in seen])
    mask = torch.zeros(len(patches), most, dtype=torch.int32)
    mask[:, : patches.shape[1]] = 1
    patches = torch.nn.functional.pad(patches, (0, 0, 0, most - patches.shape[1]))
    shapes = torch.tensor([[seen.shape[-2] // 8, seen.shape[-1] // 8]] * len(patches))
    return features(
        model.get_image_features(
            pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes
        )
    )


@pytest.mark.parametrize("size", [(40, 56), (480, 640), (1080, 1920), (37, 600), (8, 8)])
def test_naflex_sizes_are_the_library_s(size: tuple[int, int]) -> None:
    module = pytest.importorskip("transformers.models.siglip2.image_processing_siglip2")
    for most in (16, 256, 1024):
        wanted = module.get_image_size_for_max_num_patches(*size, 16, most)
        assert patch_size_fit(*size, 16, most) == wanted


@torch.no_grad()
def test_xclip_equals_its_own_forward(xclip: tuple[XClipEncoder, Any], frames: np.ndarray) -> None:
    encoder, model = xclip
    assert encoder.frames_fixed
    assert encoder.n_frames == 4
    assert isinstance(encoder, ConditionedText)
    features, context = features_of(encoder, frames), contexts_of(encoder, frames)
    words = encoder.conditioned_text(CLIP_TEXTS, context)
    whole = model(
        input_ids=encoder.token_ids(CLIP_TEXTS),
        pixel_values=pixels(encoder, frames).unflatten(0, (3, 4)),
    )
    np.testing.assert_allclose(encoder.pool(features), whole.video_embeds, atol=5e-6)
    np.testing.assert_allclose(vectors_of(encoder, frames), whole.video_embeds, atol=5e-6)
    np.testing.assert_allclose(words, whole.text_embeds, atol=5e-6)
    assert np.abs(words - encoder.encode_text(CLIP_TEXTS)).max() > 1e-3  # the video has a say
    one = encoder.conditioned_text(CLIP_TEXTS, context[1:2])
    np.testing.assert_array_equal(one[0], words[1])
    half = encoder.conditioned_text(CLIP_TEXTS, context.astype(np.float16))
    np.testing.assert_allclose(half, words, atol=2e-3)


def test_xclip_takes_its_own_number_of_frames_only(
    xclip: tuple[XClipEncoder, Any], frames: np.ndarray
) -> None:
    with pytest.raises(UsageError, match="exactly 4 frames per clip, got 3; sample 4"):
        features_of(xclip[0], frames[:, :3])


def test_windows_do_not_depend_on_their_company(
    xclip: tuple[XClipEncoder, Any], frames: np.ndarray
) -> None:
    encoder = xclip[0]
    np.testing.assert_array_equal(
        vectors_of(encoder, frames)[1:2], vectors_of(encoder, frames[1:2])
    )


def test_missing_weights_are_an_error_not_a_random_start(
    clip: tuple[Path, Any], tmp_path: Path
) -> None:
    for path in clip[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 are missing .* visual_projection.weight"):
        load_encoder(f"hf:{tmp_path}")
    asked = load_encoder(f"hf:{tmp_path}?random_init=true")
    assert asked.fingerprint == load_encoder(f"hf:{tmp_path}?random_init=true").fingerprint


def test_wrong_places_say_what_to_do(clip: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_encoder(f"hf:{tmp_path}")
    with pytest.raises(ModelError, match="neither a folder nor ORG/NAME"):
        load_encoder("hf:some/where/else")
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set.*hf download openai/clip"):
        load_encoder("hf:openai/clip-vit-base-patch16")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), "utf-8")
    with pytest.raises(ModelError, match="'bert' family; vlar reads clip"):
        load_encoder(f"hf:{tmp_path}")


def test_a_model_without_scaling_rules_is_refused(clip: tuple[Path, Any], tmp_path: Path) -> None:
    for path in clip[0].iterdir():
        if path.name != "preprocessor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        load_encoder(f"hf:{tmp_path}")
