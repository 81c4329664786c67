from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlar.encoders.base import FrameBlock
from vlar.heads.model_selection import choose
from vlar.metrics.classification import Confusion
from vlar.model.adapt_report import AdaptReport, TrainingReport

BLOCKS = (FrameBlock("look", 12, "appearance"),)


def _choice(shots: int):
    random = np.random.default_rng(0)
    y = ["a", "b"] * shots
    features = random.normal(size=(len(y), 8, 12)) + 2 * (np.array(y) == "a")[:, None, None]
    return choose(features.astype(np.float32), BLOCKS, y)[1]


@pytest.mark.parametrize("shots", [1, 4])
def test_one_sentence_says_what_was_learned_how_and_how_well(shots):
    tested = 2 * shots if shots > 1 else 0
    report = AdaptReport({"a": shots, "b": shots}, (), _choice(shots), tested=tested)
    sentence = report.sentence()
    assert sentence.startswith(f"learned 2 labels from {2 * shots} examples with ridge")
    assert ("no example could be held out" in sentence) == (shots == 1)
    assert ("recognised 8 of 8 examples held out" in sentence) == (shots == 4)
    assert "\n" not in sentence


def test_the_sentence_ends_with_what_is_confused():
    rows = (Confusion("pour", "clap", 4, 5), Confusion("wave", "clap", 1, 5))
    report = AdaptReport({"a": 4, "b": 4}, (), _choice(4), confusions=rows)
    assert report.sentence().endswith("held out; pour is taken for clap, 4 of 5")
    assert report.to_dict()["confusions"][1] == rows[1].to_dict()


def test_a_training_names_its_method():
    training = TrainingReport("temporal", "temporal/adapt", 3, 10, 0.5, 1.0, 1.0, 0.5, 0.75)
    report = AdaptReport({"a": 2, "b": 2}, (), _choice(4), training)
    assert "closed forms, which recognised 75% of the examples held out" in report.sentence()
    counted = replace(report, confusions=(Confusion("a", "b", 1, 2),), tested=4)
    assert counted.held_out == 0.75
    assert "recognised 3 of 4 examples held out" in counted.sentence()
    restored = AdaptReport.restored(counted.stored())
    assert restored is not None
    assert (restored.right, restored.tested) == (3, 4)
    assert AdaptReport.restored({**counted.stored(), "tested": 5}) is None
