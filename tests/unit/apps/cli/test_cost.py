"""A costly answer over time is announced after its first windows, and counted window by window."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from vlar.apps.cli import classify
from vlar.apps.cli.progress import Progress
from vlar.types import Failure


@pytest.mark.parametrize(("each_s", "total", "told"), [(1.0, 100, True), (0.01, 100, False)])
def test_a_cost_above_20_s_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, each_s, total, told
):
    spent = [0.0]
    monkeypatch.setattr(classify.time, "process_time", lambda: spent[0])

    def rows():
        for _ in range(total):
            spent[0] += each_s
            yield Failure(Path("a.mp4"), "decode", "a.mp4: broken")

    shown = Progress()
    shown.stage("classifying", total=total, unit="windows")
    assert len(list(classify._timed(rows(), shown, total))) == total
    assert shown.text() == f"classifying: {total} of {total} windows"
    lines = [line for line in capsys.readouterr().err.splitlines() if "processor time" in line]
    assert lines == (["vlar: 100 windows; about 92 s of processor time more"] if told else [])


def test_windows_are_counted_before_they_are_read(tmp_path: Path):
    class Reads:
        modality = "video"

    path = videos.make_video(tmp_path / "a.mp4", 50, fps=10)
    assert classify._windows(path, Reads(), 2.0) == 2
    assert classify._windows(tmp_path / "missing.mp4", Reads(), 2.0) == 1
