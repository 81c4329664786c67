"""A library as Parquet, Arrow, pandas and a PyTorch data set: the same rows everywhere."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel, tiny_video
from vlar.errors import LibraryError, UsageError
from vlar.library.library import Library

pa = pytest.importorskip("pyarrow")


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
    with pytest.raises(UsageError, match="parquet"):
        library.export(tmp_path / "out.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        library.export(tmp_path / "none" / "out.parquet")
    with pytest.raises(LibraryError, match="empty"):
        Library(tmp_path / "empty.vlar", FakeModel()).export(tmp_path / "out.parquet")
    with pytest.raises(UsageError, match="at least 1"):
        library.dataset(n_frames=0)
    with pytest.raises(IndexError):
        library.dataset()[99]
    assert not (tmp_path / "out.parquet").exists()
