"""Captions in a library and labels without examples, through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.videos import make_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for label, value in (("red bar", 250), ("green bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * i : 30, 10:40] = (value, 255 - value, 60)
            make_video(folder / label / f"{i}.mp4", 8, picture=lambda _, p=picture: p)
    return folder


def test_a_library_is_searched_by_captions_of_a_file(vlar_command, clips: Path, tmp_path: Path):
    rows = [{"path": str(clips / "red bar" / "0.mp4"), "sentence": "A red bar stands there."}]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    library = tmp_path / "l.vlar"
    name = f"file:{tmp_path / 'captions.json'}"
    done = vlar_command("index", "add", library, clips, "--captions", name)
    assert done.code == 0, done.err
    found = vlar_command("query", library, "says: standing bars", "--json")
    assert found.code == 0, found.err
    assert [Path(row["path"]).parent.name for row in found.rows] == ["red bar"]
    assert found.rows[0]["caption"] == "A red bar stands there."
    shown = vlar_command("query", library, "says: red", "--html", tmp_path / "found.html")
    assert "A red bar stands there." in shown.out
    assert "A red bar stands there." in (tmp_path / "found.html").read_text()
    wrong = vlar_command("index", "add", library, clips, "--captions", "concept")
    assert wrong.code == 2
    assert "concepts" in wrong.advice


@pytest.mark.slow
@pytest.mark.parametrize("method", ["multitask", "coco"])
def test_labels_without_examples(vlar_command, clips: Path, tmp_path: Path, method: str):
    done = vlar_command("adapt", clips, "--out", tmp_path / "m", "--method", method)
    assert done.code == 0, done.err
    told = {"red bar": ["A red block."], "riding a bike": ["A person pedals.", "Wheels turn."]}
    (tmp_path / "told.json").write_text(json.dumps(told))
    clip = clips / "red bar" / "0.mp4"
    own = vlar_command("classify", clip, "--model", tmp_path / "m", "--json")
    assert {row["label"] for row in own.rows[0]["predictions"]} == {"red bar", "green bar"}
    labels = ("--labels", tmp_path / "told.json")
    other = vlar_command("classify", clip, "--model", tmp_path / "m", *labels, "--json")
    assert other.code == 0, other.err
    assert {row["label"] for row in other.rows[0]["predictions"]} == set(told)
    model = f"captioned:file:{tmp_path / 'captions.json'}"
    (tmp_path / "captions.json").write_text(json.dumps({str(clip): ["A person rides a bike."]}))
    spoken = vlar_command("classify", clip, "--model", model, *labels, "--json")
    assert spoken.rows[0]["predictions"][0]["label"] == "riding a bike"
