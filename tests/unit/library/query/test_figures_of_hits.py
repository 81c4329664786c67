"""The figures of hits: only the score knows the size of the library, and weak is one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.library.query.test_newcomer_errors import WINDOWS, library_of
from vlar.encoders.base import Asked
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.query import search
from vlar.library.query.candidates import Candidates, ScoredSpan
from vlar.library.query.plan import QueryReport, QueryRequest, make_plan
from vlar.library.query.search import DistinctSpan, _unordered
from vlar.numeric import unit
from vlar.results import Hits
from vlar.types import WEAK_MATCH, Hit, HitPart, Window


class AskedFake(FakeModel):
    """A model whose probabilities were fitted."""

    asked = Asked(0.5, 1.0, 0.0, crowd_slope=0.1, crowd_offset=0.5, most=300)


class CalibratedFake(FakeModel):
    """A model of which nothing has to be remarked."""

    calibrated = True


def test_a_hit_of_a_larger_library_is_less_sure():
    alone = np.array([0.1, 0.5, 0.9])
    asked = AskedFake.asked
    assert asked.among(alone, 1) == pytest.approx(alone)
    small, large = asked.among(alone, 3), asked.among(alone, 300)
    assert (large < small).all()
    assert (small < alone).all()
    assert (np.diff(large) > 0).all()
    assert asked.among(alone, 10**6) == pytest.approx(large)


def test_spans_are_as_long_in_a_library_of_any_size(tmp_path: Path):
    class Alone(AskedFake):
        asked = Asked(0.5, 1.0, 0.0, crowd_slope=0.0, crowd_offset=0.0, most=300)

    found: list[list[Hit]] = []
    for model in (Alone(), AskedFake()):
        with library_of(tmp_path / type(model).__name__, model, 12) as library:
            found.append(list(library.query("a cat", 50, min_probability=0)))
    alone, crowded = found
    spans = [[(h.path, h.start_s, h.end_s) for h in hits] for hits in found]
    assert spans[0] == spans[1]
    assert len({end_s - start_s for _, start_s, end_s in spans[0]}) > 1
    assert all(c.score < a.score for a, c in zip(alone, crowded, strict=True))


def test_order_and_figure_come_from_one_number(tmp_path: Path):
    plain, fitted = FakeModel(), AskedFake()
    found: list[list[Hit]] = []
    for model, name in ((plain, "a"), (fitted, "b")):
        with library_of(tmp_path / name, model, 12) as library:
            found.append(list(library.query("a cat", 50, min_probability=0)))
    before, after = found
    assert [(h.path, h.start_s) for h in before[:5]] == [(h.path, h.start_s) for h in after[:5]]
    assert all(b.score < a.score for a, b in zip(before[:5], after[:5], strict=True))
    assert [h.score for h in after] == sorted((h.score for h in after), reverse=True)
    for hit in before:
        assert hit.score == hit.probability
    for hit in after:
        assert hit.weak == (hit.probability < WEAK_MATCH)
        assert hit.to_dict().get("weak", False) == hit.weak


def test_parts_stand_in_the_order_of_the_query_and_short_steps_are_remarked_on(tmp_path: Path):
    reports: list[QueryReport] = []
    with library_of(tmp_path, CalibratedFake()) as library:
        query = '"two dogs" THEN "a cat" WITHIN 30s'
        hits = library.query(query, 5, min_probability=0, report=reports.append)
        plain = library.query("a cat", 1, min_probability=0, report=reports.append)
    for hit in hits:
        assert [part.phrase for part in hit.parts] == ["two dogs", "a cat"]
        first, second = (part.probability for part in hit.parts)
        assert hit.stated == f"two dogs {first:.1%}, a cat {second:.1%}"
    assert reports[0].notes == ()  # each step has a window of its own
    assert reports[1].notes == ()
    assert plain[0].stated == f"{plain[0].probability:.1%}"


def test_short_steps_are_remarked_on_where_no_answer_tells_them_apart():
    plan = make_plan(QueryRequest('"two dogs" THEN "a cat" WITHIN 30s'))

    def notes(*spans: tuple[float, float]) -> tuple[str, ...]:
        parts = tuple(HitPart("a", *span, 0.5, 0.2) for span in spans)
        hit = Hit(1, "a.mp4", 0.0, 8.0, 0.5, 0.5, 0.5, parts=parts)
        return _unordered(plan, [hit] if spans else [], 4.0)

    assert notes((0.0, 4.0), (4.0, 8.0)) == ()
    assert "cannot be ordered" in notes((0.0, 4.0), (2.0, 6.0))[0]
    assert "cannot be ordered" in notes()[0]


def test_one_answer_of_each_recording_is_its_best(tmp_path: Path):
    with library_of(tmp_path, FakeModel(), 6) as library:
        everything = library.query("a cat", 100, min_probability=0)
        request = QueryRequest("a cat", 100, min_probability=0.0, one_per_recording=True)
        alone = library.search(request)
        first = library.search(replace(request, k=2))
    best: dict[str, Hit] = {}
    for hit in everything:
        best.setdefault(hit.path, hit)
    assert len(alone) == len(best) < len(everything)
    assert [(h.path, h.row) for h in alone] == [(h.path, h.row) for h in best.values()]
    assert [h.row for h in first] == [h.row for h in alone[:2]]


def test_a_few_long_recordings_are_not_compared_span_by_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compared: list[int] = []
    deduplicate = search.deduplicate

    def counted(spans: Sequence[ScoredSpan], candidates: Candidates) -> list[DistinctSpan]:
        compared.append(len(spans))
        return deduplicate(spans, candidates)

    windows = [Window(2.0 * n, 2.0 * n + 1) for n in range(700)]
    draw = np.random.default_rng(0)
    with Library(tmp_path / "long.vlar", FakeModel()) as library:
        library.add_vectors(
            VectorVideo(f"/v/{n}.mp4", windows, unit(draw.normal(size=(700, DIM))))
            for n in range(3)
        )
        request = QueryRequest("a cat", 25, min_probability=0.0)
        every = library.search(replace(request, k=2100))
        monkeypatch.setattr(search, "deduplicate", counted)
        one = library.search(replace(request, one_per_recording=True))
    best: dict[str, Hit] = {}
    for hit in every:
        best.setdefault(hit.path, hit)
    assert [hit.row for hit in one] == [hit.row for hit in best.values()]
    assert sum(compared) < len(every) / 2


def test_what_may_have_been_meant_is_remarked_on_and_not_asked(tmp_path: Path):
    reports: list[QueryReport] = []
    with library_of(tmp_path, CalibratedFake(), 3) as library:
        for text in ("where does he fall?", "shows exit", "a cat"):
            library.query(text, report=reports.append)
    question, written, plain = (report.notes for report in reports)
    assert "'a man falls'" in question[0]
    assert 'shows "exit" finds the words on screen' in written[0]
    assert plain == ()


def test_weak_is_told_of_the_answers(tmp_path: Path):
    reports: list[QueryReport] = []
    with library_of(tmp_path, FakeModel()) as library:
        query = '"two dogs" AND "a cat" AND "a tree" AND "a car"'
        hits = library.query(query, 1, min_probability=0, report=reports.append)
    assert reports[0].best_probability == pytest.approx(hits[0].probability)
    assert hits.weak == hits[0].weak == (hits[0].probability < WEAK_MATCH)
    written = Hits(replace(hit, written=("cat",)) for hit in hits)
    assert not written.weak
    curve = (Path(vlar.__file__).parent / "apps/serve/page/curve.js").read_text("utf-8")
    assert f"const LEAST = {WEAK_MATCH};" in curve


def test_a_probability_does_not_sink_with_the_size_of_the_library(tmp_path: Path):
    found: dict[int, dict[str, float]] = {}
    for count in (6, 60):
        with library_of(tmp_path / str(count), AskedFake(), count) as library:
            hits = library.query("a cat", 500, min_probability=0)
        found[count] = {f"{h.path} {h.start_s}": h.probability for h in hits if h.standing}
    small, large = found[6], found[60]
    shared = small.keys() & large.keys()
    assert len(shared) > 5
    assert all(small[key] == pytest.approx(large[key], abs=0.02) for key in shared)


def test_standing_says_whether_a_hit_is_apart_from_other_recordings(tmp_path: Path):
    model = FakeModel()
    query = model.encode_queries(["a cat"])[0].astype(np.float64)
    others = np.linalg.qr(np.stack([query, *np.eye(DIM)]).T)[0].T  # of which the first is the query

    def at(number: int, cosine: float) -> np.ndarray:
        across = others[number + 1]
        return (cosine * query + np.sqrt(1 - cosine**2) * across)[None].astype(np.float32)

    def standing(*cosines: float) -> list[str]:
        with Library(tmp_path / f"{len(list(tmp_path.iterdir()))}.vlar", model) as library:
            library.add_vectors(
                VectorVideo(f"/v/{n}.mp4", WINDOWS[:1], at(n, value))
                for n, value in enumerate(cosines)
            )
            return [hit.standing for hit in library.query("a cat", 20, min_probability=0)]

    assert standing(0.9, 0.5, 0.1) == ["clear", "none", "none"]
    assert standing(0.9, 0.86, 0.1) == ["close", "close", "none"]
    many = np.linspace(0.86, 0.9, 12).tolist()
    assert set(standing(*many)) == {"none"}


def test_hits_of_a_model_without_constants_are_marked_and_remarked_on_once(tmp_path: Path):
    reports: list[QueryReport] = []
    with library_of(tmp_path / "a", FakeModel(), 3) as library:
        hits = library.query("a cat", min_probability=0, report=reports.append)
    with library_of(tmp_path / "b", AskedFake(), 3) as library:
        fitted = library.query("a cat", min_probability=0, report=reports.append)
    assert {hit.to_dict()["calibrated"] for hit in hits} == {False}
    assert {hit.to_dict()["calibrated"] for hit in fitted} == {True}
    (note,), nothing = (report.notes for report in reports)
    assert "vlar calibrate LIBRARY LABELLED" in note
    assert nothing == ()
