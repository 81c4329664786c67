"""One text asked of rows: its evidence, its curve, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.heads.base import verdict
from vlar.heads.concept_heads import ConceptHead
from vlar.heads.zero_shot import AskedScorer, EvidenceCurve
from vlar.numeric import unit
from vlar.types import Encoded, Float32


@pytest.fixture
def space() -> tuple[Float32, Float32, Float32]:
    """Rows (20, 16), queries (2, 16) and a background (40, 16)."""
    random = np.random.default_rng(0)
    return tuple(unit(random.normal(size=(n, 16)).astype(np.float32)) for n in (20, 2, 40))


def test_without_a_discount_the_cosine_alone_counts(space):
    rows, queries, background = space
    curve = EvidenceCurve(0.0, 2.0, -1.0)
    found = AskedScorer(queries, background, logit_scale=3.0, curve=curve).score(rows)
    expected = 1 / (1 + np.exp(-(2.0 * 3.0 * (rows @ queries.T) - 1.0)))
    assert found.probability == pytest.approx(expected, rel=1e-5)
    assert found.unknown == pytest.approx(1 - found.probability.max(axis=1))


def test_a_row_that_answers_everything_is_discounted(space):
    _, queries, background = space
    hub = unit(queries[:1] + background.mean(axis=0) * 8)
    own = unit(queries[:1] + 0.0)
    full = AskedScorer(queries[:1], background, logit_scale=9.0, curve=EvidenceCurve(1.0, 1.0, 0.0))
    none = AskedScorer(queries[:1], background, logit_scale=9.0, curve=EvidenceCurve(0.0, 1.0, 0.0))
    rows = np.concatenate([own, hub])
    lost = none.score(rows).probability[:, 0] - full.score(rows).probability[:, 0]
    assert lost[1] > lost[0]


def test_a_saved_head_answers_as_before(space):
    rows, queries, background = space
    head = ConceptHead(
        ["a"], queries[:1], background, mode="multi", logit_scale=5.0,
        content_free=rows[:0], curve=EvidenceCurve(0.5, 0.9, -1.3),
    )  # fmt: skip
    again = ConceptHead.restore(head.config(), head.state())
    encoded = [Encoded(rows[:0], row) for row in rows]
    assert np.array_equal(head.scores(encoded).probability, again.scores(encoded).probability)


def test_a_blank_row_shows_nothing(space):
    rows, queries, background = space
    blank = unit(rows[:1] + 0.05 * rows[1:5])
    scorer = AskedScorer(
        queries, background, logit_scale=5.0, curve=EvidenceCurve(0.0, 1.0, 3.0), content_free=blank
    )
    assert scorer.score(blank[:1]).probability.max() < 0.2


@pytest.mark.parametrize(
    ("probability", "word"),
    [(0.0, "no"), (0.449, "no"), (0.45, "unsure"), (0.549, "unsure"), (0.55, "yes"), (1.0, "yes")],
)
def test_between_yes_and_no_an_answer_is_unsure(probability: float, word: str):
    assert verdict(probability) == word


def test_figures_that_no_text_changes_give_the_same_answers(space):
    rows, queries, background = space
    background = np.concatenate([background, queries[:1]])  # means the same as the first query
    alike = unit(np.concatenate([rows, queries + 0.01 * rows[:2]]))
    scorer = AskedScorer(
        queries, background, logit_scale=40.0, curve=EvidenceCurve(0.5, 0.9, -1.3),
        content_free=rows[:4],
    )  # fmt: skip
    figures = scorer.everyday(alike)
    kept, fresh = scorer.score(alike, figures), scorer.score(alike)
    assert kept.probability == pytest.approx(fresh.probability, abs=1e-6)
    shuffled = scorer.score(alike, figures[::-1])  # control: the figures count
    assert np.abs(shuffled.probability - fresh.probability).max() > 0.05
    alone = np.concatenate([scorer.everyday(row[None]) for row in alike])
    assert np.array_equal(alone, figures)
