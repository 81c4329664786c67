from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vlar.types import Classification, Failure, Hit, Prediction, Window


def answer(unknown: bool) -> Classification:
    predictions = (Prediction("run", 0.6, 0.31), Prediction("walk", 0.3, 0.29))
    return Classification(Path("a.mp4"), 0.0, 2.5, "lite", predictions, unknown, 0.1)


def test_classification_line_has_the_documented_keys():
    row = json.loads(json.dumps(answer(False).to_dict()))
    assert list(row) == [
        "path", "start_s", "end_s", "model", "calibrated", "predictions", "unknown",
        "unknown_probability", "lost",
    ]  # fmt: skip
    assert row["predictions"][0] == {"label": "run", "probability": 0.6, "similarity": 0.31}


def test_label_is_none_where_unknown():
    assert answer(False).label == "run"
    assert answer(True).label is None


def test_failure_line_has_the_documented_keys():
    row = Failure(Path("a.mp4"), "decode", "a.mp4 is empty").to_dict()
    assert row == {"path": "a.mp4", "error": {"kind": "decode", "message": "a.mp4 is empty"}}


def test_hit_line_has_the_documented_keys():
    row = Hit(1, "a.mp4", 0.0, 4.0, 0.5, 0.7, 0.5, {"place": "gym"}).to_dict()
    assert list(row) == [
        "rank", "path", "start_s", "end_s", "score", "probability", "similarity", "tags",
        "lost", "row", "standing", "calibrated",
    ]  # fmt: skip


def test_a_hit_that_is_ahead_of_all_others_is_not_weak():
    hit = Hit(1, "a.mp4", 0.0, 4.0, 0.5, 0.1, 0.5)
    assert hit.weak
    assert replace(hit, standing="close").weak
    assert not replace(hit, standing="clear").weak
    assert not replace(hit, probability=0.3).weak


def test_rows_are_frozen():
    with pytest.raises(AttributeError):
        Window(0, 1).start_s = 2  # type: ignore[misc]
