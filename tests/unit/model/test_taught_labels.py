"""Labels that are names of concepts: what judgements taught moves the label of the words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.fakes import FakeEncoder
from vlar.errors import LabelError, UsageError
from vlar.heads.base import Head, Scores
from vlar.heads.concept_heads import TaughtHead
from vlar.language.concept import Concept
from vlar.language.labels import LabelSet
from vlar.model.label_heads import LabelClassifier
from vlar.model.model import Model
from vlar.types import Encoded


class Even(Head):
    """Two labels and none of them, a quarter, a quarter and a half."""

    name, labels = "even", ("a", "b")

    def scores(self, encoded):
        n = len(encoded)
        return Scores(np.zeros((n, 2), np.float32), np.full((n, 2), 0.25), np.full(n, 0.5))

    def config(self):
        return {}

    def state(self):
        return {}


def clip(*vector: float) -> Encoded:
    return Encoded(np.zeros((0, 2), np.float32), np.array(vector, np.float32))


def concept(dim: int, fingerprint: str = "", value: float = 0.0, offset: float = 0.0) -> Concept:
    shift = np.full(dim, value, np.float32)
    return Concept("Our Band", "playing music", fingerprint, 1, 1, 1.0, offset, shift)


def test_labels_that_exclude_each_other_share_what_a_taught_one_leaves():
    shift = np.array([[np.log(3.0), 0.0], [0.0, 0.0]], np.float32)
    rows = TaughtHead(Even(), "one", shift, np.zeros(2)).scores([clip(1, 0), clip(0, 1)])
    # Three times the odds of a quarter against the other three quarters; a row aside of it stays.
    np.testing.assert_allclose(rows.probability, [[0.5, 1 / 6], [0.25, 0.25]], atol=1e-6)
    np.testing.assert_allclose(rows.unknown, [1 / 3, 0.5], atol=1e-6)
    alone = TaughtHead(Even(), "multi", shift, np.array([0.0, 1.0])).scores([clip(1, 0)])
    by_hand = 1 / (1 + np.exp(-(np.log(1 / 3) + np.array([np.log(3.0), 1.0]))))
    np.testing.assert_allclose(alone.probability[0], by_hand, atol=1e-6)
    assert alone.unknown[0] == pytest.approx(1 - by_hand.max(), abs=1e-6)


def test_a_label_stands_for_the_words_of_its_concept_in_any_case():
    made = LabelSet.read(["our band", "surfing"], concepts={"our band": concept(3)})
    assert made.listed is not None
    assert made.listed.labels == ("our band", "surfing")
    assert made.listed.texts == ("playing music", "surfing")
    assert set(made.concepts) == {"our band"}
    assert LabelSet(made.listed).taught_by({}).concepts == {}
    with pytest.raises(LabelError, match="concepts are: 'Our Band'"):
        LabelSet.read(["surfing"], concepts={"our band": concept(3)})


def test_a_model_answers_by_concepts_and_keeps_them():
    model = Model(FakeEncoder())
    labels, dim, ours = ["our band", "surfing", "cooking"], model.encoder.dim, model.fingerprint
    vector = np.random.default_rng(0).normal(size=dim)
    row = Encoded(np.zeros((0, 1), np.float32), (vector / np.linalg.norm(vector)).astype("f4"))

    def made(each: Concept) -> LabelClassifier:
        return model.recogniser.classifier(LabelSet.read(labels, concepts={"our band": each}))

    def share(classifier: LabelClassifier) -> float:
        return float(classifier.scores([row]).probability[0, 0])

    # Nothing learned: the label is that of the words.
    plain = share(model.classifier(["playing music", "surfing", "cooking"]))
    assert share(made(concept(dim, ours))) == pytest.approx(plain, abs=1e-9)
    taught = made(replace(concept(dim, ours), shift=4 * row.vector))
    assert share(taught) > plain
    again = LabelClassifier.restore(model.words, taught.config(), taught.state())
    assert share(again) == share(taught)
    with pytest.raises(UsageError, match="another model"):
        made(concept(dim, "x"))
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    answer = model.classify(pixels, labels, concepts={"our band": concept(dim, ours)})
    assert {row.label for row in answer.predictions} == set(labels)
