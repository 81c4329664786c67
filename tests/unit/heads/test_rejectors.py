"""Rejectors one by one, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from vlar import registry
from vlar.errors import SupportError, UsageError
from vlar.heads.model_selection import choices, fit_rejector, separation
from vlar.heads.reject import HeldOut

# Parts that other tests register at run time are theirs to test.
NAMES = [name for name in registry.names("rejector") if not name.endswith("-in-test")]
LOGITS = [name for name in NAMES if registry.get("rejector", name).reads == "logits"]


def support(shots: int = 5, labels: int = 4, width: int = 16, seed: int = 0):
    """Signatures, labels, groups, and logits by the other examples' means."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(labels, width))
    column = np.repeat(np.arange(labels), shots)
    rows = (centres[column] + 0.5 * random.normal(size=(len(column), width))).astype(np.float32)
    y = [f"label {c}" for c in column]
    return rows, y, [str(i) for i in range(len(y))], 0.3 * rows.astype(np.float64) @ centres.T


def auroc(unknown, known) -> float:
    return separation(HeldOut(np.asarray(known), np.asarray(unknown)))[0]


def test_the_named_ones_are_there():
    assert {"familiarity", "max-logit", "energy", "knn", "prototype", "evidential"} <= set(NAMES)
    assert {"auto", *NAMES} <= set(choices())


@given(seed=st.integers(0, 10**6), c=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_logit_scores_are_their_formulas(seed, c):
    logits = 5 * np.random.default_rng(seed).normal(size=(7, c))
    nothing = np.zeros((7, 1), np.float32)
    score = {name: registry.get("rejector", name)().score(nothing, logits) for name in LOGITS}
    np.testing.assert_allclose(score["energy"], -logsumexp(logits, axis=1), atol=1e-12)
    np.testing.assert_allclose(score["max-logit"], -logits.max(axis=1), atol=1e-12)
    softmax = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(score["max-softmax"], -softmax.max(axis=1), atol=1e-12)
    alpha = 1 + np.exp(logits.clip(-10, 10))
    np.testing.assert_allclose(score["evidential"], c / alpha.sum(axis=1), atol=1e-12)


def test_no_evidence_is_half_unknown_and_much_is_none():
    evidential = registry.get("rejector", "evidential")()
    nothing = np.zeros((1, 1), np.float32)
    assert evidential.score(nothing, np.zeros((1, 3)))[0] == pytest.approx(0.5)
    sure = evidential.score(nothing, np.array([[20.0, 0.0, 0.0]]))[0]
    assert sure == pytest.approx(1.361689e-4, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_examples_apart_from_their_label_look_unknown(name):
    rows, y, groups, logits = support()
    part = registry.get("rejector", name)()
    held = part.hold_out(rows, np.asarray(y), np.asarray(groups), logits)
    assert len(held.known) == len(held.unknown) == len(y)
    assert auroc(held.unknown, held.known) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_told_from_noise_by_chance_only(name):
    random = np.random.default_rng(3)
    rows, y, groups, _ = support()
    noise = random.normal(size=rows.shape).astype(np.float32)
    rejector = fit_rejector(name, noise, y, groups, random.normal(size=(len(y), 4)))
    queries = random.normal(size=(400, rows.shape[1])).astype(np.float32)
    score = rejector.score(queries, random.normal(size=(400, 4)))
    assert auroc(score[:200], score[200:]) == pytest.approx(0.5, abs=0.1)


def test_windows_of_one_recording_do_not_vouch_for_each_other():
    rows, y, _, _ = support(shots=2)
    twins, labels = np.concatenate([rows, rows + 1e-4]), np.array(y * 2)
    group = np.array([str(i) for i in range(len(y))] * 2)
    for name in ("knn", "prototype"):
        once = registry.get("rejector", name)().hold_out(rows, np.array(y), group[: len(y)], None)
        twice = registry.get("rejector", name)().hold_out(twins, labels, group, None)
        assert twice.known.min() > 0.5 * once.known.min()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "familiarity"])
def test_one_example_a_label_is_too_few_and_says_so(name):
    rows, y, groups, logits = support(shots=1)
    with pytest.raises(SupportError, match=f"'{name}' needs two labels.*'familiarity'"):
        fit_rejector(name, rows, y, groups, np.full_like(logits, np.nan))


def test_auto_takes_the_default_unless_another_is_clearly_better():
    rows, y, groups, logits = support()
    assert fit_rejector("auto", rows[::5], y[::5], groups[::5], None).name == "familiarity"
    blind = np.ones_like(rows) + 1e-3 * np.random.default_rng(0).normal(size=rows.shape)
    chosen = fit_rejector("auto", blind.astype(np.float32), y, groups, 5 * logits)
    assert chosen.name in LOGITS
    assert fit_rejector("auto", rows, y, groups, 0 * logits).name not in LOGITS


def test_a_method_without_held_out_logits_is_named():
    rows, y, groups, _ = support()
    with pytest.raises(SupportError, match="'energy' reads the logits of held-out examples"):
        fit_rejector("energy", rows, y, groups, None)
    with pytest.raises(UsageError, match="'energy' reads logits; give them"):
        registry.get("rejector", "energy")().score(rows)


def test_separation_is_the_area_under_the_curve():
    assert separation(HeldOut(np.zeros(3), np.ones(3)))[0] == 1.0
    assert separation(HeldOut(np.zeros(3), np.zeros(3)))[0] == 0.5
    area, error = separation(HeldOut(np.arange(50.0), np.arange(50.0) + 10))
    assert 0.5 < area < 1
    assert 0.02 < error < 0.08
