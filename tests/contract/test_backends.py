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
    store_of,
    tiny_video,
)
from vlar.errors import EncoderMismatchError, LibraryError, LibraryLockedError, UsageError
from vlar.library.ingest.encode import EncodedWindow
from vlar.library.ingest.reader import CHANGED, FileRecord
from vlar.library.ingest.writer import write_windows
from vlar.library.library import Library
from vlar.library.rows import RowFilter, RowPerson
from vlar.library.shard_reading import VectorVideo
from vlar.library.store.annotations import FailedFile, LostFrames
from vlar.library.store.base import failed_by_path
from vlar.library.store.values import Stamp
from vlar.types import Failure, Hit, Window

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
            score=0.0, probability=0.0, similarity=0.0,
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


def names(library: Library) -> list[str]:
    return [Path(row.path).name for row in library.videos()]


def vectors(n: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def video(path: str, n: int, seed: int = 0, **more: object) -> VectorVideo:
    spans = [Window(2.0 * at, 2.0 * at + 4.0) for at in range(n)]
    return VectorVideo(path, spans, vectors(n, seed), **more)  # type: ignore[arg-type]


def test_add_change_rename_copy_remove(address: str, tmp_path: Path):
    model = FakeModel()
    clips = [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(3)]
    with Library(address, model) as library:
        assert library.add(clips, tags={"place": "gym"}).added == 3
        encoded = model.encoded
        assert library.add(clips, tags={"year": "1"}).unchanged == 3
        assert dict(library.videos()[0].tags) == {"place": "gym", "year": "1"}
        tiny_video(clips[1], 77, seconds=12)
        report = library.add(clips)
        assert (report.updated, report.unchanged, report.rows) == (1, 2, 5)
        assert dict(library.videos()[1].tags) == {"place": "gym", "year": "1"}
        path = library.videos()[1].path
        assert library.tag({path: {"place": None, "year": "2"}}, before={path: {"year": "1"}}) == 1
        assert dict(library.videos()[1].tags) == {"year": "2"}
        clips[0].rename(clips[0].with_name("moved.mp4"))
        shutil.copy(clips[2], clips[2].with_name("twin.mp4"))
        report = library.add(tmp_path / "videos")
        assert (report.moved, report.added) == (2, 0)
        assert model.encoded == encoded + 5
        assert names(library) == ["1.mp4", "2.mp4", "moved.mp4", "twin.mp4"]
        assert [row.windows for row in library.videos()] == [5, 3, 3, 3]
        assert library.remove(f"{tmp_path}/*/twin.mp4") == 1
        assert library.remove(f"{tmp_path}/*/twin.mp4") == 0
        assert library.info().rows == 11
    with Library(address, model, create=False) as again:
        assert names(again) == ["1.mp4", "2.mp4", "moved.mp4"]
        assert again.verify() == []
        assert len(again.nearest(vectors(1)[0], 100)) == 11


def test_another_model_and_other_windows_are_refused(address: str, tmp_path: Path):
    clip = tiny_video(tmp_path / "a.mp4", 0)
    with Library(address, FakeModel()) as library:
        library.add(clip)
        refused(LibraryError, "windows of 4 s every 2 s", library.add, clip, window_s=3.0)
    with (
        Library(address, FakeModel("another", 1)) as library,
        pytest.raises(EncoderMismatchError, match="made by model 'fake'"),
    ):
        library.query("a")
    with pytest.raises(LibraryError, match="does not exist; create it: vlar index add"):
        Library(address.replace("/l", "/other"), create=False)


def test_an_empty_library_has_no_answers(address: str):
    with Library(address, FakeModel()) as library:
        assert library.videos() == []
        assert library.info().rows == 0
        assert library.verify() == []
        refused(LibraryError, "is empty; add videos", library.query, "a")


def test_a_recording_that_fails_in_the_middle_leaves_nothing(address: str):
    def stream():
        yield from whole("/far/a.mp4", 70)
        yield from whole("/far/b.mp4", 130)
        broken = next(iter(whole("/far/c.mp4", 1)))
        yield broken
        yield from list(whole("/far/c.mp4", 90))[1:]
        yield EncodedWindow(Window(900.0, 904.0), np.full(DIM, np.nan, np.float32))
        yield FileRecord(Path("/far/d.mp4"), CHANGED, "/far/d.mp4", Stamp(1, 1), "hash d", 9.0)
        yield Failure(Path("/far/d.mp4"), "decode", "/far/d.mp4: unreadable")

    with Library(address, FakeModel()) as library:
        with library._connection.writing() as writer:
            manifest = library._connection.models.new_manifest()
            report = write_windows(writer, stream(), manifest, total=4)
        assert [Path(f.path).name for f in report.failed] == ["c.mp4", "d.mp4"]
        assert (report.added, names(library)) == (2, ["a.mp4", "b.mp4"])
        assert len(library.nearest(vectors(1)[0], 1000)) == 200
        assert library.verify(files=False) == []


def whole(path: str, n: int):
    yield FileRecord(Path(path), CHANGED, path, Stamp(1, 1), f"hash {path}", 2.0 * n + 2)
    for at, vector in enumerate(vectors(n, len(path))):
        yield EncodedWindow(Window(2.0 * at, 2.0 * at + 4.0), vector)


def test_a_caller_that_stops_keeps_what_was_committed(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vlar.library.shard_reading._ROWS_A_COMMIT", 300)

    def videos():
        yield from (video(f"/v/{at}", 60, at) for at in range(12))
        raise KeyboardInterrupt

    with Library(address, FakeModel()) as library:
        refused(KeyboardInterrupt, "", library.add_vectors, videos())
        assert library.info().videos == 12
        with pytest.raises(UsageError, match="unit length"):
            library.add_vectors([replace(video("/v/x", 3), vectors=2 * vectors(3))])
        report = library.add_vectors([video("/v/1", 2, 5), video("/v/new", 1)])
        assert (report.updated, report.added) == (1, 1)
        info = library.info()
        assert (info.videos, info.rows) == (13, 11 * 60 + 3)
        assert len(library.nearest(vectors(1)[0], 5000)) == 11 * 60 + 3


def test_a_second_writer_is_refused(address: str):
    with Library(address, FakeModel()) as library, Library(address, FakeModel()) as other:
        library.add_vectors([video("/v/a", 3)])
        with library._connection.writing():
            with pytest.raises(LibraryLockedError, match="another process is writing to library"):
                other.add_vectors([video("/v/b", 3)])
            assert other.info().videos == 1  # reading goes on
        assert other.add_vectors([video("/v/b", 3)]).added == 1
        assert library.info().videos == 2


def test_lost_frames_failed_files_and_people(address: str):
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 4)])
        box = (0.25, 0.0, 0.5, 1.0)
        spans = [Window(0.0, 4.0), Window(0.0, 4.0), Window(2.0, 6.0)]
        shown = [None, RowPerson(1, box), RowPerson(1, box)]
        with library._connection.writing() as writer:
            with writer.transaction():
                video_id = writer.put_video("/v/p", "hash", Stamp(5, 7), 6.0)
                tokens = vectors(3, 4).astype(np.float16)[:, None]
                writer.insert_rows(video_id, spans, vectors(3, 9), shown, list(tokens))
                writer.annotate(LostFrames, video_id, [LostFrames(2.0, 6.0, 0.5)])
                failed = FailedFile("/v/bad", "h", Stamp(1, 2), "crash", "it crashed")
                writer.annotate(FailedFile, "/v/bad", [failed])
            with writer.transaction():
                writer.update(video_id, path="/v/renamed", stamp=Stamp(5, 8))
            assert failed_by_path(writer)["/v/bad"].message == "it crashed"
            with writer.transaction():
                writer.annotate(FailedFile, "/v/bad", ())
                writer.set_meta({"persons": "pose"})
            assert writer.annotations(FailedFile) == []
        info = library.info()
        assert (info.rows, info.persons, info.person_rows) == (7, "pose", 2)
        store, manifest = library._connection.nonempty()
        with store.snapshot():
            (rows,) = [r for r in store.scan(DIM, _rows_of(store, "/v/renamed")) if len(r.ids)]
            ids = rows.ids.tolist()
            assert [rows.people.get(i) for i in ids] == shown
            assert rows.times_s.tolist() == [[s.start_s, s.end_s] for s in spans]
            renamed = store.at_path("/v/renamed").id
            assert store.spans(renamed) == [(0.0, 4.0)]
            assert store.ids_of(people=True).tolist() == ids[1:]
            found, contexts = store.contexts(ids)
            assert found.tolist() == ids
            assert np.array_equal(contexts, tokens)
            later = store.neighbours(renamed, 0.0, 4.0, DIM, later=True, track=1)
            assert [batch.ids.tolist() for batch in later] == [[ids[2]]]
            engine = library._connection.backend.search_cache(store, None, None).engine
            for people, number in ((True, 2), (False, 5)):
                allowed = RowFilter(rows=frozenset(store.ids_of(people=people).tolist()))
                assert engine.count(allowed) == len(engine.search(vectors(1)[0], 9, allowed)[0])
                assert engine.count(allowed) == number
            few = RowFilter(rows=frozenset(ids[:2]))
            assert sorted(engine.search(vectors(1)[0], 9, few)[0].tolist()) == ids[:2]
            assert store.annotations(LostFrames, [renamed]) == [LostFrames(2.0, 6.0, 0.5)]
            assert store.annotations(LostFrames, [store.at_path("/v/a").id]) == []
            assert store.annotated(LostFrames) == {renamed}
        assert manifest.dim == DIM
        assert library.verify(files=False) == []


def _rows_of(store, path: str):
    return RowFilter(frozenset([store.at_path(path).id]))


def test_neighbours_come_nearest_first(address: str):
    with Library(address, FakeModel()) as library:
        library.add_vectors([video("/v/a", 120), video("/v/b", 5)])
        store = store_of(library)
        with store.snapshot():
            video_id = store.at_path("/v/a").id
            for later, expected in ((True, range(11, 120)), (False, range(9, -1, -1))):
                batches = store.neighbours(video_id, 20.0, 24.0, DIM, later=later)
                starts = [span[0] for batch in batches for span in batch.spans]
                assert starts == [2.0 * at for at in expected]


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
