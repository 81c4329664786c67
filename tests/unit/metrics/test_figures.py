from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tests.refusals import refused
from vlar.errors import MetricError, UsageError
from vlar.metrics.result import (
    EvaluatedClip,
    Evaluation,
    confusion_matrix,
    evaluation_of,
    most_confused,
)
from vlar.types import Failure

LABELS = ("clap", "pour", "wave")
KEYS = [
    "n",
    "top1",
    "top5",
    "macro",
    "map",
    "unknown_rate",
    "ece",
    "threshold",
    "labels",
    "confusions",
]


def about(mode: str = "one") -> dict[str, Any]:
    return {
        "model": "lite",
        "source": Path("clips"),
        "mode": mode,
        "settings": {"fingerprint": "0"},
    }


def clip(
    number: int,
    columns: tuple[int, ...],
    probability: list[float],
    unknown: float = 0.1,
    group: str = "",
    labels: Sequence[str] = LABELS,
    **parts: str,
) -> EvaluatedClip:
    return EvaluatedClip.of(
        labels, columns, np.array(probability), (unknown, unknown > 0.5), start_s=0, end_s=2,
        path=Path(f"{number}.mp4"), group=group or str(number), parts=parts,
    )  # fmt: skip


def example(failed: tuple[Failure, ...] = ()) -> Evaluation:
    """Five clips of "pour", four of which are taken for "clap"; three of "clap" and a right one."""
    rows = [clip(i, (1,), [0.6, 0.3, 0.0]) for i in range(4)]
    rows += [clip(4, (1,), [0.1, 0.8, 0.0]), clip(5, (0,), [0.7, 0.1, 0.1])]
    rows += [clip(6, (0,), [0.3, 0.05, 0.05], unknown=0.6)]
    return evaluation_of(LABELS, rows, failed, **about())


def test_the_figures_of_an_example():
    found = example()
    assert (found.n, found.groups) == (7, 7)
    assert found.top1 == pytest.approx(3 / 7)
    assert found.top5 == 1
    assert found.macro == pytest.approx((1 / 5 + 1) / 2)
    assert found.unknown_rate == pytest.approx(1 / 7)
    assert [(row.label, row.n, row.accuracy) for row in found.per_label] == [
        ("clap", 2, 1.0),
        ("pour", 5, 0.2),
        ("wave", 0, None),
    ]
    assert found.threshold is not None
    assert found.threshold.value == 0.3
    assert found.threshold.drops == 0
    (row,) = found.confusions
    assert row.to_dict() == {"truth": "pour", "answer": "clap", "count": 4, "of": 5}


def test_the_summary_is_short_and_clear():
    broken = Failure(Path("broken.mp4"), "decode", "broken.mp4: no frame")
    lines = example((broken,)).summary().splitlines()
    assert lines[0].startswith("7 clips of 2 labels: top-1 3 of 7, 42.9 % (")
    assert "pour is taken for clap, 4 of 5" in lines
    assert lines[1].startswith("called unknown: 14.3 % (1 of 3 right answers were called unknown);")
    assert lines[2] == "7 clips are too few for a threshold; give at least 20"
    assert "without a clip, and not in any mean: wave" in lines
    assert lines[-1] == "not counted: 1 clip could not be read"
    assert len(lines) == 6


def test_many_clips_have_a_threshold_and_a_few_have_none():
    rows = [clip(i, (1,), [0.6, 0.3, 0.0]) for i in range(4)]
    rows += [clip(4 + i, (0,), [0.7, 0.1, 0.1]) for i in range(16)]
    many = evaluation_of(LABELS, rows, **about())
    assert "a threshold of 0.70 on the probability keeps" in many.summary()
    assert many.to_dict()["threshold"] == pytest.approx(0.7)
    assert "of 20, " not in many.summary()
    assert example().to_dict()["threshold"] is None
    assert example().to_dict()["right_but_unknown"] == 1


def test_the_json_object_has_the_promised_keys():
    data = example().to_dict()
    assert set(KEYS) <= set(data)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["labels"] == list(LABELS)
    assert data["intervals"]["top1"][0] <= data["top1"] <= data["intervals"]["top1"][1]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_figures_equal_scikit_learn(seed: int):
    random = np.random.default_rng(seed)
    n, c = int(random.integers(1, 25)), int(random.integers(2, 6))
    probability = random.dirichlet(np.ones(c), n)
    truth = random.integers(c, size=n)
    names = [f"label {i}" for i in range(c)]
    pairs = zip(truth, probability, strict=True)
    rows = [clip(i, (int(t),), list(p), labels=names) for i, (t, p) in enumerate(pairs)]
    found = evaluation_of(names, rows, **about())
    best = probability.argmax(axis=1)
    there = np.unique(truth)
    assert found.top1 == pytest.approx(sklearn.accuracy_score(truth, best))
    theirs = sklearn.recall_score(truth, best, labels=there, average="macro", zero_division=0)
    assert found.macro == pytest.approx(theirs)
    each = [sklearn.average_precision_score(truth == t, probability[:, t]) for t in there]
    assert found.map == pytest.approx(np.mean(each))
    names, table = confusion_matrix(found)
    places = [int(name.split()[1]) for name in names]
    theirs = sklearn.confusion_matrix(truth, best, labels=places)
    assert table == theirs.tolist()
    assert sum(row.count for row in found.confusions) == (best != truth).sum()


def test_several_labels_a_clip():
    rows = [clip(0, (0, 2), [0.9, 0.2, 0.7]), clip(1, (1,), [0.6, 0.4, 0.1])]
    found = evaluation_of(LABELS, rows, **about("multi"))
    assert (found.top1, found.top5) == (0.5, 1.0)
    assert found.macro == pytest.approx((1 + 0 + 1) / 3)
    assert found.map == pytest.approx(np.mean([1, 1, 1]))
    member = [[1, 0, 1], [0, 1, 0]]
    scores = [[0.9, 0.2, 0.7], [0.6, 0.4, 0.1]]
    assert found.micro_map == pytest.approx(
        sklearn.average_precision_score(member, scores, average="micro")
    )
    assert [(c.truth, c.answer, c.of) for c in found.confusions] == [("pour", "clap", 1)]
    assert found.clips[0].to_dict()["label"] == "clap|wave"


def test_parts_of_labels():
    parts = [{"verb": "open", "object": "door"}, {"verb": "close", "object": "door"}]
    rows = [
        clip(0, (0,), [0.2, 0.8], verb="open", object="door"),
        clip(1, (1,), [0.2, 0.8], verb="close", object="door"),
    ]
    found = evaluation_of(("open door", "close door"), rows, label_parts=parts, **about())
    assert found.parts == {"verb": 0.5, "object": 1.0}
    assert found.to_dict()["parts"] == {"verb": 0.5, "object": 1.0}


def test_one_group_has_no_interval_and_says_so():
    rows = [clip(i, (i % 2,), [0.6, 0.3], group="one") for i in range(4)]
    found = evaluation_of(LABELS[:2], rows, **about())
    assert set(found.intervals.values()) == {None}
    assert "all clips are of one group" in found.summary()
    assert "(" not in found.summary().splitlines()[0]


def test_one_clip():
    found = evaluation_of(LABELS, [clip(0, (1,), [0.6, 0.3, 0.0])], **about())
    assert found.summary().splitlines()[0].startswith("1 clip of 1 label: top-1 0 of 1, 0.0 %,")
    assert found.threshold is None
    assert "no answer is right" in found.summary()
    assert found.to_dict()["threshold"] is None


def test_nothing_and_nan_are_refused():
    refused(MetricError, "no clip was scored", evaluation_of, LABELS, [], **about())
    with pytest.raises(MetricError, match="nan"):
        evaluation_of(LABELS, [clip(0, (0,), [0.5, float("nan"), 0.1])], **about())


def test_the_table_names_what_could_not_be_read(tmp_path: Path):
    broken = Failure(Path("broken.mp4"), "decode", "broken.mp4: no frame")
    example((broken,)).write_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert (rows[0]["label"], rows[0]["answer"], rows[0]["rank"]) == ("pour", "clap", "2")
    assert (rows[-1]["path"], rows[-1]["error"]) == ("broken.mp4", "broken.mp4: no frame")
    refused(UsageError, "cannot be written", example().write_csv, tmp_path / "absent" / "rows.csv")


def test_a_path_that_is_not_text_is_written(tmp_path: Path):
    broken = Failure(Path("caf\udce9.mp4"), "decode", "no frame")
    example((broken,)).write_csv(tmp_path / "rows.csv")
    assert "caf\\udce9.mp4" in (tmp_path / "rows.csv").read_text("utf-8")


def test_the_most_confused_labels_keep_the_order_of_the_list():
    table = [[5, 0, 0], [0, 1, 4], [1, 2, 3]]
    assert most_confused(["a", "b", "c"], table, 2) == [1, 2]
    assert most_confused(["a", "b", "c"], table, 9) == [0, 1, 2]


def test_the_worst_answers_are_wrong_and_sure():
    worst = example().worst(3)
    assert len(worst) == 3
    assert all(not row.right and row.probability == 0.6 for row in worst)
