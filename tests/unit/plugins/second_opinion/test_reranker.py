"""Query hits re-ranked by an answerer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.errors import UnknownNameError, UsageError
from vlar.generators.chat import RefusedError
from vlar.generators.opinions.base import Answer, Answerer, FunctionAnswerer, MediaItem
from vlar.generators.opinions.question import Question
from vlar.library.library import Library
from vlar.library.query.plan import QueryReport
from vlar.plugins.second_opinion.reranker import AnswererReranker


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("second")
    opened = Library(root / "l.vlar", FakeModel())
    opened.add([tiny_video(root / "videos" / f"{i}.mp4", i, seconds=4) for i in range(6)])
    return opened


class ByFile(Answerer):
    """Is the surer of the phrase, the later the number in the file's name."""

    order_free = True
    cached = False
    identity = "by file"

    def __init__(self, phrase: str) -> None:
        self.phrase = phrase
        self.questions: list[Question] = []

    @classmethod
    def from_spec(cls, argument: str) -> ByFile:
        return cls(argument)

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        self.questions.append(question)
        assert shown.clip.data.shape[0] == FakeModel.n_frames
        sure = (1 + int(shown.path.stem)) / 8
        k = len(question)
        shares = np.full(k, (1 - sure) / (k - 1))
        shares[question.options.index(self.phrase)] = sure
        return Answer(shares)


def names(library: Library, rerank: object, **options: object) -> list[str]:
    hits = library.query("a cat", 10, rerank=rerank, min_probability=0, **options)  # type: ignore[arg-type]
    return [Path(hit.path).stem for hit in hits]


def test_hits_are_in_the_order_of_both_opinions(library: Library):
    judge = ByFile("a cat")
    found = names(library, AnswererReranker(judge, "mine", weight=3.0))
    assert found == ["5", "4", "3", "2", "1", "0"]
    assert len(judge.questions) == 6
    for question in judge.questions:
        assert len(question) == 5
        assert question.options[0] == "a cat"
        assert "a cat" not in question.options[1:]


def test_the_proposer_alone_and_an_answerer_that_does_not_know_change_nothing(library: Library):
    before = library.query("a cat", 10, rerank=None, min_probability=0)
    blind = FunctionAnswerer(lambda _, q: np.ones(len(q)))
    for judge, weight in ((ByFile("a cat"), 0.0), (blind, None), (blind, 1.0)):
        reranker = AnswererReranker(judge, "mine", weight=weight)
        after = library.query("a cat", 10, rerank=reranker, min_probability=0)
        assert [hit.path for hit in after] == [hit.path for hit in before]
        for one, other in zip(after, before, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_without_a_fit_only_a_sure_answerer_moves_scores(library: Library):
    before = library.query("a cat", 10, rerank=None, min_probability=0)
    for lead, moves in ((1.2, False), (9.0, True)):
        judge = FunctionAnswerer(
            lambda _, q, lead=lead: [lead if o == "a cat" else 1.0 for o in q.options]
        )
        reranker = AnswererReranker(judge, "mine", k=2)
        after = library.query("a cat", 10, rerank=reranker, min_probability=0)
        scores = [[hit.probability for hit in hits] for hits in (before, after)]
        assert (scores[0] != scores[1]) == moves


def test_the_wrong_options_do_not_mean_the_phrase(library: Library):
    judge = ByFile("riding a bike")
    library.query("riding a bike", 10, rerank=AnswererReranker(judge, "m"), min_probability=0)
    others = {option for question in judge.questions for option in question.options[1:]}
    assert len(others) > 4
    assert not [option for option in others if "bike" in option or "bicycle" in option]


def test_what_goes_wrong_leaves_the_hits_and_is_reported(library: Library):
    class Gone(ByFile):
        def answer(self, shown: MediaItem, question: Question) -> Answer:
            self.questions.append(question)
            raise RefusedError("no key")

    judge, reports = Gone("a cat"), list[QueryReport]()
    found = names(library, AnswererReranker(judge, "gone"), report=reports.append)
    assert found == names(library, None)
    assert len(judge.questions) == 1
    (report,) = reports
    assert report.reranker == "gone"
    assert (report.reranked, report.rerank_failed) == (0, 1)
    assert "no key" in " ".join(report.rerank_notes)


def test_a_recording_that_is_gone_keeps_its_place(tmp_path: Path):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        paths = [tiny_video(tmp_path / f"{i}.mp4", i, seconds=4) for i in range(3)]
        library.add(paths)
        paths[1].unlink()
        reports = list[QueryReport]()
        reranker = AnswererReranker(ByFile("a cat"), "mine", weight=1.0)
        assert len(names(library, reranker, report=reports.append)) == 3
        assert reports[0].reranked == 2
        assert reports[0].rerank_failed == 1


def test_answerers_go_by_name_too(library: Library, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    reports = list[QueryReport]()
    assert names(library, "openai:m", report=reports.append) == names(library, None)
    assert "OPENAI_API_KEY" in " ".join(reports[0].rerank_notes)
    with pytest.raises(UnknownNameError, match="no reranker is called"):
        names(library, "opneai:x")
    with pytest.raises(UsageError, match="27 options"):
        AnswererReranker(ByFile("a"), "m", k=27)


def test_expressions_ask_about_each_phrase(library: Library):
    class Any2(ByFile):
        def answer(self, shown: MediaItem, question: Question) -> Answer:
            self.phrase = question.options[0]
            return super().answer(shown, question)

    judge = Any2("")
    hits = library.query(
        '"a cat" AND "a dog"', 3, rerank=AnswererReranker(judge, "m"), min_probability=0
    )
    assert hits
    assert {question.options[0] for question in judge.questions} == {"a cat", "a dog"}
