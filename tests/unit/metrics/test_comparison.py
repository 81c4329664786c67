"""Two models on the same clips, next to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.refusals import refused
from vlar.errors import MetricError
from vlar.metrics.comparison import compare
from vlar.metrics.result import EvaluatedClip, Evaluation, evaluation_of

LABELS = ("walk", "rest")


def evaluation(model: str, rests: list[float], name: str = "clip") -> Evaluation:
    """Clips that rest from the third on; ``rests``: the probability of it."""
    clips = [
        EvaluatedClip.of(
            LABELS,
            [int(i >= 2)],
            np.array([1 - p, p]),
            (0.1, False),
            path=Path(f"{name}{i}.mp4"),
            start_s=0.0,
            end_s=2.0,
            group=f"g{i}",
        )
        for i, p in enumerate(rests)
    ]
    return evaluation_of(
        LABELS, clips, [], (), model=model, source=Path("clips"), mode="one", settings={}
    )


def test_what_changed_is_counted_and_named():
    first, second = evaluation("a", [0.1, 0.7, 0.8, 0.4]), evaluation("b", [0.1, 0.2, 0.8, 0.9])
    found = compare(first, second)
    assert (found.n, found.groups, found.gained, found.lost) == (4, 4, 2, 0)
    assert found.difference is not None
    assert found.difference.difference.value == 0.5
    assert [(row.label, row.right, row.entered) for row in found.labels] == [
        ("rest", (1, 2), 1),
        ("walk", (1, 2), 1),
    ]
    assert {(hit.label, hit.clip.path.stem, hit.ranks) for hit in found.moved} == {
        ("walk", "clip1", (3, 2)),
        ("walk", "clip3", (2, 4)),
        ("rest", "clip1", (2, 3)),
        ("rest", "clip3", (3, 1)),
    }
    lines = found.summary().split("\n")
    assert lines[0].startswith("top-1: a 50.0 % (")
    assert "2 answers changed, 2 are right now, 0 are wrong now" in lines[2]
    assert lines[3].startswith("difference +50.0 points (")
    assert found.to_dict()["changed"][0]["second"]["answer"] == "walk"


def test_a_model_against_itself_changes_nothing():
    first = evaluation("a", [0.1, 0.7, 0.8, 0.4])
    found = compare(first, evaluation("b", [0.1, 0.7, 0.8, 0.4]))
    assert (found.changed, found.moved, found.gained, found.lost) == ((), (), 0, 0)
    assert found.difference is not None
    assert found.difference.p == 1.0
    refused(MetricError, "other recordings", compare, first, evaluation("b", [0.1, 0.2], "other"))
