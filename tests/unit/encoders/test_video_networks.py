"""Video networks without texts: those of torchvision, inflated ones, and tubelets."""

# pyright: basic
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from tests import tiny_models
from tests.clips import clips_of
from tests.refusals import refused
from tests.videos import make_video
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.torchvision import midplanes
from vlar.encoders.videomae import TubeletEncoder
from vlar.errors import ModelError, UsageError
from vlar.methods.video_net.inflated import gate_shift, inflate, inflated
from vlar.model.model import Model, load
from vlar.types import Clip, Window

SMALL = "torchvision:mc3_18?random_init=true&frames=2&size=48"
COUNTS = {
    "r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325, "s3d": 8_320_048,
}  # fmt: skip


def noise(frames: int, height: int = 40, width: int = 48, seed: int = 0) -> Clip:
    data = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)
    return Clip(Path("a"), Window(0, 1), "video", data, np.arange(frames) / frames)


@pytest.fixture(scope="module")
def small() -> Encoder:
    return load_encoder(SMALL)


@pytest.mark.parametrize(
    ("sizes", "expected"), [((64, 64, 3, 3), 144), ((64, 128, 3, 3), 230), ((3, 8, 5, 7), 31)]
)
def test_a_filter_in_two_steps_has_its_weights(sizes: tuple[int, ...], expected: int):
    assert midplanes(*sizes) == expected
    n_in, n_out, t, d = sizes
    full, parts = t * d * d * n_in * n_out, expected * (d * d * n_in + t * n_out)
    assert 0 <= full - parts < d * d * n_in + t * n_out


@pytest.mark.parametrize("name", COUNTS)
def test_networks_have_the_published_parameters(name: str):
    with torch.device("meta"):
        model = get_model(name, weights=None)
    assert sum(each.numel() for each in model.parameters()) == COUNTS[name]


def test_pixels_are_those_of_torchvision():
    from torchvision.models.video import MC3_18_Weights

    clip = noise(2, 150, 200)
    images = torch.from_numpy(clip.data).permute(0, 3, 1, 2)
    whole = load_encoder("torchvision:mc3_18?random_init=true&frames=2")
    expected = MC3_18_Weights.DEFAULT.transforms()(images)
    torch.testing.assert_close(whole.pixels_of(clip.data).transpose(0, 1), expected)  # type: ignore[attr-defined]
    with torch.inference_mode():
        own = whole.towers.model(expected[None])[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(whole.encode([clip])[0].features[0], own.numpy(), atol=1e-6)


@pytest.mark.slow
def test_words_are_unknown_and_examples_answer(small: Encoder, tmp_path: Path):
    model = Model(small)
    clip = make_video(tmp_path / "a.mp4", 4)
    answer = model.classify(clip, ["walking", "cooking"])
    assert answer.unknown
    assert answer.unknown_probability == 1
    assert "trained without words" in answer.notes[0]
    assert "vlar adapt" in answer.notes[0]
    many = model.classify(clip, ["walking", "cooking"], mode="multi")
    assert many.unknown
    for label, colour in (("dark", 10), ("light", 240)):
        (tmp_path / "s" / label).mkdir(parents=True)
        for number in range(3):
            shown = np.full((64, 96, 3), colour + number, np.uint8)
            make_video(tmp_path / "s" / label / f"{number}.mp4", 4, picture=lambda _, s=shown: s)
    mine = model.adapt(tmp_path / "s")
    answer = mine.classify(tmp_path / "s" / "dark" / "1.mp4")
    assert answer.predictions[0].label == "dark"
    assert not any("trained without words" in note for note in answer.notes)
    words = model.adapt(tmp_path / "s", method="aligned")
    answer = words.classify(tmp_path / "s" / "dark" / "1.mp4", ["dark", "light"])
    assert not any("trained without words" in note for note in answer.notes)


def test_cost_is_what_torch_counts(small: Encoder):
    shape = (2, 48, 48, 3)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        get_model("mc3_18", weights=None).eval()(torch.zeros(1, 3, 2, 48, 48))
    assert abs(small.cost(shape) / (counter.get_total_flops() / 2) - 1) < 1e-3
    two = load_encoder(f"{SMALL}+inflated:resnet18?random_init=true&frames=2&size=48")
    assert two.cost(shape) == sum(part.cost(shape) for part in two.parts)  # type: ignore[attr-defined]
    refused(UsageError, "not counted", load_encoder("imu").cost, shape)


def test_cost_counts_attention(tmp_path: Path):
    """By hand: the products of a transformer of two layers, its attention included."""
    encoder = load_encoder(f"videomae:{tiny_models.save('videomae', tmp_path / 'm')}")
    assert isinstance(encoder, TubeletEncoder)
    width, length = 32, 2 * encoder.patches
    patch = length * width * 3 * 2 * tiny_models.PATCH**2
    layer = 4 * length * width**2 + 2 * length**2 * width + 2 * length * width * 2 * width
    assert encoder.cost((4, 32, 32, 3)) == patch + 2 * layer


def test_a_still_clip_is_its_picture():
    torch.manual_seed(0)
    flat = get_model("resnet18", weights=None).eval()
    for layer in flat.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = flat(picture)
        deep = inflated(flat)
        found = deep(picture[:, :, None].expand(-1, -1, 5, -1, -1))
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, atol=1e-5 * largest, rtol=0)
        moving = deep(torch.randn(1, 3, 5, 64, 64))
    assert not torch.allclose(moving, expected, atol=1e-2 * largest)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_an_inflated_filter_is_its_picture_at_every_time(depth: int):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    picture = torch.randn(2, 4, 9, 11)
    with torch.inference_mode():
        deep = inflate(conv, depth)(picture[:, :, None].expand(-1, -1, 6, -1, -1))
        for moment in deep.unbind(2):
            torch.testing.assert_close(moment, conv(picture), atol=1e-5, rtol=1e-5)
    assert deep.shape[2] == 6


def test_a_shift_moves_one_frame_and_no_gate_is_the_identity():
    maps = torch.zeros(1, 4, 5, 1, 1)
    maps[:, :, 2] = 1.0
    moved = gate_shift(maps, torch.ones(1, 2, 5, 1, 1))[0, :, :, 0, 0]
    assert moved.argmax(dim=1).tolist() == [1, 1, 3, 3]
    still = torch.randn(2, 4, 5, 3, 3)
    torch.testing.assert_close(gate_shift(still, torch.zeros(2, 2, 5, 3, 3)), still)
    half = gate_shift(maps, torch.ones(1, 2, 5, 1, 1), mix=torch.full((1, 4, 5), 0.25))
    assert half.max() == 0.25


def test_movement_is_a_stream_of_its_own():
    encoder = load_encoder("inflated:resnet18?random_init=true&frames=4&size=48&stream=flow")
    still = noise(1).data.repeat(4, axis=0)
    clip = Clip(Path("a"), Window(0, 1), "video", still, np.arange(4) / 4)
    pixels = encoder.pixels_of(clip.data)  # type: ignore[attr-defined]
    assert pixels.shape[:2] == (4, 2)
    assert float(pixels.abs().max()) == 0
    moved = np.stack([np.roll(still[0], 3 * at, axis=1) for at in range(4)])
    assert float(encoder.pixels_of(moved)[:, 0].mean()) > 0  # type: ignore[attr-defined]
    one = Clip(Path("a"), Window(0, 1), "video", still[:1], np.zeros(1))
    refused(UsageError, "at least 2 frames", encoder.encode, [one])


def test_tokens_are_those_of_the_library_in_the_order_of_time(tmp_path: Path):
    from transformers import VideoMAEModel

    folder = tiny_models.save("videomae", tmp_path / "m")
    encoder = load_encoder(f"videomae:{folder}")
    assert isinstance(encoder, TubeletEncoder)
    clips = clips_of(np.stack([noise(4, 32, 32, seed).data for seed in range(3)]))
    pixels = torch.stack([encoder.pixels_of(clip.data) for clip in clips])
    tokens = encoder.tokens(pixels)
    assert tokens.shape == (3, 2, 16, 32)
    with torch.inference_mode():
        expected = VideoMAEModel.from_pretrained(folder).eval()(pixels).last_hidden_state
    torch.testing.assert_close(tokens.flatten(1, 2), expected)
    torch.testing.assert_close(encoder.tokens(pixels[1:2]), tokens[1:2])
    assert not torch.allclose(encoder.tokens(pixels.flip(1)), tokens, atol=1e-3)
    rows, steps = encoder.encode(clips), tokens[1].mean(dim=1).numpy()
    assert np.abs(rows[1].features - steps).max() > 0.1  # a fine-tuned file has a norm
    assert encoder.towers.model.fc_norm.bias.any()
    assert encoder.frame_blocks[0].kind == "appearance"


@pytest.mark.parametrize("task", ["ForVideoClassification", "ForPreTraining", "Model"])
def test_a_checkpoint_of_videomae_answers_with_all_its_weights(task: str, tmp_path: Path):
    import transformers as hf

    pooled = task == "ForVideoClassification"
    config = hf.VideoMAEConfig(
        **tiny_models.image_tower(num_frames=4, tubelet_size=2), use_mean_pooling=pooled,
        decoder_num_hidden_layers=1, **tiny_models.named(("a", "b", "c")),
    )  # fmt: skip
    model = tiny_models.seeded(lambda: getattr(hf, f"VideoMAE{task}")(config))
    tiny_models.write(tmp_path, model, tiny_models.videos())
    encoder = load_encoder(f"videomae:{tmp_path}")
    clip = noise(4, 32, 32)
    pixels, read = encoder.pixels_of(clip.data)[None], []  # type: ignore[attr-defined]
    with torch.inference_mode():
        if pooled:
            model.classifier.register_forward_pre_hook(lambda _, given: read.append(given[0]))
            model(pixels)
        else:
            tower = getattr(model, "videomae", model)
            read.append(tower(pixels).last_hidden_state.mean(dim=1))
    mean = encoder.encode([clip])[0].features.mean(axis=0)
    np.testing.assert_allclose(mean, read[0][0].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["hf", "videomae", "vjepa2", "onward"])
def test_weights_left_over_or_missing_are_refused(kind: str, tmp_path: Path):
    family = {"hf": "clip", "onward": "timesformer"}.get(kind, kind)
    folder = tiny_models.save(family, tmp_path / "m")
    file, spec = folder / "model.safetensors", f"{'hf' if kind == 'onward' else kind}:{folder}"
    state = load_file(file)
    save_file({**state, "left.weight": torch.zeros(3)}, file, {"format": "pt"})
    refused(ModelError, "1 are left over, first left.weight", load_encoder, spec)
    lost = min(name for name in state if name.endswith("weight") and "encoder.layer" in name)
    save_file({k: v for k, v in state.items() if k != lost}, file, {"format": "pt"})
    refused(ModelError, "1 are missing", load_encoder, spec)


def swapped(path: Path) -> Path:
    """Weights of a network under the names of another layer's."""
    state = get_model("mc3_18", weights=None).state_dict()
    first, second = "layer1.0.conv1.0.weight", "layer2.0.conv1.0.weight"
    state[first], state[second] = state[second], state[first]
    torch.save(state, path)
    return path


def test_weights_are_loaded_strictly(tmp_path: Path):
    state = {k: v + 0.01 if v.is_floating_point() else v
             for k, v in get_model("mc3_18", weights=None).state_dict().items()}  # fmt: skip
    torch.save(state, tmp_path / "good.pth")
    good = load_encoder(f"torchvision:mc3_18?weights={tmp_path / 'good.pth'}&frames=2")
    own = good.towers.model.state_dict()  # type: ignore[attr-defined]
    torch.testing.assert_close(own["stem.0.weight"], state["stem.0.weight"])
    assert good.fingerprint != load_encoder(SMALL).fingerprint
    torch.save({**state, "more": torch.zeros(1)}, tmp_path / "more.pth")
    torch.save({k: v for k, v in state.items() if k != "fc.bias"}, tmp_path / "less.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("not weights")
    named = (
        (swapped(tmp_path / "swapped.pth"), "layer1.0.conv1.0.weight"),
        (tmp_path / "more.pth", "'more'"),
        (tmp_path / "less.pth", "fc.bias"),
        (tmp_path / "code.pth", "cannot be read"),
        (tmp_path / "text.pth", "cannot be read"),
        (tmp_path / "absent.pth", "no weights at"),
    )
    for path, told in named:
        refused(ModelError, told, load_encoder, f"torchvision:mc3_18?weights={path}")
    flat = get_model("resnet18", weights=None).state_dict()
    torch.save({**flat, "more": torch.zeros(1)}, tmp_path / "flat.pth")
    refused(ModelError, "'more'", load_encoder, f"inflated:resnet18?weights={tmp_path}/flat.pth")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("torchvision:mc3_18", "random_init=true"),
        ("torchvision:mc3_19", "mc3_18"),
        ("torchvision:s3d?random_init=true&frames=8", "14 to 1024 frames"),
        ("torchvision:mc3_18?random_init=true&precision=int8", "int8"),
        ("inflated:vit_b_16?random_init=true", "no form over time"),
        ("inflated:resnet18?random_init=true&stream=sound", "colour"),
        ("inflated:resnet18", "has no weights"),
        ("inflated:densenet121?random_init=true", "pools pictures by a function"),
        ("torchvision:mc3_18?random_init=true&size=3", "16 to 1024 pixels"),
        ("videomae:/nowhere", "neither a folder"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(spec: str, told: str):
    with pytest.raises((ModelError, UsageError)) as error:
        load_encoder(spec)
    assert told in error.value.message
    assert "\n" not in error.value.message


def test_a_folder_of_another_family_or_of_pickles_is_refused(tmp_path: Path):
    clip = tiny_models.save("clip", tmp_path / "clip")
    refused(ModelError, "of the 'clip' family", load_encoder, f"videomae:{clip}")
    folder = tiny_models.save("videomae", tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model.bin")
    refused(ModelError, "no safetensors", load_encoder, f"videomae:{folder}")
    other = tiny_models.save("videomae", tmp_path / "o")
    encoder = load_encoder(f"videomae:{other}")
    refused(UsageError, "tubelets of 2; got 3", encoder.encode, [noise(3)])


def test_a_saved_model_names_the_network(tmp_path: Path):
    model = load(SMALL)
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").fingerprint == model.fingerprint
