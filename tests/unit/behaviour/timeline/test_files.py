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

from tests import videos
from tests.command_line import invoke
from tests.fixtures.models_1 import tiny  # noqa: F401 - registers the model
from tests.refusals import refused
from vlar.behaviour.timeline import files
from vlar.behaviour.timeline.decoding import AnswerSegment, segments
from vlar.behaviour.timeline.files import checked_file, srt, vtt, write
from vlar.behaviour.timeline.resume import FinishedRecordings
from vlar.errors import UsageError
from vlar.types import Classification, Failure, Prediction

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
        AnswerSegment("a.mp4", 0, 4, "walk", pytest.approx(0.7)),
        AnswerSegment("a.mp4", 4, 6, None, 0.8),
        AnswerSegment("a.mp4", 6, 8, "walk", 0.8),
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
    AnswerSegment("a.mp4", 0, 3725.0004, "cut & peel <b>", 0.5),
    AnswerSegment("a.mp4", 3725.0004, 3726.9996, "two\n\nlines --> arrow", 0.25),
    AnswerSegment("a.mp4", 3726.9996, 360000.0, None, 1.0),
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


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refused(UsageError, r"\.vtt, \.otio, \.lerobot, \.png", checked_file, "out.txt", "--out")
    refused(UsageError, "does not exist", checked_file, str(tmp_path / "no" / "t.srt"), "--out")
    two = [AnswerSegment("a.mp4", 0, 1, "x", 1.0), AnswerSegment("b.mp4", 0, 1, "x", 1.0)]
    refused(UsageError, "one video", write, tmp_path / "t.vtt", two)
    refused(UsageError, "cannot be written", write, tmp_path / "no" / "t.json", two)
    for package, ending in (
        ("matplotlib", "png"),
        ("opentimelineio", "otio"),
        ("pyarrow", "lerobot"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        refused(UsageError, "pip install", checked_file, str(tmp_path / f"t.{ending}"), "--out")


SEGMENTS = [
    AnswerSegment("a.mp4", 0.0, 1.0, "pick <it>", 0.9),
    AnswerSegment("a.mp4", 1.5, 3.0, None, 0.6),
    AnswerSegment("b.mp4", 0.0, 2.0, "place", 0.7),
]


def test_an_editor_reads_the_segments_at_their_times(tmp_path: Path):
    otio = pytest.importorskip("opentimelineio")
    write(tmp_path / "work.otio", SEGMENTS)
    made = otio.adapters.read_from_file(str(tmp_path / "work.otio"))
    first, second = made.tracks
    assert (first.name, second.name) == ("a.mp4", "b.mp4")
    assert [type(each).__name__ for each in first] == ["Clip", "Gap", "Clip"]
    assert [clip.name for clip in first.find_clips()] == ["pick <it>", "unknown"]
    span = first.range_of_child_at_index(2)
    assert (span.start_time.to_seconds(), span.duration.to_seconds()) == (1.52, 1.48)  # 25 a second
    clip = first[2]
    assert clip.source_range.start_time.to_seconds() == pytest.approx(1.5, abs=0.04)
    assert clip.media_reference.target_url == "a.mp4"
    assert clip.metadata["vlar"]["probability"] == 0.6


def test_robots_read_the_subtask_of_every_frame(tmp_path: Path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    write(tmp_path / "work.lerobot", SEGMENTS)
    names = pd.read_parquet(tmp_path / "work.lerobot" / "meta" / "subtasks.parquet")
    assert dict(names["subtask_index"]) == {"pick <it>": 0, "place": 1, "unknown": 2}
    assert names.index.name == "subtask"
    frames = pd.read_parquet(tmp_path / "work.lerobot" / "data" / "subtask_index.parquet")
    assert list(frames.columns) == ["episode_index", "frame_index", "timestamp", "subtask_index"]
    first = frames[frames.episode_index == 0]
    assert len(first) == 75  # 3 s, 25 a second
    assert list(first.frame_index) == list(range(75))
    assert set(first.subtask_index[:25]) == {0}
    assert set(first.subtask_index[25:38]) == {-1}
    assert set(first.subtask_index[38:]) == {2}
    assert set(frames[frames.episode_index == 1].subtask_index) == {1}


def test_what_is_finished_is_kept_and_what_changed_is_not(tmp_path: Path):
    clip, file = tmp_path / "a.mp4", tmp_path / "done.jsonl"
    clip.write_bytes(b"one")
    kept = FinishedRecordings(file, ["model", ("a", "b")])
    assert kept.get(clip) is None
    kept.put(clip, SEGMENTS[:2])
    with file.open("a") as stream:
        stream.write('{"key": ["cut off')  # as a kill leaves it
    again = FinishedRecordings(file, ["model", ("a", "b")])
    assert again.get(clip) == SEGMENTS[:2]
    other = tmp_path / "b.mp4"
    other.write_bytes(b"b")
    again.put(other, SEGMENTS[2:])
    assert FinishedRecordings(file, ["model", ("a", "b")]).get(other) == SEGMENTS[2:]
    assert FinishedRecordings(file, ["model", ("a", "c")]).get(clip) is None
    clip.write_bytes(b"another")
    assert FinishedRecordings(file, ["model", ("a", "b")]).get(clip) is None
    refused(UsageError, "--resume", FinishedRecordings, tmp_path, [])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    refused(UsageError, "--resume", FinishedRecordings, tmp_path / "binary", [])


def test_a_run_that_is_resumed_reads_only_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clips = [videos.make_video(tmp_path / f"{name}.mp4", 8) for name in "ab"]
    read: list[str] = []

    def find(model, path, labels, rules, *, online):
        read.append(Path(path).name)
        if Path(path).name == broken:
            yield Failure(Path(path), "decode", f"{path}: cut short")
            return
        yield AnswerSegment(str(path), 0.0, 1.0, "rise", 0.9)

    monkeypatch.setattr("vlar.behaviour.timeline.recordings.find_segments", find)
    words = ("timeline", *map(str, clips), "--labels", "rise, fall", "--json")
    words += ("--model", "tiny-for-fixtures", "--resume", str(tmp_path / "done.jsonl"))
    broken = "b.mp4"
    first = invoke(words)
    assert first.exit_code == 1
    broken = ""
    second, third = invoke(words), invoke(words)
    assert read == ["a.mp4", "b.mp4", "b.mp4"]
    assert second.exit_code == third.exit_code == 0
    assert second.stdout == third.stdout
    assert [json.loads(line)["path"] for line in third.stdout.splitlines()] == list(map(str, clips))
    invoke([*words, "--every", "1s"])  # the control: other settings
    assert read[3:] == ["a.mp4", "b.mp4"]
