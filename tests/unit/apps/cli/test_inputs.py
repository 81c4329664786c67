from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.apps.cli import inputs, output
from vlar.apps.cli.verb import exit_code
from vlar.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("4s", 4),
        ("0.5 s", 0.5),
        ("500ms", 0.5),
        ("2m", 120),
        (" 1h ", 3600),
        (".25", 0.25),
    ],
)
def test_seconds(text: str, value: float):
    assert inputs.seconds(text, "--every") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0", "-4s", "4 weeks", "s", "1e3", "nan"])
def test_seconds_refuses(text: str):
    with pytest.raises(UsageError, match=r"--every .* is not a span of time"):
        inputs.seconds(text, "--every")


@given(st.text())
def test_seconds_never_fails_otherwise(text: str):
    with contextlib.suppress(UsageError):
        assert inputs.seconds(text, "--every") > 0


def test_pairs():
    assert inputs.pairs(["a=1", "b==2", "c="], "--tag") == {"a": "1", "b": "=2", "c": ""}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--tag"):
            inputs.pairs(bad, "--tag")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "0:59.9"), (60, "1:00.0"), (3599.99, "59:59.9")]
)
def test_clock(seconds: float, text: str):
    assert output.clock(seconds) == text


@pytest.mark.parametrize(("done", "failed", "code"), [(3, 0, 0), (2, 1, 1), (0, 2, 2), (0, 0, 0)])
def test_exit_code(done: int, failed: int, code: int):
    assert exit_code(done, failed) == code


def test_a_video_for_a_model_of_bodies_is_refused_before_anything_is_read(tmp_path: Path):
    video = tmp_path / "a.mp4"
    for sensor in ("skeleton", "imu", "depth"):
        found, (failure,) = inputs.recordings([str(video), str(tmp_path / "a.npz")], sensor)
        assert found == [tmp_path / "a.npz"]
        assert failure.kind == "sensor"
        assert (
            f"a video, and the model reads recordings of the sensor '{sensor}'" in failure.message
        )
    assert inputs.recordings([str(video)], "audio") == ([video], [])
