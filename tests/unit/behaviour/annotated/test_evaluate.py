"""Segments in whole recordings against annotations, and spans of any format as examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests import videos
from tests.refusals import refused
from tests.unit.model.test_people import Bands
from vlar.errors import SupportError, UsageError
from vlar.heads.support import read_support
from vlar.model.model import Model
from vlar.segments import Segment
from vlar.types import Window

FORMATS = {
    "take.csv": "label,start,end\nsnow,0,2\ncurtain,2,4\n",
    "createml.csv": "video,label,start,end\ntake.mp4,snow,0,2\ntake.mp4,curtain,2,4\n",
    "anet.json": json.dumps({"database": {"take": {"duration": 4, "subset": "test", "annotations": [
        {"label": "snow", "segment": [0, 2]}, {"label": "curtain", "segment": [2, 4]}]}}}),
    "take.vtt": "WEBVTT\n\n00:00.000 --> 00:02.000\nsnow\n\n00:02.000 --> 00:04.000\ncurtain\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two takes: two seconds that are bright on the left, then two on the right."""
    folder = tmp_path_factory.mktemp("takes")
    left = np.repeat([[[200] * 3, [20] * 3]], 48, axis=1).repeat(64, axis=0).astype(np.uint8)
    for name in ("take", "other"):
        videos.make_video(
            folder / f"{name}.mp4", 40, fps=10, picture=lambda i: left if i < 20 else left[:, ::-1]
        )
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_spans_of_any_format_are_examples(takes: Path, name: str):
    file = takes / name
    file.write_text(FORMATS[name])
    support = read_support(file)
    rows = [(i.path.name, i.label, i.window) for i in support.items]
    assert rows == [
        ("take.mp4", "snow", Window(0, 2)),
        ("take.mp4", "curtain", Window(2, 4)),
    ]


def test_spans_of_one_time_are_one_example_of_several_labels(takes: Path):
    file = takes / "several.csv"
    file.write_text("recording,label,start,end\ntake.mp4,a,0,2\ntake.mp4,b,0,2\ntake.mp4,p,1,1\n")
    assert [item.labels for item in read_support(file).items] == [("a", "b")]
    file.write_text("recording,label,start,end\nabsent,a,0,2\n")
    refused(SupportError, "no recordings next to it are called 'absent'", read_support, file)


def test_a_model_of_spans_finds_them_again(takes: Path):
    mine = Model(Bands()).adapt(_both(takes), method="ridge")
    truth = _both(takes)
    result = vlar.evaluate(truth=truth, model=mine, every_s=0.5, unknown=False)
    assert [path.name for path in result.recordings] == ["take.mp4", "other.mp4"]
    assert result.figures["mAP@0.5"] == 1.0 == result.figures["F1@0.5"]
    assert result.control["F1@0.5"] < 0.5  # moved by half a recording, the same answers are wrong
    assert result.to_dict()["segments"] == result.figures
    rows = [Segment("take", 0, 2, "snow"), Segment("take", 2, 4, "curtain")]
    several = vlar.evaluate(takes / "take.mp4", truth=rows, model=mine, every_s=0.5, mode="multi")
    assert {(row.label, row.start_s) for row in several.answers} <= {("snow", 0), ("curtain", 2)}
    assert not vlar.evaluate(takes / "take.mp4", truth=rows, model=mine, every_s=2).answers
    assert result.summary()[0] == "2 recordings, 4 segments, 4 answers"


def _both(folder: Path) -> Path:
    file = folder / "both.csv"
    spans = ("snow,0,2", "curtain,2,4")
    lines = [f"{name}.mp4,{span}" for name in ("take", "other") for span in spans]
    file.write_text("\n".join(["video,label,start,end", *lines, ""]))
    return file


def test_recordings_that_cannot_be_read_do_not_count(takes: Path, tmp_path: Path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    rows = [Segment("bad", 0, 2, "snow"), Segment("take", 0, 2, "snow")]
    paths = [tmp_path / "bad.mp4", takes / "take.mp4"]
    asked: dict[str, Any] = {"model": Model(Bands()), "labels": ["snow", "curtain"], "every_s": 2.0}
    result = vlar.evaluate(paths, truth=rows, **asked)
    assert [row.path.name for row in result.failed] == ["bad.mp4"]
    refused(SupportError, "can be read", lambda: vlar.evaluate(paths[:1], truth=rows, **asked))
    refused(UsageError, "recordings are missing", lambda: vlar.evaluate(truth=rows, **asked))
