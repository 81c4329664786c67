"""A forged file of inverted lists: its sizes are checked before FAISS reads it, its ids after."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.library import hostile as h
from tests.unit.library.fakes import DIM, FakeModel
from vlar.library import cache
from vlar.library import cache as cache_file
from vlar.library.engines import ivf
from vlar.library.faiss_cache import read_header
from vlar.library.library import Library

faiss = pytest.importorskip("faiss")
COMMON = struct.Struct("<4siqqqBi")  # kind, width, rows, two unused, is trained, metric


def in_lists(change: Callable[[Any], None]) -> h.Attack:
    """Change the ids of the first list that is not empty."""

    def index(raw: bytes) -> bytes:
        held: Any = faiss.deserialize_index(np.frombuffer(raw, np.uint8))
        lists: Any = faiss.downcast_InvertedLists(held.invlists)
        number = next(n for n in range(held.nlist) if lists.list_size(n))
        change(faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)))
        return faiss.serialize_index(held).tobytes()

    return h.forged_cache(change_index=index)


def number_at(place: int, form: str, value: int) -> h.Attack:
    def index(raw: bytes) -> bytes:
        changed = bytearray(raw)
        struct.pack_into(form, changed, place, value)
        return bytes(changed)

    return h.forged_cache(change_index=index)


def nprobe(**changed: Any) -> h.Attack:
    return h.forged_cache(lambda facts: {**facts, "index": {**facts["index"], **changed}})


ATTACKS = {
    "an id beyond the rows": in_lists(lambda ids: ids.__setitem__(0, 1 << 40)),
    "a negative id": in_lists(lambda ids: ids.__setitem__(0, -7)),
    "equal ids": in_lists(lambda ids: ids.__setitem__(slice(None), 3)),
    "another width": number_at(4, "<i", 8),
    "rows without an end": number_at(8, "<q", 1 << 50),
    "negative rows": number_at(8, "<q", -1),
    "a distance": number_at(33, "<i", 1),
    "lists without an end": number_at(COMMON.size, "<Q", 1 << 60),
    "no lists": number_at(COMMON.size, "<Q", 0),
    "nprobe without an end": nprobe(nprobe=10**30),
    "nprobe is text": nprobe(nprobe="many"),
    "nprobe is negative": nprobe(nprobe=-1),
    "nprobe is absent": h.forged_cache(lambda facts: {**facts, "index": {"lists": 4}}),
    "lists are others": nprobe(lists=2),
    "lists are absent": h.forged_cache(lambda facts: {**facts, "index": {}}),
    "trained on nothing": nprobe(trained_rows=0),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = h.made(tmp_path_factory.mktemp("made") / "l.vlar")
    with Library(folder, FakeModel()) as library:
        library.compact(kind="ivf")
        assert library.info().cache_state == "fresh"
        assert read_header(folder / "ann.faiss").dim == DIM
    return folder


@pytest.mark.parametrize("compared", [0, 30_000])
@pytest.mark.parametrize("name", ATTACKS)
def test_answers_are_right_and_verify_names_it(
    name: str, compared: int, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ivf, "_COMPARED", compared)  # both ways to answer a narrow filter
    folder = tmp_path / "l.vlar"
    shutil.copytree(original, folder)
    with Library(folder, FakeModel()) as library:
        expected = [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)]
    ATTACKS[name](folder)
    with Library(folder, FakeModel()) as library:
        assert [fault.kind for fault in library.verify()] == ["cache"]
        hits = [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)]
        if name != "equal ids":  # possible numbers: only verify compares them with the rows
            assert hits == expected
        for hit in library.query("a cat", 50, min_probability=0):
            h.require_possible(hit)
        library.verify(repair=True)
        assert library.verify() == []
        assert [library.nearest(h.one_row(n)[0], 5, where="place=p1") for n in range(3)] == expected


def test_damaged_rows_do_not_hinder_the_training(original: Path, tmp_path: Path):
    folder = tmp_path / "l.vlar"
    shutil.copytree(original, folder)
    h.sql("UPDATE rows SET vector = x'00'")(folder)
    (folder / cache_file.FILE_NAME).unlink()
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", min_probability=0) == []
        assert len(library.verify()) == h.VIDEOS


def test_building_inside_a_query_is_announced(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    folder = tmp_path / "l.vlar"
    shutil.copytree(original, folder)
    (folder / cache_file.FILE_NAME).unlink()
    monkeypatch.setattr(cache, "_SAID_FROM", h.VIDEOS * h.WINDOWS)
    with caplog.at_level("INFO", "vlar"), Library(folder, FakeModel()) as library:
        library.query("a cat", min_probability=0)
        assert [r.getMessage() for r in caplog.records] == [
            "building the search index (ivf) of 12 rows; the next query finds it ready"
        ]
        caplog.clear()
        library.query("a cat", min_probability=0)
        assert caplog.records == []


def test_a_row_that_is_whole_again_is_used_again(original: Path, tmp_path: Path):
    folder = tmp_path / "l.vlar"
    shutil.copytree(original, folder)
    with Library(folder, FakeModel()) as library:
        expected = library.query("a cat", 50, min_probability=0)
    whole = (folder / "library.sqlite").read_bytes()
    h.row("vector", h.one_large(608))(folder)
    (folder / cache_file.FILE_NAME).unlink()
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", 50, min_probability=0) != expected
    for log in folder.glob("library.sqlite-*"):
        log.unlink()
    (folder / "library.sqlite").write_bytes(whole)  # a copy is restored; the cache stays
    with Library(folder, FakeModel()) as library:
        assert library.query("a cat", 50, min_probability=0) == expected
