"""``lite`` and ``lite-hands``: frames, motion, hands, and numbers of fixed clips."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clips import clips_of, features_of, vectors_of
from tests.refusals import refused
from tests.unit.pose.figure import Figure, walker
from tests.unit.pose.hand_figure import DrawnHand, S
from tests.unit.pose.test_features import camera_steps, moving_texture, rows
from vlar.encoders.base import load_encoder
from vlar.encoders.lite import encoder
from vlar.encoders.lite import encoder as lite_motion
from vlar.encoders.lite import hands as lite_hands
from vlar.encoders.lite import towers as lite_towers
from vlar.encoders.lite.body import MOTION_WEIGHT, BodyBlock
from vlar.encoders.lite.encoder import MOTION_BLOCKS, MOTION_WIDTH, LiteEncoder, motion_features
from vlar.encoders.lite.hands import HandBlock
from vlar.errors import ModelError, UsageError
from vlar.files.fetched_weights import packages
from vlar.model.model import Model
from vlar.numeric import unit
from vlar.pose import features, hand_features, networks
from vlar.pose.attributes.base import hand_attribute_names
from vlar.pose.features import POSE_WIDTH
from vlar.types import Float32

HEAVY = ("torch", "timm", "transformers", "sentence_transformers", "onnx", "pydantic")


@pytest.fixture
def lite(lite_model: Model) -> LiteEncoder:
    assert isinstance(lite_model.encoder, LiteEncoder)
    return lite_model.encoder


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_takes_no_argument():
    refused(UsageError, "'lite' takes no argument, got 'big'", load_encoder, "lite:big")


def test_importing_it_is_light():
    code = "import sys, vlar.encoders.lite.encoder; print([m for m in sys.modules if m in {})])"
    modules = (*HEAVY, "onnxruntime", "tokenizers", "PIL")
    assert python(code.replace("{})", f"{modules!r}")) == "[]"


def test_once_prepared_it_runs_without_the_training_libraries(lite: LiteEncoder):
    code = (
        "import sys, numpy as np\n"
        "from vlar.media.lookup import reader\n"
        "from vlar.encoders.base import load_encoder\n"
        "encoder = load_encoder('lite')\n"
        "encoder.encode_text(['riding a bike'])\n"
        "encoder.encode(reader('video').blank(encoder.sampling)[:1])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    assert python(code) == "[]"


def test_the_fingerprint_covers_weights_and_settings(
    lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch
):
    before = lite.block_fingerprints()["objects"]
    assert encoder._objects_fingerprint() == before
    monkeypatch.setattr(encoder.space, "SOFTMAX_SCALE", 0.5)
    assert encoder._objects_fingerprint() != before
    assert LiteEncoder.from_spec().fingerprint != lite.fingerprint
    monkeypatch.undo()
    monkeypatch.setattr(encoder.space, "KIND_WEIGHTS", {"name": 1.0})
    other = LiteEncoder.from_spec()
    assert other.fingerprint != lite.fingerprint
    assert other.block_fingerprints() == lite.block_fingerprints()  # only texts differ
    monkeypatch.undo()
    assert encoder._text_fingerprint("digest") != encoder._text_fingerprint("other")


def test_a_changed_weights_file_ends_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "_inside_package", lambda _: [])
    tower = lite_towers.ImageTower, lite_towers.IMAGE_NETWORKS[0]
    refused(ModelError, r"lite0\.pth.* is missing; run: vlar models get lite ", *tower)
    lite_towers.LITE.folder.mkdir()
    for name in ("lite0.pth", "tokenizer.json"):
        (lite_towers.LITE.folder / name).write_bytes(b"not these weights")
    refused(ModelError, "changed or is incomplete; run: vlar models get lite", *tower)
    refused(
        ModelError, "changed or is incomplete; run: vlar models get lite", lite_towers.TextTower
    )


def test_frame_features_hold_what_the_blocks_say(lite: LiteEncoder):
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 60, 80, 3), dtype=np.uint8)
    features = features_of(lite, frames)
    towers = [lite_towers.ImageTower(network) for network in lite_towers.IMAGE_NETWORKS]
    pairs = [tower(frames[0, 1]) for tower in towers]
    np.testing.assert_allclose(
        features[0, 1, :1000], np.mean([scores for scores, _ in pairs], axis=0), atol=1e-6
    )
    np.testing.assert_array_equal(
        features[0, 1, 1000:3560], np.concatenate([activations for _, activations in pairs])
    )
    names = [block.name for block in lite.frame_blocks]
    assert names[:4] == ["objects", "appearance", "motion", "direction"]


def test_a_read_only_cache_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "file"))
    network = lite_towers.IMAGE_NETWORKS[0]
    frame = np.full((20, 20, 3), 90, dtype=np.uint8)
    from_memory = lite_towers.ImageTower(network)(frame)
    monkeypatch.undo()
    np.testing.assert_array_equal(from_memory[0], lite_towers.ImageTower(network)(frame)[0])


def test_real_clips_are_recognised_above_chance(lite: LiteEncoder, real_videos: Path):
    """Twelve clips whose objects speak for the action; chance is one of them."""
    import csv

    from vlar.media.video.decode import read_clip

    with (real_videos / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] == "ucf101"]
    labels = sorted({row["readable_label"] for row in rows})[::6]
    chosen = {row["readable_label"]: row for row in rows if row["readable_label"] in labels}
    clips = [read_clip(real_videos / chosen[label]["path"], n_frames=2) for label in labels]
    videos = np.concatenate([vectors_of(lite, clip.data[None]) for clip in clips])
    best = (videos @ lite.encode_text(labels).T).argmax(axis=1)
    assert (best == np.arange(len(labels))).mean() >= 0.3


def test_a_repeated_frame_is_seen_once(lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch):
    first, second = np.random.default_rng(1).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    clip = np.stack([first, first, second, first])[None]
    alone = np.stack([features_of(lite, frame[None, None])[0, 0] for frame in clip[0]])
    calls: list[int] = []
    tower = lite._images[0]

    def counted(frame: np.ndarray) -> object:
        calls.append(1)
        return tower(frame)

    monkeypatch.setattr(lite, "_images", [counted, *lite._images[1:]])
    np.testing.assert_array_equal(features_of(lite, clip)[0, :, :3560], alone[:, :3560])
    assert len(calls) == 3


@given(st.integers(0, 200))
def test_every_part_of_a_clip_is_looked_at_once(n_frames: int):
    every, looks = encoder._every(n_frames), encoder.sampled_frames(n_frames)
    assert [look // every for look in looks] == list(range(-(-n_frames // every)))
    if n_frames % (2 * every) == 0:  # the same pictures backwards as forwards
        assert [n_frames - 1 - look for look in reversed(looks)] == looks


@pytest.mark.parametrize("shown", [range(32), [0, *np.repeat(range(1, 17), 2)[:31]], [5] * 32])
def test_a_look_shows_its_own_frame(
    lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch, shown: list[int]
):
    """Also where frames repeat, as in a video of few frames a second."""

    def grey(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        level = np.float32(frame.mean())
        return np.full(1000, level), np.full(1280, level)

    monkeypatch.setattr(lite, "_images", [grey, grey])
    monkeypatch.setattr(lite, "body", None)
    clip = np.zeros((32, 8, 8, 3), np.uint8) + np.array(shown, np.uint8)[:, None, None, None]
    features = lite.encode(clips_of(clip[None]))[0].features
    expected = np.repeat(np.array(shown)[encoder.sampled_frames(32)], 2)
    np.testing.assert_array_equal(features[:, [0, 999, 1000, 3559]].T, [expected] * 4)


def test_what_reads_frames_runs_on_a_device_that_the_runtime_has(monkeypatch: pytest.MonkeyPatch):
    missing = "device 'cuda': ONNX Runtime has no CUDAExecutionProvider"
    refused(UsageError, missing, load_encoder, "lite", device="cuda")
    refused(UsageError, missing, load_encoder, "motion", device="cuda")
    refused(UsageError, "no such device", load_encoder, "lite", device="gpu")
    refused(UsageError, "runs on the CPU in float32", load_encoder, "lite", dtype="bf16")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    on_cuda, on_cpu = load_encoder("lite-objects", device="cuda"), load_encoder("lite-objects")
    assert isinstance(on_cuda, LiteEncoder)
    assert {image._network.device for image in on_cuda._images} == {"cuda"}
    assert on_cuda._text._network.device == "cpu"  # tables of its vectors serve all devices
    assert (on_cuda.runs_on, on_cpu.runs_on) == ("cuda", "")
    assert on_cuda.fingerprint == on_cpu.fingerprint


T = 8


def _texture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Smooth random grey, like a room: gradients everywhere."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    for _ in range(6):
        noise = sum(np.roll(noise, s, a) for s in (-1, 1) for a in (0, 1)) / 4 + noise / 4
    return 128 + 60 * noise / np.abs(noise).max()


def _clip(path, *, seed=0, size=(40, 24), background=1.0) -> np.ndarray:
    """A textured rectangle whose centre follows ``path`` (T, 2) in x, y over a textured room."""
    room = 128 + background * (_texture(seed) - 128)
    actor = 40 + 0.5 * _texture(seed + 100, *size)
    frames = []
    for x, y in path:
        frame = room.copy()
        top, left = round(y - size[0] / 2), round(x - size[1] / 2)
        frame[top : top + size[0], left : left + size[1]] = actor
        frames.append(np.repeat(frame[..., None], 3, axis=2))
    return np.clip(frames, 0, 255).astype(np.uint8)


def _line(start, step) -> np.ndarray:
    return np.array(start) + np.arange(T)[:, None] * np.array(step)


def _unit(x):
    x = x.ravel()
    return x / np.linalg.norm(x)


def _cosine(a, b) -> float:
    return float(_unit(a.mean(0)) @ _unit(b.mean(0)))


def test_blocks_add_up_to_the_width():
    assert sum(block.width for block in MOTION_BLOCKS) == MOTION_WIDTH
    features = motion_features(_clip(_line((40, 60), (6, 0))))
    assert features.shape == (T, MOTION_WIDTH)
    assert features.dtype == np.float32


def test_one_frame_and_no_frame_give_zeros():
    frames = _clip(_line((40, 60), (6, 0)))
    assert motion_features(frames[:1]).tolist() == [[0.0] * MOTION_WIDTH]
    assert motion_features(frames[:0]).shape == (0, MOTION_WIDTH)


def test_a_still_scene_gives_nothing_even_with_sensor_noise():
    still = _clip(np.tile([80, 60], (T, 1))).astype(float)
    noisy = np.clip(still + np.random.default_rng(0).normal(0, 2, still.shape), 0, 255)
    moving = motion_features(_clip(_line((40, 60), (6, 0))))
    assert np.abs(motion_features(still.astype(np.uint8))).max() == 0
    assert np.linalg.norm(motion_features(noisy.astype(np.uint8))) < 0.05 * np.linalg.norm(moving)


def test_a_mirror_keeps_the_motion_and_negates_the_direction():
    frames = _clip(_line((40, 70), (6, -2)))
    seen, mirrored = motion_features(frames), motion_features(frames[:, :, ::-1])
    half = MOTION_BLOCKS[0].width
    assert np.linalg.norm(seen[:, half:]) > 0.3 * np.linalg.norm(seen)
    expected = np.concatenate([seen[:, :half], -seen[:, half:]], axis=1)
    assert np.linalg.norm(mirrored - expected) < 0.2 * np.linalg.norm(seen)


def test_up_and_across_differ_more_than_place_and_clothes_do():
    across = motion_features(_clip(_line((40, 60), (6, 0))))
    elsewhere = motion_features(_clip(_line((90, 50), (6, 0)), seed=7))
    up = motion_features(_clip(_line((80, 90), (0, -6))))
    half = MOTION_BLOCKS[0].width
    assert _cosine(across, elsewhere) > 0.85
    assert _cosine(across[:, :half], up[:, :half]) < 0.7


def test_the_moves_of_the_camera_are_left_out():
    room = np.repeat(_texture(3, 200, 300)[..., None], 3, axis=2)
    pan = np.stack([room[30:150, 4 * t + 20 : 4 * t + 180] for t in range(T)]).astype(np.uint8)
    actor = motion_features(_clip(_line((40, 60), (6, 0))))
    assert np.square(motion_features(pan)).sum() < 0.15 * np.square(actor).sum()


def test_faster_means_more():
    slow, fast = (motion_features(_clip(_line((40, 60), (s, 0)))) for s in (3, 9))
    assert np.linalg.norm(fast) > 1.3 * np.linalg.norm(slow)


def test_twice_the_frames_show_the_same_over_steps_of_two():
    dense = _clip(np.array((40, 60)) + np.arange(2 * T + 1)[:, None] * np.array((1, 0)))
    few, many = motion_features(dense[::2]), motion_features(dense, 2)
    np.testing.assert_array_equal(many, np.repeat(few, 2, axis=0)[: len(dense)])
    # Such slow moves are half lost in single steps.
    assert np.linalg.norm(motion_features(dense).mean(0)) < 0.8 * np.linalg.norm(few.mean(0))


def test_a_clip_shorter_than_a_step_gives_zeros():
    frames = _clip(_line((40, 60), (6, 0)))
    assert motion_features(frames[:3], 3).tolist() == [[0.0] * MOTION_WIDTH] * 3
    assert motion_features(frames[:4], 3).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 500), (400, 30), (33, 33)])
def test_any_frame_size_works(shape):
    frames = np.random.default_rng(0).integers(0, 256, (5, *shape, 3)).astype(np.uint8)
    features = motion_features(frames)
    assert features.shape == (5, MOTION_WIDTH)
    assert np.isfinite(features).all()


def test_the_same_frames_give_the_same_features():
    frames = _clip(_line((40, 60), (5, 1)))
    before = frames.copy()
    assert np.array_equal(motion_features(frames), motion_features(frames))
    assert np.array_equal(frames, before)


def digest(numbers: np.ndarray) -> list[float]:
    """Four numbers that change with any of many: products with fixed random directions."""
    flat = np.asarray(numbers, np.float64).ravel()
    directions = np.random.default_rng(5).normal(size=(4, len(flat))) / np.sqrt(len(flat))
    return (directions @ flat).tolist()


def histograms() -> np.ndarray:
    path = np.array([(40 + 5 * t, 60 + 8 * np.sin(t)) for t in range(8)])
    return np.concatenate([lite_motion.motion_features(_clip(path), step) for step in (1, 2)])


def bodies() -> np.ndarray:
    people = rows(walker(1.0, 1.8), Figure(n_frames=48, x=1.0, pitch=30.0))
    return 20 * np.concatenate([features.motion_vector(people), 3 * features.spectrum(people)])


def camera() -> np.ndarray:
    return 60 * camera_steps(moving_texture((1.5, 0.5)))


@pytest.mark.parametrize(
    ("module", "version", "measured", "numbers"),
    [
        (lite_motion, 2, histograms, [-1.3732, -0.5621, 4.8478, 6.3642]),
        (features, 5, bodies, [1.946, 7.9614, 0.8466, 0.6941]),
        (features, 5, camera, [0.0893, -0.2054, 1.2362, -1.3583]),
    ],
)
def test_features_change_only_with_their_version(
    module: ModuleType, version: int, measured: Callable[[], np.ndarray], numbers: list[float]
):
    assert version == module.VERSION, "put in the numbers of the new version"
    np.testing.assert_allclose(
        digest(measured()), numbers, atol=2e-3, err_msg="count VERSION up, then renew the numbers"
    )


def test_the_fingerprint_covers_the_versions(lite_model: Model, monkeypatch: pytest.MonkeyPatch):
    before = lite_model.encoder
    assert isinstance(before, encoder.LiteEncoder)
    prints = before.block_fingerprints()
    monkeypatch.setattr(encoder, "VERSION", -1)
    after = encoder.LiteEncoder()
    assert after.fingerprint != before.fingerprint
    assert after.block_fingerprints() == prints
    monkeypatch.undo()
    if before.body is None:
        pytest.skip("lite-motion was not fetched")
    monkeypatch.setattr("vlar.encoders.lite.body.VERSION", -1)
    other = encoder.LiteEncoder().block_fingerprints()
    assert other["objects"] == prints["objects"]
    assert other["motion"] != prints["motion"]


def test_bodies_leave_the_objects_of_a_clip_as_they_were(
    lite_model: Model, monkeypatch: pytest.MonkeyPatch
):
    """What lets old libraries keep their objects."""
    whole = lite_model.encoder
    assert isinstance(whole, encoder.LiteEncoder)
    if whole.body is None:
        pytest.skip("lite-motion was not fetched")
    monkeypatch.setattr(encoder, "load_body", lambda *_: None)
    alone = encoder.LiteEncoder()
    assert alone.n_frames == whole.n_frames
    assert alone.block_fingerprints() == {"objects": whole.block_fingerprints()["objects"]}
    clip = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)
    clips = clips_of(clip[None])
    both, objects = whole.encode(clips)[0].vector, alone.encode(clips)[0].vector
    weight = whole.blocks[0].weight
    np.testing.assert_allclose(both[: alone.dim], weight * objects, atol=1e-6)
    missing = whole.encode_blocks(clips, ["motion", "unseen_body"])[0]
    np.testing.assert_allclose(missing[alone.dim :], both[alone.dim :], atol=1e-6)


TEXTS = ["holding something", "walking", "a quiet evening", "swipe left with a finger"]


def hand_rows(hand: DrawnHand) -> Float32:
    """(S, HANDS_WIDTH) frame features of a drawn hand."""
    found = np.zeros((S, hand_features.HANDS_WIDTH), np.float32)
    found[:, 0] = 1
    found[:, 1:64] = hand.points().reshape(S, -1)
    found[:, 64:66] = 1
    found[:, -2], found[:, -1] = np.arange(S) / 10, 4 / 3
    return found


def embed(texts: Sequence[str]) -> Float32:
    return unit(np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32))


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> tuple[BodyBlock, BodyBlock]:
    """Bodies alone, and with hands; no network is needed to pool and to read texts."""
    monkeypatch.setattr("vlar.encoders.lite.body.PoseExtractor", lambda: None)
    monkeypatch.setattr(lite_hands, "HandReader", lambda: None)
    alone = BodyBlock(embed, "", "unused")
    return alone, BodyBlock(embed, "", "unused", HandBlock())


def test_hands_fill_what_an_unseen_body_leaves(blocks: tuple[BodyBlock, BodyBlock]):
    _, both = blocks
    nobody = np.zeros((S, POSE_WIDTH), np.float32)
    clip = np.concatenate([nobody, hand_rows(DrawnHand(x=0.3 + 0.05 * np.arange(S)))], axis=1)
    objects = unit(np.ones((1, 5), np.float32))
    (vector,) = both.video(objects, clip[None])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    hands = vector[-len(hand_attribute_names()) - 1 :]
    assert np.linalg.norm(hands) == pytest.approx(MOTION_WEIGHT, abs=1e-6)
    assert hands[hand_attribute_names().index("hand_right")] > 0.05
    assert hands[-1] == 0
    unseen = vector[5 + both.width]
    assert unseen == pytest.approx(0, abs=1e-3)


def test_without_hands_a_clip_is_that_of_lite(blocks: tuple[BodyBlock, BodyBlock]):
    alone, both = blocks
    nobody = np.zeros((1, S, both.frame_width), np.float32)
    objects = unit(np.ones((1, 5), np.float32))
    before = alone.video(objects, nobody[..., :POSE_WIDTH])
    after = both.video(objects, nobody)
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    assert not after[:, before.shape[1] :].any()


def test_scores_of_clips_without_hands_have_one_scale(blocks: tuple[BodyBlock, BodyBlock]):
    alone, both = blocks
    objects = unit(np.random.default_rng(1).normal(size=(len(TEXTS), 5)).astype(np.float32))
    before, after = alone.text(objects, TEXTS), both.text(objects, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
    scale = np.sqrt(1 + HandBlock.text_weight**2)
    np.testing.assert_allclose(scale * after[:, : before.shape[1]], before, atol=1e-6)
    assert both.logit_scale == pytest.approx(scale * alone.logit_scale)
    hands = after[:, before.shape[1] :]
    assert (hands[:, -1] > 0).tolist() == [False, True, True, False]


def test_the_blocks_of_bodies_keep_their_fingerprint(
    blocks: tuple[BodyBlock, BodyBlock], monkeypatch: pytest.MonkeyPatch
):
    """What lets a library of ``lite`` gain hands and keep the rest."""
    alone, both = blocks
    before, after = alone.block_fingerprints(32), both.block_fingerprints(32)
    assert set(after) == {"motion", "unseen_body", "hands"}
    assert after["motion"] == before["motion"]
    assert after["unseen_body"] != before["unseen_body"]
    assert both.fingerprint != alone.fingerprint
    monkeypatch.setattr(lite_hands, "VERSION", -1)
    assert both.block_fingerprints(32)["hands"] != after["hands"]


def test_hands_are_numbers_of_their_version():
    """A change of these numbers needs a higher VERSION in vlar/pose/hand_features.py."""
    assert hand_features.VERSION == 1
    found = hand_features.hand_vector(
        hand_rows(DrawnHand(x=0.3 + 0.05 * np.arange(S), stretch=0.3))
    )
    weights = np.cos(np.arange(len(found)))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert (float(found @ weights), float(np.abs(found).sum())) == pytest.approx(
        (-0.4761, 3.8379), abs=2e-3
    )


def test_without_its_networks_the_command_is_named(monkeypatch: pytest.MonkeyPatch):
    from vlar.encoders.lite.encoder import LiteHandsEncoder

    monkeypatch.setattr(networks, "has_hands", lambda: False)
    with pytest.raises(ModelError, match="vlar models get lite-motion"):
        LiteHandsEncoder.load_hands(None)  # type: ignore[arg-type]


def test_still_frames_are_looked_at_once():
    frames = np.repeat(np.arange(8, dtype=np.uint8), 4)[:, None, None, None]
    assert hand_features.frames_to_look_at(frames) == list(range(0, 32, 4))
    many = np.arange(32, dtype=np.uint8)[:, None, None, None]
    assert len(hand_features.frames_to_look_at(many)) <= hand_features.MOST_FRAMES
