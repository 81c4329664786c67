"""Plain text queries on a library: order, filters, completeness, consistency."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import DIM, FakeModel, store_of, tiny_video
from vlar.errors import LibraryError, QueryError
from vlar.library.library import Library
from vlar.types import Hit


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("answers")
    opened = Library(root / "l.vlar", FakeModel())
    for number in range(12):
        tags = {"half": "left" if number < 6 else "right", "number": str(number)}
        opened.add(tiny_video(root / "videos" / f"{number}.mp4", number, 20), tags=tags)
    return opened


def exact(library: Library, text: str) -> list[tuple[str, float, float, float]]:
    """Every row by falling similarity, from the stored vectors alone."""
    store = library._connection.reader()
    assert store is not None
    query = FakeModel().encode_queries([text])[0].astype(np.float64)
    rows = store.fetch(
        "SELECT path, start_s, end_s, vector FROM rows JOIN videos ON videos.id = video_id"
    )
    scored = [
        (path, start, end, float(np.frombuffer(blob, "<f2").astype(np.float64) @ query))
        for path, start, end, blob in rows
    ]
    return sorted(scored, key=lambda row: -row[3])


@pytest.mark.parametrize("text", ["a cat", "two dogs", "riding a bike"])
def test_best_span_holds_the_best_window(library: Library, text: str):
    path, start, end, similarity = exact(library, text)[0]
    hit = library.query(text, 1, min_probability=0)[0]
    assert (hit.rank, hit.path) == (1, path)
    assert hit.start_s <= start < end <= hit.end_s
    assert hit.similarity == pytest.approx(similarity, abs=1e-12)
    assert 0 <= hit.probability == hit.score <= 1


@pytest.mark.parametrize("text", ["a cat", "two dogs"])
def test_every_answer_begins_the_longer_one(library: Library, text: str):
    whole = library.query(text, 10_000, min_probability=0)
    assert [hit.rank for hit in whole] == list(range(1, len(whole) + 1))
    assert len({hit.path for hit in whole}) == 12
    for k in (1, 2, 5, len(whole)):
        assert library.query(text, k, min_probability=0) == whole[:k]
    scores = [hit.score for hit in whole]
    assert scores == sorted(scores, reverse=True)
    best_of = {}
    for path, _, _, similarity in exact(library, text):
        best_of.setdefault(path, similarity)
    for path, best in best_of.items():
        first = next(hit for hit in whole if hit.path == path)
        assert first.similarity == pytest.approx(best, abs=1e-12)


def test_filters_all_hold(library: Library):
    hits = library.query("a cat", 100, where={"half": "left"}, min_probability=0)
    assert {hit.tags["half"] for hit in hits} == {"left"}
    assert {hit.tags["number"] for hit in hits} == {str(n) for n in range(6)}
    hits = library.query(
        "a cat", 100, where={"half": "left", "path": "[3-8].mp4"}, min_probability=0
    )
    assert {hit.tags["number"] for hit in hits} == {"3", "4", "5"}


def test_narrow_filter_gives_all_there_is(library: Library):
    # However far down the list: a filter is part of the search, not of its result.
    worst = exact(library, "a cat")[-1][0]
    whole = [hit for hit in library.query("a cat", 10_000, min_probability=0) if hit.path == worst]
    found = library.query("a cat", 5, where={"path": worst}, min_probability=0)
    assert [(h.start_s, h.end_s, h.score) for h in found] == [
        (h.start_s, h.end_s, h.score) for h in whole[:5]
    ]


def test_filter_that_nothing_meets(library: Library):
    assert library.query("a cat", where={"half": "middle"}, min_probability=0) == []
    assert library.query("a cat", where={"half": "left", "number": "9"}, min_probability=0) == []
    refused(QueryError, "half", library.query, "a cat", where={"hlaf": "left"}, min_probability=0)


def test_wrong_queries_load_no_model(library: Library, monkeypatch: pytest.MonkeyPatch):
    import vlar.model.model

    monkeypatch.setattr(vlar.model.model, "load", lambda _: pytest.fail("loaded"))
    with Library(library.path) as opened:
        for text, k, where in (("", 1, None), ("a cat", 0, None), ("a cat", 1, {"no": "1"})):
            refused(QueryError, "", opened.query, text, k, where=where, min_probability=0)


def test_an_emptied_library_says_so(tmp_path: Path):
    clip = tiny_video(tmp_path / "a.mp4", 1)
    with Library(tmp_path / "l.vlar", FakeModel()) as opened:
        opened.add(clip)
        opened.remove(clip)
        refused(LibraryError, "is empty", opened.query, "a cat", min_probability=0)


def test_many_equal_rows_stand_by_path(tmp_path: Path):
    # 80 copies answer equally well: more than are fetched at first, and all must be found.
    first = tiny_video(tmp_path / "videos" / "00.mp4", 5, seconds=4)
    for number in range(1, 80):
        shutil.copy(first, first.with_name(f"{number:02}.mp4"))
    with Library(tmp_path / "l.vlar", FakeModel()) as opened:
        report = opened.add(first.parent)
        assert (report.added, report.moved) == (1, 79)
        (hit,) = opened.query("a cat", 3, min_probability=0)
        assert Path(hit.path).name == "00.mp4"
        assert [Path(copy.path).name for copy in hit.also] == [f"{n:02}.mp4" for n in range(1, 80)]
        assert {(copy.start_s, copy.end_s) for copy in hit.also} == {(0.0, 4.0)}
        assert hit.to_dict()["also"][0] == {
            "path": hit.also[0].path,
            "start_s": 0.0,
            "end_s": 4.0,
        }
        assert opened.query("a cat", 500, min_probability=0) == [hit]


ASKED = [
    ("a cat", {}),
    ("a cat", {"k": 3, "where": ["half=left"]}),
    ("two dogs", {"k": 200}),
    ("two dogs", {"where": ["start_s>=4"]}),
]


def answers(library: Library) -> list[list[Hit]]:
    return [list(library.query(text, **how, min_probability=0)) for text, how in ASKED]


def test_a_phrase_asked_again_is_not_encoded_and_answered_alike(
    library: Library, monkeypatch: pytest.MonkeyPatch
):
    first = answers(library)
    for (text, how), hits in zip(ASKED, first, strict=True):
        alone = Library(library.path, FakeModel(), create=False)
        assert alone.query(text, **how, min_probability=0) == hits, "others change no answer"

    def encoded_again(self: FakeModel, texts: Sequence[str]) -> None:
        raise AssertionError(texts)

    monkeypatch.setattr(FakeModel, "encode_queries", encoded_again)
    assert answers(library) == first


def test_what_is_kept_follows_the_library(library: Library, tmp_path: Path):
    changed = Library(shutil.copytree(library.path, tmp_path / "changed.vlar"), FakeModel())
    before = answers(changed)
    changed.remove(before[0][0].path)
    changed.add(tiny_video(tmp_path / "new.mp4", 77, 20), tags={"half": "left"})
    after = answers(changed)
    assert after != before
    assert after == answers(Library(changed.path, FakeModel(), create=False))


def test_queries_go_on_while_a_transaction_is_open(library: Library):
    expected = answers(library)
    connection = library._connection
    with ThreadPoolExecutor(1) as thread, connection.writing() as writer, writer.transaction():
        writer.set_meta({"concept:of this test": ""})
        assert thread.submit(answers, library).result(30) == expected


def test_rows_beside_a_row_are_its_first_neighbours(library: Library):
    store = store_of(library)
    ids = store.ids_of(people=False).tolist()
    rows = store.rows(ids, DIM)
    adjacent = store.adjacent(ids)
    assert adjacent.keys() == set(ids)
    for row_id, video_id, (start_s, end_s) in zip(ids, rows.video_ids, rows.spans, strict=True):
        for later in (False, True):
            batches = store.neighbours(int(video_id), start_s, end_s, DIM, later=later)
            first = next((int(batch.ids[0]) for batch in batches), None)
            assert adjacent[row_id][later] == first
