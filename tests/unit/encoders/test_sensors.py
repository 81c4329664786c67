"""The encoders of other sensors: what they do not depend on, and what words find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import skeletons
from vlar.encoders.audio import BANDS, NAMES, centres_hz, log_mel, measure
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.depth import silhouette
from vlar.encoders.skeleton import PATH_WIDTH
from vlar.errors import UsageError
from vlar.media.lookup import reader
from vlar.media.skeleton.layouts import remap
from vlar.pose.features import features_from_tracks, motion_vector, tracks_from_features
from vlar.types import Clip, Sampling, Window


@pytest.fixture(scope="module")
def skeleton() -> Encoder:
    return load_encoder("skeleton")


def clip_of(points: np.ndarray, name: str = "kinect20", unit: str = "m", **meta: object) -> Clip:
    """A clip of one person (T, V, C) at 30 frames a second."""
    points = points[:, None] if points.ndim == 3 else points
    times_s = (np.arange(len(points)) + 0.5) / 30
    window = Window(0.0, len(points) / 30)
    facts = {"layout": name, "unit": unit, **meta}
    return Clip(Path("clip"), window, "skeleton", points.astype(np.float32), times_s, meta=facts)


def vector(encoder: Encoder, clip: Clip) -> np.ndarray:
    return encoder.encode([clip])[0].vector


def test_padding_and_missing_people_change_nothing(skeleton: Encoder):
    points = skeletons.walker(64)
    whole = skeleton.encode([clip_of(points)])[0]
    nobody = np.full_like(points, np.nan)
    company = np.stack([nobody, points, nobody], axis=1)
    pad = np.full((25, 20, 3), np.nan)
    for other in (company, np.concatenate([points, pad]), np.concatenate([pad, points, pad])):
        found = skeleton.encode([clip_of(other)])[0]
        np.testing.assert_allclose(found.vector, whole.vector, atol=1e-5)
        np.testing.assert_allclose(found.features, whole.features, atol=1e-5)


@pytest.mark.parametrize("name", ["kinect20_utd", "kinect20_msr", "ntu25", "mediapipe33"])
def test_the_same_body_in_another_layout_does_the_same(skeleton: Encoder, name: str):
    points = skeletons.walker(64)
    there = vector(skeleton, clip_of(remap(points, "kinect20", name), name))
    assert there @ vector(skeleton, clip_of(points)) > 0.98


def test_the_wrong_order_of_joints_is_another_movement(skeleton: Encoder):
    points = skeletons.body("kinect20_utd", 64)
    right = vector(skeleton, clip_of(points, "kinect20_utd"))
    assert right @ vector(skeleton, clip_of(points, "kinect20_msr")) < 0.8


def test_place_size_view_and_picture_change_little(skeleton: Encoder):
    points = skeletons.walker(64)
    whole = vector(skeleton, clip_of(points))
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])
    for other in (points + np.array([1, 0.5, -2]), 0.7 * points, points @ turn.T):
        assert vector(skeleton, clip_of(other)) @ whole > 0.999
    flat = points[..., :2] * np.array([100, -100]) + 500
    assert vector(skeleton, clip_of(flat, unit="px")) @ whole > 0.99
    share = flat / np.array([1600, 900])
    assert vector(skeleton, clip_of(share, unit="picture", size=[1600, 900])) @ whole > 0.99


@pytest.mark.parametrize("lost", [0.1, 0.5, 0.9, 1.0])
def test_joints_that_are_not_seen_give_finite_vectors(skeleton: Encoder, lost: float):
    random = np.random.default_rng(0)
    points = skeletons.walker(64)
    points[random.random(points.shape[:2]) < lost] = np.nan
    found = skeleton.encode([clip_of(points)])[0]
    assert np.isfinite(found.vector).all()
    assert np.isfinite(found.features).all()
    np.testing.assert_allclose(np.linalg.norm(found.vector), 1, atol=1e-5)
    if lost == 0.1:
        assert found.vector @ vector(skeleton, clip_of(skeletons.walker(64))) > 0.9


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_few_frames_show_no_movement(skeleton: Encoder, frames: int):
    found = vector(skeleton, clip_of(skeletons.walker(frames)))
    np.testing.assert_array_equal(found[:-1], 0)


def test_words_find_what_a_body_does(skeleton: Encoder):
    texts = skeleton.encode_text(["wave one hand", "squat down"])
    waves = vector(skeleton, clip_of(skeletons.walker(90)))
    sinks = vector(skeleton, clip_of(skeletons.walker(90, wave=False)))
    assert waves @ texts[0] > 0.3 > waves @ texts[1]
    assert sinks @ texts[1] > sinks @ texts[0]


def test_bodies_of_a_video_are_the_same_as_their_skeletons(skeleton: Encoder):
    """Frame features of ``vlar.pose`` to a clip and back."""
    points = skeletons.picture("mediapipe33", 64)
    given = skeleton.encode([clip_of(points, "mediapipe33", "px")])[0]
    rows = given.features[:, PATH_WIDTH:]
    tracks = tracks_from_features(rows)
    again = features_from_tracks(tracks, rows[:, -2].astype(np.float64), float(rows[0, -1]))
    np.testing.assert_allclose(motion_vector(again), motion_vector(rows), atol=1e-6)
    np.testing.assert_allclose(given.vector[:-1], motion_vector(rows), atol=1e-6)


def test_a_hand_has_a_path_and_no_words(skeleton: Encoder):
    random = np.random.default_rng(0)
    hand = np.cumsum(random.normal(size=(40, 20, 3)), axis=0)
    found = skeleton.encode([clip_of(hand, "leap20")])[0]
    assert found.vector[-1] == 1.0
    assert found.features[:, :PATH_WIDTH].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"meta": {"layout": "kinect20", "unit": "feet"}}, "unit of its joints is 'feet'"),
        ({"meta": {"layout": "ntu25", "unit": "m"}}, "has 25.*remap"),
        ({"meta": {"layout": "nowhere", "unit": "m"}}, "no skeleton layout"),
        ({"modality": "imu"}, "sensor 'imu'"),
    ],
)
def test_clips_that_are_refused(skeleton: Encoder, change: dict[str, object], said: str):
    with pytest.raises(UsageError, match=said):
        skeleton.encode([replace(clip_of(skeletons.walker(8)), **change)])


def imu_clip(acc: np.ndarray, gyro: np.ndarray, devices: tuple[str, ...] = ("wrist",)) -> Clip:
    data = np.concatenate([acc, gyro], axis=1).astype(np.float32)
    times_s = (np.arange(len(data)) + 0.5) / 50
    meta = {"devices": devices, "unit": "m/s2 rad/s"}
    return Clip(Path("imu"), Window(0.0, len(data) / 50), "imu", data, times_s, meta=meta)


def test_an_imu_tells_once_from_again_and_again():
    encoder = load_encoder("imu")
    time_s = np.arange(200)[:, None] / 50
    gravity = np.tile([0, 0, 9.8], (200, 1))
    often = imu_clip(gravity, np.sin(2 * np.pi * 2 * time_s) * [4.0, 0, 0])
    once = imu_clip(gravity, np.exp(-(((time_s - 2) / 0.15) ** 2)) * [12.0, 0, 0])
    still = imu_clip(gravity, np.zeros((200, 3)))
    texts = encoder.encode_text(["shake hand", "throw"])
    assert vector(encoder, often) @ texts[0] > vector(encoder, once) @ texts[0]
    assert vector(encoder, once) @ texts[1] > vector(encoder, often) @ texts[1]
    assert np.isfinite(vector(encoder, still)).all()
    padded = np.full((250, 6), np.nan, np.float32)
    padded[:200] = often.data
    longer = replace(often, data=padded, times_s=(np.arange(250) + 0.5) / 50)
    np.testing.assert_allclose(vector(encoder, longer), vector(encoder, often), atol=1e-5)
    other = replace(often, meta={"devices": ("wrist",), "unit": "g"})
    with pytest.raises(UsageError, match="unit of its signals is 'g'"):
        encoder.encode([other])


def sound(data: np.ndarray, rate_hz: float = 16_000) -> Clip:
    times_s = (np.arange(len(data)) + 0.5) / rate_hz
    window = Window(0.0, len(data) / rate_hz)
    return Clip(Path("sound"), window, "audio", data.astype(np.float32), times_s)


def test_a_tone_is_in_its_band():
    time_s = np.arange(16_000) / 16_000
    rows = log_mel(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32))
    assert rows.shape[1] == BANDS
    assert abs(np.log2(centres_hz()[rows.mean(axis=0).argmax()] / 1000)) < 0.1


def test_a_sound_is_what_a_listener_hears():
    random = np.random.default_rng(0)
    time_s = np.arange(48_000) / 16_000
    noise = 0.2 * random.normal(size=len(time_s))
    tone = 0.4 * np.sin(2 * np.pi * 440 * time_s)
    ticks = noise * (time_s % 0.5 < 0.01)
    heard = {name: dict(zip(NAMES, measure(log_mel(each.astype(np.float32))), strict=True))
             for name, each in (("noise", noise), ("tone", tone), ("ticks", ticks))}  # fmt: skip
    assert heard["tone"]["tonal"] > heard["noise"]["tonal"] + 10
    assert heard["noise"]["broad"] > heard["tone"]["broad"]
    assert heard["ticks"]["onsets"] == pytest.approx(2, abs=0.4)
    assert heard["ticks"]["regular"] > heard["noise"]["regular"] + 0.2
    assert heard["ticks"]["lasting"] < 0.1 < heard["noise"]["lasting"]


def test_silence_shows_nothing_and_loudness_does_not_count():
    encoder = load_encoder("audio")
    random = np.random.default_rng(0)
    noise = 0.2 * random.normal(size=32_000)
    assert vector(encoder, sound(np.zeros(16_000)))[-1] == 1.0
    assert vector(encoder, sound(np.zeros(1)))[-1] == 1.0
    quiet = vector(encoder, sound(0.1 * noise))
    np.testing.assert_allclose(quiet, vector(encoder, sound(noise)), atol=1e-3)
    texts = encoder.encode_text(["rain", "clock ticking"])
    assert quiet @ texts[0] > quiet @ texts[1]
    with pytest.raises(UsageError, match="not a number"):
        encoder.encode([sound(np.array([0.0, np.nan]))])


def box(path: np.ndarray, mm: np.ndarray) -> Clip:
    """A person as a box whose top (row) and distance change; the background is at 5 m."""
    frames = np.full((len(path), 60, 80), 5000, np.uint16)
    for frame, top, far in zip(frames, path, mm, strict=True):
        frame[int(top) : 55, 30:50] = far
    times_s = (np.arange(len(frames)) + 0.5) / 15
    window = Window(0.0, len(frames) / 15)
    meta = {"unit": "mm"}
    return Clip(Path("depth"), window, "depth", frames, times_s, meta=meta)


def test_a_silhouette_comes_nearer_and_sits_down():
    encoder = load_encoder("depth")
    nearer = box(np.full(32, 8), np.linspace(3500, 2000, 32))
    sits = box(np.linspace(8, 28, 32), np.full(32, 3000))
    for frame in nearer.data:
        frame[0, :] = 0  # the box leaves the background to be seen
    found = silhouette(sits.data)
    assert found.seen.any()
    texts = encoder.encode_text(["sit down", "stand up"])
    rows = encoder.encode([sits, nearer])
    assert rows[0].vector @ texts[0] > rows[0].vector @ texts[1]
    assert np.isfinite(rows[1].features).all()
    away = replace(nearer, data=nearer.data[::-1].copy())
    approach = rows[1].vector[2], vector(encoder, away)[2]
    assert approach[0] > approach[1]
    with pytest.raises(UsageError, match="give uint16"):
        encoder.encode([replace(sits, data=sits.data.astype(np.int32))])


def test_an_encoder_takes_any_sampling_of_its_reader(tmp_path: Path):
    for name in ("skeleton", "imu", "audio", "depth"):
        encoder, source = load_encoder(name), reader(name)
        path = source.example(tmp_path)
        for wanted in (encoder.sampling, Sampling(200), source.every_sample(path, None)):
            (row,) = encoder.encode([source.read_clip(path, None, wanted)])
            assert row.features.shape == (encoder.feature_rows, encoder.frame_dim)
            assert np.isfinite(row.vector).all()
