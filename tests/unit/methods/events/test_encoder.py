"""The encoder of events: counts, place, attributes, and the words that a rate can show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import event_files
from tests.refusals import refused
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import UsageError
from vlar.methods.events.encoder import ATTRIBUTES, CELLS
from vlar.methods.events.representations import EVENT
from vlar.types import Clip, Window

SIZE = (60, 80)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("events")


def clip_of(events: np.ndarray, length_s: float = 2.0, size: tuple[int, int] = SIZE) -> Clip:
    meta = {"size": size}
    return Clip(Path("c"), Window(0, length_s), "events", events, events["t"] * 1e-6, meta=meta)


def scene(
    rate: int = 20_000, *, hertz: float = 0.0, across: float = 0.0, down: float = 0.0,
    grows: float = 0.0, flash: bool = False, seed: int = 0, length_s: float = 2.0,
) -> np.ndarray:  # fmt: skip
    """A blob of events in the middle, its rate and its place over time."""
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, length_s, int(rate * length_s)))
    if hertz:
        t = t[random.random(len(t)) < (0.5 + 0.5 * np.sin(2 * np.pi * hertz * t)) ** 2]
    if flash:
        t = t[(np.abs(t - length_s / 2) < 0.05) | (random.random(len(t)) < 0.05)]
    share = t / length_s - 0.5
    spread = 0.08 * np.exp(2 * grows * share)
    events = np.zeros(len(t), EVENT)
    sway = 0.1 * np.sin(2 * np.pi * hertz * t) if hertz else 0.0
    for name, side, way in (("x", SIZE[1], across), ("y", SIZE[0], down)):
        place = 0.5 + way * share + spread * random.normal(size=len(t)) + sway
        events[name] = np.clip(place * side, 0, side - 1)
    events["t"] = t * 1e6
    events["p"] = random.integers(0, 2, len(t))
    return events


def attributes(encoder: Encoder, events: np.ndarray, length_s: float = 2.0) -> dict[str, float]:
    row = encoder.encode([clip_of(events, length_s)])[0].features[0]
    return dict(zip(ATTRIBUTES, row[-len(ATTRIBUTES) :].tolist(), strict=True))


def test_rates_are_those_of_a_loop(encoder: Encoder):
    events = event_files.made(900, size=SIZE, length_us=1_999_999)
    found = encoder.encode([clip_of(events)])[0].features
    assert found.shape == (16, encoder.frame_dim)
    counts = np.zeros((16, 2, CELLS, CELLS))
    for x, y, t, p in events.tolist():
        fine = int(y * 32 / SIZE[0]), int(x * 32 / SIZE[1])
        counts[int(t / 2e6 * 16), int(p), fine[0] // 4, fine[1] // 4] += 1
    rate = counts / (2 / 16) / (SIZE[0] * SIZE[1] / CELLS**2)
    np.testing.assert_allclose(
        found[:, : counts[0].size], np.log1p(rate).reshape(16, -1), atol=1e-5
    )
    place = found[:, counts[0].size :]
    for moment in (0, 9):
        inside = (events["t"] / 2e6 * 16).astype(int) == moment
        assert place[moment, 0] == pytest.approx(
            2 * events["x"][inside].mean() / SIZE[1] - 1, abs=0.1
        )
    np.testing.assert_allclose(place[1:, 4:8], np.diff(place[:, :4], axis=0), atol=1e-6)


def test_attributes_tell_rhythm_burst_activity_and_direction(encoder: Encoder):
    plain = attributes(encoder, scene())
    assert attributes(encoder, scene(200))["activity"] < -0.9 < 0.3 < plain["activity"]
    quick, slow = attributes(encoder, scene(hertz=3.0)), attributes(encoder, scene(hertz=1.0))
    assert plain["rhythm"] < 0 < min(quick["rhythm"], slow["rhythm"])
    assert quick["quick"] > 0 > slow["quick"]
    assert attributes(encoder, scene(flash=True))["burst"] > 0.9 > 0 > plain["burst"]
    right, left = (attributes(encoder, scene(across=way)) for way in (0.5, -0.5))
    assert right["right"] > 0.8 > 0 > -0.8 > left["right"]
    assert abs(right["up"]) < 0.3
    assert attributes(encoder, scene(down=0.5))["up"] < -0.8
    assert attributes(encoder, scene(grows=1.0))["nearer"] > 0.8
    assert attributes(encoder, scene(length_s=0.3), 0.3)["rhythm"] == 0


@pytest.mark.parametrize(
    ("events", "right", "wrong"),
    [
        (scene(60_000, hertz=4.0), "shaking quickly", "standing still"),
        (scene(60), "still", "shaking quickly"),
        (scene(hertz=1.0), "waving a hand", "falling down"),
        (scene(across=0.5), "walking to the right", "walking to the left"),
        (scene(across=-0.5), "a car drives to the left", "a car drives to the right"),
        (scene(down=0.5), "someone falls down", "someone stands up"),
        (scene(flash=True), "a flash", "rotating"),
        (scene(grows=1.0), "coming closer", "going away"),
    ],
)
def test_words_that_a_rate_shows(encoder: Encoder, events, right: str, wrong: str):
    vector = encoder.encode([clip_of(events)])[0].vector
    a, b = encoder.encode_text([right, wrong])
    assert vector @ a > 0.2 > vector @ b


def test_other_words_are_unknown():
    model = vlar.load("events")
    clips = [clip_of(scene(hertz=2.0)), clip_of(scene(300)), clip_of(scene(across=0.4))]
    for answer in model.classify(clips, ["cooking pasta", "reading a book", "a red bicycle"]):
        assert answer.unknown
        assert answer.unknown_probability > 0.9
    asked = [clip_of(scene(60_000, hertz=3.0, across=0.1)), clip_of(scene(300))]
    answers = model.classify(asked, ["shaking quickly", "still", "cooking pasta"])
    assert [answer.predictions[0].label for answer in answers] == ["shaking quickly", "still"]


def test_polarity_and_size_matter_and_an_empty_clip_rests(encoder: Encoder):
    events = scene()
    plain = encoder.encode([clip_of(events)])[0]
    other = events.copy()
    other["p"] = True
    assert not np.allclose(encoder.encode([clip_of(other)])[0].features, plain.features)
    wide = encoder.encode([clip_of(events, size=(120, 160))])[0]
    assert wide.features[:, 128].mean() < plain.features[:, 128].mean() - 0.3
    empty = encoder.encode([clip_of(events[:0])])[0]
    assert np.isfinite(empty.features).all()
    assert empty.vector @ encoder.encode_text(["still"])[0] > 0.5
    alone, company = encoder.encode([clip_of(events)]), encoder.encode([clip_of(other)] * 2)
    np.testing.assert_array_equal(alone[0].vector, plain.vector)
    np.testing.assert_array_equal(company[0].vector, company[1].vector)


def test_clips_of_others_are_refused(encoder: Encoder):
    clip = clip_of(scene())
    refused(UsageError, "size in meta", encoder.encode, [replace(clip, meta={})])
    refused(UsageError, "beyond its size", encoder.encode, [replace(clip, meta={"size": (9, 9)})])
    refused(UsageError, "sensor 'imu'", encoder.encode, [replace(clip, modality="imu")])
    skeleton = load_encoder("skeleton")
    refused(UsageError, "sensor 'events'", skeleton.encode, [clip])


def test_how_busy_a_clip_is_does_not_depend_on_where_it_goes(encoder: Encoder):
    quick, still = encoder.encode_text(["shaking quickly", "still"])

    def busy(events: np.ndarray) -> float:
        return float(encoder.encode([clip_of(events, 0.3)])[0].vector @ (quick - still))

    for across in (0.0, 0.3):
        rates = [busy(scene(rate, across=across, length_s=0.3)) for rate in (900, 9000, 90_000)]
        assert rates == sorted(rates)
        assert rates[2] - rates[0] > 0.5
    calm, moving = (busy(scene(9000, across=way, length_s=0.3)) for way in (0.0, 0.3))
    assert moving == pytest.approx(calm, abs=0.15)
