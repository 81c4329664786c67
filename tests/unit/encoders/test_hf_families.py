"""Every family of ``hf:`` gives what transformers itself gives, on tiny random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import library_forward as library
from tests import tiny_models
from tests.clips import clips_of, vectors_of
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.hf_loader import FAMILIES
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError, VlarError
from vlar.numeric import unit

FRAMEWISE = [name for name, kind in tiny_models.KINDS.items() if kind == "frames"]
WHOLE = [name for name, kind in tiny_models.KINDS.items() if kind == "whole"]
CLASSES = [name for name, kind in tiny_models.KINDS.items() if kind == "classes"]
WITH_TEXT = [name for name in tiny_models.KINDS if name not in CLASSES]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("tiny")
    return cache(lambda name: tiny_models.save(name, place / name))


@pytest.fixture(scope="session")
def encoders(folders: Any):
    return cache(lambda name: load_encoder(f"hf:{folders(name)}"))


def clip_pixels(encoder: TorchEncoder, frames: np.ndarray) -> Any:
    """(N, T, H, W, 3) to pixels (N, T, 3, h, w), as the encoder makes them."""
    return encoder.pixels_of(frames.reshape(-1, *frames.shape[2:])).unflatten(0, frames.shape[:2])


def test_every_family_has_its_tiny_model():
    assert set(WITH_TEXT) == set(FAMILIES)


@pytest.mark.parametrize("family", WITH_TEXT)
def test_vectors_are_those_of_the_library(family: str, folders: Any, encoders: Any):
    encoder, model = encoders(family), library.load_model(folders(family))
    frames = tiny_models.frames()
    pixels = clip_pixels(encoder, frames)
    whole = tiny_models.KINDS[family] != "frames"
    shown = pixels if whole else pixels.flatten(0, 1)
    tokens = library.token_inputs(folders(family), family, library.TEXTS, encoder.max_tokens)
    expected = library.image_vectors(model, family, shown, tokens)
    rows = encoder.encode(clips_of(frames))
    found = np.stack([row.vector for row in rows])
    if not whole:
        found = unit(np.concatenate([row.features for row in rows]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    texts = library.text_vectors(model, family, shown, tokens)
    found = encoder.encode_text(library.TEXTS)
    filled = [bool(text) or family != "videoprism" for text in library.TEXTS]
    np.testing.assert_allclose(found[filled], texts[filled], atol=1e-5)  # no token at all
    assert np.ptp(texts, axis=0).max() > 1e-3  # or all texts would be the same


def test_cosines_of_blip_are_those_of_its_retrieval_head(folders: Any, encoders: Any):
    import torch

    family = "BlipForImageTextRetrieval"
    encoder, model = encoders(family), library.load_model(folders(family))
    frames = tiny_models.frames(1)
    tokens = library.token_inputs(folders(family), family, library.TEXTS, encoder.max_tokens)
    with torch.inference_mode():
        pixels = clip_pixels(encoder, frames)[0]
        expected = model(pixel_values=pixels, use_itm_head=False, **tokens).itm_score
    (row,) = encoder.encode(clips_of(frames))
    found = unit(row.features) @ encoder.encode_text(library.TEXTS).T
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_x_clip_conditions_its_texts_as_the_library(folders: Any, encoders: Any):
    import torch

    encoder, model = encoders("xclip"), library.load_model(folders("xclip"))
    frames = tiny_models.frames()
    tokens = library.token_inputs(folders("xclip"), "xclip", library.TEXTS, encoder.max_tokens)
    with torch.inference_mode():
        seen = model(pixel_values=clip_pixels(encoder, frames), **tokens).text_embeds
    context = np.stack([row.context for row in encoder.encode(clips_of(frames))])
    found = encoder.conditioned_text(library.TEXTS, context)
    np.testing.assert_allclose(found, library.unit_rows(seen), atol=1e-5)


@pytest.mark.parametrize("family", CLASSES)
def test_class_scores_are_those_of_the_library(family: str, folders: Any, encoders: Any):
    encoder, model = encoders(family), library.load_model(folders(family))
    frames = tiny_models.frames()
    expected = library.scores(model, clip_pixels(encoder, frames))
    found = np.stack([row.features[0, : encoder.dim] for row in encoder.encode(clips_of(frames))])
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
    assert encoder.names == tiny_models.CLASSES


@pytest.mark.parametrize("family", list(tiny_models.KINDS))
def test_the_order_of_frames_counts_where_the_model_sees_it(family: str, encoders: Any):
    frames = tiny_models.frames()
    vectors = vectors_of(encoders(family), frames)
    backwards = vectors_of(encoders(family), frames[:, ::-1])
    if tiny_models.KINDS[family] == "frames":
        np.testing.assert_allclose(vectors, backwards, atol=1e-6)
    else:
        assert np.abs(vectors - backwards).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("family", list(tiny_models.KINDS))
def test_pixels_are_those_of_the_processor(family: str, folders: Any, encoders: Any):
    """Smooth pictures: kernels differ by two grey levels where a picture is resized."""
    ramp = np.linspace(0, 255, tiny_models.SIDE).astype(np.uint8)
    picture = np.stack([ramp[:, None].repeat(len(ramp), 1), ramp[None].repeat(len(ramp), 0)], -1)
    frames = np.concatenate([picture, picture[..., :1] // 2], axis=-1)[None].repeat(4, axis=0)
    expected = library.library_pixels(folders(family), frames)
    if expected is None:
        pytest.skip("its processor makes patches")
    encoder = encoders(family)
    found = encoder.pixels_of(frames).numpy()
    grey = 1 / (255 * min(encoder.towers.pixels.std))
    assert found.shape == expected.shape
    resized = family in ("align", "vjepa2")  # to another size before the cut
    np.testing.assert_allclose(found, expected, atol=2.5 * grey if resized else 1e-5)


@pytest.mark.parametrize("family", ["pe_video", "pe_audio_video"])
def test_any_number_of_frames_or_a_rate(family: str, folders: Any, encoders: Any):
    encoder = encoders(family)
    for t in (1, 3, 9):
        assert vectors_of(encoder, tiny_models.frames(1, t)).shape == (1, encoder.dim)
    rated = load_encoder(f"hf:{folders(family)}?fps=2&frames=24")
    assert (rated.fps, rated.max_frames, rated.n_frames) == (2.0, 24, 24)
    other = load_encoder(f"hf:{folders(family)}?fps=1&frames=24")
    assert len({encoder.fingerprint, rated.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize(
    ("family", "options", "why"),
    [
        ("videoprism", "frames=8", "exactly 4 frames"),
        ("clip", "fps=2", "one by one"),
        ("videomae", "frames=8", "its own number"),
        ("pe_video", "frames=0", "from 1 to 1024"),
        ("pe_video", "fps=0", "from 0.001 to 1000"),
        ("pe_video", "fps=nan", "from 0.001 to 1000"),
        ("pe_video", "frames=few", "whole number"),
        ("altclip", "precision=int8", "does not run in int8"),
        ("videomae", "precision=int8", "does not run in int8"),
    ],
)
def test_a_wrong_option_is_one_line(family: str, options: str, why: str, folders: Any):
    with pytest.raises(VlarError, match=why) as caught:
        load_encoder(f"hf:{folders(family)}?{options}")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, (UsageError, ModelError))


def test_a_wrong_number_of_frames_is_one_line(encoders: Any):
    for family in ("videoprism", "videomae"):
        with pytest.raises(UsageError, match="takes exactly 4 frames"):
            encoders(family).encode(clips_of(tiny_models.frames(1, 3)))


def change(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "'llama' family|chat"),
        ({"architectures": ["CLIPModel"], "projection_dim": 12}, "do not fit"),
    ],
)
def test_another_kind_of_model_is_one_line(settings: dict[str, Any], why: str, tmp_path: Path):
    folder = tiny_models.save("clip", tmp_path / "m")
    change(folder, **settings)
    with pytest.raises(ModelError, match=why) as caught:
        load_encoder(f"hf:{folder}")
    assert "\n" not in str(caught.value)


def test_loading_prints_nothing(folders: Any, capfd: pytest.CaptureFixture[str]):
    for family in ("pe_video", "siglip", "blip"):
        load_encoder(f"hf:{folders(family)}")
    assert capfd.readouterr() == ("", "")
