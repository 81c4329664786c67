"""Encoders of other sensors: invariances, and what words find"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import skeletons
from tests.refusals import refused
from vlar.encoders import audio
from vlar.encoders.audio import (
    BANDS,
    NAMES,
    RATES_HZ,
    STATISTICS_NAMES,
    AudioEncoder,
    centres_hz,
    log_mel,
    measure,
    modulation,
    scaled,
    scales,
    statistics,
)
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.depth import silhouette
from vlar.encoders.skeleton import PATH_WIDTH
from vlar.errors import UsageError
from vlar.heads.model_selection import choose
from vlar.heads.signatures import kinds_for, signature
from vlar.media.lookup import reader
from vlar.media.skeleton.layouts import remap
from vlar.pose.features import features_from_tracks, motion_vector, tracks_from_features
from vlar.types import Clip, Float64, Sampling, Window


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
    refused(UsageError, said, skeleton.encode, [replace(clip_of(skeletons.walker(8)), **change)])


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
    refused(UsageError, "unit of its signals is 'g'", encoder.encode, [other])


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
    refused(UsageError, "not a number", encoder.encode, [sound(np.array([0.0, np.nan]))])


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


_HZ = 16_000


def beating(rate_hz: float, seconds: float = 3.0, seed: int = 0) -> Float64:
    """Noise whose loudness rises and falls."""
    time_s = np.arange(round(seconds * _HZ)) / _HZ
    noise = np.random.default_rng(seed).normal(size=len(time_s))
    return 0.1 * noise * (1 + 0.9 * np.sin(2 * np.pi * rate_hz * time_s))


def described(sound: Float64) -> dict[str, float]:
    values = statistics(log_mel(sound.astype(np.float32)))
    return dict(zip(STATISTICS_NAMES, values.tolist(), strict=True))


def clip(sound: Float64) -> Clip:
    times_s = (np.arange(len(sound)) + 0.5) / _HZ
    window = Window(0.0, len(sound) / _HZ)
    return Clip(Path("sound"), window, "audio", sound.astype(np.float32), times_s)


def test_each_value_has_a_name_and_a_scale():
    centre, width = scales()
    assert len(set(STATISTICS_NAMES)) == len(STATISTICS_NAMES) == len(centre) == 119
    assert np.isfinite(centre).all()
    assert (width > 0).all()
    np.testing.assert_array_equal(scaled(centre), 0)
    assert np.abs(scaled(centre + 100 * width)).max() == pytest.approx(2 * 1.4)


@pytest.mark.parametrize("rate_hz", [1.0, 3.0, 6.0, 12.0, 24.0])
def test_the_rate_of_a_beat_is_found(rate_hz: float):
    rows = modulation(10 ** (log_mel(beating(rate_hz).astype(np.float32)) / 10)).mean(axis=1)
    low, high = RATES_HZ[int(rows.argmax())]
    assert low <= rate_hz < high


@given(st.floats(0.003, 3.0))
def test_loudness_does_not_count(factor: float):
    sound = beating(3.0, 1.0)
    there, here = described(factor * sound), described(sound)
    np.testing.assert_allclose(list(there.values()), list(here.values()), atol=0.02)


@given(st.integers(1, 4000), st.integers(0, 3))
def test_any_length_gives_finite_values(length: int, seed: int):
    sound = np.random.default_rng(seed).normal(size=length) * (seed % 2 + 0.1)
    values = statistics(log_mel(sound.astype(np.float32)))
    assert np.isfinite(values).all()
    assert np.isfinite(scaled(values)).all()


def test_only_what_sounds_is_described():
    sound = beating(3.0, 1.5)
    silence = np.zeros(3 * _HZ)
    alone, followed = described(sound), described(np.concatenate([sound, silence]))
    for name in ("mfcc 1, mean", "mfcc 2, mean", "centroid, mean", "flatness, mean"):
        assert followed[name] == pytest.approx(alone[name], abs=0.5)
    assert followed["time that sounds"] < 0.5 * alone["time that sounds"]


def test_pitch_and_noise_are_told_apart():
    time_s = np.arange(2 * _HZ) / _HZ
    low, high = (described(np.sin(2 * np.pi * hertz * time_s)) for hertz in (300, 3000))
    assert high["centroid, mean"] - low["centroid, mean"] == pytest.approx(np.log2(10), abs=0.7)
    assert high["rolloff, mean"] > low["rolloff, mean"] + 2
    assert described(beating(0.0))["flatness, mean"] > low["flatness, mean"] + 10


def test_examples_are_learned_from_the_statistics():
    encoder = load_encoder("audio")
    rates = {"slow": 1.0, "even": 0.0, "fast": 12.0}
    sounds = [beating(rate, 2.0, seed) for seed in range(4) for rate in rates.values()]
    features = np.stack([row.features for row in encoder.encode([clip(s) for s in sounds])])
    y = list(rates) * 4
    head, choice = choose(features[:6], encoder.frame_blocks, y[:6])
    assert kinds_for(encoder.frame_blocks)[0] == "statistics"
    assert choice.candidates[0].kind == "statistics"
    rows = signature(features[6:], encoder.frame_blocks, head.kind)
    assert [head.labels[at] for at in head.logits(rows).argmax(axis=1)] == y[6:]
    silent = encoder.encode([clip(np.zeros(_HZ))])[0].features
    assert not signature(silent[None], encoder.frame_blocks, "statistics").any()


def test_other_encoders_do_not_read_statistics():
    assert "statistics" not in kinds_for(load_encoder("imu").frame_blocks)


def test_the_fingerprint_is_that_of_the_scales(monkeypatch: pytest.MonkeyPatch):
    before = AudioEncoder().fingerprint
    assert AudioEncoder().fingerprint == before
    centre, width = scales()
    monkeypatch.setattr(audio, "scales", lambda: (centre + 0.1, width))
    assert AudioEncoder().fingerprint != before
