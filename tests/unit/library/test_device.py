"""Search on a GPU: through FAISS's public names, shown here with a stand-in for the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import DIM, FakeModel
from tests.unit.library.test_scale import video
from vlar.errors import UsageError
from vlar.library.library import Library

faiss = pytest.importorskip("faiss")


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
    with pytest.raises(UsageError, match="faiss-gpu"):
        Library(tmp_path / "l.vlar", device="cuda")
    with pytest.raises(UsageError, match="cpu, cuda"):
        Library(tmp_path / "l.vlar", device="tpu")
