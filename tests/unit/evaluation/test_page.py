from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from vlar.errors import UsageError
from vlar.evaluation.page import write_page
from vlar.metrics.result import EvaluatedClip, Evaluation, evaluation_of
from vlar.types import Failure

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects tags and attributes, and fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def result(tmp_path: Path) -> Evaluation:
    video = videos.make_video(tmp_path / "clip.mp4", 25)
    labels = ("<script>alert(1)</script>", "pour & stir", "$5 \" note'")
    answers = [
        (video, "a", [1], [0.7, 0.2, 0.0], (0.1, False)),
        (video, "b", [2], [0.1, 0.2, 0.6], (0.1, False)),
        (tmp_path / "gone.mp4", "c", [0], [0, 0.5, 0], (0.5, True)),
    ]
    rows = [
        EvaluatedClip.of(
            labels, shown, np.array(scores), unknown, path=path, start_s=0, end_s=1, group=group
        )
        for path, group, shown, scores, unknown in answers
    ]
    failed = [Failure(Path("broken.mp4"), "decode", "broken.mp4: <no> frame")]
    return evaluation_of(
        labels, rows, failed, model="lite", source=tmp_path, settings={"frames": 32}
    )


def test_the_page_is_well_formed_and_holds_everything(result: Evaluation, tmp_path: Path):
    write_page(result, tmp_path / "page.html")
    reader = Reader()
    reader.feed((tmp_path / "page.html").read_text("utf-8"))
    assert reader.open == []
    for said in ("<script>alert(1)</script>", "pour & stir", "broken.mp4: <no> frame", "frames"):
        assert said in reader.text
    assert "33.3 %" in reader.text
    pictures = [a["src"] for tag, a in reader.seen if tag == "img"]
    assert len(pictures) == 3  # the clip that has gone since has none
    assert all(src and src.startswith("data:image/jpeg;base64,") for src in pictures)


def test_the_page_loads_and_runs_nothing(result: Evaluation, tmp_path: Path):
    write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert not {tag for tag, _ in reader.seen} & {"script", "link", "iframe", "object"}
    assert not any(name.startswith("on") for _, attrs in reader.seen for name in attrs)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme:dark" in text


def test_the_matrix_counts_every_clip(result: Evaluation, tmp_path: Path):
    write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    matrix = text[text.index('class="matrix"') : text.index("Do probabilities")]
    assert sum(map(int, re.findall(r">(\d+)</td>", matrix))) == result.n


def test_a_file_that_cannot_be_written_is_named(result: Evaluation, tmp_path: Path):
    with pytest.raises(UsageError, match=r"page\.html: cannot be written"):
        write_page(result, tmp_path / "absent" / "page.html")
