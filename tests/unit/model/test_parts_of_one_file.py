"""A head that compares sequences and a rejector, each added by one class and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from vlar.errors import SupportError, UnknownNameError, UsageError
from vlar.heads.logistic import fit_logistic, logistic
from vlar.heads.reject import Rejector
from vlar.methods.matchers.heads import Matcher
from vlar.registry import register


@register("fewshot", "best-cosines-in-test")
class BestCosines(Matcher):
    """Mean over a clip's frames of the best cosine to a frame near the same place."""

    name = "best-cosines-in-test"

    def similarity(self, a, b):
        a, b = (x - x.mean(axis=2, keepdims=True, dtype=np.float64) for x in (a, b))
        a, b = (x / np.linalg.norm(x, axis=2, keepdims=True).clip(1e-9) for x in (a, b))
        cosines = np.einsum("mtf,nsf->mnts", a, b)
        place = np.arange(a.shape[1])
        near = np.abs(place[:, None] - place) <= 1
        return np.where(near, cosines, -1).max(axis=3).mean(axis=2)


@register("rejector", "max-logit-in-test")
class MaxLogit(Rejector):
    """Minus the largest logit; the threshold of a probability of one half keeps 95 %."""

    name = "max-logit-in-test"
    reads = "logits"

    def fit(self, signatures, y, groups=None, logits=None):
        held = logits[~np.isnan(logits[:, 0])]
        other = np.sort(held, axis=1)[:, -2]
        self.centre, self.slope = fit_logistic(held.max(axis=1), other)
        return self

    def score(self, signatures, logits=None):
        return -logits.max(axis=1)

    def probability(self, signatures, logits=None):
        return 1.0 - logistic(logits.max(axis=1), self.centre, self.slope)

    def config(self):
        return {"rejector": self.name, "centre": self.centre, "slope": self.slope}

    def state(self):
        return {}

    def restore(self, config, state):
        self.centre, self.slope = float(config["centre"]), float(config["slope"])


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.support(tmp_path_factory.mktemp("support"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny.queries(tmp_path_factory.mktemp("queries"))


@pytest.fixture(scope="module")
def base() -> vlar.Model:
    return vlar.load("tiny-for-fixtures")


def test_a_matcher_is_adapted_saved_loaded_and_classifies(base, support, clips, tmp_path):
    model = base.adapt(support, method="best-cosines-in-test")
    assert model.report.choice.chosen.kind == "frames:8"
    assert "best-cosines-in-test" in model.report.sentence()
    answers = model.classify(clips)
    truth = [clip.parent.name for clip in clips[:-1]]
    right = [answer.predictions[0].label == t for answer, t in zip(answers, truth, strict=False)]
    assert np.mean(right) >= 0.75
    again = vlar.load(model.save(tmp_path / "mine"))
    assert [a.predictions for a in again.classify(clips)] == [a.predictions for a in answers]
    for answer in answers:
        total = sum(p.probability for p in answer.predictions) + answer.unknown_probability
        assert total == pytest.approx(1, abs=1e-9)
    assert answers[-1].unknown  # the plain colour
    multi = model.classify(clips[0], mode="multi")
    assert multi.predictions[0].label == truth[0]


def test_the_maths_of_holding_out_uses_the_heads_own_similarity(base, support):
    model = base.adapt(support, method="best-cosines-in-test")
    head = model.head.head
    rows = np.random.default_rng(0).normal(size=(5, 8 * 12)).astype(np.float32)
    frames = rows.reshape(5, 8, 12) * np.sqrt(8)
    np.testing.assert_allclose(head.compare(rows, rows), head.similarity(frames, frames), atol=1e-5)


@pytest.mark.parametrize("method", ["auto", "ridge", "best-cosines-in-test"])
def test_a_rejector_decides_unknown(base, support, clips, tmp_path, method):
    model = base.adapt(support, method=method, unknown="max-logit-in-test")
    usual = base.adapt(support, method=method)
    again = vlar.load(model.save(tmp_path / "mine"))
    for now, before, loaded in zip(
        *(m.classify(clips) for m in (model, usual, again)), strict=True
    ):
        assert now.unknown_probability == loaded.unknown_probability
        assert now.unknown_probability != before.unknown_probability
        assert [p.similarity for p in now.predictions] != []
        total = sum(p.probability for p in now.predictions) + now.unknown_probability
        assert total == pytest.approx(1, abs=1e-9)
    with pytest.raises(UnknownNameError, match="no rejector is called 'doubt'"):
        base.adapt(support, unknown="doubt")


def test_methods_that_are_made_of_others_are_refused(base, support):
    with pytest.raises(UsageError, match="'mixture' is made of other heads"):
        base.adapt(support, method="mixture")


def test_labels_in_parts_are_their_joined_names_and_several_labels_are_refused(
    base, support, tmp_path
):
    rows = ["path,verb,object"]
    several = ["path,labels"]
    for verb, label, thing in (("drop", "fall", "ball"), ("lift", "rise", "ball")):
        for number in range(2):
            rows.append(f"{support / label / str(number)},{verb},{thing}")
            several.append(f"{support / label / str(number)},{verb}|{thing}")
    (tmp_path / "parts.csv").write_text("\n".join(rows))
    (tmp_path / "several.csv").write_text("\n".join(several))
    model = base.adapt(tmp_path / "parts.csv", method="ridge")
    assert model.labels == ("drop ball", "lift ball")
    with pytest.raises(SupportError, match=r"shows 2 labels .*method 'ridge' learns one label"):
        base.adapt(tmp_path / "several.csv", method="ridge")
