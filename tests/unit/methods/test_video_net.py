"""Networks trained by pixels: nothing at the start, the order of frames, and what is spared."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.refusals import refused
from tests.unit.training.fakes import LABELS, FakeEncoder
from tests.videos import make_video
from vlar import registry
from vlar.encoders.base import FrameBlock, load_encoder
from vlar.encoders.bundle import without
from vlar.encoders.torchvision import midplanes
from vlar.errors import ModelError, UnknownNameError
from vlar.methods.video_net.ada_fuse import fuse, needed
from vlar.methods.video_net.adapter import VideoNet, as_in_use
from vlar.methods.video_net.network import (
    OverTime,
    ResidualBody,
    VideoNetConfig,
    VideoNetwork,
    body_of,
    factorised,
)
from vlar.methods.video_net.shift import GateShift, Shift
from vlar.model.model import Model, load
from vlar.pose.features import POSE_WIDTH, features_from_tracks
from vlar.pose.track import Tracks
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, clip_pixels, random_for
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training, score
from vlar.types import Clip, Window

SMALL = {"width": 4, "size": 32, "frames": 4}
WORDLESS = "torchvision:mc3_18?random_init=true&frames=2&size=32"


def moving(n: int, seed: int = 0, side: int = 32) -> np.ndarray:
    """(n, 4, side, side, 3): a square goes to the right, in every second clip to the left."""
    random = np.random.default_rng(seed)
    frames = np.full((n, 4, side, side, 3), 90, np.uint8)
    for row, clip in enumerate(frames):
        top, first = random.integers(2, 20, 2)
        for at, frame in enumerate(clip):
            step = at if row % 2 == 0 else 3 - at
            left = (int(first) + 4 * step) % (side - 8)
            frame[top : top + 8, left : left + 8] = 230
    return frames


def attached(name: str, **settings: Any) -> VideoNet:
    return registry.get("adapter", name).attach(FakeEncoder(), {**SMALL, **settings})


def inputs_of(adapter: VideoNet, frames: np.ndarray) -> np.ndarray:
    clips = [replace(c, path=Path(str(hash(c.data.tobytes())))) for c in clips_of(frames)]
    return np.stack([adapter.clip_inputs(clip, as_in_use).numpy() for clip in clips])


def learned(
    adapter: VideoNet, frames: np.ndarray, epochs: int = 12, rate: float = 1e-2
) -> Training:
    paths = [Path(str(row)) for row in range(len(frames))]
    y = [LABELS[row % 2] for row in range(len(frames))]
    dataset = Dataset.single(LABELS, y, [str(p) for p in paths], paths)
    numbers = load_recipe("video-net/adapt").replaced(
        epochs=epochs, learning_rate=rate, augment=False, average="none"
    )
    training = Training(adapter, FeatureLoader(inputs_of(adapter, frames), paths), dataset, numbers)
    training.run()
    return training


def right(adapter: VideoNet, training: Training, frames: np.ndarray) -> float:
    inputs = inputs_of(adapter, frames)
    found = score(training.method, torch.from_numpy(inputs), training.classes, 2)
    return float((found.argmax(1).numpy() == np.arange(len(frames)) % 2).mean())


@pytest.mark.parametrize("name", ["r2plus1d", "i3d"])
def test_at_the_start_it_is_the_encoder(name: str):
    adapter, encoder = attached(name), FakeEncoder()
    rows, plain = adapter.encode(clips_of(moving(2))), encoder.encode(clips_of(moving(2)))
    for row, own in zip(rows, plain, strict=True):
        np.testing.assert_array_equal(row.vector, own.vector)
        np.testing.assert_array_equal(row.features[:, :12], own.features)
        assert row.features[:, 12:].any()
    features = np.stack([row.features for row in rows])
    np.testing.assert_array_equal(adapter.pool(features), np.stack([r.vector for r in plain]))
    np.testing.assert_array_equal(adapter.encode_text(LABELS), encoder.encode_text(LABELS))


@pytest.mark.parametrize(("name", "tells"), [("frames", False), ("r2plus1d", True), ("i3d", True)])
def test_the_order_of_frames_counts_over_time_alone(name: str, tells: bool):
    torch.manual_seed(0)
    body = body_of(VideoNetConfig(network=name, width=4, size=32)).eval()
    x = torch.randn(2, 3, 6, 32, 32)
    with torch.inference_mode():
        away = (body(x.flip(2)) - body(x)).abs().max() / body(x).abs().max()
    assert (float(away) > 1e-2) == tells
    assert tells or float(away) < 1e-5


def test_a_still_clip_is_its_picture_at_any_length():
    torch.manual_seed(0)
    body = body_of(VideoNetConfig(network="i3d", width=4, size=32)).eval()
    picture = torch.randn(1, 3, 1, 32, 32)
    with torch.inference_mode():
        one, many = (body(picture.expand(-1, -1, t, -1, -1)) for t in (1, 7))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 8, 3), (16, 16, 3), (3, 16, 5)])
def test_a_factorised_filter_has_the_parameters_of_a_full_one(sizes: tuple[int, int, int]):
    n_in, n_out, size = sizes
    made = factorised(n_in, n_out, size, 1)
    between = midplanes(n_in, n_out, 3, size)
    weights = sum(p.numel() for p in made.parameters()) - 2 * between  # less the norm's
    full = 3 * size * size * n_in * n_out
    assert 0 <= full - weights < size * size * n_in + 3 * n_out
    body = ResidualBody(VideoNetConfig(width=4, size=32), 3, factorised)
    halves = [m for m in body.modules() if isinstance(m, torch.nn.ReLU)]
    flat = body_of(VideoNetConfig(network="frames", width=4, size=32))
    plain = [m for m in flat.modules() if isinstance(m, torch.nn.ReLU)]
    assert len(halves) == len(plain) + 7  # a non-linearity more in each of the seven convolutions


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r2plus1d", "i3d"])
def test_it_learns_which_way_things_move(name: str):
    adapter = attached(name)
    training = learned(adapter, moving(48))
    assert right(adapter, training, moving(40, seed=1)) >= 0.9
    frames = attached("video-net", network="frames")
    blind = learned(frames, moving(48))
    assert right(frames, blind, moving(40, seed=1)) <= 0.7
    vectors = [row.vector for row in adapter.encode(clips_of(moving(2)))]
    assert not np.allclose(vectors, [r.vector for r in FakeEncoder().encode(clips_of(moving(2)))])


@pytest.mark.parametrize("spec", [WORDLESS])
def test_recordings_teach_an_encoder_without_words(spec: str, tmp_path: Path):
    for label, frames in zip(LABELS, (moving(4)[::2], moving(4)[1::2]), strict=True):
        (tmp_path / "s" / label).mkdir(parents=True)
        for number, clip in enumerate(frames):
            path = tmp_path / "s" / label / f"{number}.mp4"
            make_video(path, 4, picture=lambda at, c=clip: c[at].repeat(2, 0).repeat(2, 1))
    settings = {"width": 4, "size": 16, "epochs": 2, "batch": 2}
    mine = Model(load_encoder(spec)).adapt(tmp_path / "s", method="r2plus1d", settings=settings)
    assert mine.report is not None
    assert mine.report.training is not None
    saved = load(mine.save(tmp_path / "m"))
    clip = tmp_path / "s" / LABELS[0] / "0.mp4"
    assert saved.classify(clip).predictions == mine.classify(clip).predictions
    assert {p.label for p in mine.classify(clip).predictions} == set(LABELS)


def test_pictures_of_a_clip_change_together_and_the_encoder_is_asked_once():
    adapter, asked = attached("r2plus1d"), []
    encode = adapter.encoder.encode
    adapter.encoder.encode = lambda clips: asked.append(len(clips)) or encode(clips)  # type: ignore[method-assign]
    numbers = load_recipe("general/adapt").replaced(colour=0.0, grey=0.0)
    clip = clips_of(moving(1))[0]

    def draw(frames: Any, size: Any, colours: bool = True) -> Any:
        del colours
        return clip_pixels(frames, size, numbers, random_for(3))

    one, same = adapter.clip_inputs(clip, draw), adapter.clip_inputs(clip, draw)
    assert torch.equal(one, same)
    assert asked == [1]
    plain = adapter.clip_inputs(clip, as_in_use)
    assert not torch.equal(one, plain)
    assert torch.equal(one[:, -12:], plain[:, -12:])


def test_cost_is_that_of_the_encoder_and_the_network():
    small, large = (
        VideoNet.attach(load_encoder(WORDLESS), {"width": width, "size": 32}) for width in (4, 8)
    )
    shape = (2, 32, 32, 3)
    own = [each.cost(shape) - small.encoder.cost(shape) for each in (small, large)]
    assert 0 < 2 * own[0] < own[1]


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"size": 8}, ModelError, "size is 8; use a whole number from 16"),
        ({"width": 0}, ModelError, "width is 0"),
        ({"frames": 0}, ModelError, "frames is 0"),
        ({"network": "r2plus2d"}, UnknownNameError, "r2plus1d"),
        ({"size": "64"}, ModelError, "size is '64'"),
    ],
)
def test_settings_out_of_range_are_one_line(settings: Any, error: Any, told: str):
    refused(error, told, VideoNet.attach, FakeEncoder(), settings)


def test_an_encoder_it_does_not_suit_is_named():
    refused(ModelError, "reads pictures", VideoNet.attach, load_encoder("imu"))
    fixed = FakeEncoder()
    fixed.frames_fixed = True
    refused(ModelError, "frames is 4; use 8", VideoNet.attach, fixed, {"frames": 4})


# Channels that are spared


@pytest.mark.parametrize(
    ("ways", "values", "wanted"),
    [
        ("krr", (1, 2, 3), (1, 1, 2)), ("rsk", (1, 2, 3), (0, 0, 3)), ("rrr", (4, 5, 6), (0, 4, 5)),
        ("skk", (4, 5, 6), (0, 5, 6)),
    ],
)  # fmt: skip
def test_what_is_reused_is_the_map_of_the_frame_before(ways: str, values: Any, wanted: Any):
    choice = one_hot(ways)
    maps = torch.tensor(values).float().view(1, 3, 1)
    assert fuse(maps, choice).flatten().tolist() == list(wanted)
    large = maps[..., None, None].expand(-1, -1, -1, 2, 5)
    assert torch.equal(fuse(large, choice), fuse(maps, choice)[..., None, None].expand_as(large))


@pytest.mark.parametrize(
    ("ways", "wanted"),
    [("krr", (1, 1, 0)), ("rsk", (0, 0, 1)), ("srs", (1, 0, 0)), ("kks", (1, 1, 0))],
)
def test_a_map_is_computed_where_it_is_kept_or_reused_next(ways: str, wanted: Any):
    assert needed(one_hot(ways)).flatten().tolist() == list(wanted)


def one_hot(ways: str) -> torch.Tensor:
    rows = ["krs".index(way) for way in ways]
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).float()[None, :, None]


def test_choices_are_counted_and_pull_the_operations_down():
    frames = moving(16)
    shares: list[float] = []
    for saving in (0.0, 5.0):
        adapter = attached("ada-fuse", saving=saving)
        learned(adapter, frames, rate=4e-2)
        clip = clips_of(frames)[0]
        assert adapter.spared(clip) == adapter.spared(clip)  # without noise
        shares.append(adapter.spared(clip))
    assert 0 <= shares[0] < 0.5 < shares[1] <= 1


def test_a_budget_is_aimed_at():
    adapter = attached("ada-fuse", saving=50.0, budget=0.5)
    learned(adapter, moving(16), rate=4e-2)
    found = np.mean([1 - adapter.spared(clip) for clip in clips_of(moving(8))])
    assert 0.3 < found < 0.75


# Bodies


class Bodied(FakeEncoder):
    """A body in every clip whose first pixel is not black."""

    frame_blocks = (*FakeEncoder.frame_blocks, FrameBlock("pose", POSE_WIDTH, "pose"))
    frame_dim = FakeEncoder.frame_dim + POSE_WIDTH

    def encode(self, clips: Any) -> Any:
        rows = []
        for clip, row in zip(clips, super().encode(clips), strict=True):
            count = len(clip.data)
            points = np.full((1, count, 33, 3), 0.5, np.float32)
            points[0, :, :, 0] = np.linspace(0.2, 0.8, 33)
            points[0, :, 15, 1] = np.linspace(0.2, 0.9, count)
            score = np.full((1, count), float(clip.data.flat[0] > 0), np.float32)
            bodies = features_from_tracks(Tracks(points, score), clip.times_s, 1.0)
            rows.append(replace(row, features=np.concatenate([row.features, bodies], axis=1)))
        return rows

    def pool(self, features: Any) -> Any:
        return super().pool(features[..., :12])


def unseen(n: int = 1) -> np.ndarray:
    frames = moving(n)
    frames[:, 0, 0, 0] = 0
    return frames


@pytest.mark.parametrize("name", ["gate-shift-pose", "epam"])
def test_bodies_count_and_their_absence_does_not(name: str):
    adapter = registry.get("adapter", name).attach(Bodied(), SMALL)
    seen, blank = (clips_of(frames)[0] for frames in (moving(1), unseen()))
    inputs = torch.stack([adapter.clip_inputs(replace(c, path=Path(str(i))), as_in_use)
                          for i, c in enumerate((seen, blank))])[..., : -adapter.dim]  # fmt: skip
    assert inputs.shape[-1] == 3 * 32**2 + 13 * 16**2
    with torch.inference_mode():
        found = adapter.network.features(inputs)
        alone = adapter.network.features(inputs[1:])
    torch.testing.assert_close(found[1:], alone)
    maps = inputs[0, :, 3 * 32**2 :].unflatten(1, (13, 16, 16))
    assert maps.amax(dim=(2, 3)).min() > 0.8
    assert not inputs[1, :, 3 * 32**2 :].any()


def test_a_clip_without_a_body_is_the_plain_picture_bit_for_bit():
    torch.manual_seed(0)
    network = VideoNetwork(
        VideoNetConfig(network="shift", pose="guide", width=4, size=32), 6
    ).eval()
    for leave in network.leave:
        torch.nn.init.normal_(leave.weight)
    pixels = torch.randn(2, 4, 3 * 32**2)
    blank, drawn = (torch.cat([pixels, torch.full((2, 4, 13 * 16**2), v)], 2) for v in (0.0, 0.5))
    with torch.inference_mode():
        plain = network.even[0](network.body(pixels.unflatten(2, (3, 32, 32)).transpose(1, 2)))
        found = network.features(blank)
        assert torch.equal(found[:, :16], plain)
        assert not found[:, 16:].any()
        assert torch.equal(network.answer(found), network.answers(found)[0])
        assert not torch.equal(network.features(drawn)[:, :16], plain)


def test_shifts_move_channels_by_one_frame():
    x = torch.zeros(1, 8, 5, 1, 1)
    x[:, :, 2] = 1.0
    assert Shift()(x)[0, :, :, 0, 0].argmax(1).tolist() == [1, 1, 3, 3, 2, 2, 2, 2]
    gate = GateShift(8).eval()
    with torch.no_grad():
        gate.gate.weight.zero_()
        gate.gate.bias.fill_(9.0)  # tanh is 1: all of a channel moves
        gate.mix.weight.zero_()
        gate.mix.bias.fill_(20.0)
    assert gate(x)[0, :, :, 0, 0].argmax(1).tolist() == [1, 3] * 4  # halves, interleaved


def test_bodies_that_an_encoder_does_not_find_are_one_line():
    refused(
        ModelError,
        "reads the joints of bodies",
        registry.get("adapter", "epam").attach,
        FakeEncoder(),
    )
    refused(ModelError, "finds none", VideoNet.attach, FakeEncoder(), {"pose": "early"})
    refused(
        ModelError,
        "multiple of 4",
        VideoNet.attach,
        FakeEncoder(),
        {"network": "shift", "width": 6},
    )
    refused(
        ModelError, "none with i3d", VideoNet.attach, Bodied(), {"network": "i3d", "pose": "late"}
    )


def bundle(unit: str = "picture", seen: int = 9, path: str = "b") -> Clip:
    """A video of a second, and a skeleton on its clock that walks to the right."""
    window, times_s = Window(0.0, 1.0), np.linspace(0, 1, 9)
    points = np.random.default_rng(0).uniform(0.3, 0.5, (1, 1, 33, 2)).repeat(9, 0)
    points[..., 0] += np.linspace(0, 0.4, 9)[:, None, None]
    points[:, :, 0] = np.stack([np.linspace(0.1, 0.9, 9), np.full(9, 0.25)], 1)[:, None]  # the nose
    points[seen:] = np.nan
    meta = {"layout": "mediapipe33", "unit": unit, "size": (200, 100)}
    joints = Clip(Path(path), window, "skeleton", points, times_s, meta=meta)
    frames = moving(1, side=40)[0].repeat(8, axis=0)
    video = Clip(Path(path), window, "video", frames, np.linspace(0, 1, 32))
    parts = {"video": video, "skeleton": joints}
    return Clip(Path(path), window, "bundle", frames, video.times_s, parts=parts)


@pytest.fixture(scope="module")
def both() -> Any:
    return load_encoder("bundle:lite-objects+skeleton")


@pytest.mark.parametrize("name", ["gate-shift-pose", "epam"])
def test_the_skeleton_of_a_bundle_is_drawn_where_it_lies(both: Any, name: str):
    adapter = registry.get("adapter", name).attach(both, {"width": 4, "size": 32})
    joints = adapter.watched.joints(bundle(), np.zeros((64, both.frame_dim), np.float32))
    assert joints.shape == (32, 13, 2)
    np.testing.assert_allclose(joints[:, 0, 0], np.linspace(0.1, 0.9, 32), atol=0.02)
    np.testing.assert_allclose(joints[:, 0, 1], 0.25, atol=1e-3)
    half = adapter.watched.joints(bundle(seen=5), np.zeros((64, both.frame_dim), np.float32))
    assert np.isfinite(half[:16]).all()  # nobody is seen in the second half
    assert np.isnan(half[17:]).all()
    metres = adapter.watched.joints(bundle("m"), np.zeros((64, both.frame_dim), np.float32))
    assert metres.min() > 0
    assert metres.max() < 1
    rows = [adapter.encode([clip])[0] for clip in (bundle(), without(bundle(), ["skeleton"]))]
    assert not np.allclose(rows[0].features[:, -adapter.network.config.sizes[0] :],
                           rows[1].features[:, -adapter.network.config.sizes[0] :])  # fmt: skip
    np.testing.assert_array_equal(rows[0].vector, both.encode([bundle()])[0].vector)


def test_a_bundle_without_a_sensor_is_as_if_nothing_was_there(both: Any):
    adapter = registry.get("adapter", "epam").attach(both, {"width": 4, "size": 32})
    clips = bundle(seen=0), without(bundle(), ["skeleton"]), without(bundle(), ["video"])
    maps = [adapter.clip_inputs(replace(clip, path=Path(str(at))), as_in_use)[:, : -adapter.dim]
            for at, clip in enumerate(clips)]  # fmt: skip
    assert torch.equal(maps[0], maps[1])
    assert not maps[1][:, 3 * 32**2 :].any()
    assert maps[2][:, 3 * 32**2 :].any()
    assert float(maps[2][:, : 3 * 32**2].abs().max()) < 0.01


# The encoder's own network


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(3)
    file = tmp_path / "own.safetensors"
    save_file(get_model("mc3_18", weights=None).state_dict(), file)
    return file


def support(folder: Path) -> Path:
    for label, frames in zip(LABELS, (moving(4)[::2], moving(4)[1::2]), strict=True):
        (folder / label).mkdir(parents=True)
        for number, clip in enumerate(frames):
            path = folder / label / f"{number}.mp4"
            make_video(path, 4, picture=lambda at, c=clip: c[at].repeat(2, 0).repeat(2, 1))
    return folder


@pytest.mark.slow
def test_the_encoders_own_network_is_trained_and_saved_without_its_file(
    weights: Path, tmp_path: Path
):
    encoder = load_encoder(f"torchvision:mc3_18?weights={weights}&frames=2&size=32")
    before = encoder.encode(clips_of(moving(1)[:, :2]))[0]
    at_start = VideoNet.attach(encoder, {"network": "encoder"}).encode(clips_of(moving(1)[:, :2]))
    np.testing.assert_array_equal(at_start[0].vector, before.vector)
    settings = {"epochs": 1, "batch": 2, "frozen": 3}
    clips = support(tmp_path / "s")
    mine = Model(encoder).adapt(clips, method="own-net", settings=settings)
    np.testing.assert_array_equal(
        encoder.encode(clips_of(moving(1)[:, :2]))[0].vector, before.vector
    )
    trained = mine.encoder.network.model.state_dict()  # type: ignore[attr-defined]
    started = encoder.towers.model.state_dict()  # type: ignore[attr-defined]
    same = {name for name in started if torch.equal(trained[name], started[name])}
    kept = {n for n in started if n.startswith(("stem", "layer1"))}  # the stem and two blocks
    assert kept <= same
    assert not {n for n in started if "conv" in n and n.endswith("weight")} & same - kept
    clip = clips / LABELS[0] / "0.mp4"
    answer = mine.classify(clip).predictions
    mine.save(tmp_path / "m")
    weights.unlink()
    saved = load(tmp_path / "m")
    assert saved.classify(clip).predictions == answer
    assert "weights" not in saved.encoder.encoder.name  # type: ignore[attr-defined]
    assert saved.encoder.cost((2, 32, 32, 3)) == encoder.cost((2, 32, 32, 3))


@pytest.mark.slow
def test_it_learns_by_the_encoders_own_network():
    encoder = load_encoder("inflated:resnet18?random_init=true&frames=4&size=32")
    adapter = VideoNet.attach(encoder, {"network": "encoder"})
    training = learned(adapter, moving(12), epochs=5, rate=1e-3)
    assert right(adapter, training, moving(12)) >= 0.9  # without any training 0.5


@pytest.mark.parametrize(
    ("spec", "settings", "told"),
    [
        ("lite-objects", {}, "has none of its own; use torchvision:"),
        ("inflated:resnet18?random_init=true&frames=2&size=32&stream=flow", {}, "has none of its"),
        (WORDLESS, {"frozen": 99}, "frozen is 99; use up to 9 blocks"),
        (WORDLESS, {"frozen": -1}, "frozen is -1"),
        (WORDLESS, {"frames": 1}, "frames is 1; use the model's own"),
        (WORDLESS, {"pose": "early"}, "pose is 'early'; use none with encoder"),
    ],
)
def test_what_has_no_network_of_its_own_is_one_line(spec: str, settings: Any, told: str):
    asked = {"network": "encoder", **settings}
    refused(ModelError, told, VideoNet.attach, load_encoder(spec), asked)


@pytest.mark.parametrize("step", [1, 2])
def test_a_filter_over_time_is_a_convolution_of_three_axes(step: int):
    layer = OverTime(3, 5, (3, 1, 1), (step, 1, 1), (1, 0, 0), bias=False)
    x = torch.randn(2, 3, 7, 4, 6, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.conv3d(x, layer.weight, None, layer.stride, layer.padding)
    torch.testing.assert_close(layer(x), plain, atol=1e-6, rtol=0)
