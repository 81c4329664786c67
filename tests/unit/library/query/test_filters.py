"""Filters: what they mean, what they refuse."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from vlar.errors import QueryError, UsageError
from vlar.library import labels
from vlar.library.library import Library
from vlar.library.query.filters import Condition, conditions
from vlar.library.query.plan import QueryReport
from vlar.segments import Segment


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Three videos of 8 s (windows at 0, 2 and 4 s); two have tags."""
    place = tmp_path_factory.mktemp("filters")
    opened = Library(place / "l.vlar", FakeModel())
    for name, seconds, tags in (
        ("gym/a", 8, {"place": "gym", "year": "2020"}),
        ("gym/b", 8, {"place": "park", "year": "2021"}),
        ("home/c", 20, {}),
    ):
        clip = tiny_video(place / f"{name}.mp4", ord(name[-1]), seconds)
        os.utime(clip, (1_700_000_000, 1_700_000_000))  # 2023-11-14 in UTC
        opened.add(clip, tags=tags)
    return opened


TODAY = datetime.now(timezone.utc).date()
A, B, C = "a", "b", "c"


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["place=gym"], {A}),
        (["place!=gym"], {B, C}),
        (["year>=2021"], {B}),
        (["year<2021"], {A}),
        (["year > 2019", "year<=2021", "place=park"], {B}),
        (["path=gym/*"], {A, B}),
        (["path!=gym/*"], {C}),
        (["duration_s>8"], {C}),
        (["duration_s<=8s"], {A, B}),
        (["duration_s!=8"], {C}),
        (["modified=2023-11-14"], {A, B, C}),
        (["modified>2023-11-14"], set[str]()),
        (["modified<2023-11-15T00:00"], {A, B, C}),
        ([f"added>={TODAY - timedelta(days=1)}"], {A, B, C}),
        ([f"added<{TODAY - timedelta(days=1)}"], set[str]()),
        (["start_s>4"], {C}),
        (["end_s<=4", "path=gym"], {A, B}),
        ({"place": "gym"}, {A}),
        ({"year>=": 2021}, {B}),
    ],
)
def test_which_videos(library: Library, where: list[str], names: set[str]):
    hits = library.nearest(np.full(DIM, DIM**-0.5, np.float32), 100, where=where)
    assert {Path(hit.path).stem for hit in hits} == names
    if any(condition.is_of_row for condition in conditions(where)):
        refused(QueryError, "chooses among spans", library.videos, where)
    else:
        assert {Path(row.path).stem for row in library.videos(where)} == names
    for text in ("a cat", "NOT a cat", "a cat OR two dogs"):
        spans = library.query(text, 100, where=where, min_probability=0)
        assert {Path(span.path).stem for span in spans} == names


def test_recordings_with_labelled_spans(library: Library, tmp_path: Path):
    paths = {Path(row.path).stem: row.path for row in library.videos()}
    with Library(tmp_path / "copy.vlar", FakeModel()) as copy:
        library.copy_to(copy)
        for name, used in ((A, ["walk"]), (B, ["no", "rest"]), (C, [])):
            spans = [Segment(paths[name], 0.0, 1.0, label) for label in used]
            labels.write(copy._connection, paths[name], spans, 0)
        for where, names in (
            ("labelled=yes", {A, B}),
            ("labelled!=yes", {C}),
            ("labelled=no", {C}),
            ("labelled=walk", {A}),
            ("labelled!=walk", {B, C}),
            ("labelled=run", set[str]()),
        ):
            hits = copy.query("a cat", 99, where=[where], min_probability=0)
            assert {Path(hit.path).stem for hit in hits} == names
    with pytest.raises(QueryError, match="labelled=yes, =no or =LABEL"):
        library.query("a cat", where=["labelled>2"], min_probability=0)


def test_times_are_those_of_windows(library: Library):
    where = ["start_s>=2", "start_s<6", "end_s!=0"]
    with pytest.raises(QueryError, match="end_s!=0"):
        library.nearest(np.ones(DIM, np.float32), 9, where=where)
    hits = library.nearest(np.ones(DIM, np.float32), 99, where=where[:2])
    assert {hit.start_s for hit in hits} == {2.0, 4.0}
    hits = library.query("a cat AND two dogs", 99, where=where[:2], min_probability=0)
    assert {part.start_s for hit in hits for part in hit.parts} <= {2.0, 4.0}


@pytest.mark.parametrize("text", ["a cat", "a cat AND two dogs"])
def test_a_filter_that_leaves_nothing_is_reported(library: Library, text: str):
    reports: list[QueryReport] = []
    where = ["start_s>1000", "place=gym"]
    assert library.query(text, 5, where=where, report=reports.append, min_probability=0) == []
    (report,) = reports
    assert (report.windows, report.videos, report.best_probability) == (0, 1, None)
    assert "search   0 windows of 1 video," in "\n".join(report.lines())


@pytest.mark.parametrize("text", ["a cat", "a cat AND two dogs"])
def test_a_report_counts_what_the_filter_leaves(library: Library, text: str):
    reports: list[QueryReport] = []
    library.query(
        text,
        5,
        where=["start_s>=2", "start_s<6", "path=gym"],
        report=reports.append,
        min_probability=0,
    )
    (report,) = reports
    assert (report.windows, report.videos) == (4, 2)
    assert 0 < (report.best_probability or 0) < 1


def test_the_same_filter_after_a_change(library: Library, tmp_path: Path):
    query = np.full(DIM, DIM**-0.5, np.float32)
    clips = [tiny_video(tmp_path / f"{i}.mp4", i) for i in range(3)]
    with Library(tmp_path / "n.vlar", FakeModel()) as opened:
        opened.add(clips[:2])
        for count, change in ((2, None), (3, lambda other: other.add(clips[2]))):
            with Library(tmp_path / "n.vlar", FakeModel()) as other:
                if change is not None:
                    change(other)
            hits = opened.nearest(query, 9, where=["start_s<=0"])
            assert len(hits) == count
            assert hits == opened.nearest(query, 9, where=["start_s<=0"])
        opened._connection.disconnect()
        with Library(tmp_path / "n.vlar", FakeModel()) as other:
            other.remove(clips[0])
        assert len(opened.nearest(query, 9, where=["start_s<=0"])) == 2


def test_a_new_tag_is_seen_by_the_same_filter(library: Library, tmp_path: Path):
    with Library(tmp_path / "n.vlar", FakeModel()) as opened:
        clips = [tiny_video(tmp_path / f"{i}.mp4", i) for i in range(2)]
        opened.add(clips, tags={"x": "1"})
        assert len(opened.query("a cat", 9, where=["x=1"], min_probability=0)) == 2
        opened.add(clips[0], tags={"x": "2"})  # no row changes
        assert len(opened.query("a cat", 9, where=["x=1"], min_probability=0)) == 1


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["plaec=gym"], "did you mean 'place'"),
        (["gym"], "KEY=VALUE"),
        (["start_s>=soon"], "'soon' is not a number"),
        (["added>=yesterday"], "added>=2024-05-31"),
        (["path>=a"], "path=GLOB"),
        (["strat_s>=3"], "did you mean 'start_s'"),
    ],
)
def test_refused_with_advice(library: Library, where: list[str], words: str):
    with pytest.raises(QueryError, match=words):
        library.query("a cat", where=where, min_probability=0)


def test_forms():
    assert conditions(None) == ()
    expected = (Condition("a", "=", "b=c"), Condition("x", "<", "3"))
    assert conditions(["a = b=c", "x<3"]) == expected
    assert conditions({"a": "b=c", "x<": 3}) == expected
    assert conditions(["x>1", "x>2"]) == conditions({"x>": [1, 2]})


@pytest.mark.parametrize("key", ["start_s", "added", "a>", "b!"])
def test_tags_that_no_filter_could_name(library: Library, key: str):
    with pytest.raises(UsageError, match=r"reserved|holds one"):
        library.add([], tags={key: "x"})
