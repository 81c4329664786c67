from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.refusals import refused
from vlar.errors import MetricError
from vlar.metrics.spans import (
    detection_map,
    highlight_metrics,
    moment_metrics,
    overlap,
)

GOLDEN = SHARED / "golden" / "qvhighlights"
needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="QVHighlights' predictions are not on this machine (VLAR_SHARED)"
)
PUBLISHED = {
    "mAP": "MR-full-mAP",
    "mAP@0.5": "MR-full-mAP@0.5",
    "mAP@0.75": "MR-full-mAP@0.75",
    "mAP/short": "MR-short-mAP",
    "mAP/middle": "MR-middle-mAP",
    "mAP/long": "MR-long-mAP",
    "R1@0.5": "MR-full-R1@0.5",
    "R1@0.7": "MR-full-R1@0.7",
}


def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@needs_golden
def test_the_published_moment_figures():
    predictions = {row["qid"]: row["pred_relevant_windows"] for row in rows("predictions")}
    truth = {row["qid"]: row["relevant_windows"] for row in rows("truth")}
    published = json.loads((GOLDEN / "published.json").read_text())
    found = moment_metrics(predictions, truth)
    for ours, theirs in PUBLISHED.items():
        assert found[ours] == pytest.approx(published[theirs], abs=0.01), ours


@needs_golden
@pytest.mark.parametrize(
    ("least", "name"),
    [
        (2, "Fair"),
        pytest.param(3, "Good", marks=pytest.mark.slow),
        pytest.param(4, "VeryGood", marks=pytest.mark.slow),
    ],
)
def test_the_published_highlight_figures(least: int, name: str):
    saliency = {row["qid"]: row["pred_saliency_scores"] for row in rows("predictions")}
    grades = {}
    for row in rows("truth"):
        grades[row["qid"]] = np.zeros((int(row["duration"] / 2), 3))
        grades[row["qid"]][row["relevant_clip_ids"]] = row["saliency_scores"]
    published = json.loads((GOLDEN / "published.json").read_text())
    found = highlight_metrics(saliency, grades, least=least)
    for figure, value in found.items():
        assert value == pytest.approx(published[f"HL-min-{name}-{figure}"], abs=0.01), figure


def test_overlap():
    found = overlap([(0, 2), (1, 1)], [(1, 3), (5, 6), (1, 1)])
    assert found.tolist() == [[pytest.approx(1 / 3), 0, 0], [0, 0, 0]]


def test_the_right_span_is_100_and_a_wrong_one_0():
    truth = {"a": [(0, 8)], "b": [(10, 30)], "c": [(40, 100), (110, 150)]}
    right = {key: [(*span, 0.9) for span in spans] for key, spans in truth.items()}
    assert set(moment_metrics(right, truth).values()) == {100.0}
    wrong = {"a": [(50, 60, 0.9)]}
    assert set(moment_metrics(wrong, truth).values()) == {0.0}


def test_a_true_span_is_found_once():
    truth = {"a": [(0, 10)]}
    found = moment_metrics({"a": [(0, 9, 0.9), (0, 10, 0.8)]}, truth)
    assert found["mAP@0.5"] == 100  # the second is a false positive after full recall
    assert found["mAP@0.75"] == 100
    assert found["mAP"] == pytest.approx((9 * 100 + 50) / 10)  # at .95 only the second counts


def test_only_ten_predictions_count_and_the_first_is_the_answer():
    truth = {"a": [(0, 10)]}
    late = [(50 + i, 51 + i, 1.0) for i in range(10)] + [(0, 10, 0.9)]
    assert moment_metrics({"a": late}, truth)["mAP"] == 0
    assert moment_metrics({"a": late[1:]}, truth)["mAP"] == pytest.approx(10)
    assert moment_metrics({"a": [(90, 91, 0.1), (0, 10, 0.9)]}, truth)["R1@0.5"] == 0


def test_lengths_without_a_query_are_not_measured():
    found = moment_metrics({"a": [(0, 8, 1.0)]}, {"a": [(0, 8)]})
    assert found["mAP/short"] == 100
    assert np.isnan(found["mAP/long"])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_one_query_by_another_way(seed: int):
    """AP by its definition: the mean over recall levels of the best precision from there on."""
    random = np.random.default_rng(seed)
    starts, lengths = random.uniform(0, 100, 3), random.uniform(1, 40, 3)
    truth = [(float(s), float(s + w)) for s, w in zip(starts, lengths, strict=True)]
    given_ = [
        (float(np.clip(a + random.normal(0, 4), 0, b)), b + 5, float(random.random()))
        for a, b in truth * 2
    ]
    ranked = sorted(given_, key=lambda row: -row[2])
    free, hits = list(truth), []
    for a, b, _ in ranked:
        ious = [float(overlap([(a, b)], [own])[0, 0]) for own in free]
        best = int(np.argmax(ious)) if ious else -1
        hit = best >= 0 and ious[best] >= 0.5
        hits.append(hit)
        if hit:
            free.pop(best)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    gained = [precision[i:].max() for i, hit in enumerate(hits) if hit]
    found = moment_metrics({"q": given_}, {"q": truth})
    assert found["mAP@0.5"] == pytest.approx(100 * sum(gained) / len(truth))


def test_highlights():
    grades = {"a": np.array([[4, 0, 0], [0, 0, 0], [3, 3, 3]])}
    found = highlight_metrics({"a": [0.9, 0.1, 0.8]}, grades, least=4)
    assert found["Hit1"] == 100
    assert found["mAP"] == pytest.approx(100 / 3)  # two annotators call nothing very good
    assert highlight_metrics({"a": [0.1, 0.9, 0.8]}, grades, least=3)["Hit1"] == 0
    outside = highlight_metrics({"a": [0.1, 0.2, 0.3, 0.9]}, grades, least=3)
    assert outside["Hit1"] == 0
    assert highlight_metrics({"a": [0.9]}, grades, least=3)["Hit1"] == 100


def test_detection_over_videos():
    truth = {"run": [("v1", 0, 10), ("v2", 0, 10)], "jump": [("v1", 20, 30)]}
    predictions = {"run": [("v1", 0, 10, 0.9), ("v2", 50, 60, 0.8), ("v2", 0, 10, 0.7)]}
    found = detection_map(predictions, truth, (0.5,))
    assert found["mAP@0.5"] == pytest.approx((0.5 + 0.5 * 2 / 3 + 0) / 2)
    other = {"run": [("v2", 0, 10, 0.9)]}
    assert detection_map(other, {"run": [("v1", 0, 10)]}, (0.5,))["mAP"] == 0


def test_what_cannot_be_scored_is_named():
    for predictions, truth, said in [
        ({}, {}, "no query"),
        ({"b": [(0, 1, 1)]}, {"a": [(0, 1)]}, "'b' has predictions"),
        ({}, {"a": []}, "spans of 'a'"),
        ({"a": [(0, float("nan"), 1)]}, {"a": [(0, 1)]}, "nan"),
        ({"a": [(2, 1, 1)]}, {"a": [(0, 1)]}, "start_s <= end_s"),
        ({"a": [(0, 1)]}, {"a": [(0, 1)]}, "score"),
    ]:
        refused(MetricError, said, moment_metrics, predictions, truth)


def test_a_query_without_saliency_is_named():
    with pytest.raises(MetricError, match="'a' has no saliency"):
        highlight_metrics({}, {"a": np.ones((2, 3))}, least=2)
