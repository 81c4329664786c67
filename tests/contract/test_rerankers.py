"""Every registered re-ranker keeps the contract; one made here is known to this file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import ConditionedFake, FakeCaptioner, FakeModel, tiny_video
from vlar import registry
from vlar.errors import QueryError, UnknownNameError
from vlar.library.library import Library
from vlar.library.query.candidates import Snapshot
from vlar.library.query.plan import QueryReport
from vlar.library.query.rerankers import (
    OPINION,
    Reranker,
    Rescored,
    RowReader,
    choose_reranker,
)
from vlar.model.library_model import LibraryModel
from vlar.testing import check_reranker

# The one that asks an answerer needs its spec: tests/unit/plugins/second_opinion.
SHIPPED = [name for name in registry.names("reranker") if name != OPINION]


@registry.register("reranker", "test-by-name")
class ByName(Reranker):
    """A judge that likes late files: it reads nothing but their names and times."""

    name = "test-by-name"

    @classmethod
    def applies(cls, model: LibraryModel) -> bool:
        return False

    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        found: dict[int, Rescored] = {}
        for row_id, (path, window) in rows.windows(row_ids).items():
            number = int(Path(path).stem)
            assert 0 <= window.start_s < window.end_s
            if number != 3:  # it has no opinion of that one
                found[row_id] = Rescored(float(number), number / 10)
        return found


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Six videos of one window; rows are spans."""
    root = tmp_path_factory.mktemp("rerankers")
    opened = Library(root / "l.vlar", ConditionedFake())
    videos = [tiny_video(root / "videos" / f"{i}.mp4", i, seconds=4) for i in range(6)]
    opened.add(videos, captions=FakeCaptioner())
    return opened


@pytest.mark.parametrize("name", [*SHIPPED, "test-by-name"])
def test_it_keeps_the_contract(name: str):
    check_reranker(name)


def names(library: Library, text: str, rerank: str | None) -> list[str]:
    hits = library.query(text, 10, rerank=rerank, min_probability=0)
    return [Path(hit.path).stem for hit in hits]


def test_vectors_come_in_the_order_of_the_rows_asked_for(library: Library):
    store, manifest = library._connection.nonempty()
    with store.snapshot():
        rows = Snapshot(store, manifest, ConditionedFake())
        ids = store.row_ids(store.paths()).tolist()
        assert not np.array_equal(rows.vectors(ids), rows.vectors(ids[::-1]))
        np.testing.assert_array_equal(rows.vectors(ids)[::-1], rows.vectors(ids[::-1]))


@pytest.mark.parametrize("text", ["a cat", '"a cat" IN "*"'])
def test_it_orders_what_it_scores_and_leaves_the_rest_in_place(library: Library, text: str):
    before, after = names(library, text, None), names(library, text, "test-by-name")
    assert after.index("3") == before.index("3")
    assert [name for name in after if name != "3"] == ["5", "4", "2", "1", "0"]


def test_its_name_is_in_the_report(library: Library):
    reports: list[QueryReport] = []
    for rerank in ("auto", None, "test-by-name"):
        library.query("a cat", 10, rerank=rerank, report=reports.append)
    assert [report.reranker for report in reports] == ["conditioned-text", None, "test-by-name"]
    assert [report.reranked for report in reports] == [6, 0, 5]


def test_the_registry_answers_which_one_applies():
    assert choose_reranker("auto", FakeModel()) is None
    found = choose_reranker("auto", ConditionedFake())
    assert found is not None
    assert found.name == "conditioned-text"
    with pytest.raises(UnknownNameError, match="did you mean 'conditioned-text'"):
        choose_reranker("conditoned-text", FakeModel())


def test_one_that_the_model_cannot_serve_says_so(tmp_path: Path):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(tiny_video(tmp_path / "a.mp4", 1))
        with pytest.raises(QueryError, match="depends on the video"):
            library.query("a cat", rerank="conditioned-text")
