"""An answer over time is counted window by window, and the time that is left is stated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from vlar.apps.cli import classify, progress
from vlar.apps.cli.progress import Progress


@pytest.mark.parametrize(
    ("each_s", "text"),
    [
        (1.0, "classifying: 40 of 100 windows, about 60 s left"),
        (9.0, "classifying: 40 of 100 windows, about 9 min left"),
        (0.1, "classifying: 40 of 100 windows"),  # too soon to state a time
    ],
)
def test_the_time_that_is_left_is_stated(monkeypatch: pytest.MonkeyPatch, each_s: float, text: str):
    now_s = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    shown = Progress()
    shown.stage("classifying", total=100, unit="windows")
    rows = shown.counted(range(100))
    for row in rows:
        if row == 40:
            assert shown.text() == text
        now_s[0] += each_s
    assert shown.text() == "classifying: 100 of 100 windows"


def test_windows_are_counted_before_they_are_read(tmp_path: Path):
    class Reads:
        modality = "video"

    path = videos.make_video(tmp_path / "a.mp4", 50, fps=10)
    assert classify._windows(path, Reads(), 2.0) == 2
    assert classify._windows(tmp_path / "missing.mp4", Reads(), 2.0) == 1
