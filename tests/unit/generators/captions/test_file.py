"""Captions of a file: every form, times, and what is wrong with a row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vlar.encoders.captions import load_captioner, one_text
from vlar.errors import UnknownNameError, UsageError
from vlar.types import Clip, Window

ROWS = [
    {"path": "a.mp4", "sentence": "A man lifts a barbell.", "start_s": 0, "end_s": 4},
    {"path": "a.mp4", "sentence": "He puts it down.", "start_s": 4, "end_s": 8},
    {"path": "b.mp4", "sentence": "A dog runs."},
]


def clip(path: Path | str, start_s: float = 0.0, end_s: float = 4.0) -> Clip:
    return Clip(Path(path), Window(start_s, end_s), "video", np.zeros((1, 2, 2, 3), np.uint8),
                np.zeros(1))  # fmt: skip


FORMS = {
    "rows.json": json.dumps(ROWS),
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n",
    "rows.csv": "path,sentence,start_s,end_s\na.mp4,A man lifts a barbell.,0,4\n"
    "a.mp4,He puts it down.,4,8\nb.mp4,A dog runs.,,\n",
    "activitynet.json": json.dumps({"version": "1", "results": {
        "a.mp4": [{"sentence": "A man lifts a barbell.", "timestamp": [0, 4]},
                  {"sentence": "He puts it down.", "timestamp": [4, 8]}],
        "b.mp4": ["A dog runs."]}}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_captions(name: str, tmp_path: Path):
    (tmp_path / name).write_text(FORMS[name])
    (tmp_path / "b.mp4").touch()
    captioner = load_captioner(f"file:{tmp_path / name}")
    found = captioner.caption(
        [clip("x/a.mp4"), clip("a.mp4", 2, 6), clip(tmp_path / "b.mp4"), clip("c.mp4")]
    )
    assert found == [
        ("A man lifts a barbell.",),
        ("A man lifts a barbell.", "He puts it down."),
        ("A dog runs.",),
        (),
    ]
    assert one_text(found[1]) == "A man lifts a barbell. He puts it down."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "row 1: 1 is not an object"),
        ('[{"sentence": "x"}]', "names no recording"),
        ('[{"path": "a"}]', "has no sentence"),
        ('[{"path": "a", "sentence": "x", "start_s": 4, "end_s": 2}]', "ends at 2 s"),
        ('[{"path": "a", "sentence": "x", "start_s": -1}]', "not a number of seconds"),
        ("[]", "holds no caption"),
        ("3", "neither a list"),
        ("{", "not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(content: str, said: str, tmp_path: Path):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        load_captioner(f"file:{tmp_path / 'c.json'}")


def test_names_that_do_not_exist(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_captioner(f"file:{tmp_path / 'none.json'}")
    with pytest.raises(UnknownNameError, match="concepts"):
        load_captioner("concept")
    for spec in ("", "file:", "concepts:x", "hf:", f"hf:{tmp_path}"):
        with pytest.raises(UsageError):
            load_captioner(spec)
