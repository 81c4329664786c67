"""The statistics of sounds: what changes them, what does not, and what examples learn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.encoders import audio
from vlar.encoders.audio import (
    RATES_HZ,
    STATISTICS_NAMES,
    AudioEncoder,
    log_mel,
    modulation,
    scaled,
    scales,
    statistics,
)
from vlar.encoders.base import load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import kinds_for, signature
from vlar.types import Clip, Float64, Window

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
