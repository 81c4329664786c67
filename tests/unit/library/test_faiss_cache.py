"""Caches of FAISS: gone, old, torn, forged, or on a GPU."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from tests.unit.library.test_random_changes import video
from vlar import registry
from vlar.errors import UsageError
from vlar.library import cache
from vlar.library.engines import ivf
from vlar.library.engines.flat import FlatEngine
from vlar.library.library import Library
from vlar.library.rows import RowTable, Selection
from vlar.types import Hit


@pytest.fixture
def folder(tmp_path: Path, model: FakeModel, clips: list[Path]) -> Path:
    with Library(tmp_path / "l.vlar", model) as library:
        library.add(clips)
        library.query("a cat", min_probability=0)
        assert library.info().cache_state == "fresh"
    return tmp_path / "l.vlar"


def ask(folder: Path, model: FakeModel) -> list[Hit]:
    with Library(folder, model) as library:
        hits = library.query("a cat", 100, min_probability=0)
        assert library.info().cache_state == "fresh"
        return hits


def test_flat_is_found_through_the_registry():
    assert "flat" in registry.names("engine")
    assert registry.get("engine", "flat") is FlatEngine


def test_deleted(folder: Path, model: FakeModel):
    expected = ask(folder, model)
    h.cache_of(folder).unlink()
    with Library(folder) as library:
        assert library.info().cache_state == "absent"
    assert ask(folder, model) == expected


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "bit", "end", "tail only"])
def test_unreadable(folder: Path, model: FakeModel, damage: str):
    expected = ask(folder, model)
    file = h.cache_of(folder)
    content = bytearray(file.read_bytes())
    if damage == "bit":
        content[100] ^= 1
    changed = {
        "garbage": b"\x07" * 5000,
        "empty": b"",
        "cut": content[:-300],
        "bit": content,
        "end": content + b"x",
        "tail only": content[-200:],
    }[damage]
    file.write_bytes(changed)
    with Library(folder) as library:
        assert library.info().cache_state == "unreadable"
    assert ask(folder, model) == expected


def test_stale(folder: Path, model: FakeModel, clips: list[Path]):
    old = h.cache_of(folder).read_bytes()
    with Library(folder, model) as library:
        library.remove(clips[0])
        library.add(tiny_video(clips[0].with_name("new.mp4"), 31))
        assert library.info().cache_state == "stale"
    expected = ask(folder, model)
    assert {hit.path for hit in expected} == {
        str(clips[0].with_name(f"{name}.mp4")) for name in ("new", "1", "2", "3", "4")
    }
    h.cache_of(folder).write_bytes(old)
    assert ask(folder, model) == expected


def test_of_another_library_with_the_same_numbers(folder: Path, tmp_path: Path, model: FakeModel):
    # Both hold rows 1 to 15 at the same generation; only the vectors differ.
    others = [tiny_video(tmp_path / "others" / f"{i}.mp4", 40 + i) for i in range(5)]
    with Library(tmp_path / "o.vlar", model) as other:
        other.add(others)
        expected = other.query("a cat", 100, min_probability=0)
    shutil.copy(h.cache_of(folder), h.cache_of(tmp_path / "o.vlar"))
    assert ask(tmp_path / "o.vlar", model) == expected


def test_rename_and_tags_leave_it_fresh(folder: Path, model: FakeModel, clips: list[Path]):
    clips[0].rename(clips[0].with_name("other.mp4"))
    with Library(folder, model) as library:
        library.add(clips[0].parent, tags={"a": "b"})
        assert library.info().cache_state == "fresh"
        assert any(
            hit.path.endswith("other.mp4") for hit in library.query("a cat", 100, min_probability=0)
        )


def test_without_faiss_the_answers_are_the_same(
    folder: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
):
    expected = ask(folder, model)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with Library(folder, model) as library:
        assert library.query("a cat", 100, min_probability=0) == expected
        assert library.query("a cat", 3, where={"path": "1.mp4"}, min_probability=0)[
            0
        ].path.endswith("1.mp4")


def test_any_faiss_tool_opens_it(folder: Path):
    faiss = pytest.importorskip("faiss")
    assert faiss.read_index(str(h.cache_of(folder))).ntotal == 15


def test_an_old_index_is_updated_without_reading_what_it_has(
    folder: Path, model: FakeModel, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    with Library(folder, model) as library:
        library.remove(clips[1])
        library.add(tiny_video(clips[0].with_name("new.mp4"), 31))
        monkeypatch.setattr(cache, "rebuild", lambda *_: pytest.fail("built from nothing"))
        hits = library.query("a cat", 100, min_probability=0)
    assert len({hit.path for hit in hits}) == 5


@pytest.mark.parametrize("with_faiss", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.0])
def test_flat_is_exact_under_any_filter(
    with_faiss: bool, share: float, monkeypatch: pytest.MonkeyPatch
):
    if with_faiss:
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(3000, 32)).astype(np.float32)
    allowed = Selection(draw.random(3000) < share)
    nothing = np.zeros(3000)
    index = FlatEngine.of(RowTable(np.arange(1, 3001), np.arange(3000), nothing, nothing), vectors)
    query = draw.normal(size=32).astype(np.float32)
    found, scores = index.find(query, 20, allowed)
    places = allowed.places
    expected = places[np.argsort(-(vectors[places] @ query))[:20]]
    assert found.tolist() == expected.tolist()
    assert np.all(np.diff(scores) <= 0)


faiss = pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = h.made(tmp_path_factory.mktemp("made") / "l.vlar")
    with Library(folder, FakeModel()) as library:
        library.compact(kind="ivf")
        assert library.info().cache_state == "fresh"
    return folder


@pytest.mark.parametrize("compared", [0, 30_000])
@pytest.mark.parametrize("bad", [1 << 40, -7, 3])
def test_changed_ids_behind_what_is_checked(
    bad: int, compared: int, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ivf, "_COMPARED", compared)  # both ways to answer a narrow filter
    monkeypatch.setattr(cache, "_CHECKED_BYTES", 0)  # as in a large file
    folder = h.copied(original, tmp_path / "l.vlar")
    with Library(folder, FakeModel()) as library:
        expected = [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)]
    file = h.cache_of(folder)
    content = file.read_bytes()
    index = faiss.read_index(str(file))
    lists: Any = faiss.downcast_InvertedLists(index.invlists)
    number = next(n for n in range(lists.nlist) if lists.list_size(n))
    ids = faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).tobytes()
    assert content.count(ids) == 1
    file.write_bytes(content.replace(ids, np.full(len(ids) // 8, bad, np.int64).tobytes()))
    with Library(folder, FakeModel()) as library:
        assert [fault.kind for fault in library.verify()] == ["cache"]
        hits = [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)]
        if bad != 3:  # a possible number: only verify compares it with the rows
            assert hits == expected
        for hit in library.query("a cat", 50, min_probability=0):
            h.require_possible(hit)
        library.verify(repair=True)
        assert library.verify() == []
        assert [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)] == expected


def test_damaged_rows_do_not_hinder_the_training(original: Path, tmp_path: Path):
    folder = h.copied(original, tmp_path / "l.vlar")
    h.sql("UPDATE rows SET vector = x'00'")(folder)
    h.cache_of(folder).unlink()
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", min_probability=0) == []
        assert len(library.verify()) == h.VIDEOS


def test_building_inside_a_query_is_announced(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    folder = h.copied(original, tmp_path / "l.vlar")
    h.cache_of(folder).unlink()
    monkeypatch.setattr(cache, "_SAID_FROM", h.VIDEOS * h.WINDOWS)
    with caplog.at_level("INFO", "vlar"), Library(folder, FakeModel()) as library:
        library.query("a cat", min_probability=0)
        assert [r.getMessage() for r in caplog.records] == [
            "building the search index (ivf) of 12 rows, about 1 s; the next query finds it ready"
        ]
        caplog.clear()
        library.query("a cat", min_probability=0)
        assert caplog.records == []


def test_a_row_that_is_whole_again_is_used_again(original: Path, tmp_path: Path):
    folder = h.copied(original, tmp_path / "l.vlar")
    with Library(folder, FakeModel()) as library:
        expected = library.query("a cat", 50, min_probability=0)
    whole = (folder / "library.sqlite").read_bytes()
    h.row("vector", h.one_large(608))(folder)
    h.cache_of(folder).unlink()
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", 50, min_probability=0) != expected
    for log in folder.glob("library.sqlite-*"):
        log.unlink()
    (folder / "library.sqlite").write_bytes(whole)  # a copy is restored; the cache stays
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", 50, min_probability=0) == expected


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_the_copy_is_asked_and_answers_the_same(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []

    class Copy:
        nprobe = 1

        def __init__(self, resources: object, number: int, index: object) -> None:
            self.index = index

        def search(self, queries: np.ndarray, k: int):
            asked.append(k)
            params = faiss.SearchParametersIVF(nprobe=self.nprobe) if kind == "ivf" else None
            return self.index.search(queries, k, params=params)

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", Copy, raising=False)
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add_vectors(video(number, number) for number in range(20))
        library.compact(kind=kind)
        query = np.full(DIM, DIM**-0.5, np.float32)
        wanted = library.nearest(query, 5), library.nearest(query, 5, where=["parity=odd"])
    with Library(tmp_path / "l.vlar", FakeModel(), device="cuda") as library:
        assert (library.nearest(query, 5), library.nearest(query, 5)) == (wanted[0], wanted[0])
        assert asked == [5, 5]
        assert library.nearest(query, 5, where=["parity=odd"]) == wanted[1]
        assert asked == [5, 5]
        library.remove("/v/1/1.mp4")
        assert len(library.nearest(query, 5)) == 5


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    refused(UsageError, "faiss-gpu", Library, tmp_path / "l.vlar", device="cuda")
    refused(UsageError, "cpu, cuda", Library, tmp_path / "l.vlar", device="tpu")
