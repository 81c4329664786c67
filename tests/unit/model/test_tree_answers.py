"""Answers with a label tree."""

from __future__ import annotations

import numpy as np
import pytest

import vlar
from vlar.errors import UsageError
from vlar.language.tree import Tree
from vlar.model.label_heads import LabelClassifier
from vlar.types import Classification, Prediction

LABELS = ["riding a bike", "driving a car", "cooking"]
TREE = Tree({"riding a bike": "traffic", "driving a car": "traffic", "cooking": "kitchen"})


@pytest.fixture(scope="module")
def model():
    return vlar.load()


def frames():
    return np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)


def test_coarse_probabilities_are_sums(model):
    answer = model.classify(frames(), LABELS, tree=TREE)
    fine = {p.label: p.probability for p in answer.predictions}
    coarse = {p.label: p.probability for p in answer.coarse}
    traffic = fine["riding a bike"] + fine["driving a car"]
    assert coarse == pytest.approx({"traffic": traffic, "kitchen": fine["cooking"]}, abs=1e-9)
    assert [row["label"] for row in answer.to_dict()["coarse"]] == [p.label for p in answer.coarse]


def test_without_a_tree_the_answer_is_as_before(model):
    answer = model.classify(frames(), LABELS)
    assert answer.coarse == ()
    assert "coarse" not in answer.to_dict()
    assert answer.predictions == model.classify(frames(), LABELS, tree=TREE).predictions


def test_a_classifier_with_a_tree_is_saved(model):
    made = model.classifier(LABELS, tree=TREE)
    again = LabelClassifier.restore(model.words, made.config(), made.state())
    assert again.tree is not None
    assert again.tree.parents == TREE.parents


def test_a_tree_needs_labels_that_exclude_each_other(model):
    with pytest.raises(UsageError, match="use mode 'one'"):
        model.classifier(LABELS, mode="multi", tree=TREE)
    with pytest.raises(UsageError, match="no label 'swimming'"):
        model.classifier(["swimming", "cooking"], tree=TREE)


def test_the_verdict_names_the_kind_where_no_fine_label_is_sure(tmp_path):
    def answer(*fine: float) -> Classification:
        predictions = tuple(Prediction(f"cut {i}", p, 0.2) for i, p in enumerate(fine))
        coarse = (Prediction("cutting", sum(fine), 0.2),)
        return Classification(tmp_path, 0, 1, "m", predictions, False, 0.1, coarse)

    assert answer(0.45, 0.4).sentence() == "some kind of cutting, 85 % (most likely cut 0, 45 %)"
    assert answer(0.8, 0.1).sentence() == "cut 0, 80 %"
    assert "some kind" not in answer(0.2, 0.1).sentence()
