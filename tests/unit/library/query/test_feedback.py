"""Judgements of hits: what a head learns from them, and what the answers leave out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.library.query.test_figures_of_hits import AskedFake
from tests.unit.library.query.test_newcomer_errors import library_of
from vlar.errors import QueryError
from vlar.library.manifest import BlockSlice
from vlar.library.query.feedback import learn
from vlar.library.query.plan import QueryReport
from vlar.numeric import unit

BLOCKS = [BlockSlice("a", 0, 12, 0.7, ""), BlockSlice("b", 12, 12, 0.7, "")]


def test_without_judgements_it_is_the_query(tmp_path: Path):
    with library_of(tmp_path, AskedFake(), 12) as library:
        assert library.refine("a cat", k=5) == library.query("a cat", 5)
        some = library.refine("a cat", k=3, where=["n=3"])
        assert some == library.query("a cat", 3, where=["n=3"])


def test_judged_moments_are_left_out_and_the_same_call_is_equal(tmp_path: Path):
    with library_of(tmp_path, AskedFake(), 12) as library:
        hits = library.query("a cat", 6)
        first = library.refine("a cat", yes=[hits[2]], no=[hits[0].row], k=50)
        again = library.refine("a cat", yes=[hits[2].row], no=[hits[0]], k=50)
    assert first == again
    assert not {hits[2].row, hits[0].row} & {hit.row for hit in first}
    for hit in first:
        for judged in (hits[0], hits[2]):
            if hit.path == judged.path:
                shared_s = min(hit.end_s, judged.end_s) - max(hit.start_s, judged.start_s)
                assert shared_s < 4.0
    assert [hit.score for hit in first] == sorted((hit.score for hit in first), reverse=True)
    assert first.decides == {"all": 1.0}


def test_a_yes_lifts_what_resembles_it_and_a_no_lowers_it():
    model, draw = AskedFake(), np.random.default_rng(2)
    words = model.encode_queries(["a cat"])[0]
    sample = unit(draw.normal(size=(64, DIM))).astype(np.float32)
    for row in sample[:8]:
        by_words = np.asarray(model.match_probability(row[None], words))
        yes, no = (
            float(learn(words, row[None], [truth], sample, model, BLOCKS).probability(
                row[None], by_words)[0])
            for truth in (True, False)
        )  # fmt: skip
        assert no < float(by_words[0]) < yes


def test_a_surprise_moves_more_than_what_the_words_expect_and_ten_more_than_one():
    model, draw = AskedFake(), np.random.default_rng(0)
    words = model.encode_queries(["a cat"])[0]
    sample = unit(draw.normal(size=(64, DIM))).astype(np.float32)
    meant = unit(draw.normal(size=(10, DIM)) * 0.3 + np.eye(DIM)[5] * 2).astype(np.float32)

    def moved(vectors: np.ndarray, truth: list[bool]) -> float:
        head = learn(words, vectors, truth, sample, model, BLOCKS)
        base = np.asarray(model.match_probability(meant, words))
        return float(np.mean(head.probability(meant, base) - base))

    assert 0 < moved(meant[:1], [True]) < moved(meant, [True] * 10)
    assert moved(meant, [False] * 10) < 0
    near, far = words[None], -words[None]
    pulls = [np.abs(learn(words, row, [True], sample, model, BLOCKS).shift).sum()
             for row in (near, far)]  # fmt: skip
    assert pulls[0] < pulls[1]


def test_the_block_in_which_the_judged_agree_decides():
    model, draw = AskedFake(), np.random.default_rng(1)
    words = model.encode_queries(["a cat"])[0]
    sample = unit(draw.normal(size=(64, DIM))).astype(np.float32)
    rows = draw.normal(size=(6, DIM))
    rows[:3, 12:] = draw.normal(size=12) * 3
    rows[3:, 12:] = draw.normal(size=12) * 3
    head = learn(words, unit(rows).astype(np.float32), [True] * 3 + [False] * 3, sample, model,
                 BLOCKS)  # fmt: skip
    assert head.shares["b"] > head.shares["a"]
    assert sum(head.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ({"yes": [10**6]}, "row 1000000 is judged, but the library does not have it"),
        ({"yes": [1], "no": [1]}, "judged both"),
        ({"yes": ["1"]}, "not a hit or the id of a row"),
        ({"no": [True]}, "not a hit or the id of a row"),
        ({"no": [-3]}, "not a hit or the id of a row"),
        ({"no": list(range(1, 300))}, "at most 200"),
    ],
)
def test_a_judgement_of_nothing_is_refused(tmp_path: Path, judgements: dict, message: str):
    with library_of(tmp_path, FakeModel(), 3) as library:
        with pytest.raises(QueryError, match=message):
            library.refine("a cat", **judgements)
        with pytest.raises(QueryError, match="cannot be judged"):
            library.refine('"a" AND "b"', yes=[1])


def test_a_report_says_which_block_decides(tmp_path: Path):
    from vlar.library.query.plan import QueryRequest

    reports: list[QueryReport] = []
    with library_of(tmp_path, FakeModel(), 3) as library:
        library.search(QueryRequest("a cat", yes=(1,), report=reports.append))
    assert reports[0].decides == {"all": 1.0}
    assert any(line.startswith("decides") for line in reports[0].lines())
