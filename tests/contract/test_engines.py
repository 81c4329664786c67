"""Every registered engine: finds, filters, changes by row id, is written and read again.

The last engine of the list is made here, with NumPy: it serves a whole library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar import registry
from vlar.library.engines.base import Engine, Probes
from vlar.library.library import Library
from vlar.library.rows import Float16, Int64, RowFilter, RowSource, RowTable, read_all
from vlar.testing import check_engine
from vlar.types import Float32

pytest.importorskip("faiss")
SHIPPED = registry.names("engine")


@registry.register("engine", "test-brute-force")
class BruteForce(Engine):
    """All rows in two arrays; changed in place; no file."""

    name = "test-brute-force"
    exact = True
    rows = None
    why = "only on request"

    def __init__(self, table: RowTable, vectors: Float16) -> None:
        self.facts = {"rows_at_start": len(table)}
        self._table, self._vectors = table, vectors.astype(np.float32)
        self._last = int(table.ids[-1]) if len(table) else 0

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> BruteForce:
        return cls(*read_all(source))

    def add(self, table: RowTable, vectors: Float16) -> None:
        self._table = RowTable.joined([self._table, table])
        self._vectors = np.concatenate([self._vectors, vectors.astype(np.float32)])
        self._last = max([self._last, *table.ids.tolist()])

    def delete(self, ids: Int64) -> None:
        keep = ~np.isin(self._table.ids, ids)
        self._table, self._vectors = self._table.where(keep), self._vectors[keep]

    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        mask = (allowed or RowFilter()).mask(self._table)
        scores = self._vectors[mask] @ query
        best = np.argsort(-scores, kind="stable")[:k]
        return self._table.ids[mask][best], scores[best]

    def ids(self, allowed: RowFilter | None = None) -> Int64:
        return self._table.ids[(allowed or RowFilter()).mask(self._table)]

    @property
    def last_id(self) -> int:
        return self._last


@pytest.mark.parametrize("name", [*SHIPPED, "test-brute-force"])
def test_it_keeps_the_contract(name: str):
    check_engine(name)


def test_a_requested_engine_that_is_not_installed_is_replaced(tmp_path: Path):
    with Library(tmp_path / "l.vlar", FakeModel()) as library:
        library.add(tiny_video(tmp_path / "a.mp4", 1))
        library.compact(kind="test-brute-force")
        known = registry.loaded["engine"].pop("test-brute-force")
        try:
            assert library.info().engine == "flat"
            assert library.query("a cat", min_probability=0)
        finally:
            registry.loaded["engine"]["test-brute-force"] = known
