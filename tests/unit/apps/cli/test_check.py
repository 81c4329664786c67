from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests import videos
from vlar.apps.cli import check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    videos.make_video(tmp_path / "good.mp4", 30)
    videos.corrupt(videos.make_video(tmp_path / "bad.ts", 120, picture=videos.noise), every=300)
    (tmp_path / "text.mp4").write_text("no video")
    return tmp_path


def test_json_lines(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert check.command([str(folder)], as_json=True) == 1
    rows = {
        Path(row["path"]).name: row
        for row in map(json.loads, capsys.readouterr().out.split("\n")[:-1])
    }
    assert rows["good.mp4"]["ok"]
    assert rows["good.mp4"]["readable"] == 1
    assert rows["bad.ts"]["kind"] == "damaged"
    assert rows["bad.ts"]["reencode_loses_s"] > 0
    assert rows["bad.ts"]["first_bad_s"] > 0
    assert rows["text.mp4"]["reason"].startswith("not a readable video")
    assert rows["text.mp4"]["readable"] == 0


def test_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    table = folder / "bad.csv"
    (folder / "empty").mkdir()
    paths = [str(folder), str(folder / "missing"), str(folder / "empty")]
    assert check.command(paths, csv_out=str(table)) == 1
    with table.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"bad.ts", "text.mp4", "missing", "empty"}
    assert rows["empty"]["kind"]
    assert rows["empty"]["message"]
    assert 0 < float(rows["bad.ts"]["readable"]) < 1
    assert float(rows["bad.ts"]["first_bad_s"]) > 0
    assert rows["bad.ts"]["reason"]
    assert rows["missing"]["kind"] == "decode"
    out = capsys.readouterr().out
    assert "can be read, first at" in out
    assert "1 of 5 recordings are fine" in out
