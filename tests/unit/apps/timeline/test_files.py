from __future__ import annotations

import csv
import itertools
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.apps.timeline import files
from vlar.apps.timeline.decoding import Segment, segments
from vlar.apps.timeline.files import checked_file, srt, vtt, write, write_process
from vlar.apps.timeline.work_cycles import measure
from vlar.errors import UsageError
from vlar.types import Classification, Prediction

TIME = r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})"
CUE = re.compile(rf"{TIME} --> {TIME}")


def row(label: str, start_s: float, end_s: float, p: float = 0.8, path: str = "a.mp4"):
    unknown = label == "unknown"
    predictions = (Prediction("x" if unknown else label, p, 0.3),)
    return Classification(
        Path(path), start_s, end_s, "m", predictions, unknown, p if unknown else 0.1
    )


def test_windows_of_one_label_are_one_segment():
    rows = [row("walk", 0, 2, 0.6), row("walk", 2, 4, 0.8), row("unknown", 4, 6), row("walk", 6, 8)]
    assert segments(rows) == [
        Segment("a.mp4", 0, 4, "walk", pytest.approx(0.7)),
        Segment("a.mp4", 4, 6, None, 0.8),
        Segment("a.mp4", 6, 8, "walk", 0.8),
    ]


def test_the_last_window_of_a_video_overlaps_and_videos_stay_apart():
    rows = [row("walk", 0, 2), row("run", 1.5, 3.5), row("run", 0, 2, path="b.mp4")]
    assert [(s.path, s.start_s, s.end_s) for s in segments(rows)] == [
        ("a.mp4", 0, 2), ("a.mp4", 2, 3.5), ("b.mp4", 0, 2),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.1, 5)), min_size=1, max_size=20))
def test_segments_cover_the_same_time_in_order(drawn: list[tuple[str, float]]):
    rows, at = [], 0.0
    for label, length in drawn:
        rows.append(row(label, at, at + length))
        at += length
    found = segments(rows[::-1])
    assert found[0].start_s == 0
    assert found[-1].end_s == rows[-1].end_s
    for one, next_one in itertools.pairwise(found):
        assert one.end_s == next_one.start_s
        assert one.label != next_one.label


NASTY = [
    Segment("a.mp4", 0, 3725.0004, "cut & peel <b>", 0.5),
    Segment("a.mp4", 3725.0004, 3726.9996, "two\n\nlines --> arrow", 0.25),
    Segment("a.mp4", 3726.9996, 360000.0, None, 1.0),
]


def cues(text: str, first: int) -> list[list[str]]:
    return [block.split("\n") for block in text.rstrip("\n").split("\n\n")[first:]]


def test_srt_is_well_formed():
    blocks = cues(srt(NASTY), 0)
    assert [block[0] for block in blocks] == ["1", "2", "3"]
    assert [block[1] for block in blocks] == [
        "00:00:00,000 --> 01:02:05,000",
        "01:02:05,000 --> 01:02:07,000",
        "01:02:07,000 --> 100:00:00,000",
    ]
    assert [block[2:] for block in blocks] == [
        ["cut & peel <b> (50%)"], ["two lines -> arrow (25%)"], ["unknown (100%)"],
    ]  # fmt: skip


def test_vtt_is_well_formed_and_escaped():
    text = vtt(NASTY)
    assert text.startswith("WEBVTT\n\n")
    blocks = cues(text, 1)
    assert all(CUE.fullmatch(block[0]) and "," not in block[0] for block in blocks)
    assert blocks[0][1] == "cut &amp; peel &lt;b&gt; (50%)"
    assert blocks[1][1:] == ["two lines -&gt; arrow (25%)"]
    assert text.count("-->") == 3


def test_files_by_ending(tmp_path: Path):
    pytest.importorskip("matplotlib")
    for ending in files.ENDINGS:
        write(tmp_path / f"t{ending}", NASTY)
    assert json.loads((tmp_path / "t.json").read_text())[2]["label"] is None
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "t.srt").read_text() == srt(NASTY)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [NASTY[0].label, NASTY[1].label, "unknown"]
    assert float(rows[2]["end_s"]) == 360000.0


def test_figures_by_ending(tmp_path: Path):
    pytest.importorskip("matplotlib")
    rows = [Segment("a", 0, 2, "=pick", 1.0), Segment("a", 2, 3, None, 1.0)]
    process = measure(rows, ["=pick"])
    for ending in files.FIGURE_ENDINGS:
        write_process(tmp_path / f"t{ending}", process, rows)
    assert json.loads((tmp_path / "t.json").read_text()) == process.to_dict()
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["count"], row["mean_s"], row["spread_s"]) == (
        "'=pick",
        "1",
        "2.0",
        "",
    )


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refused(UsageError, r"\.json, \.csv, \.srt, \.vtt, \.png", checked_file, "out.txt", "--out")
    refused(UsageError, "does not exist", checked_file, str(tmp_path / "no" / "t.srt"), "--out")
    two = [Segment("a.mp4", 0, 1, "x", 1.0), Segment("b.mp4", 0, 1, "x", 1.0)]
    refused(UsageError, "one video", write, tmp_path / "t.vtt", two)
    refused(UsageError, "cannot be written", write, tmp_path / "no" / "t.json", two)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(UsageError, "pip install", checked_file, str(tmp_path / "t.png"), "--out")
