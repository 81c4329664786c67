"""Answers of a query: cuts, sheet, page, table, edit list, play list; names that are hostile."""

from __future__ import annotations

import csv
import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import videos
from tests.refusals import refused
from tests.unit.library.fakes import tiny_video
from vlar.apps.answers import (
    AnswerFiles,
    answers_page,
    contact_sheet,
    edl,
    file_name,
    m3u,
    nearest_fps,
    pictures,
    shown_s,
)
from vlar.apps.cli import output
from vlar.errors import UsageError
from vlar.formatting import timecode
from vlar.media.video.cut import Cut
from vlar.types import Failure, Hit

TEXTS = st.text(max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("found")
    videos.make_video(place / "a <b>&'.mp4", audio_s=2.4)
    videos.make_video(place / "c.mkv")
    return place


@pytest.fixture(scope="module")
def hits(folder: Path) -> list[Hit]:
    first = Hit(
        *(1, str(folder / "a <b>&'.mp4"), 0.9, 1.7, 0.8, 0.8, 0.3),
        tags={"=note": "<script>alert(1)</script>"},
    )
    gone = replace(first, rank=2, path=str(folder / "gone.mp4"))
    return [first, gone, replace(first, rank=3, path=str(folder / "c.mkv"), start_s=0.0)]


def test_everything_is_written_and_what_moved_is_one_line(
    folder: Path, hits: list[Hit], tmp_path: Path
):
    files = AnswerFiles(
        *(tmp_path / "cut", False, tmp_path / "s.png", tmp_path / "p.html"),
        *(tmp_path / "t.csv", tmp_path / "e.edl", tmp_path / "l.m3u"),
    )
    files.check()
    rows = list(files.write("a query", hits))
    failures = [row for row in rows if isinstance(row, Failure)]
    assert [failure.kind for failure in failures] == ["moved"]
    assert "gone.mp4" in failures[0].message
    cuts = [row for row in rows if isinstance(row, Cut)]
    names = ["01_a__b____0m00.9s-0m01.7s.mp4", "03_c_0m00.0s-0m01.7s.mkv"]
    assert [cut.path.name for cut in cuts] == names
    assert [cut.audio for cut in cuts] == ["kept", "none"]
    for cut in cuts:
        with av.open(str(cut.path)) as container:
            assert next(container.decode(video=0)) is not None
    with Image.open(tmp_path / "s.png") as sheet:
        pixels = np.asarray(sheet)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    table = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert [row["rank"] for row in table] == ["1", "2", "3"]
    assert json.loads(table[0]["tags"]) == dict(hits[0].tags)
    assert "hh" not in (tmp_path / "e.edl").read_text()


def test_the_page_is_whole_and_inert(hits: list[Hit]):
    picture = Image.new("RGB", (32, 18), "red")
    text = answers_page("<b>x</b>", hits, [picture, Failure(Path("x"), "moved", "x"), picture])

    class Tags(html.parser.HTMLParser):
        found: list[tuple[str, dict[str, str | None]]] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found.append((tag, dict(attrs)))

    parser = Tags()
    parser.feed(text)
    names = {tag for tag, _ in parser.found}
    assert names.isdisjoint({"script", "iframe", "object", "link", "form", "b"})
    sources = [attributes["src"] for tag, attributes in parser.found if tag == "img"]
    assert len(sources) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attributes["href"] for tag, attributes in parser.found if tag == "a"]
    assert all(link.startswith("file:///") and "#t=" in link for link in links)
    assert not any(
        "http" in str(v) for _, a in parser.found for k, v in a.items() if k != "http-equiv"
    )
    assert "&lt;script&gt;" in text


@given(path=TEXTS, query=TEXTS, value=TEXTS)
@settings(max_examples=60, deadline=None)
def test_no_text_of_others_leaves_its_place(path: str, query: str, value: str):
    hit = Hit(1, f"/v/{path}".replace("\0", ""), 1.0, 2.5, 0.5, 0.5, 0.1, tags={"k": value})
    page = answers_page(query, [hit], [Failure(Path("x"), "moved", "x")])
    assert page.count("<li>") == 1
    assert "<script" not in page.lower().replace("&lt;script", "")
    events = edl(query, [hit], 25).split("\n")
    assert len(events) == 8
    assert all(line == "" or line[0] in "TF0*" for line in events)
    lines = m3u([hit]).split("\n")
    assert len(lines) == 6
    assert lines[4].startswith("file:///")
    name = file_name(hit)
    assert not set(name) & set('/\\:*?"<>|\n\r\t\0 ')
    assert len(name) < 100


def test_an_edit_list_counts_frames(hits: list[Hit]):
    events = [line for line in edl("x", hits, 25).split("\n") if re.match(r"\d{3}  ", line)]
    assert events[0] == (
        "001  AX       V     C        00:00:00:22 00:00:01:18 00:00:00:00 00:00:00:21"
    ) or events[0].endswith("00:00:00:20")
    ends = [line.split()[-1] for line in events]
    begins = [line.split()[-2] for line in events]
    assert begins[1:] == ends[:-1]
    refused(UsageError, "999", edl, "x", hits * 400, 25)
    assert nearest_fps(23.976) == 24


@given(frames=st.integers(0, 10**7), fps=st.sampled_from([24, 25, 30, 50, 60]))
def test_a_timecode_is_its_frame(frames: int, fps: int):
    hours, minutes, seconds, rest = map(int, timecode(frames / fps, fps).split(":"))
    assert ((hours * 60 + minutes) * 60 + seconds) * fps + rest == frames


def test_a_play_list_has_spans(hits: list[Hit]):
    text = m3u(hits)
    assert text.startswith("#EXTM3U\n#EXTINF:1,")
    assert "#EXTVLCOPT:start-time=0.900\n#EXTVLCOPT:stop-time=1.700\nfile:///" in text


def test_what_cannot_be_written_is_refused_before(tmp_path: Path):
    for files in (
        AnswerFiles(sheet=tmp_path / "s.gif"),
        AnswerFiles(html=tmp_path / "none" / "p.html"),
        AnswerFiles(edl=tmp_path),
        AnswerFiles(exact=True),
    ):
        refused(UsageError, "", files.check)
    assert list(tmp_path.iterdir()) == []


def test_no_answer_writes_an_empty_page_and_no_sheet(tmp_path: Path):
    files = AnswerFiles(sheet=tmp_path / "s.png", html=tmp_path / "p.html", m3u=tmp_path / "l.m3u")
    assert [row.what for row in files.write("x", [])] == ["play list", "page"]
    assert "no match" in (tmp_path / "p.html").read_text()


BOX = (0.5, 0.25, 1.0, 1.0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return tiny_video(tmp_path / "v.mp4", 3)


def hit(video: Path, **whom: object) -> Hit:
    return Hit(1, str(video), 0.0, 8.0, 0.5, 0.5, 0.2, **whom)  # type: ignore[arg-type]


def test_the_box_is_drawn_in_the_picture_of_its_moment(video: Path):
    shown = hit(video, track=2, box=BOX, box_s=1.5)
    assert (shown_s(shown), shown_s(hit(video))) == (1.5, 4.0)
    drawn, plain = (next(pictures([each])) for each in (shown, hit(video, box_s=1.5)))
    assert isinstance(drawn, Image.Image)
    assert isinstance(plain, Image.Image)
    changed = np.any(np.asarray(drawn) != np.asarray(plain), axis=2)
    rows, columns = np.nonzero(changed)
    width, height = drawn.size
    assert columns.min() == pytest.approx(BOX[0] * width, abs=2)
    assert rows.min() == pytest.approx(BOX[1] * height, abs=2)
    assert columns.max() == width - 1
    inside = changed[int(0.6 * height) : int(0.7 * height), int(0.7 * width) : int(0.8 * width)]
    assert not inside.any()


@pytest.mark.parametrize("box", [(0.2, 0.2, 0.2, 0.2), (0.0, 0.0, 1.0, 1.0), (0.999, 0, 1, 0.01)])
def test_any_box_can_be_drawn(video: Path, box: tuple[float, float, float, float]):
    assert not isinstance(next(pictures([hit(video, track=1, box=box, box_s=0.0)])), Failure)


def test_the_person_is_named(video: Path, capsys: pytest.CaptureFixture[str]):
    shown = hit(video, track=2, box=BOX, box_s=1.5)
    (picture,) = pictures([shown])
    assert "person 2" in answers_page("a cat", [shown], [picture])
    assert "person 2" not in answers_page("a cat", [hit(video)], [picture])
    assert contact_sheet([shown], [picture]).size[0] > 300
    output.hit(shown)
    assert "person 2" in capsys.readouterr().out


def test_a_timeline_of_hits_is_in_the_order_of_their_rank(tmp_path: Path):
    otio = pytest.importorskip("opentimelineio")
    hits = [
        Hit(1, "/v/b.mp4", 2.0, 4.0, 0.5, 0.5, 0.2),
        Hit(2, "/v/a b.mp4", 1.0, 2.0, 0.4, 0.4, 0.2),
    ]
    (written,) = AnswerFiles(otio=tmp_path / "cut.otio").write("a \x1b cup", hits)
    (track,) = otio.adapters.read_from_file(str(written.path)).tracks
    assert [clip.media_reference.target_url for clip in track] == [
        "file:///v/b.mp4",
        "file:///v/a%20b.mp4",
    ]
    assert [clip.source_range.duration.to_seconds() for clip in track] == [2.0, 1.0]
    assert track.range_of_child_at_index(1).start_time.to_seconds() == 2.0
    assert track[0].metadata["vlar"] == {"rank": 1, "probability": 0.5}
