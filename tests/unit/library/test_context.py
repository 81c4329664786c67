"""Context tokens of rows: kept, copied, renewed, left out, refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import DIM, ConditionedFake, FakeModel, store_of, tiny_video
from vlar.errors import LibraryError
from vlar.library.library import Library
from vlar.library.store.schema import FILE_NAME
from vlar.library.store.writer import SqliteWriter
from vlar.types import Clip, Encoded, Float32

BYTES = 2 * DIM * 2  # 2 tokens of DIM values in float16


@pytest.fixture
def conditioned() -> ConditionedFake:
    return ConditionedFake()


@pytest.fixture
def library(tmp_path: Path, conditioned: ConditionedFake, clips: list[Path]) -> Library:
    opened = Library(tmp_path / "l.vlar", conditioned)
    assert opened.add(clips).rows == 15
    return opened


def contexts(library: Library) -> dict[str, list[bytes]]:
    """Tokens of every row by file name, after a check that they belong to the row's vector."""
    store = store_of(library)
    found = store.fetch(
        "SELECT path, vector, tokens FROM rows JOIN videos ON videos.id = video_id "
        "JOIN contexts ON row_id = rows.id ORDER BY path, start_s"
    )
    result: dict[str, list[bytes]] = {}
    for path, vector, tokens in found:
        assert tokens[: DIM * 2] == vector
        result.setdefault(Path(path).name, []).append(tokens)
    return result


def test_which_models_condition_text():
    class Off(ConditionedFake):
        conditions_text = False

    assert ConditionedFake().keeps_context
    assert not Off().keeps_context
    assert not FakeModel().keeps_context


def test_kept_for_every_row_in_one_pass(library: Library, conditioned: ConditionedFake):
    assert conditioned.encoded == 15
    assert {name: len(rows) for name, rows in contexts(library).items()} == {
        f"{i}.mp4": 3 for i in range(5)
    }
    info = library.info()
    assert (info.context_rows, info.context_bytes) == (15, 15 * BYTES)
    assert info.to_dict()["context_bytes"] == 15 * BYTES


def test_survive_reopening(library: Library):
    before = contexts(library)
    library.close()
    with Library(library.path) as opened:
        assert contexts(opened) == before
        store = store_of(opened)
        ids, tokens = store.contexts([3, 1, 999])
        assert ids.tolist() == [1, 3]
        assert tokens.shape == (2, 2, DIM)
        assert tokens[1].tobytes() == before["0.mp4"][2]


def test_copy_and_rename_keep_them(
    library: Library, conditioned: ConditionedFake, clips: list[Path]
):
    before = contexts(library)
    shutil.copy(clips[0], clips[0].with_name("copy.mp4"))
    clips[1].rename(clips[1].with_name("new.mp4"))
    assert library.add(clips[0].parent).moved == 2
    assert conditioned.encoded == 15
    after = contexts(library)
    assert after["copy.mp4"] == after["0.mp4"] == before["0.mp4"]
    assert after["new.mp4"] == before["1.mp4"]
    assert "1.mp4" not in after


def test_update_and_removal_leave_no_old_ones(library: Library, clips: list[Path]):
    before = contexts(library)
    tiny_video(clips[1], content=77, seconds=12)
    assert library.add(clips).updated == 1
    after = contexts(library)
    assert len(after["1.mp4"]) == 5
    assert not set(after["1.mp4"]) & set(before["1.mp4"])
    assert library.info().context_rows == 17
    library.remove(clips[0])
    assert library.info().context_rows == 14
    assert library.remove(clips) == 4
    assert (library.info().context_rows, library.info().context_bytes) == (0, 0)


def test_left_out_when_not_wanted(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "n.vlar", ConditionedFake()) as library:
        library.add(clips[:3], keep_context=False)
        assert library.info().context_rows == 0
        # What is there stays as it is: only videos that are read get contexts.
        assert library.add(clips).unchanged == 3
        assert sorted(contexts(library)) == ["3.mp4", "4.mp4"]


def test_other_models_have_none(tmp_path: Path, model: FakeModel, clips: list[Path]):
    with Library(tmp_path / "n.vlar", model) as library:
        library.add(clips[:1])
        assert (library.info().rows, library.info().context_rows) == (3, 0)


def test_beyond_float16_fails_the_video(tmp_path: Path, clips: list[Path]):
    class Large(ConditionedFake):
        def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
            large = np.full((2, DIM), 1e6, np.float32)
            return [replace(one, context=large) for one in super().encode(clips)]

    with Library(tmp_path / "n.vlar", Large()) as library:
        (failure,) = library.add(clips[:1]).failed
        assert failure.kind == "model"
        assert "--no-context" in failure.message
        assert library.videos() == []
        assert library.add(clips[:1], keep_context=False).added == 1


def test_another_shape_is_refused(library: Library, conditioned: ConditionedFake, tmp_path: Path):
    encode = conditioned.encode

    def encode_wider(clips: Sequence[Clip]) -> list[Encoded]:
        return [replace(one, context=np.zeros((3, DIM), np.float32)) for one in encode(clips)]

    conditioned.encode = encode_wider  # type: ignore[method-assign]
    with pytest.raises(LibraryError, match=r"\(2, 24\).*\(3, 24\)"):
        library.add(tiny_video(tmp_path / "more.mp4", 40))
    assert library.info().rows == 15


def test_a_damaged_context_is_named_and_its_row_keeps_its_place(
    library: Library, caplog: pytest.LogCaptureFixture
):
    hits = library.query("a cat", 100, min_probability=0)
    library._connection.disconnect()
    writer = SqliteWriter.open_to_write(library.path)
    with writer.transaction():
        writer.connection.execute("UPDATE contexts SET tokens = x'00' WHERE row_id = 2")
    writer.close()
    assert (library.path / FILE_NAME).exists()
    found = library.query("a cat", 100, min_probability=0)
    assert {hit.path for hit in found} == {hit.path for hit in hits}
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "row 2 of" in line
    assert "context has changed" in line
    assert [fault.kind for fault in library.verify()] == ["context"]


def test_a_video_interrupted_at_its_contexts_leaves_nothing(tmp_path: Path, clips: list[Path]):
    class Stopping(ConditionedFake):
        def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
            if self.encoded >= 8:
                raise KeyboardInterrupt
            return super().encode(clips)

        def encode_queries(self, texts: Sequence[str]) -> Float32:
            raise AssertionError("not asked")

    with Library(tmp_path / "n.vlar", Stopping()) as library:
        refused(KeyboardInterrupt, "", library.add, clips)
        # A batch of 8 clips: two whole videos, and two of the three windows of the third.
        assert (library.info().rows, library.info().context_rows) == (6, 6)
