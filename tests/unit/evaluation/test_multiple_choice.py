"""Questions with random and hard wrong options, and the report of what was chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.evaluation.protocols.mcq import make_questions, report
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.mixing import fit_mixing, mix
from vlar.generators.opinions.question import parse_answer

C, N = 12, 60
LABELS = [f"action {chr(97 + n)}" for n in range(C)]


def drawn(seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(C, size=N)
    scores = random.normal(size=(N, C))
    scores[np.arange(N), truth] += skill
    return scores, truth


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(2, 12), st.sampled_from(["random", "hard"]))
def test_the_right_option_is_always_there_once(seed: int, k: int, kind: str):
    scores, truth = drawn(seed)
    for n, question in enumerate(make_questions(scores, truth, LABELS, kind=kind, k=k, seed=seed)):
        assert len(question) == k
        assert question.truth is not None
        assert question.columns[question.truth] == truth[n]
        assert question.options[question.truth] == LABELS[truth[n]]
        assert len(set(question.columns)) == k


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(2, 12))
def test_hard_options_are_the_best_of_the_proposer_with_the_last_one_replaced(seed: int, k: int):
    scores, truth = drawn(seed)
    questions = make_questions(scores, truth, LABELS, kind="hard", k=k)
    for n, question in enumerate(questions):
        best = np.argsort(-scores[n])[:k].tolist()
        if truth[n] in best:
            assert set(question.columns) == set(best)
            assert not question.injected
        else:
            assert set(question.columns) == {*best[:-1], truth[n]}
            assert question.injected


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(2, 12))
def test_a_second_opinion_is_never_given_the_answer(seed: int, k: int):
    scores, truth = drawn(seed)
    for given_truth in (None, truth):
        questions = make_questions(scores, given_truth, LABELS, kind="rerank", k=k)
        for n, question in enumerate(questions):
            assert set(question.columns) == set(np.argsort(-scores[n])[:k].tolist())
            assert not question.injected
            if given_truth is None or truth[n] not in question.columns:
                assert question.truth is None


def test_the_right_option_stands_in_every_place_and_wrong_ones_differ_by_seed():
    scores, truth = drawn()
    first = make_questions(scores, truth, LABELS, kind="random", k=4)
    counts = np.bincount([q.truth for q in first if q.truth is not None], minlength=4)
    assert counts.min() > 5
    again = make_questions(scores, truth, LABELS, kind="random", k=4)
    other = make_questions(scores, truth, LABELS, kind="random", k=4, seed=1)
    assert first == again
    assert first != other
    few = make_questions(scores[:3], truth[:3], LABELS, kind="random", k=4)
    assert few == first[:3]  # a clip's question does not depend on the others


def test_hard_and_rerank_questions_of_one_clip_are_the_same_where_their_options_are():
    scores, truth = drawn(skill=3)
    hard = make_questions(scores, truth, LABELS, k=5)
    again = make_questions(scores, None, LABELS, kind="rerank", k=5)
    same = [h.options == r.options for h, r in zip(hard, again, strict=True) if not h.injected]
    assert len(same) > 30
    assert all(same)  # so that their answers are paid for once


def test_labels_with_the_same_text_are_one_option():
    labels = ["wave", "Wave!", "run", "walk"]
    scores = np.array([[0.5, 0.9, 0.1, 0.2]])
    (question,) = make_questions(scores, [0], labels, k=4)
    assert sorted(question.columns) == [0, 2, 3]
    (question,) = make_questions(scores, None, labels, kind="rerank", k=2)
    assert sorted(question.columns) == [1, 3]


def test_what_cannot_be_made_is_refused():
    for arguments, message in [
        ({"kind": "easy"}, "'easy' are unknown"),
        ({"k": 27}, "27 options"),
        ({"k": 1}, "1 options"),
        ({"truth": None}, "need the right labels"),
        ({"truth": [0, 1]}, "right labels"),
        ({"truth": np.full(N, C)}, "right labels"),
        ({"labels": LABELS[:3]}, "3 labels"),
    ]:
        scores, truth = drawn()
        given_all = {"scores": scores, "truth": truth, "labels": LABELS, **arguments}
        refused(UsageError, message, make_questions, **given_all)


def test_a_random_answerer_is_at_chance_and_fitted_weights_ignore_it():
    scores, truth = drawn(skill=2)
    questions = make_questions(scores, truth, LABELS, k=4)
    right = []
    for seed in range(20):
        draw = np.random.default_rng(seed).random
        opinions = [ask(lambda _, q, draw=draw: draw(len(q)), None, q) for q in questions]
        right.append(report(questions, opinions, scores).accuracy)
    assert abs(np.mean(right) - 0.25) < 3 * np.std(right) / 20**0.5 + 0.01
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    top = make_questions(p, None, LABELS, kind="rerank", k=4)
    columns = np.array([q.columns for q in top])
    opinion = np.random.default_rng(1).dirichlet(np.ones(4), N)
    found = fit_mixing(p, opinion, columns, truth)
    after = mix(p, opinion, columns, a=found.a, b=found.b)
    assert abs(found.b) < 0.25
    assert (after.argmax(1) == truth).mean() >= (p.argmax(1) == truth).mean()


def test_a_liking_for_a_letter_is_unmasked_by_the_report_and_harmless_after_rotations():
    scores, truth = drawn()
    questions = make_questions(scores, truth, LABELS, k=4)
    once = report(
        questions, [ask(lambda *_: "A.", None, q, rotations=1) for q in questions], scores
    )
    assert once.bias == 1
    assert once.letters == (1, 0, 0, 0)
    assert once.by_place == (1, 0, 0, 0)
    turned = report(questions, [ask(lambda *_: "A.", None, q) for q in questions], scores)
    assert turned.bias == 1
    assert turned.accuracy == pytest.approx(0.25)  # exactly: every option ties
    assert turned.by_place == (1, 0, 0, 0)


def test_one_that_knows_is_right_in_every_place():
    scores, truth = drawn()
    questions = make_questions(scores, truth, LABELS, k=4)
    names = dict(enumerate(truth.tolist()))
    opinions = [
        ask(lambda n, q: f"{'ABCD'[q.columns.index(names[n])]}.", n, q)
        for n, q in enumerate(questions)
    ]
    found = report(questions, opinions, scores, groups=[n // 2 for n in range(N)])
    assert found.accuracy == 1
    assert found.by_place == (1, 1, 1, 1)
    assert found.bias < 0.1
    assert found.unread == found.missing == 0
    assert found.against is not None
    assert found.against.difference.value == pytest.approx(1 - found.proposer.mean())
    wanted = np.mean(
        [scores[n][list(q.columns)].argmax() == q.truth for n, q in enumerate(questions)]
    )
    assert found.proposer.mean() == pytest.approx(wanted)
    assert found.to_dict()["chance"] == 0.25


def test_missing_opinions_count_as_wrong_and_are_reported():
    scores, truth = drawn()
    questions = make_questions(scores, truth, LABELS, k=4)
    opinions = [ask(lambda *_: "no idea", None, q) for q in questions]
    found = report(questions, opinions, scores)
    assert (found.accuracy, found.missing, found.unread) == (0, 1, 1)
    refused(UsageError, "give one each", report, questions, opinions[:-1], scores)
    with pytest.raises(UsageError, match="cannot be judged"):
        report(make_questions(scores, None, LABELS, kind="rerank"), opinions, scores)


def test_the_parser_of_answers_is_here_too():
    assert parse_answer("B. run", ["walk", "run"]) == 1
