"""Every family of ``hf:`` gives what transformers itself gives, on tiny models of a path."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import library_forward as library
from tests import tiny_models
from tests.clips import clips_of, contexts_of, features_of, vectors_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.hf_loader import FAMILIES
from vlar.encoders.clip.pixels import patch_size_fit
from vlar.encoders.hf import XClipEncoder
from vlar.encoders.protocols import ConditionedText
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
    caught = refused(VlarError, why, load_encoder, f"hf:{folders(family)}?{options}")
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
    caught = refused(ModelError, why, load_encoder, f"hf:{folder}")
    assert "\n" not in str(caught.value)


def test_loading_prints_nothing(folders: Any, capfd: pytest.CaptureFixture[str]):
    for family in ("pe_video", "siglip", "blip"):
        load_encoder(f"hf:{folders(family)}")
    assert capfd.readouterr() == ("", "")


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


@pytest.mark.parametrize("stated", ["PreTrainedTokenizerFast", "Siglip2Tokenizer", "lowering"])
def test_siglip_reads_capitals_as_small_letters_whichever_tokeniser_a_folder_states(
    folders: Any, tmp_path: Path, stated: str
):
    """SigLIP 2 of a fixed size has the model type of SigLIP, and its tokeniser several classes."""
    from tokenizers import normalizers

    folder = tmp_path / "model"
    shutil.copytree(folders("siglip"), folder)
    if stated == "lowering":
        tokenizer = tiny_models.tokenizer()
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.save_pretrained(folder)
    elif stated == "Siglip2Tokenizer":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(
            json.dumps({**settings, "tokenizer_class": stated})
        )
    encoder = load_encoder(f"hf:{folder}")
    assert isinstance(encoder, TorchEncoder)
    capitals, small = encoder.encode_text(["A Man Cooks", "a man cooks"])
    np.testing.assert_array_equal(capitals, small)
    assert encoder.towers.tokens.lower is (stated == "PreTrainedTokenizerFast")


def test_a_family_that_was_trained_on_capitals_keeps_them(encoders: Any):
    capitals, small = encoders("metaclip_2").encode_text(["A Man Cooks", "a man cooks"])
    assert np.abs(capitals - small).max() > 1e-3


def test_the_tokeniser_of_siglip_1_reads_its_file(folders: Any, tmp_path: Path):
    pieces = pytest.importorskip("sentencepiece")
    (tmp_path / "texts.txt").write_text("a man cooks\nthe dog runs\na cat sleeps\n" * 20)
    pieces.SentencePieceTrainer.train(
        input=str(tmp_path / "texts.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=20,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    folder = tmp_path / "model"
    shutil.copytree(folders("siglip"), folder, ignore=shutil.ignore_patterns("tokenizer*"))
    (tmp_path / "spiece.model").rename(folder / "spiece.model")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    encoder = load_encoder(f"hf:{folder}")
    capitals, small, other = encoder.encode_text(["A Man Cooks", "a man cooks", "a cat sleeps"])
    np.testing.assert_array_equal(capitals, small)
    assert np.abs(small - other).max() > 1e-3


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
    refused(ModelError, r"no config\.json", load_encoder, f"hf:{tmp_path}")
    refused(ModelError, "neither a folder nor ORG/NAME", load_encoder, "hf:some/where/else")
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set.*hf download openai/clip"):
        load_encoder("hf:openai/clip-vit-base-patch16")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), "utf-8")
    refused(ModelError, "'bert' family; vlar reads clip", load_encoder, f"hf:{tmp_path}")


def test_a_model_without_scaling_rules_is_refused(clip: tuple[Path, Any], tmp_path: Path) -> None:
    for path in clip[0].iterdir():
        if path.name != "preprocessor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    refused(ModelError, r"no preprocessor_config\.json", load_encoder, f"hf:{tmp_path}")
