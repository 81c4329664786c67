"""Bounds of encoders without constants of their own: spread of the bank, and length of a list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vlar.encoders.base import content_free_vectors
from vlar.heads.calibration import Calibration
from vlar.heads.concept_heads import ConceptHead, make_scorer
from vlar.heads.zero_shot import chance_height, match_scorer, upper_spread
from vlar.language.labels import LabelSet
from vlar.model import core as core_module
from vlar.model.core import _UNFITTED, SPREAD_LOGITS, EncodedSpan, ModelCore
from vlar.model.label_heads import LabelClassifier, make_classifier
from vlar.numeric import unit
from vlar.testing.material import SmallEncoder
from vlar.types import Encoded, Float32, Window

BANK = 400
NO_CLIPS = np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Space:
    """A space with a cone; ``height`` is that of right texts, in spreads over the others."""

    scale: float
    cone: float
    height: float
    dim: int = 128

    def texts(self, count: int, seed: int) -> Float32:
        """Unit vectors that share a direction with all clips."""
        return self._with_cone(np.random.default_rng(seed).normal(size=(count, self.dim)))

    def clips(self, texts: Float32, seed: int) -> Float32:
        """A clip of each text."""
        noise = unit(np.random.default_rng(seed).normal(size=texts.shape))
        meaning = unit(texts[:, :-1] @ np.eye(self.dim, self.dim + 1, dtype=np.float32))
        share = self.height / np.sqrt(self.dim)
        return self._with_cone(share * meaning[:, :-1] + np.sqrt(1 - share**2) * noise[:, :-1])

    def _with_cone(self, meanings: np.ndarray) -> Float32:
        cone = np.full((len(meanings), 1), np.sqrt(self.cone))
        return np.hstack([np.sqrt(1 - self.cone) * unit(meanings), cone]).astype(np.float32)


SPACES = {
    "CLIP-like": Space(100.0, 0.5, 3.8),
    "SigLIP-like": Space(117.0, 0.1, 3.0),
    "strong cone": Space(300.0, 0.8, 3.0),
    "wide": Space(60.0, 0.0, 4.5, 512),
}


def test_the_best_of_many_entries_exceeds_the_height_in_one_of_four_rows():
    draw = np.random.default_rng(0)
    bank = draw.normal(size=(2000, BANK)) * 4
    for n_labels in (3, 40, 400, 1000):
        best = 4 * draw.normal(size=(2000, n_labels)).max(axis=1)
        exceeded = float((best > chance_height(bank, n_labels)).mean())
        assert 0.18 < exceeded < 0.33, f"{n_labels} labels: {exceeded}"


@pytest.mark.parametrize("name", SPACES)
def test_a_long_list_gives_a_foreign_clip_few_labels(name: str):
    space = SPACES[name]
    bank, labels = space.texts(BANK, 0), space.texts(300, 1)
    foreign, right = space.clips(space.texts(200, 2), 3), space.clips(labels, 4)
    wrong, unknown, best = dict[bool, float](), dict[bool, float](), dict[bool, float]()
    for bounded in (False, True):
        settings = {"logit_scale": space.scale, "bounded": bounded}
        multi = make_scorer(labels, bank, mode="multi", **settings).score(foreign)
        one = make_scorer(labels, bank, mode="one", **settings)
        wrong[bounded] = float((multi.probability >= 0.5).sum(axis=1).mean())
        unknown[bounded] = float(one.score(foreign).is_unknown.mean())
        columns = one.score(right).probability.argmax(axis=1)
        best[bounded] = float((columns == np.arange(len(labels))).mean())
    assert wrong[True] < 0.6
    assert wrong[False] > 3 * wrong[True], "the control has many"
    assert unknown[True] > 0.5
    assert best[True] == best[False] > 0.1


@pytest.mark.parametrize("name", SPACES)
def test_few_of_many_windows_state_half_for_what_none_shows(name: str):
    space = SPACES[name]
    bank, windows = space.texts(BANK, 0), space.clips(space.texts(1500, 5), 6)
    before, after = list[int](), list[int]()
    for query in space.texts(3, 7):
        settings = {"logit_scale": space.scale}
        plain, bounded = (
            match_scorer(query, bank, bounded=bounded, **settings).score(windows).probability[:, 0]
            for bounded in (False, True)
        )
        before.append(int((plain >= 0.5).sum()))
        after.append(int((_UNFITTED.moment(bounded) >= 0.5).sum()))
    assert max(after) <= 4
    assert sum(before) > 4 * max(sum(after), 1), "the control has many"


def test_weak_evidence_keeps_the_prior_and_half_takes_a_thousand_to_one():
    odds = np.log([0.05 / 0.95, 1000 * 0.05 / 0.95])
    stated = _UNFITTED.moment(1 / (1 + np.exp(-odds)))
    assert stated == pytest.approx([0.05, 0.5], abs=2e-3)


def test_a_scale_above_what_the_bank_can_carry_changes_nothing():
    space = SPACES["CLIP-like"]
    bank, labels = space.texts(BANK, 0), space.texts(5, 1)
    rows = space.clips(labels, 2)
    low, high, plain = (
        make_scorer(labels, bank, logit_scale=scale, bounded=bounded).score(rows).probability
        for scale, bounded in ((100.0, True), (1000.0, True), (1000.0, False))
    )
    assert low == pytest.approx(high)
    assert np.abs(plain - high).max() > 0.01


def test_a_saved_head_keeps_its_bounds():
    space = SPACES["CLIP-like"]
    bank, labels = space.texts(BANK, 0), space.texts(40, 1)
    names = [f"label {n}" for n in range(40)]
    row = Encoded(NO_CLIPS, space.clips(space.texts(1, 8), 9)[0])
    for bounded in (False, True):
        head = ConceptHead(
            names, labels, bank, mode="multi", logit_scale=100.0, content_free=labels[:0],
            bounded=bounded,
        )  # fmt: skip
        again = ConceptHead.restore(head.config(), head.state())
        assert (again.scores([row]).probability == head.scores([row]).probability).all()
        assert ("bounded" in head.config()) == bounded


def core_of(states: bool, fingerprint: str) -> ModelCore:
    """A core of a small encoder."""

    class Stated(SmallEncoder):
        states_scale = states

    encoder = Stated()
    encoder.fingerprint = fingerprint
    return ModelCore(encoder)


def test_a_factor_that_no_model_states_is_estimated_from_the_bank():
    own, estimated = core_of(True, "bounds-own"), core_of(False, "bounds-estimated")
    assert own.logit_scale == own.encoder.logit_scale
    spreads = upper_spread(content_free_vectors(estimated.encoder) @ estimated.background.T)
    assert estimated.logit_scale * np.median(spreads) == pytest.approx(SPREAD_LOGITS, rel=0.01)
    assert estimated.logit_scale != own.logit_scale


@pytest.mark.parametrize(("own", "is_on"), [(0.9, True), (0.4, False)])
def test_the_check_for_blank_clips_is_off_where_it_calls_real_clips_blank(
    own: float, is_on: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    draw = np.random.default_rng(0)
    cone = unit(draw.normal(size=(1, 300)).astype(np.float32))

    def near(count: int, share: float) -> Float32:
        noise = unit(draw.normal(size=(count, 300)).astype(np.float32))
        return unit(np.sqrt(share) * cone + np.sqrt(1 - share) * noise).astype(np.float32)

    blanks, real = near(12, own), near(3, 0.5)
    monkeypatch.setattr(core_module, "content_free_vectors", lambda _: blanks)
    monkeypatch.setattr(core_module, "demo_vectors", lambda _: real)
    core = core_of(True, f"bounds-blank-{own}")
    assert len(core.blank) == (12 if is_on else 0)
    assert ("does not tell blank clips" in caplog.text) != is_on


def test_only_answers_of_a_fitted_model_are_called_calibrated():
    core = core_of(True, "bounds-answers")
    clip = Encoded(NO_CLIPS, unit(np.ones((1, 12), np.float32))[0])
    span = EncodedSpan(Path("a.mp4"), Window(0.0, 1.0), clip)
    for calibration in (None, Calibration()):
        classifier = make_classifier(core, LabelSet.read("a, b"), calibration=calibration)
        again = LabelClassifier.restore(core, classifier.config(), classifier.state())
        for made in (classifier, again):
            answer = made.answer(span, top=1, model="fake")
            assert answer.to_dict()["calibrated"] == (calibration is not None)


def test_texts_that_are_far_from_all_clips_do_not_widen_the_spread():
    values = 3 * np.random.default_rng(0).normal(size=(200, BANK))
    assert upper_spread(values).mean() == pytest.approx(3.0, rel=0.05)
    far = np.hstack([values, np.full((200, 40), -100.0)])
    assert upper_spread(far).mean() == pytest.approx(3.0, rel=0.15)
    assert far.std(axis=1).min() > 20, "the control is wide"
