"""The search cache may be gone, old, torn or foreign: answers stay the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar import registry
from vlar.library import cache
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
    (folder / "ann.faiss").unlink()
    with Library(folder) as library:
        assert library.info().cache_state == "absent"
    assert ask(folder, model) == expected


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "bit", "end", "tail only"])
def test_unreadable(folder: Path, model: FakeModel, damage: str):
    expected = ask(folder, model)
    file = folder / "ann.faiss"
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
    old = (folder / "ann.faiss").read_bytes()
    with Library(folder, model) as library:
        library.remove(clips[0])
        library.add(tiny_video(clips[0].with_name("new.mp4"), 31))
        assert library.info().cache_state == "stale"
    expected = ask(folder, model)
    assert {hit.path for hit in expected} == {
        str(clips[0].with_name(f"{name}.mp4")) for name in ("new", "1", "2", "3", "4")
    }
    (folder / "ann.faiss").write_bytes(old)
    assert ask(folder, model) == expected


def test_of_another_library_with_the_same_numbers(folder: Path, tmp_path: Path, model: FakeModel):
    # Both hold rows 1 to 15 at the same generation; only the vectors differ.
    others = [tiny_video(tmp_path / "others" / f"{i}.mp4", 40 + i) for i in range(5)]
    with Library(tmp_path / "o.vlar", model) as other:
        other.add(others)
        expected = other.query("a cat", 100, min_probability=0)
    shutil.copy(folder / "ann.faiss", tmp_path / "o.vlar" / "ann.faiss")
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
    assert faiss.read_index(str(folder / "ann.faiss")).ntotal == 15


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
