"""The graphs of ``lite`` give what timm and sentence-transformers give with the same weights."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pytest

from vlar.encoders.lite import towers
from vlar.encoders.lite.towers import IMAGE_NETWORKS, LITE, MAX_TOKENS, ImageTower, TextTower
from vlar.files.fetched_weights.packages import ExtraFile
from vlar.files.pickles import read_state
from vlar.pose.onnx import Graph

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


def timm_model(architecture: str, weights: ExtraFile) -> Any:
    import timm
    import torch

    state = torch.load(LITE.verified_path(weights.name), map_location="cpu", weights_only=True)
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

    original = SentenceTransformer(str(LITE.verified_path("texts").parent), device="cpu")
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


@pytest.mark.parametrize("name", ["lite0", "lite2"])
def test_a_state_of_torch_is_read_without_torch_bit_for_bit(name: str):
    import torch

    path = LITE.verified_path(name)
    expected = torch.load(path, map_location="cpu", weights_only=True)
    found = read_state(path.read_bytes())
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert (found[key].dtype, found[key].shape) == (tensor.numpy().dtype, tensor.shape)
        assert found[key].tobytes() == tensor.numpy().tobytes()


# SHA-256 of the graphs as torch's reader gave them: libraries and models hold vectors of these.
GRAPHS = {
    "lite0": "afbee769e4eefc1d3e32008fcf7d6eca4ea9d6809c9672507408c27ae1e56917",
    "lite2": "8fc6fd419d6e4fa48ba85480d1ceec4d95bb7174b5987774299aab86aacf1b0b",
    "texts": "e80d68bea918d18f04426a0ca323e986cc7bd70a4a70bbe5111dc524544672ac",
}


class Recorded(Graph):
    """A graph as the hash of its constants and operators, whichever version writes it."""

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        import onnx

        digest = hashlib.sha256()
        for parts in self._constants:
            tensor = onnx.TensorProto.FromString(b"".join(parts))
            digest.update(repr((tensor.name, tensor.data_type, list(tensor.dims))).encode())
            digest.update(tensor.raw_data)
        for node in map(onnx.NodeProto.FromString, self._nodes):
            digest.update(repr((node.op_type, list(node.input), list(node.output))).encode())
        return digest.hexdigest().encode()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graphs_are_those_of_the_first_version(name: str, monkeypatch: pytest.MonkeyPatch):
    from safetensors.numpy import load_file

    monkeypatch.setattr(towers, "Graph", Recorded)
    if name == "texts":
        found = towers.text_tower(load_file(LITE.verified_path(name)))
    else:
        (network,) = (each for each in IMAGE_NETWORKS if each.weights.name == name)
        found = towers.image_tower(network.state(), network.size, network.strided)
    assert found.decode() == GRAPHS[name]


def test_multiply_adds_are_counted():
    assert [*map(towers.multiply_adds, IMAGE_NETWORKS)] == [385_187_552, 859_736_272]
