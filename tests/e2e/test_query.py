"""Queries with operators and timelines through the real command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.videos import make_video
from vlar.media.video.decode import read_clip


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, demo_clips: dict[str, Path]) -> Path:
    """Six seconds of bicycles, then six of a cartoon: few frames, as each costs time."""
    pictures: list[np.ndarray] = []
    for name in ("bikes", "bigbuckbunny"):
        frames = read_clip(demo_clips[name], n_frames=12, shorter_side=240).data
        pictures += [np.ascontiguousarray(frame[:224, :320]) for frame in frames]
    path = tmp_path_factory.mktemp("joined") / "joined.mp4"
    return make_video(
        path, 24, fps=2, size=(320, 224), codec="mpeg4", picture=lambda number: pictures[number]
    )


@pytest.fixture(scope="module")
def library(vlar_command, joined: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("libraries") / "joined.vlar"
    assert vlar_command("index", "add", path, joined, "--long-windows", 2).code == 0
    return path


def test_operators_as_json_with_the_plan_beside(vlar_command, library: Path):
    query = '"people riding bikes" AND NOT "a cartoon animal"'
    done = vlar_command("query", library, query, "--explain", "--json", "--min-probability", 0)
    assert done.code == 0
    first = done.rows[0]
    assert first["start_s"] < 6.0
    assert [part["phrase"] for part in first["parts"]] == [
        "people riding bikes",
        "a cartoon animal",
    ]
    assert all(0 <= part["probability"] <= 1 for part in first["parts"])
    assert "AND" in done.err
    assert "every window compared" in done.err
    assert "cost" in done.err


def test_one_thing_then_another(vlar_command, library: Path):
    query = '"people riding bikes" THEN "a cartoon animal" WITHIN 8s'
    done = vlar_command("query", library, query, "--json", "--min-probability", 0)
    assert done.code == 0
    assert done.rows[0]["start_s"] < 6.0 < done.rows[0]["end_s"]


def test_an_error_shows_where(vlar_command, library: Path):
    done = vlar_command("query", library, '"bikes" and "a cartoon"', "--json")
    assert done.code == 2
    assert done.out == ""
    query, caret = done.notes.splitlines()[:2]
    assert query[caret.index("^") :].startswith("and")
    assert "AND" in done.advice


def test_nothing_is_an_honest_answer(vlar_command, library: Path):
    done = vlar_command(
        "query", library, "bikes AND a cartoon", "--min-probability", 0.999, "--json"
    )
    assert done.code == 0
    assert done.out == ""
    assert "no match above 99.9%" in done.advice


def test_a_timeline_of_two_scenes(vlar_command, joined: Path, tmp_path: Path):
    labels = "people riding bikes, a cartoon animal"
    file = tmp_path / "t.srt"
    done = vlar_command(
        "classify", joined, "-l", labels, "--every", "2s", "--timeline", file, "--json"
    )
    assert done.code == 0
    assert len(done.rows) == 6
    assert str(file) in done.advice
    times = re.findall(
        r"(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})", file.read_text("utf-8")
    )
    assert times[0][0] == "00:00:00,000"
    assert [end for _, end in times[:-1]] == [start for start, _ in times[1:]]
    again = tmp_path / "t.json"
    assert (
        vlar_command("classify", joined, "-l", labels, "--every", "2s", "--timeline", again).code
        == 0
    )
    segments = json.loads(again.read_text("utf-8"))
    assert len(segments) == len(times)
    assert segments[0]["start_s"] == 0
    assert segments[-1]["end_s"] == pytest.approx(12.0, abs=0.3)


def test_a_timeline_needs_spans(vlar_command, joined: Path):
    done = vlar_command("classify", joined, "-l", "a, b", "--timeline", "t.srt")
    assert done.code == 2
    assert "--every" in done.advice


def test_found_spans_become_files(vlar_command, library: Path, joined: Path, tmp_path: Path):
    names = {"html": "p.html", "csv": "t.csv"}
    wanted = [word for kind, name in names.items() for word in (f"--{kind}", tmp_path / name)]
    query = ("query", library, "people riding bikes", "-k", 1, "--min-probability", 0)
    done = vlar_command(*query, "--cut", tmp_path / "cut", *wanted, "--json")
    assert done.code == 0, done.err
    assert all((tmp_path / name).stat().st_size > 50 for name in names.values())
    hit, cut = done.rows
    assert (cut["start_s"], cut["audio"]) == (hit["start_s"], "none")
    assert Path(cut["cut"]).parent == tmp_path / "cut"
    moved = joined.rename(joined.with_name("moved.mp4"))
    try:
        done = vlar_command(*query, "--cut", tmp_path / "cut", "--html", tmp_path / "p.html")
    finally:
        moved.rename(joined)
    assert done.code == 1
    assert len([line for line in done.err.splitlines() if "not there any more" in line]) == 1
    refused = vlar_command(*query, "--html", tmp_path / "none" / "p.html")
    assert refused.code == 2
    assert "cannot be written" in refused.advice
