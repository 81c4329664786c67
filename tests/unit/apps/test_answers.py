"""Answers of a query: cuts, page, table; names that are hostile."""

from __future__ import annotations

import csv
import html.parser
import json
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
    file_name,
    pictures,
    shown_s,
)
from vlar.apps.cli import output
from vlar.errors import UsageError
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
    files = AnswerFiles(tmp_path / "cut", tmp_path / "p.html", tmp_path / "t.csv")
    files.check()
    rows = list(files.write("a query", hits))
    failures = [row for row in rows if isinstance(row, Failure)]
    assert [failure.kind for failure in failures] == ["moved"]
    assert "gone.mp4" in failures[0].message
    cuts = [row for row in rows if isinstance(row, Cut)]
    names = ["01_a__b____0m00.9s-0m01.7s.mp4", "03_c_0m00.0s-0m01.7s.mp4"]
    assert [cut.path.name for cut in cuts] == names
    assert [cut.audio for cut in cuts] == ["kept", "none"]
    for cut in cuts:
        with av.open(str(cut.path)) as container:
            assert next(container.decode(video=0)) is not None
    assert (tmp_path / "p.html").read_text().count('src="data:image/jpeg;base64,') == 2
    table = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert [row["rank"] for row in table] == ["1", "2", "3"]
    assert json.loads(table[0]["tags"]) == dict(hits[0].tags)


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
    name = file_name(hit)
    assert not set(name) & set('/\\:*?"<>|\n\r\t\0 ')
    assert len(name) < 100


def test_what_cannot_be_written_is_refused_before(tmp_path: Path):
    for files in (
        AnswerFiles(html=tmp_path / "none" / "p.html"),
        AnswerFiles(table=tmp_path),
    ):
        refused(UsageError, "", files.check)
    assert list(tmp_path.iterdir()) == []


def test_no_answer_writes_an_empty_page(tmp_path: Path):
    assert [row.what for row in AnswerFiles(html=tmp_path / "p.html").write("x", [])] == ["page"]
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
    output.hit(shown)
    assert "person 2" in capsys.readouterr().out
