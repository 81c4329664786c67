"""Every registered corruption keeps the contract (``vlar/evaluation/corruptions/base.py``)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar import registry
from vlar.errors import ProtocolError, UnknownNameError, UsageError
from vlar.evaluation.corruptions.base import SEVERITIES, Corruption, corrupt, names_for
from vlar.evaluation.features import Change
from vlar.testing import check_corruption
from vlar.testing.corruptions import scene

NAMES = names_for("video")
RISING = [
    *("gaussian-noise", "shot-noise", "impulse-noise"),
    *("defocus-blur", "motion-blur", "zoom-blur"),
    *("contrast", "jpeg"),
]
FAMILIES = {"noise", "blur", "weather", "codec", "time", "camera"}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", registry.names("corruption"))
def test_it_keeps_the_contract(name: str):
    check_corruption(name)


def test_there_are_at_least_fifteen_in_all_families():
    assert len(NAMES) >= 15
    assert {registry.get("corruption", name).family for name in NAMES} == FAMILIES


@pytest.mark.parametrize("name", NAMES)
@given(
    n_frames=st.integers(1, 5), height=st.integers(1, 40), width=st.integers(1, 40),
    severity=st.integers(0, 5), seed=st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_shape_and_type_stay(
    name: str, n_frames: int, height: int, width: int, severity: int, seed: int
):
    frames = np.random.default_rng(0).integers(0, 256, (n_frames, height, width, 3), np.uint8)
    found = corrupt(frames, name, severity, seed=seed)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8


@pytest.mark.parametrize("name", RISING)
@given(seed=st.integers(0, 2**20), kind=st.sampled_from(["scene", "noise"]))
@settings(max_examples=8, deadline=None)
def test_the_difference_rises_with_severity(name: str, seed: int, kind: str):
    frames = scene(4, seed=seed)
    if kind == "noise":
        frames = np.random.default_rng(seed).integers(0, 256, (4, 48, 64, 3), np.uint8)
    steps = [difference(corrupt(frames, name, s, seed=seed), frames) for s in SEVERITIES]
    assert steps[0] > 0
    assert all(a < b for a, b in itertools.pairwise(steps)), steps


@pytest.mark.parametrize("name", ["fog", "brightness", "resolution", "rotation", "h264"])
def test_the_others_rise_on_a_scene(name: str):
    frames = scene(8, 96, 128)
    steps = [difference(corrupt(frames, name, s, seed=1), frames) for s in SEVERITIES]
    assert all(a < b for a, b in itertools.pairwise(steps)), steps


def test_another_shape_is_refused():
    for frames in [np.zeros((2, 4, 4), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)]:
        refused(UsageError, "shape", corrupt, frames, "jpeg", 1, seed=0)


def test_floats_and_other_severities_are_refused():
    frames = scene()
    refused(UsageError, "float64", corrupt, frames.astype(float), "jpeg", 1, seed=0)
    for severity in (-1, 6, 2.5, True):
        refused(UsageError, "severity", corrupt, frames, "jpeg", severity, seed=0)
    refused(UnknownNameError, "jpeg", corrupt, frames, "jpg", 1, seed=0)


def test_a_corruption_belongs_to_a_sensor(monkeypatch: pytest.MonkeyPatch):
    class Drop(Corruption):
        """Every other event is lost; the level is not used."""

        modality, family, graded = "events-in-test", "noise", False
        levels = (1, 1, 1, 1, 1)

        def apply(self, frames, level, random):
            return frames[::2]

        @classmethod
        def check(cls, samples):
            if samples.ndim != 2:
                raise UsageError(f"events have the shape (T, 4), got {samples.shape}")

    known = {**registry.parts("corruption"), "drop-in-test": Drop}
    monkeypatch.setitem(registry.loaded, "corruption", known)
    times = {name for name, part in known.items() if part.family == "time"}
    assert set(names_for("events-in-test")) == {"drop-in-test", *times}
    assert "drop-in-test" not in names_for("video")
    events = np.arange(24.0).reshape(6, 4)
    np.testing.assert_array_equal(corrupt(events, "drop-in-test", 3, seed=0), events[::2])
    refused(UsageError, "events have the shape", corrupt, events[0], "drop-in-test", 3, seed=0)
    changed = Change("drop-in-test").apply(events, "a", "events-in-test")
    assert len(changed) == 3
    with pytest.raises(ProtocolError, match="of the sensor 'events-in-test'; these are of 'imu'"):
        Change("drop-in-test").apply(events, "a", "imu")
