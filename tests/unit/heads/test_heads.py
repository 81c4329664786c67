from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar import registry
from vlar.errors import ModelError, SupportError, UnknownNameError
from vlar.heads.fewshot.base import FewShotHead, make_problem
from vlar.numeric import softmax

HEADS = ("cache", "prototype", "ridge")


def _set(shots, n_labels=4, width=24, spread=0.7, seed=0):
    """Unit vectors around one centre a label, their labels, and weak zero-shot scores."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(n_labels, width))
    target = np.repeat(np.arange(n_labels), shots)
    vectors = centres[target] + spread * random.normal(size=(len(target), width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prior = 0.1 * np.eye(n_labels)[target] + 0.1 * random.normal(size=(len(target), n_labels))
    return vectors.astype(np.float32), [f"label {t}" for t in target], prior.astype(np.float32)


def _fit(name, shots=3, **keywords):
    vectors, y, prior = _set(shots)
    return registry.get("fewshot", name)().fit(vectors, y, prior, **keywords)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shots", [1, 2, 5])
def test_learns_from_few_and_says_how_sure(name, shots):
    head = _fit(name, shots)
    vectors, y, prior = _set(25, seed=1)
    p = head.probabilities(vectors, prior)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    target = np.array([head.labels.index(label) for label in y])
    assert (p.argmax(axis=1) == target).mean() > 0.9
    assert -np.log(p[np.arange(len(y)), target]).mean() < 0.5


@pytest.mark.parametrize("name", HEADS)
def test_evidence_is_the_closed_form_of_dot_products(name):
    head = _fit(name)
    vectors, y, _ = _set(3)
    queries, _, _ = _set(4, seed=1)
    member = make_problem(y).member
    cross, gram = (queries @ vectors.T).astype(float), (vectors @ vectors.T).astype(float)
    expected = head.evidence_from(cross, gram, member, head.parameter)
    np.testing.assert_allclose(head.evidence(queries), expected, atol=1e-4)


def test_prototype_is_the_cosine_to_the_mean():
    vectors = _set(3)[0]
    head = _fit("prototype")
    mean = vectors[:3].mean(axis=0)
    np.testing.assert_allclose(
        head.evidence(vectors)[:, 0], vectors @ mean / np.linalg.norm(mean), atol=1e-5
    )


def test_ridge_agrees_with_weighted_least_squares():
    linear = pytest.importorskip("sklearn.linear_model")
    vectors, y, _ = _set(4)
    vectors, y = vectors[1:], y[1:]  # three examples of the first label, four of the others
    head = registry.get("fewshot", "ridge")().fit(vectors, y, parameter=0.3)
    counts = np.array([y.count(label) for label in y])
    weight = np.mean([y.count(label) for label in set(y)]) / counts
    inputs = np.hstack([vectors, np.full((len(y), 1), np.sqrt(0.1))])
    model = linear.Ridge(alpha=0.3, fit_intercept=False)
    model.fit(inputs.astype(float), make_problem(y).member, sample_weight=weight)
    np.testing.assert_allclose(head.evidence(vectors), model.predict(inputs), atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_order_of_examples_and_labels_does_not_matter(name):
    vectors, y, prior = _set(1)
    queries, _, query_prior = _set(5, seed=1)
    part = registry.get("fewshot", name)
    head = part().fit(vectors, y, prior)
    labels = ["label 2", "label 0", "label 3", "label 1"]
    columns = [2, 0, 3, 1]
    other = part().fit(vectors[::-1], y[::-1], prior[::-1][:, columns], labels=labels)
    np.testing.assert_allclose(
        head.probabilities(queries, query_prior)[:, columns],
        other.probabilities(queries, query_prior[:, columns]),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", HEADS)
def test_state_and_config_bring_the_head_back(name):
    head = _fit(name)
    head.kind = "mean+std"
    again = FewShotHead.from_state(head.config(), head.state())
    queries, _, prior = _set(5, seed=1)
    assert np.array_equal(head.logits(queries, prior), again.logits(queries, prior))
    assert again.config() == head.config()
    assert all(isinstance(array, np.ndarray) for array in head.state().values())


@pytest.mark.parametrize("name", HEADS)
def test_a_damaged_state_is_refused(name):
    head = _fit(name)
    for key, array in head.state().items():
        state = {k: v for k, v in head.state().items() if k != key}
        refused(ModelError, "adapt again", FewShotHead.from_state, head.config(), state)
        labels = 1 if array.ndim == 2 and array.shape[1] == 4 else 0
        cut = np.delete(array, 0, axis=labels)
        with pytest.raises(ModelError, match="adapt again"):
            FewShotHead.from_state(head.config(), {**head.state(), key: cut})
    for key in head.config():
        config = {k: v for k, v in head.config().items() if k != key}
        refused(ModelError, "adapt again", FewShotHead.from_state, config, head.state())
    with pytest.raises(UnknownNameError):
        FewShotHead.from_state({**head.config(), "head": "hydra"}, head.state())


@pytest.mark.parametrize("name", HEADS)
def test_more_shots_trust_a_weak_prior_less(name):
    assert _fit(name, 1).prior_weight > _fit(name, 8).prior_weight


@pytest.mark.parametrize("name", HEADS)
def test_works_without_a_prior(name):
    vectors, y, _ = _set(3)
    head = registry.get("fewshot", name)().fit(vectors, y)
    assert head.prior_weight == 0
    assert head.probabilities(vectors).shape == (12, 4)


def test_support_errors():
    vectors, y, prior = _set(2)
    head = registry.get("fewshot", "ridge")()
    refused(SupportError, "at least two", head.fit, vectors, ["one"] * len(y))
    with pytest.raises(SupportError, match="'absent' has no example"):
        head.fit(vectors, y, labels=[*sorted(set(y)), "absent"])
    with pytest.raises(SupportError, match="not among the labels"):
        head.fit(vectors, y, labels=["label 0", "label 1", "label 2"])
    refused(SupportError, "shape", head.fit, vectors, y, prior[:, :2])
    refused(SupportError, "signatures", head.fit, vectors[:-1], y)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=24).filter(
        lambda rows: len({label for label, _ in rows}) > 1
    )
)
def test_a_group_is_never_split_and_fair_examples_have_company(rows):
    y, groups = [str(label) for label, _ in rows], [str(group) for _, group in rows]
    problem = make_problem(y, groups=groups)
    for out, fair in zip(problem.folds, problem.fair, strict=True):
        held = {g for g, o in zip(groups, out, strict=True) if o}
        kept = {g for g, o in zip(groups, out, strict=True) if not o}
        assert held
        assert kept
        assert not held & kept
        kept_labels = {label for label, o in zip(y, out, strict=True) if not o}
        expected = [o and label in kept_labels for label, o in zip(y, out, strict=True)]
        assert fair.tolist() == expected


def test_folds_are_balanced():
    problem = make_problem(_set(3)[1])
    left = np.array([problem.member[out].sum(axis=0) for out in problem.folds])
    assert (left == 1).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_softmax_sums_to_one(values):
    assert softmax(np.array(values)).sum() == pytest.approx(1)
