"""Rows of a library in Milvus as readers get them: checked, and of recordings that are there.

Within one snapshot a row that was read is kept, so what a search found is not fetched twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vlar.library.rows import ANY_TIME, Float16, Int64, RowBatch, RowFilter, RowTable
from vlar.library.store.base import SnapshotMovedError
from vlar.library.store.row_check import NO_RECORDING, CheckedRows, FoundRow, checked_rows
from vlar.plugins.milvus.catalog import Catalog
from vlar.plugins.milvus.client import MOST_HITS, MilvusConnection, listed
from vlar.plugins.milvus.layout import MARK, ROW_FIELDS
from vlar.plugins.milvus.recording_record import RecordingRecord
from vlar.plugins.milvus.serialization import found_rows
from vlar.plugins.milvus.state import VisibleVersions
from vlar.types import Float32

_LISTED = 4096  # ids of one filter
_KEPT_ROWS = 32_768
_TIMES = ("id", "video_id", "version", "track", "start_s", "end_s")
_ORDER = ("video_id", "track", "start_s", "end_s")


class Rows:
    """Reads rows through one view.

    Args:
        connection: To Milvus.
        catalog: The recordings of the view.
        view: Which versions are there.
        damaged: Where the rows that are left out are noted: what is wrong, by id.
        by_kind: Ids of the rows of people (True) and of whole frames, as far as they were asked
            for; kept as long as the view.
        look: Reads the present view.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        catalog: Catalog,
        view: VisibleVersions,
        damaged: dict[int, str],
        by_kind: dict[bool, frozenset[int]],
        look: Callable[[], VisibleVersions],
    ) -> None:
        self._connection, self._catalog = connection, catalog
        self._view, self._damaged = view, damaged
        self._by_kind, self._look = by_kind, look
        self._kept: dict[int, FoundRow] = {}
        has_marks = view.rows != connection.address.name
        self._collection, self._marks = view.rows, dict[int, bool]()
        self._fields = (*ROW_FIELDS, MARK) if has_marks else ROW_FIELDS
        self._times = (*_TIMES, MARK) if has_marks else _TIMES

    def by_id(self, row_ids: Sequence[int], dim: int) -> CheckedRows:
        """The rows of some ids, in the order of their ids; damaged ones are left out.

        Raises:
            SnapshotMovedError: rows of the view were removed meanwhile.
        """
        missing = [row_id for row_id in dict.fromkeys(row_ids) if row_id not in self._kept]
        entities = self._connection.get(self._collection, missing, self._fields)
        fetched = self._keep(self._owned(entities))
        if len(entities) < len(missing):
            self.require_unmoved()
        rows_by_id = {row[0]: row for row in fetched}
        rows_by_id |= {row_id: self._kept[row_id] for row_id in row_ids if row_id in self._kept}
        return self.checked([rows_by_id[row_id] for row_id in sorted(rows_by_id)], dim)

    def checked(self, found: Sequence[FoundRow], dim: int) -> CheckedRows:
        """Rows without the damaged ones and those of no recording."""
        rows = checked_rows(found, dim)
        self._damaged.update(rows.damaged)
        return rows

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        """All rows that a filter allows, in batches, in rising order of their ids.

        Raises:
            SnapshotMovedError: rows of the view were removed meanwhile.
        """
        for where in self.filters(allowed):
            for page in self._connection.pages(
                self._collection, where, self._fields, 4 * dim + 128
            ):
                yield self.checked(found_rows(self._owned(page)), dim)
        self.require_unmoved()

    def times(self, allowed: RowFilter) -> Iterator[list[Mapping[str, Any]]]:
        """Id, recording and times of all rows that a filter allows, in batches."""
        for where in self.filters(allowed):
            for page in self._connection.pages(self._collection, where, self._times):
                yield self._owned(page)
        self.require_unmoved()

    def ids_of(self, *, people: bool) -> Int64:
        """Sorted ids of the rows of people, or of the rows of whole frames."""
        if people not in self._by_kind:
            rows = (row for page in self.times(RowFilter()) for row in page)
            self._by_kind[people] = frozenset(
                row["id"] for row in rows if bool(row["track"]) == people
            )
        return np.sort(np.fromiter(self._by_kind[people], np.int64))

    def places(self, row_ids: Sequence[int]) -> Iterator[tuple[int, int, tuple[float, float]]]:
        """Recording, id and span of some rows."""
        missing = [row_id for row_id in dict.fromkeys(row_ids) if row_id not in self._kept]
        for row_id in row_ids:
            if (row := self._kept.get(row_id)) is not None:
                yield row[1], row_id, (row[2], row[3])
        for row_found in self._owned(self._connection.get(self._collection, missing, self._times)):
            yield row_found["video_id"], row_found["id"], (row_found["start_s"], row_found["end_s"])

    def mapped(self, row_ids: Sequence[int] | None) -> set[int]:
        """Rows, of all or of some, with a mark: as they were when their vectors were read."""
        if self._times is _TIMES:
            return set()
        if row_ids is None:
            return {row_id for _, row_id in self.mapped_by_time()}
        missing = [row_id for row_id in dict.fromkeys(row_ids) if row_id not in self._marks]
        self._owned(self._connection.get(self._collection, missing, self._times))
        return {row_id for row_id in row_ids if self._marks.get(row_id)}

    def mapped_by_time(self) -> list[tuple[int, int]]:
        """Recording and id of all rows with a mark, by recording, track and time."""
        if self._times is _TIMES:
            return []
        rows = list[tuple[int, int, float, float, int]]()
        where = f"{self._view.filter} and {MARK} == true"
        for page in self._connection.pages(self._collection, where, self._times):
            rows += ((*(r[f] for f in _ORDER), r["id"]) for r in self._owned(page))
        return [(row[0], row[-1]) for row in sorted(rows)]

    def search(
        self, query: Float32, k: int, allowed: RowFilter, params: Mapping[str, Any]
    ) -> tuple[Int64, Float32]:
        """Ids and inner products of the best rows, best first; up to ``MOST_HITS`` of a part."""
        hits: list[Mapping[str, Any]] = []
        for where in self.filters(allowed):
            hits += self._connection.search(
                self._collection, query, min(k, MOST_HITS), where, params, self._fields
            )
        hits = self._owned(hits)
        self._keep(hits)
        scores = np.array([hit["distance"] for hit in hits], np.float32)
        order = np.argsort(-scores, kind="stable")[:k]
        return np.array([hit["id"] for hit in hits], np.int64)[order], scores[order]

    def count(self, allowed: RowFilter) -> int:
        """Number of rows that a filter allows."""
        count, rows = self._connection.count, self._collection
        return sum(count(rows, where) for where in self.filters(allowed))

    def of_version(self, recording: RecordingRecord, where: str, dim: int) -> CheckedRows:
        """The rows of one recording that a filter matches, by time."""
        where = f"version == {recording.version} and {where}"
        rows: list[FoundRow] = []
        for page in self._connection.pages(self._collection, where, self._fields, 4 * dim + 128):
            rows += self._keep(self._owned(page))
        return self.checked(sorted(rows, key=lambda row: (row[2], row[3])), dim)

    def filters(self, allowed: RowFilter) -> list[str]:
        """Filters of Milvus that match each row of the view once, where a filter allows it."""
        common = self._view.filter
        if allowed.rows is not None:
            further = replace(allowed, rows=None)
            for people, ids in self._by_kind.items():
                if ids == allowed.rows:  # Milvus filters them without a list
                    kind = f"track {'>' if people else '=='} 0"
                    return [f"{where} and {kind}" for where in self.filters(further)]
            chunks = _chunks(sorted(allowed.rows))
            return [
                f"{where} and id in {listed(chunk)}"
                for chunk in chunks
                for where in self.filters(further)
            ]
        for name, (low, high) in (("start_s", allowed.start_s), ("end_s", allowed.end_s)):
            if (low, high) != ANY_TIME:
                common += _range(name, low, high)
        if allowed.videos is None:
            return [common]
        every = self._catalog.all()
        versions = {every[i].version for i in allowed.videos if i in every}
        others = {record.version for record in every.values()} - versions
        if len(others) <= min(_LISTED, len(versions)):
            return [common + (f" and version not in {listed(others)}" if others else "")]
        return [f"{common} and version in {listed(chunk)}" for chunk in _chunks(sorted(versions))]

    def require_unmoved(self) -> None:
        """Refuse to answer from a state whose rows are gone.

        Raises:
            SnapshotMovedError: a writer removed rows since the view was read.
        """
        if self._view.lost_rows(self._look()):
            raise SnapshotMovedError(
                f"library {self._connection.address} is changed faster than it can be read; run "
                "the command again when its writer has ended"
            )

    def _owned(self, page: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The entities of a page that belong to a recording as it is."""
        records = self._catalog.some({int(entity["video_id"]) for entity in page})
        versions = {video_id: record.version for video_id, record in records.items()}
        owned = [entity for entity in page if versions.get(entity["video_id"]) == entity["version"]]
        if len(owned) < len(page):
            self._note_orphans(page, versions)
        for entity in owned if self._times is not _TIMES else ():
            # Once mapped, mapped: a score of this snapshot may come from that vector.
            self._marks[entity["id"]] = entity[MARK] or self._marks.get(entity["id"], False)
        return owned

    def _note_orphans(self, page: Sequence[Mapping[str, Any]], versions: Mapping[int, int]) -> None:
        lost = [
            int(entity["id"])
            for entity in page
            if versions.get(entity["video_id"]) != entity["version"]
            and self._view.sees(int(entity["version"]))
        ]
        if lost:
            self.require_unmoved()  # else the recording was only replaced meanwhile
            self._damaged.update(dict.fromkeys(lost, NO_RECORDING))

    def _keep(self, owned: Sequence[Mapping[str, Any]]) -> list[FoundRow]:
        rows = found_rows(owned)
        if len(self._kept) + len(rows) <= _KEPT_ROWS:
            self._kept.update((row[0], row) for row in rows)
        return rows


def _chunks(values: Sequence[int]) -> list[Sequence[int]]:
    return [values[start : start + _LISTED] for start in range(0, len(values), _LISTED)]


def _range(name: str, low: float, high: float) -> str:
    text = ""
    if np.isfinite(low):
        text += f" and {name} >= {low!r}"
    if np.isfinite(high):
        text += f" and {name} <= {high!r}"
    if low > high or low == np.inf or high == -np.inf:
        text += " and id < 0"  # nothing
    return text


class MilvusSource:
    """All rows in rising order of their ids (a ``RowSource``). Use inside a snapshot."""

    def __init__(self, rows: Rows, dim: int) -> None:
        self._rows, self.dim = rows, dim

    @property
    def count(self) -> int:
        """Number of rows, damaged ones included."""
        return self._rows.count(RowFilter())

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """Tables of n rows with their vectors (n, D) float16."""
        for rows in self._rows.scan(self.dim, RowFilter()):
            if len(rows.ids):
                yield RowTable(rows.ids, rows.video_ids, *rows.times_s.T.copy()), rows.vectors


def beyond(batch: RowBatch, span: tuple[float, float], later: bool, track: int) -> RowBatch:
    """The rows of one track after a span, or before it, nearest first."""
    places = [
        index
        for index, (person, row_span) in enumerate(zip(batch.persons, batch.spans, strict=True))
        if (row_span > span if later else row_span < span)
        and track == (0 if person is None else person.track)
    ]
    places.sort(key=lambda place: batch.spans[place], reverse=not later)
    return batch.part(np.array(places, np.int64))
