"""``st:``: embedders of sentence-transformers give what the library gives, and run no code."""

from __future__ import annotations

import json
import socket
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny_models, tiny_st
from tests.clips import clips_of, vectors_of
from tests.needed import needs
from tests.refusals import refused
from vlar.encoders.base import load_encoder
from vlar.encoders.sentence_tower import load_text_tower
from vlar.encoders.st import StEncoder
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.numeric import unit

needs("sentence_transformers", 6)
TEXTS = ("a dog", "riding a bike along a street", "a dog")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("st")
    return cache(lambda name: tiny_st.save(name, place / name))


@pytest.fixture(scope="session")
def encoders(folders: Any):
    return cache(lambda name, options="": load_encoder(f"st:{folders(name)}{options}"))


@pytest.fixture(scope="session")
def library(folders: Any):
    from sentence_transformers import SentenceTransformer

    return cache(lambda name: SentenceTransformer(str(folders(name)), device="cpu"))


@pytest.mark.parametrize("name", tiny_st.MAKERS)
def test_texts_are_those_of_the_library(name: str, encoders: Any, library: Any):
    expected = unit(library(name).encode(list(TEXTS), convert_to_numpy=True))
    np.testing.assert_allclose(encoders(name).encode_text(TEXTS), expected, atol=1e-5)


def test_frames_of_a_clip_model_are_those_of_the_library(encoders: Any, library: Any):
    from PIL import Image

    frames = tiny_models.frames(1)
    expected = library("clip").encode([Image.fromarray(frame) for frame in frames[0]])
    (row,) = encoders("clip").encode(clips_of(frames))
    np.testing.assert_allclose(row.features, expected, atol=1e-5)
    np.testing.assert_allclose(row.vector, unit(expected.mean(axis=0)[None])[0], atol=1e-5)


VIDEO = [name for name in tiny_st.MAKERS if name not in ("text", "clip")]


@pytest.mark.parametrize("name", VIDEO)
def test_a_clip_of_a_video_model_is_that_of_the_library(name: str, encoders: Any, library: Any):
    import torch

    frames = tiny_models.frames(1)
    metadata = {"fps": 10.0, "frames_indices": [0, 1, 2, 3], "total_num_frames": 4}
    array = torch.from_numpy(frames[0]).permute(0, 3, 1, 2)
    expected = library(name).encode(
        [{"array": array, "video_metadata": metadata}],
        processing_kwargs={"video": {"do_sample_frames": False}},
    )
    (row,) = encoders(name).encode(clips_of(frames))  # at 10 frames a second
    assert row.features.shape == (1, encoders(name).dim)
    np.testing.assert_allclose(row.vector, unit(expected)[0], atol=1e-5)


@pytest.mark.parametrize("name", VIDEO)
def test_order_and_times_of_frames_count(name: str, encoders: Any):
    encoder, frames = encoders(name), tiny_models.frames(1)
    vector = vectors_of(encoder, frames)
    assert np.abs(vector - vectors_of(encoder, frames[:, ::-1])).max() > 1e-3
    slow = encoder.encode(clips_of(frames, np.arange(4) * 2.0))[0].vector
    # EmbeddingGemma 2 reads times only where its processor is told to.
    assert (np.abs(vector - slow).max() > 1e-4) == (name == "qwen")


@pytest.mark.parametrize("name", ["clip", *VIDEO])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 2)])
def test_any_size_of_frames(name: str, height: int, width: int, encoders: Any):
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, height, width, 3), np.uint8)
    np.testing.assert_allclose(np.linalg.norm(vectors_of(encoders(name), frames)), 1, atol=1e-5)


def test_frames_of_an_image_model_have_no_order(encoders: Any):
    frames = tiny_models.frames(1)
    backwards = vectors_of(encoders("clip"), frames[:, ::-1])
    np.testing.assert_allclose(vectors_of(encoders("clip"), frames), backwards, atol=1e-6)


def test_a_text_model_is_a_text_tower(encoders: Any):
    encoder = encoders("text")
    tower = load_text_tower(encoder.name)
    np.testing.assert_array_equal(tower(TEXTS), encoder.encode_text(TEXTS))
    np.testing.assert_allclose(np.linalg.norm(load_text_tower()(TEXTS), axis=1), 1, atol=1e-5)
    with pytest.raises(UsageError, match=r"is a text model.*text tower") as caught:
        encoder.encode(clips_of(tiny_models.frames(1)))
    assert "\n" not in str(caught.value)


def test_each_role_has_its_instruction(folders: Any, encoders: Any, library: Any):
    asked = "?query_prompt=find%20a%20video:%20&label_prompt=an%20action:%20"
    encoder = encoders("text", asked)
    assert encoder.two_roles
    assert not encoders("text").two_roles
    for role, prompt in (("query", "find a video: "), ("label", "an action: ")):
        expected = library("text").encode(list(TEXTS), prompt=prompt)
        np.testing.assert_allclose(encoder.encode_text(TEXTS, role), unit(expected), atol=1e-5)
    assert encoder.fingerprint != encoders("text").fingerprint


def test_instructions_of_the_model_are_used(tmp_path: Path):
    prompts = {"query": "query: ", "document": "document: "}
    folder = tiny_st.save("qwen", tmp_path / "m", prompts=prompts)
    encoder = load_encoder(f"st:{folder}")
    assert isinstance(encoder, StEncoder)
    assert encoder.prompts == {"query": "query: ", "label": "", "clip": "document: "}
    assert encoder.two_roles
    plain = load_encoder(f"st:{folder}?clip_prompt=")
    frames = tiny_models.frames(1)
    assert np.abs(vectors_of(encoder, frames) - vectors_of(plain, frames)).max() > 1e-4


def test_vectors_are_cut_and_clips_are_read_at_a_rate(encoders: Any):
    whole, cut = encoders("qwen"), encoders("qwen", "?dim=16&fps=2&frames=24")
    assert (cut.dim, cut.fps, cut.max_frames, cut.n_frames) == (16, 2.0, 24, 24)
    np.testing.assert_allclose(
        cut.encode_text(TEXTS), unit(whole.encode_text(TEXTS)[:, :16]), atol=1e-5
    )
    others = [encoders("qwen", options) for options in ("?dim=16", "?dim=16&fps=1&frames=24")]
    assert len({e.fingerprint for e in (whole, cut, *others)}) == 4


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("text", "?dim=99", "from 1 to 32"),
        ("text", "?dim=0", "from 1 to 32"),
        ("text", "?fps=2", "sees no video"),
        ("clip", "?fps=2", "sees no video"),
        ("qwen", "?frames=0", "from 1 to 1024"),
    ],
)
def test_a_wrong_option_is_one_line(name: str, options: str, why: str, folders: Any):
    caught = refused(UsageError, why, load_encoder, f"st:{folders(name)}{options}")
    assert "\n" not in str(caught.value)


def test_a_text_that_looks_like_an_address_or_a_file_is_a_text(
    encoders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The library opens such texts as pictures and videos."""

    def no_route(*_: object, **__: object) -> None:
        raise AssertionError("a text was opened")

    monkeypatch.setattr(socket, "create_connection", no_route)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"no picture")
    texts = [str(picture), "http://127.0.0.1:9/a.png", "data:image/png;base64,AAAA", "a.mp4"]
    for name in tiny_st.MAKERS:
        vectors = encoders(name).encode_text(texts)
        assert np.isfinite(vectors).all()
        assert np.abs(vectors - vectors[0]).max(axis=1)[1:].min() > 0


EVIL = "class Evil:\n    @staticmethod\n    def load(*a, **k):\n        open({!r}, 'w')\n"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return tiny_st.save("text", tmp_path / "stranger")


def rewrite(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content)))


def not_loaded(folder: Path, why: str) -> None:
    caught = refused(ModelError, why, load_encoder, f"st:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "named", ["evil.Evil", "os.system", "sentence_transformers.base.model.json",
              "sentence_transformers.util.misc.importlib", "subprocess.Popen"]
)  # fmt: skip
def test_a_foreign_module_is_never_imported(named: str, stranger: Path):
    ran = stranger / "ran"
    (stranger / "evil.py").write_text(EVIL.format(str(ran)))
    rewrite(stranger / "modules.json", lambda rows: [{**rows[0], "type": named}, *rows[1:]])
    not_loaded(stranger, "wants to run code .*modules.json names the class")
    assert not ran.exists()


@pytest.mark.parametrize("path", ["../other", "/etc", "C:\\x", "a/../../b"])
def test_a_module_lies_in_its_folder(path: str, stranger: Path):
    rewrite(stranger / "modules.json", lambda rows: [rows[0], {**rows[1], "path": path}])
    not_loaded(stranger, "only its own files")


def test_a_router_names_only_known_modules(stranger: Path):
    (stranger / "router_config.json").write_text(json.dumps({"types": {"a": "evil.Evil"}}))
    not_loaded(stranger, "router_config.json names the class 'evil.Evil'")


def test_pickled_weights_are_not_opened(stranger: Path):
    (stranger / "model.safetensors").rename(stranger / "pytorch_model.bin")
    not_loaded(stranger, "cannot be read|is a pickle")


def test_a_foreign_activation_is_refused(stranger: Path):
    config = stranger / "1_Pooling" / "config.json"
    rewrite(config, lambda c: {**c, "activation_function": "torch.utils.cpp_extension.load"})
    not_loaded(stranger, "activation_function")


@pytest.mark.parametrize("content", ["{}", "[1]", "[", '[{"type": 1}]'])
def test_a_damaged_list_of_modules_is_one_line(content: str, stranger: Path):
    (stranger / "modules.json").write_text(content)
    not_loaded(stranger, "modules.json")


def test_another_kind_of_model_is_one_line(tmp_path: Path):
    folder = tmp_path / "chat"
    folder.mkdir()
    chat = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(chat))
    not_loaded(folder, "is a chat or text model .LlamaForCausalLM. and not an embedder")
    empty = tmp_path / "empty"
    empty.mkdir()
    not_loaded(empty, "neither modules.json nor config.json")


def test_without_the_hub_it_is_one_line():
    for name in ("all-MiniLM-L6-v2", "Qwen/Qwen3-VL-Embedding-2B"):
        not_loaded(Path(name), "HF_HUB_OFFLINE")
    refused((ModelError, UnknownNameError), "", load_encoder, "st:a/b/c")


def test_weights_left_over_or_missing_are_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = tiny_st.save("text", tmp_path / "m")
    (file,) = folder.rglob("model.safetensors")
    state = load_file(file)
    save_file({**state, "left.weight": state[min(state)].clone()}, file, {"format": "pt"})
    refused(ModelError, "1 are left over, first left.weight", load_encoder, f"st:{folder}")
    lost = min(name for name in state if "encoder.layer" in name)
    save_file({k: v for k, v in state.items() if k != lost}, file, {"format": "pt"})
    refused(ModelError, "1 are missing", load_encoder, f"st:{folder}")
