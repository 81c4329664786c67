"""Embeddings as Parquet files, tables and data sets: the same rows everywhere."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from tests.contract.test_runners import assert_same, state
from tests.faults import FaultyReader
from tests.refusals import refused
from tests.unit.library.fakes import (
    DIM,
    ConditionedFake,
    FakeCaptioner,
    FakeModel,
    store_of,
    tiny_video,
)
from vlar.errors import LibraryError, UsageError
from vlar.library.ingest import shard_writing
from vlar.library.ingest.runners import base
from vlar.library.library import Library
from vlar.numeric import unit

pa = pytest.importorskip("pyarrow")

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, clips: list[Path]) -> Path:
    shutil.copy(clips[0], clips[0].with_name("copy.mp4"))
    clips[0].with_name("damaged.mp4").write_bytes(b"no video")
    return clips[0].parent


def embedded(place: Path, videos: Path, model: FakeModel, **options: Any) -> Path:
    with Library(place / "for.vlar", model) as library:
        library.add(videos, shards=place / "shards", **options)
        assert library.videos() == []
    return place / "shards"


def test_rows_are_those_of_an_add(tmp_path: Path, folder: Path):
    with Library(tmp_path / "plain.vlar", ConditionedFake()) as library:
        expected = library.add(folder, tags={"place": "gym"})
        plain = state(library)
    shards = embedded(tmp_path, folder, ConditionedFake(), tags={"place": "gym"})
    with Library(tmp_path / "new.vlar") as library:  # no model is loaded
        report = library.import_shards(shards)
        assert (report.added, report.rows) == (6, expected.rows)
        assert_same(plain, state(library))
        assert library.verify() == []
        again = library.import_shards(shards)
        assert (again.unchanged, again.rows) == (6, 0)
    with Library(tmp_path / "new.vlar", ConditionedFake()) as library:
        assert library.add(folder).unchanged == 6  # the files are known by content


def test_captions_travel(tmp_path: Path, clips: list[Path]):
    shards = embedded(tmp_path, clips[0].parent, FakeModel(), captions=FakeCaptioner())
    with Library(tmp_path / "new.vlar", FakeModel()) as library:
        library.import_shards(shards)
        assert "video three from second 2." in said(library)
        assert library.add(clips, captions=FakeCaptioner()).unchanged == 5


def said(library: Library) -> list[str]:
    store = store_of(library)
    return sorted(store.captions().values())


@pytest.mark.slow
def test_people_failures_and_losses_travel(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(base, "reader", lambda _modality: FaultyReader())
    monkeypatch.setenv("VLAR_FILE_MEMORY", "400MB")
    bad = tiny_video(clips[0].with_name("abort.mp4"), 77)
    shards = embedded(tmp_path, clips[0].parent, FakeModel())
    with Library(tmp_path / "new.vlar", FakeModel()) as library:
        report = library.import_shards(shards)
        assert [failure.kind for failure in report.failed] == ["crash"]
        skipped = library.add(bad)
        assert "skipped" in skipped.failed[0].message
    with Library(tmp_path / "for.vlar", FakeModel()) as library:
        again = library.add(clips[0].parent, shards=shards)
        assert (again.unchanged, again.added, again.rows) == (5, 0, 0)
        assert "skipped" in again.failed[0].message


def test_only_what_is_missing_is_written(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_writing, "_ROWS", 4)  # every second recording closes a shard
    model = FakeModel()
    shards = embedded(tmp_path, clips[0].parent, model)
    assert len(list(shards.iterdir())) == 3
    (shards / ".shard-00000009-x.parquet.part").touch()
    tiny_video(clips[1], 88)
    with Library(tmp_path / "for.vlar", model) as library:
        report = library.add(clips[0].parent, shards=shards)
        assert (report.updated, report.unchanged, model.encoded) == (1, 4, 18)
    assert not list(shards.glob("*.part"))
    with (
        Library(tmp_path / "new.vlar", model) as library,
        Library(tmp_path / "plain.vlar", model) as plain,
    ):
        plain.add(clips)
        report = library.import_shards(shards)
        assert (report.added, report.updated) == (5, 1)  # the last shard has the last word
        assert_same(state(plain), state(library))


@pytest.mark.slow
def test_a_killed_run_leaves_whole_shards_and_is_resumed(tmp_path: Path, clips: list[Path]):
    script = (
        "import sys, time\n"
        "from tests.unit.library.fakes import FakeModel\n"
        "from vlar.library.ingest import shard_writing as write\n"
        "from vlar.library.library import Library\n"
        "write._ROWS = 3\n"
        "def show(event):\n"
        "    print(event.done, flush=True)\n"
        "    time.sleep(0.2 if event.done < 3 else 60)\n"
        "with Library(sys.argv[1], FakeModel()) as library:\n"
        "    library.add(sys.argv[3:], shards=sys.argv[2], progress=show)\n"
    )
    shards, target = tmp_path / "shards", tmp_path / "for.vlar"
    command = [sys.executable, "-c", script, str(target), str(shards), *map(str, clips)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "3\n":
            break
    process.kill()
    process.wait()
    with Library(target, FakeModel()) as library:
        report = library.add(clips, shards=shards)
        assert (report.unchanged, report.added) == (3, 2)
    with Library(tmp_path / "new.vlar") as library:
        assert (library.import_shards(shards).added, library.info().rows) == (5, 15)


def test_an_export_is_imported(tmp_path: Path, clips: list[Path]):
    with Library(tmp_path / "plain.vlar", FakeModel()) as library:
        library.add(clips, tags={"place": "gym"})
        library.export(tmp_path / "rows.parquet")
        plain = state(library)
    with Library(tmp_path / "new.vlar") as library:
        assert library.import_shards(tmp_path / "rows.parquet").added == 5
        found = state(library)
        assert (found["rows"].keys(), found["videos"]) == (plain["rows"].keys(), plain["videos"])


def foreign(file: Path, **changes: Any) -> Path:
    """A file of rows that another program wrote: two recordings of two windows."""
    vectors = unit(np.random.default_rng(0).normal(size=(4, DIM))).astype(np.float32)
    table: dict[str, Any] = {
        "path": ["/far/a.mp4", "/far/a.mp4", "/far/b.mp4", "/far/b.mp4"],
        "start_s": [0.0, 2.0, 0.0, 2.0],
        "end_s": [4.0, 6.0, 4.0, 6.0],
        "vector": list(vectors),
    }
    for name, change in changes.items():
        table[name] = change(table[name]) if callable(change) else change
    parquet.write_table(pa.table({k: v for k, v in table.items() if v is not None}), file)
    return file


def first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda column: [value, *column[1:]]


def test_four_columns_are_enough(tmp_path: Path):
    half = foreign(tmp_path / "rows.parquet", vector=lambda v: [x.astype(np.float16) for x in v])
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        assert (library.import_shards(half).added, library.info().rows) == (2, 4)
        assert library.import_shards(half).unchanged == 2
    with (
        Library(tmp_path / "none.vlar") as library,
        pytest.raises(UsageError, match="nothing in it says which model"),
    ):
        library.import_shards(half)


ALL = [0.0, 0.0, 1.0, 1.0]

RESERVED = pa.array([[("path", "x")], *[None] * 3], pa.map_(pa.string(), pa.string()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vector": first(np.full(DIM, np.nan, np.float32))}, "unit length"),
        ({"vector": first(np.ones(DIM, np.float32))}, "unit length"),
        ({"vector": first(np.ones(3, np.float32))}, f"not {DIM} numbers wide"),
        ({"vector": first(None)}, f"not {DIM} numbers wide"),
        ({"start_s": first(-1.0)}, "give spans"),
        ({"end_s": first(float("nan"))}, "give spans"),
        ({"start_s": first(None)}, "/far/a.mp4"),
        ({"start_s": first(2.0), "end_s": first(6.0)}, "there twice"),
        ({"path": lambda p: ["", "", *p[2:]]}, "cannot be the path"),
        ({"path": lambda p: [None, None, *p[2:]]}, "a row has no path"),
        ({"duration_s": [float("inf"), 1.0, 9.0, 9.0]}, "give seconds"),
        ({"lost": [7.0, 0.0, 0.0, 0.0]}, "share from 0 to 1"),
        ({"track": [-3, *[None] * 3], "box": [ALL, *[None] * 3]}, "person"),
        ({"track": [1, *[None] * 3], "box": [ALL[:2], *[None] * 3]}, "person"),
        ({"context": [b"123", *[None] * 3], "context_tokens": [2, *[None] * 3]}, "tokens"),
        ({"content_hash": ["x" * 500, "", "", ""]}, "is not a hash"),
        ({"tags": RESERVED}, "reserved"),
    ],
)  # fmt: skip
def test_a_recording_that_cannot_be_is_named_and_the_others_are_kept(
    tmp_path: Path, changes: dict[str, Any], words: str
):
    file = foreign(tmp_path / "rows.parquet", **changes)
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        report = library.import_shards(file)
        assert words in report.failed[0].message
        assert [video.path for video in library.videos()] == ["/far/b.mp4"]
        assert library.verify(files=False) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vector": None}, "has no column 'vector'"),
        ({"vector": [1, 2, 3, 4]}, "write lists of float32"),
        ({"path": lambda p: [p[0], p[2], p[1], p[3]]}, "sort them by path"),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, changes: dict[str, Any], words: str):
    with (
        Library(tmp_path / "l.vlar", FakeModel()) as library,
        pytest.raises(UsageError, match=words),
    ):
        library.import_shards(foreign(tmp_path / "rows.parquet", **changes))


@pytest.fixture
def shard(tmp_path: Path, clips: list[Path]) -> Path:
    (found,) = embedded(tmp_path, clips[0].parent, FakeModel()).iterdir()
    return found


def test_half_written_and_damaged_files_are_named(tmp_path: Path, shard: Path):
    content = shard.read_bytes()
    shard.with_name("cut.parquet").write_bytes(content[: len(content) // 2])
    shard.with_name(".shard-2.parquet.part").write_bytes(content[:100])
    damaged = bytearray(content)
    damaged[200:300] = bytes(100)
    shard.with_name("damaged.parquet").write_bytes(damaged)
    os.mkfifo(shard.with_name("pipe.parquet"))
    with Library(tmp_path / "new.vlar") as library:
        report = library.import_shards(shard.parent)
        assert library.info().rows == 15
        messages = {Path(f.path).name: f.message for f in report.failed}
        assert "is half-written" in messages[".shard-2.parquet.part"]
        assert "is not a whole Parquet file" in messages["cut.parquet"]
        assert "damaged.parquet" in messages
        assert "pipe" in messages["pipe.parquet"]
        assert library.verify(files=False) == []
    with (
        Library(tmp_path / "none.vlar") as library,
        pytest.raises(UsageError, match="no shard can be imported"),
    ):
        library.import_shards(shard.with_name("cut.parquet"))


def test_shards_of_another_model_or_other_windows_are_refused(
    tmp_path: Path, shard: Path, clips: list[Path]
):
    with Library(tmp_path / "other.vlar", FakeModel(seed=3)) as library:
        library.add(clips[0])
        refused(UsageError, "embed it again with the library's model", library.import_shards, shard)
    with Library(tmp_path / "long.vlar", FakeModel()) as library:
        library.add(clips[0], window_s=2.0)
        refused(UsageError, "has other windows", library.import_shards, shard)
    with (
        Library(tmp_path / "named.vlar", FakeModel(seed=3)) as library,
        pytest.raises(UsageError, match="was made by model"),
    ):
        library.import_shards(shard)


def test_a_shard_of_a_long_run_is_closed_after_a_minute(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_writing, "_SECONDS", 0.0)
    begin_s = time.monotonic()
    assert len(list(embedded(tmp_path, clips[0].parent, FakeModel()).iterdir())) == 5
    assert time.monotonic() > begin_s


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("tables")
    opened = Library(root / "l.vlar", FakeModel())
    for number in range(4):
        tags = {"label": f"é{number}"} if number else {}
        opened.add(tiny_video(root / "videos" / f"{number}.mp4", number), tags=tags)
    return opened


def test_the_export_holds_every_row(library: Library, tmp_path: Path):
    from pyarrow import parquet

    steps: list[tuple[int, int]] = []
    file = tmp_path / "out.parquet"
    written = library.export(file, progress=lambda rows, total: steps.append((rows, total)))
    table = parquet.read_table(file)
    assert written == table.num_rows == library.info().rows == 12
    assert steps == [(12, 12)]
    assert table.schema.metadata[b"vlar.model"] == b"fake"
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIM)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]
    for row in table.to_pylist(maps_as_pydicts="strict"):
        hit = library.nearest(np.array(row["vector"], np.float32), 1)[0]
        assert (hit.path, hit.start_s, hit.end_s) == (row["path"], row["start_s"], row["end_s"])
        number = Path(row["path"]).stem
        assert row["tags"] == ({} if number == "0" else {"label": f"é{number}"})
        assert row["duration_s"] == 8.0


def test_pandas_and_arrow_are_the_same_rows(library: Library):
    frame = library.to_pandas()
    assert list(frame["row_id"]) == library.to_arrow()["row_id"].to_pylist()
    assert np.stack(list(frame["vector"])).shape == (12, DIM)
    assert frame.loc[11, "tags"] == {"label": "é3"}


def test_a_data_loader_with_workers(library: Library):
    from torch.utils.data import DataLoader

    rows = library.dataset(tags=("label",), clips=True, n_frames=2, size=(16, 24))
    assert rows[0]["vector"].dtype == np.float32  # opened here, and again in each worker
    alone = list(DataLoader(rows, batch_size=5))  # pyright: ignore
    parallel = list(DataLoader(rows, batch_size=5, num_workers=2))  # pyright: ignore
    assert [len(batch["path"]) for batch in parallel] == [5, 5, 2]
    assert tuple(parallel[0]["clip"].shape) == (5, 2, 16, 24, 3)
    first = library.dataset(clips=True, n_frames=2, size=(16, 24), channels_first=True)[0]["clip"]
    assert first.flags.c_contiguous
    assert (first.transpose(0, 2, 3, 1) == rows[0]["clip"]).all()
    for one, other in zip(alone, parallel, strict=True):
        assert one["path"] == other["path"]
        assert one["tags"] == other["tags"]
        assert (one["clip"] == other["clip"]).all()
        assert (one["vector"] == other["vector"]).all()
    assert parallel[-1]["tags"]["label"][-1] == "é3"
    assert pickle.loads(pickle.dumps(rows))[3]["row_id"] == rows[3]["row_id"]


def test_a_recording_that_moved_gives_a_black_clip(tmp_path: Path):
    library = Library(tmp_path / "l.vlar", FakeModel())
    video = tiny_video(tmp_path / "a.mp4", 1)
    library.add(video)
    video.rename(tmp_path / "b.mp4")
    item = library.dataset(clips=True, n_frames=2, size=(8, 8))[0]
    assert item["lost"] == 1.0
    assert not item["clip"].any()


def test_faults(library: Library, tmp_path: Path):
    refused(UsageError, "parquet", library.export, tmp_path / "out.csv")
    refused(UsageError, "cannot be written", library.export, tmp_path / "none" / "out.parquet")
    with pytest.raises(LibraryError, match="empty"):
        Library(tmp_path / "empty.vlar", FakeModel()).export(tmp_path / "out.parquet")
    refused(UsageError, "at least 1", library.dataset, n_frames=0)
    with pytest.raises(IndexError):
        library.dataset()[99]
    assert not (tmp_path / "out.parquet").exists()
