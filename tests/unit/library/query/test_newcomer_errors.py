"""Errors that a newcomer met: order, repeated filters, times of filters and copies, weak hits."""

from __future__ import annotations

import json
import logging
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from vlar.apps.cli import output
from vlar.apps.cli import query as command
from vlar.heads.zero_shot import MATCH_PRIOR
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.query.plan import (
    MIN_PROBABILITY,
    QueryReport,
    QueryRequest,
    make_plan,
)
from vlar.numeric import unit
from vlar.results import Hits
from vlar.types import WEAK_MATCH, Copy, Float32, Window

WINDOWS = [Window(2.0 * place, 2.0 * place + 4) for place in range(10)]


class Generic(FakeModel):
    """A row whose first number is high fits everything: its probability is lower."""

    def match_probability(self, vectors: Float32, query: Float32) -> Float32:
        return super().match_probability(vectors, query) * np.where(vectors[:, 0] > 0.1, 0.5, 1.0)


def library_of(tmp_path: Path, model: FakeModel, count: int = 40) -> Library:
    draw = np.random.default_rng(0)
    library = Library(tmp_path / "l.vlar", model)
    library.add_vectors(
        VectorVideo(f"/v/{n}.mp4", WINDOWS, unit(draw.normal(size=(10, DIM))), tags={"n": str(n)})
        for n in range(count)
    )
    return library


def test_the_printed_number_is_the_one_that_ranks(tmp_path: Path, capsys: pytest.CaptureFixture):
    with library_of(tmp_path, Generic()) as library:
        hits = library.query("a cat", 1000, min_probability=0)
    assert [hit.score for hit in hits] == [hit.probability for hit in hits]
    similarity = [hit.similarity for hit in hits]
    assert similarity != sorted(similarity, reverse=True)  # so the case is the one of the error
    for hit in hits:
        output.hit(hit)
    printed = [float(line.split()[1].rstrip("%")) for line in capsys.readouterr().out.splitlines()]
    assert printed == sorted(printed, reverse=True)


def test_an_expression_prints_the_probabilities_of_its_phrases_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    with library_of(tmp_path, Generic()) as library:
        hits = library.query('"a cat" AND NOT "two dogs"', 50, min_probability=0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        output.hit(hit)
    for hit, line in zip(hits, capsys.readouterr().out.splitlines(), strict=True):
        stated = [f"{part.phrase} {part.probability:.1%}" for part in hit.parts]
        assert f"  ({', '.join(stated)})" in line
        assert line.count("%") == len(hit.parts) == 2


@pytest.mark.parametrize("text", ["a cat", "a cat AND two dogs"])
@pytest.mark.parametrize(
    "where",
    [
        ["n>=10", "n>=20", "n<30", "n<25"],
        {"n>=": [10, 20], "n<": ("30", "25")},
        ["n>=20", "n>=10", "n<25", "n<30"],
    ],
)
def test_conditions_on_one_key_all_hold(tmp_path: Path, text: str, where: object):
    with library_of(tmp_path, FakeModel()) as library:
        hits = library.query(text, 1000, where=where, min_probability=0)
        assert {int(hit.tags["n"]) for hit in hits} == {20, 21, 22, 23, 24}
        nearest = library.nearest(np.full(DIM, DIM**-0.5, np.float32), 1000, where=where)
        assert {int(Path(hit.path).stem) for hit in nearest} == {20, 21, 22, 23, 24}
        assert library.query(text, where=["n=1", "n=2"]) == []


@pytest.mark.parametrize("text", ["a cat", "NOT a cat", "a cat OR two dogs", "a THEN b WITHIN 9s"])
@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (["start_s>=2"], lambda hit: hit.start_s >= 2),
        (["start_s>2", "end_s<=12"], lambda hit: hit.start_s > 2 and hit.end_s <= 12),
        (["start_s<=6"], lambda hit: hit.start_s <= 6),
        (["end_s>=16"], lambda hit: hit.end_s >= 16),
        (["end_s<12", "end_s<15"], lambda hit: hit.end_s < 12),
    ],
)
def test_the_answered_span_meets_the_filter(tmp_path: Path, text: str, where: list[str], holds):
    with library_of(tmp_path, FakeModel()) as library:
        hits = library.query(text, 1000, where=where, min_probability=0)
    assert hits
    assert all(holds(hit) for hit in hits)


def test_copies_keep_their_times(tmp_path: Path, capsys: pytest.CaptureFixture):
    model = FakeModel()
    shown = unit(np.random.default_rng(1).normal(size=(1, DIM)))
    with Library(tmp_path / "l.vlar", model) as library:
        library.add_vectors(
            VectorVideo(f"/v/{name}.mp4", [Window(start_s, start_s + 4)], shown)
            for name, start_s in (("a", 0.0), ("b", 30.0), ("c", 64.5))
        )
        for text in ("a cat", '"a cat" IN "*"'):
            (hit,) = library.query(text, min_probability=0)
            assert hit.also == (Copy("/v/b.mp4", 30.0, 34.0), Copy("/v/c.mp4", 64.5, 68.5))
    facts = json.loads(json.dumps(hit.to_dict()))
    assert facts["also"][1] == {"path": "/v/c.mp4", "start_s": 64.5, "end_s": 68.5}
    output.hit(hit)
    assert "/v/b.mp4 0:30.0 to 0:34.0" in capsys.readouterr().out


def test_one_default_of_the_least_probability():
    assert make_plan(QueryRequest("a cat", 1)).request.min_probability == MIN_PROBABILITY
    assert MIN_PROBABILITY == MATCH_PRIOR
    assert signature(Library.query).parameters["min_probability"].default == MIN_PROBABILITY


def test_a_weak_best_match_says_so(tmp_path: Path, capsys: pytest.CaptureFixture):
    class Unsure(FakeModel):
        def match_probability(self, vectors: Float32, query: Float32) -> Float32:
            return 0.2 * super().match_probability(vectors, query)

    reports: list[QueryReport] = []
    answers: list[Hits] = []
    for model in (FakeModel(), Unsure()):
        with library_of(tmp_path / type(model).__name__, model, 4) as library:
            for text in ("a cat", "a cat AND two dogs"):
                answers.append(library.query(text, 3, min_probability=0, report=reports.append))
    assert [hits.weak for hits in answers] == [False, False, True, True]
    assert all(report.best_probability for report in reports)
    logging.getLogger(output.__name__).setLevel(logging.INFO)  # another test may have been quiet
    logging.getLogger("vlar.apps.cli").setLevel(logging.INFO)
    command._note(reports[2:], answers[3], 0.0)
    assert "the best match is weak" in capsys.readouterr().err
    command._note(reports[:2], answers[1], 0.0)
    assert capsys.readouterr().err == ""
    assert 0.05 < WEAK_MATCH < 0.5


def test_a_library_is_brought_up_to_date_in_python(tmp_path: Path):
    from tests.unit.library.maintain.test_upgrade import PartModel

    clip = tiny_video(tmp_path / "a.mp4", 1)
    with Library(tmp_path / "l.vlar", PartModel(0)) as library:
        library.add(clip)
        assert library.upgrade().computed == ()
    steps: list[tuple[int, int]] = []
    with Library(tmp_path / "l.vlar", PartModel(1)) as library:
        report = library.upgrade(progress=lambda done, total: steps.append((done, total)))
        assert (report.kept, report.computed, report.rows) == (("base",), ("extra0",), 3)
        assert library.query("a cat", min_probability=0)
        assert library.verify() == []
    assert steps == [(1, 1)]
