"""The review loop: the order, the formats of labelling tools, and the support set that grows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.behaviour.candidates import (
    CSV,
    FIFTYONE,
    FORMATS,
    LABEL_STUDIO,
    GivenLabel,
    ReviewCandidates,
    ReviewItem,
    join_support,
    read_answers,
    review_order,
    tasks,
    uncertainty,
)
from vlar.errors import SupportError, UsageError
from vlar.heads.support import read_support
from vlar.numeric import unit
from vlar.types import Window

ITEMS = [
    ReviewItem(Path("/v/a.mp4"), Window(0.0, 4.0), (("run", 0.5), ("walk", 0.4)), 0.9),
    ReviewItem(Path("/v/b, c.mp4"), None, (("walk", 0.6), ("run", 0.3)), 0.7),
]


def test_uncertainty_is_the_margin():
    probability = np.array([[0.9, 0.05, 0.05], [0.4, 0.4, 0.2], [0.5, 0.0, 0.0]])
    margin = uncertainty(probability)
    assert margin == pytest.approx([0.15, 1.0, 0.0])
    assert uncertainty(np.array([[0.5], [1.0]])) == pytest.approx([1.0, 0.0])


def test_the_order_covers_what_differs():
    vectors = unit(np.array([[1, 0], [1, 0.01], [0, 1], [0.7, 0.7]])).astype(np.float32)
    unsure = np.array([0.9, 0.89, 0.5, 0.5])
    assert review_order(unsure, vectors, 2) == [0, 2]  # not 1, which shows the same as 0
    assert review_order(unsure, vectors, 2, known=vectors[:1]) == [2, 3]
    assert sorted(review_order(unsure, vectors, 9)) == [0, 1, 2, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 99))
def test_an_order_names_each_clip_once(n: int, k: int, seed: int):
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(n, 3))).astype(np.float32)
    order = review_order(random.random(n) * random.integers(0, 2), vectors, k)
    assert len(order) == len(set(order)) == min(n, k)


def test_the_first_clips_of_candidates():
    probability = np.array([[0.9, 0.1], [0.5, 0.45]])
    vectors = np.eye(2, dtype=np.float32)
    places = [(Path("a"), None), (Path("b"), Window(0, 1))]
    (first,) = ReviewCandidates(("run", "walk"), places, vectors, probability).first(1)
    assert first.path == Path("b")
    assert first.guesses[0] == ("run", 0.5)
    assert first.to_dict()["end_s"] == 1
    known = {(Path("b"), Window(0, 1))}
    found = ReviewCandidates(("run", "walk"), places, vectors, probability).first(5, labelled=known)
    assert [item.path for item in found] == [Path("a")]


def answered(kind: str, text: str) -> str:
    """The tasks with an answer each, as a labelling tool gives them back."""
    if kind == CSV:
        rows = list(csv.reader(text.splitlines()))
        lines = [rows[0], *([row[0], f"label {at}", *row[2:]] for at, row in enumerate(rows[1:]))]
        return "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    data = json.loads(text)
    if kind == FIFTYONE:
        for at, sample in enumerate(data["samples"]):
            sample["ground_truth"] = {"_cls": "Classification", "label": f"label {at}"}
        return json.dumps(data)
    for at, task in enumerate(data):
        choice = {"from_name": "label", "to_name": "video", "type": "choices"}
        value = {"choices": [f"label {at}"]}
        skipped = {"was_cancelled": True, "result": []}
        task["annotations"] = [skipped, {"result": [{**choice, "value": value}]}]
        task["id"] = at
    return json.dumps(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_tasks_come_back_as_answers(tmp_path: Path, kind: str):
    text = tasks(ITEMS, kind, "lite")
    file = tmp_path / ("a.csv" if kind == CSV else "a.json")
    file.write_text(text)
    assert read_answers(file) == []
    file.write_text(answered(kind, text))
    assert read_answers(file) == [
        GivenLabel(Path("/v/a.mp4"), Window(0.0, 4.0), "label 0"),
        GivenLabel(Path("/v/b, c.mp4"), None, "label 1"),
    ]


def test_label_studio_and_fiftyone_have_their_fields():
    (first, _) = json.loads(tasks(ITEMS, LABEL_STUDIO, "lite"))
    assert first["data"]["video"] == "/v/a.mp4"
    (guess,) = first["predictions"]
    assert guess["result"][0]["value"] == {"choices": ["run"]}
    assert (guess["model_version"], guess["score"]) == ("lite", 0.5)
    sample = json.loads(tasks(ITEMS, FIFTYONE, "lite"))["samples"][0]
    assert sample["filepath"] == "/v/a.mp4"
    assert sample["prediction"] == {"_cls": "Classification", "label": "run", "confidence": 0.5}


def test_answers_join_a_support_set_that_adapt_reads(tmp_path: Path):
    support = tmp_path / "support.csv"
    support.write_text("path,label\nold.mp4,run\n")
    answers = [GivenLabel(tmp_path / "new.mp4", Window(1.0, 3.5), "walk")]
    assert join_support(support, answers) == 1
    assert join_support(support, answers) == 0
    assert join_support(support, [GivenLabel(tmp_path / "old.mp4", None, "walk")]) == 1
    items = read_support(support, least_labels=1).items
    assert [(item.path.name, item.label, item.window) for item in items] == [
        ("old.mp4", "walk", None),
        ("new.mp4", "walk", Window(1.0, 3.5)),
    ]
    assert join_support(tmp_path / "fresh.csv", answers) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fresh.csv", "support.csv"]


def test_support_sets_that_cannot_grow(tmp_path: Path):
    table = tmp_path / "grouped.csv"
    table.write_text("path,label,group\na.mp4,run,x\n")
    refused(SupportError, "group", join_support, table, [])
    refused(UsageError, "CSV", join_support, tmp_path, [])


def task(data: dict[str, object], label: object) -> str:
    answer = {"result": [{"value": {"choices": [label]}}]}
    return json.dumps([{"data": data, "annotations": [answer]}])


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[1]", task({"path": 3}, "a"), task({"path": "a"}, "\x1b"),
        task({"path": "a", "start_s": 4, "end_s": 1}, "a"),
        '[{"data": {"path": "a"}, "annotations": 3}]',
        '{"samples": [{"filepath": "a", "ground_truth": {"label": 7}}]}', "[" * 60 + "]" * 60,
        '[{"data": NaN}]',
    ],
)  # fmt: skip
def test_bad_files_of_answers_are_one_line(tmp_path: Path, text: str):
    file = tmp_path / "answers.json"
    file.write_text(text)
    refused(UsageError, r"answers\.json", read_answers, file)


def test_bad_tables_of_answers_are_one_line(tmp_path: Path):
    file = tmp_path / "answers.csv"
    for text in ("name\nx\n", "path,label\n\x00,a\n", "path,label,start_s\na,b,soon\n"):
        file.write_text(text)
        refused(UsageError, r"answers\.csv", read_answers, file)
    refused(UsageError, "cannot be read", read_answers, tmp_path / "gone.csv")
