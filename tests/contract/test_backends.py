"""Every store of a library answers alike: a folder with SQLite and FAISS, and Milvus.

The folder is the reference. What the two give for the same recordings must be equal, scores to
1e-6. The tests of Milvus run on Milvus Lite, where pymilvus and milvus-lite are installed.
"""

from __future__ import annotations

import importlib.util
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import (
    DIM,
    ConditionedFake,
    FakeCaptioner,
    FakeModel,
    tiny_video,
)
from vlar.errors import LibraryError, UsageError
from vlar.library.library import Library
from vlar.testing import check_backend
from vlar.testing.backends import vectors, video
from vlar.types import Hit

FOLDER, MILVUS = "folder", "milvus"
HAS_MILVUS = all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite"))
needs_milvus = pytest.mark.skipif(not HAS_MILVUS, reason="the extra milvus is not installed")
KINDS = [FOLDER, pytest.param(MILVUS, marks=needs_milvus)]
_numbers = itertools.count()


def place(kind: str, folder: Path, name: str = "l") -> str:
    return str(folder / f"{name}.vlar") if kind == FOLDER else f"milvus:{folder / 'm.db'}/{name}"


def close_to(hits: list[Hit], others: list[Hit]) -> None:
    """Equal, scores to 1e-6."""

    def rounded(hit: Hit) -> Hit:
        return replace(
            hit,
            score=0.0, probability=0.0, similarity=0.0, row=0,
            parts=tuple(replace(p, probability=0.0, similarity=0.0) for p in hit.parts),
        )  # fmt: skip

    assert [rounded(hit) for hit in hits] == [rounded(hit) for hit in others]
    for hit, other in zip(hits, others, strict=True):
        own = [hit.score, hit.probability, hit.similarity, *(p.similarity for p in hit.parts)]
        theirs = [other.score, other.probability, other.similarity]
        theirs += [p.similarity for p in other.parts]
        assert np.allclose(own, theirs, rtol=0, atol=1e-6)


# The same recordings in both --------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, Library]]:
    """Six recordings, one of them a copy, with contexts, captions and tags; in both stores."""
    if not HAS_MILVUS:
        pytest.skip("the extra milvus is not installed")
    folder = tmp_path_factory.mktemp("pair")
    clips = [tiny_video(folder / "videos" / f"{i}.mp4", i, seconds=6 + 2 * i) for i in range(5)]
    shutil.copy(clips[1], folder / "videos" / "copy.mp4")
    opened = []
    for kind in (FOLDER, MILVUS):
        library = Library(place(kind, folder), ConditionedFake())
        library.add(clips[:3], tags={"place": "gym", "year": "2024"}, captions=FakeCaptioner())
        library.add(clips[3:], tags={"place": "park"}, captions=FakeCaptioner())
        library.add(folder / "videos", captions=FakeCaptioner())
        opened.append(library)
    yield opened[0], opened[1]
    for library in opened:
        library.close()


QUERIES = (
    "running", '"a" OR NOT "b"', '"a" THEN "b" WITHIN 5s', 'LIKE "{clip}"', 'says: "video two"',
)  # fmt: skip
MORE_QUERIES = (
    "a dog", '"a" AND "b"', '"a"^2 AND "c"', '("a" THEN "b") AND NOT "c"', '"a" IN "*/copy.mp4"',
    '"a" AND says: "second"',
)  # fmt: skip
FILTERS = (
    ["place!=gym"], ["path=*/1.mp4"], ["end_s<=8", "place=park"], ["added>=2020-01-01"],
)  # fmt: skip
MORE_FILTERS = (
    None, ["place=gym"], ["year>=2000"], ["path!=*/1.mp4"], ["start_s>=2"], ["duration_s<9"],
    ["duration_s!=6"], ["modified<2000-01-01"], ["place=nowhere"], ["start_s>9", "start_s<5"],
)  # fmt: skip


def also_slow(few: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    return [*few, *(pytest.param(each, marks=pytest.mark.slow) for each in more)]


@pytest.mark.parametrize("query", also_slow(QUERIES, MORE_QUERIES))
def test_queries_are_answered_alike(pair: tuple[Library, Library], query: str):
    text = query.replace("{clip}", pair[0].videos()[0].path)
    folder, milvus = (library.query(text, k=5, min_probability=0.0) for library in pair)
    assert folder
    close_to(list(milvus), list(folder))


@pytest.mark.parametrize("where", also_slow(FILTERS, MORE_FILTERS), ids=str)
def test_filters_leave_the_same_rows(pair: tuple[Library, Library], where: list[str] | None):
    for text in ("running", '"a" AND "b"'):
        found = [library.query(text, 9, where=where, min_probability=0.0) for library in pair]
        close_to(list(found[1]), list(found[0]))


def test_a_control_that_differs_is_seen(pair: tuple[Library, Library]):
    one, other = (
        library.query(text, k=5, min_probability=0.0)
        for library, text in zip(pair, ("running", "a dog"), strict=True)
    )
    refused(AssertionError, "", close_to, list(one), list(other))


def test_rows_near_a_vector_are_the_same(pair: tuple[Library, Library]):
    vector = np.random.default_rng(0).normal(size=DIM).astype(np.float32)
    vector /= np.linalg.norm(vector)
    for k, where in ((3, None), (500, None), (4, ["place=gym"]), (4, ["start_s>=2"])):
        folder, milvus = (library.nearest(vector, k, where=where) for library in pair)
        shown = [
            [(h.path.replace("copy", "1"), h.start_s, h.end_s) for h in hits]  # equal rows
            for hits in (folder, milvus)
        ]
        assert shown[0] == shown[1]
        both = [[h.similarity for h in hits] for hits in (folder, milvus)]
        assert np.allclose(*both, rtol=0, atol=1e-6)


def test_rerankers_read_the_same(pair: tuple[Library, Library]):
    for rerank in ("conditioned-text", "captions", None):
        found = [
            library.query("video two", 5, min_probability=0.0, rerank=rerank) for library in pair
        ]
        close_to(list(found[1]), list(found[0]))
    plain = pair[1].query("running", 5, min_probability=0.0, rerank=None)
    again = pair[1].query("running", 5, min_probability=0.0, rerank="conditioned-text")
    assert [h.probability for h in plain] != [h.probability for h in again]


def test_views_of_the_whole_are_the_same(pair: tuple[Library, Library]):
    folder, milvus = pair
    assert milvus.duplicates() == folder.duplicates() != []
    assert [row.to_dict() for row in milvus.unusual(5)] == [
        row.to_dict() for row in folder.unusual(5)
    ]
    assert milvus.highlights(5) == folder.highlights(5)
    listed = [
        [replace(row, added_at_s=0.0) for row in library.videos()] for library in (folder, milvus)
    ]
    assert listed[0] == listed[1]
    facts = [library.info() for library in pair]
    for name in ("videos", "rows", "duration_s", "model", "dim", "tag_keys", "context_rows",
                 "context_bytes"):  # fmt: skip
        assert getattr(facts[0], name) == getattr(facts[1], name), name


def test_tables_are_the_same(pair: tuple[Library, Library]):
    pytest.importorskip("pyarrow")
    tables = [library.to_arrow().drop_columns(["row_id"]) for library in pair]
    assert tables[0].equals(tables[1])
    items = [library.dataset(tags=("place",)) for library in pair]
    assert len(items[0]) == len(items[1]) > 10
    for one, other in zip(items[0], items[1], strict=True):  # type: ignore[call-overload]
        assert np.array_equal(one["vector"], other["vector"])
        assert (one["path"], one["tags"]) == (other["path"], other["tags"])


def test_both_verify(pair: tuple[Library, Library]):
    assert [library.verify() for library in pair] == [[], []]


# Each by itself ---------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place(request.param, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(kind: str):
    check_backend(kind)


def test_a_caller_that_stops_keeps_what_was_committed(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vlar.library.ingest.shard_reading._ROWS_A_COMMIT", 300)

    def videos():
        yield from (video(f"/v/{at}", 60, at) for at in range(12))
        raise KeyboardInterrupt

    with Library(address, FakeModel()) as library:
        refused(KeyboardInterrupt, "", library.add_vectors, videos())
        assert library.info().videos == 12
        assert library.verify(files=False) == []
        library.add_vectors([video("/v/1", 2, 5), video("/v/new", 1)])
        info = library.info()
        assert (info.videos, info.rows) == (13, 11 * 60 + 3)
        assert len(library.nearest(vectors(1)[0], 5000)) == 11 * 60 + 3


# From one to the other --------------------------------------------------------------------------


@pytest.mark.slow
@needs_milvus
def test_copies_both_ways_are_equal(pair: tuple[Library, Library], tmp_path: Path):
    folder, milvus = pair
    with Library(place(MILVUS, tmp_path)) as copy:
        report = folder.copy_to(copy)
        assert (report.recordings, report.copied) == (6, 6)
        assert folder.copy_to(copy).copied == 0  # a copy resumes
        assert [replace(r, path="") for r in copy.videos()] == [
            replace(r, path="") for r in folder.videos()
        ]
        with Library(place(FOLDER, tmp_path)) as back:
            assert copy.copy_to(back).digest == report.digest
            answers = [
                Library(each.path, ConditionedFake()).query('"a" AND says: "two"', 5)
                for each in (back, copy)
            ]
            close_to(list(answers[0]), list(answers[1]))
        copy.remove(copy.videos()[0].path)
        assert folder.copy_to(copy).copied == 1
        clip = tiny_video(tmp_path / "new.mp4", 9)
    with Library(place(MILVUS, tmp_path), ConditionedFake()) as changed:
        changed.add(clip)
        refused(LibraryError, r"holds other contents than .*new\.mp4", folder.copy_to, changed)
        refused(UsageError, "cannot be copied to itself", changed.copy_to, changed)
    with Library(place(MILVUS, tmp_path, "third")) as third:
        assert milvus.copy_to(third).digest != report.digest  # indexed at another time


@needs_milvus
def test_a_copy_comes_back_equal(tmp_path: Path):
    with (
        Library(place(FOLDER, tmp_path), FakeModel()) as folder,
        Library(place(MILVUS, tmp_path)) as milvus,
        Library(place(FOLDER, tmp_path, "back")) as back,
    ):
        folder.add_vectors([video("/v/a", 3, tags={"place": "gym"}), video("/v/b", 2, 1)])
        first, second = folder.copy_to(milvus), milvus.copy_to(back)
        assert (first.copied, second.copied, first.rows) == (2, 2, 5)
        assert first.digest == second.digest
        back.add_vectors([video("/v/b", 2, 2)])
        refused(LibraryError, r"holds other contents than .* \(first /v/b\)", folder.copy_to, back)
