"""Reads a library in Milvus (``vlar.library.store.base.LibraryStore``)."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vlar.library.rows import Float16, Int64, RowBatch, RowFilter, VideoRow
from vlar.library.store.annotations import A, Annotation, Caption
from vlar.library.store.row_check import CheckedRows
from vlar.library.store.values import RecordingFacts, context_shape
from vlar.plugins.milvus.annotations import SideData
from vlar.plugins.milvus.catalog import Catalog
from vlar.plugins.milvus.client import MilvusConnection
from vlar.plugins.milvus.layout import META_KEY, CollectionNames
from vlar.plugins.milvus.recording_record import RecordingRecord
from vlar.plugins.milvus.rows import MilvusSource, Rows, batch_of, beyond
from vlar.plugins.milvus.state import VisibleVersions

_ALL = RowFilter()
_AT_ONCE = 512  # rows of a recording that are read together
_NEAR = 8  # windows before or after one that are read first


class MilvusStore:
    """Reads a library in Milvus over one connection; the caller serialises its use.

    Args:
        connection: To Milvus; it is closed with the store.
        layout: Of the library.
        library_id: Of the library.
        has_row_collection: Whether anything was committed yet.
    """

    def __init__(
        self,
        connection: MilvusConnection,
        layout: CollectionNames,
        library_id: str,
        has_row_collection: bool = True,
    ) -> None:
        self.connection, self.layout, self.library_id = connection, layout, library_id
        self.has_row_collection = has_row_collection
        self.damaged: dict[int, str] = {}
        self._pinned: VisibleVersions | None = None
        self._catalog: Catalog | None = None
        self._catalog_of = 0
        self._by_kind: dict[bool, frozenset[int]] = {}
        self._rows: Rows | None = None

    @property
    def address(self) -> str:
        """The library, for messages."""
        return str(self.connection.address)

    def close(self) -> None:
        """Give up the connection."""
        self.connection.close()

    # One state ----------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """All reads inside use one view; where its rows were removed meanwhile, they raise."""
        if self._pinned is not None:
            yield
            return
        self._pinned = self._read_view()
        try:
            yield
        finally:
            self._pinned = self._rows = None

    def view(self) -> VisibleVersions:
        """The view of the snapshot, or the present one."""
        return self._pinned or self._read_view()

    def _read_view(self) -> VisibleVersions:
        return VisibleVersions.read(self.connection, self.layout)

    def catalog(self) -> Catalog:
        """The recordings of the view."""
        view = self.view()
        if self._catalog is None or self._catalog_of != view.number:
            self._catalog = Catalog(self.connection, self.layout, view, self._changed())
            self._catalog_of, self._by_kind = view.number, {}
        return self._catalog

    def rows_read(self) -> Rows:
        """Reads rows of the view."""
        if self._rows is not None:
            return self._rows
        view, catalog = self.view(), self.catalog()
        rows = Rows(
            self.connection, self.layout, catalog, view, self.damaged, self._by_kind,
            self._read_view,
        )  # fmt: skip
        if self._pinned is not None:
            self._rows = rows
        return rows

    def side(self) -> SideData:
        """Reads contexts and annotations of the view."""
        return SideData(self.connection, self.layout, self.catalog())

    def _changed(self) -> Mapping[int, RecordingRecord | None]:
        """Changes of a running transaction of this store."""
        return {}

    def data_version(self) -> int:
        """Another number for every state."""
        return self.view().number

    def meta(self) -> dict[str, str]:
        """The manifest."""
        found = self.connection.get(self.layout.records, [META_KEY], ["doc"])
        facts: dict[str, Any] = json.loads(found[0]["doc"]) if found else {}
        texts = {str(key): str(value) for key, value in facts.items()}
        return {**texts, "library_id": self.library_id}

    # Recordings ---------------------------------------------------------------------------------

    def recordings(self, content_hash: str | None = None) -> list[RecordingFacts]:
        """Every recording with its facts, or those of one content; oldest first."""
        if content_hash is not None:
            return [each.facts for each in self.catalog().with_content(content_hash)]
        return [each.facts for each in self.catalog().all().values()]

    def at_path(self, path: str) -> RecordingFacts | None:
        """The recording of a path."""
        found = self.catalog().at_path(path)
        return None if found is None else found.facts

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Path by recording id, of all or of some."""
        return {i: each.path for i, each in self.catalog().some(video_ids).items()}

    def videos(self) -> list[VideoRow]:
        """Every recording, by path."""
        found = (each.as_row for each in self.catalog().all().values())
        return sorted(found, key=lambda row: row.path)

    def fact(self, name: str) -> dict[int, float]:
        """A fact of every recording by id."""
        return {i: each.fact(name) for i, each in self.catalog().all().items()}

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        """Tags by recording id, of all or of some."""
        found = self.catalog().some(video_ids).items()
        return {i: dict(sorted(each.tags.items())) for i, each in found if each.tags}

    def tag_keys(self) -> list[str]:
        """Every tag key in use, sorted."""
        return sorted({key for each in self.catalog().all().values() for key in each.tags})

    def tagged(self, key: str, value: str | None = None) -> dict[int, str]:
        """The value of a tag, any or a given one, by the id of the recordings that have it."""
        held = {i: each.tags[key] for i, each in self.catalog().all().items() if key in each.tags}
        return held if value is None else {i: has for i, has in held.items() if has == value}

    # Rows ---------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int, float]:
        """Recordings, rows, and the total duration in seconds."""
        every = self.catalog().all().values()
        rows, duration_s = sum(each.rows for each in every), sum(each.duration_s for each in every)
        return len(every), rows, float(duration_s)

    def has_rows(self) -> bool:
        """Return whether there is any row."""
        if not self.has_row_collection:
            return False
        return bool(self.connection.first(self.layout.rows, self.view().filter, ["id"], 1))

    def rows(self, row_ids: Sequence[int], dim: int) -> RowBatch:
        """The rows of some ids, in the order of their ids; damaged ones are left out."""
        return batch_of(self.rows_read().by_id(row_ids, dim))

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        """All rows that a filter allows, in batches."""
        return self.rows_read().scan(dim, allowed)

    def source(self, dim: int) -> MilvusSource:
        """All rows in rising order of their ids."""
        return MilvusSource(self.rows_read(), dim)

    def spans(self, video_id: int) -> list[tuple[float, float]]:
        """Start and end of every window of a recording, by time."""
        pages = self.rows_read().times(RowFilter(frozenset([video_id])))
        found = (
            (row["start_s"], row["end_s"]) for page in pages for row in page if not row["track"]
        )
        return sorted(found)

    def ids_of(self, *, people: bool) -> Int64:
        """Sorted ids of the rows of people, or of the rows of whole frames."""
        return self.rows_read().ids_of(people=people)

    def neighbours(
        self, video_id: int, start_s: float, end_s: float, dim: int, *, later: bool, track: int = 0
    ) -> Iterator[RowBatch]:
        """The rows before or after a window of a recording, nearest first, in growing batches.

        They are those of one track: of the whole frame (0), or of one person.
        """
        recording = self.catalog().get(video_id)
        if recording is None:
            return
        if recording.rows <= _AT_ONCE:
            whole = self.rows_read().by_id(recording.row_ids(), dim)
            yield beyond(batch_of(whole), (start_s, end_s), later, track)
            return
        step = max(recording.last_start_s / max(recording.rows, 1), 1e-3) * _NEAR
        near, edge = start_s, recording.last_start_s if later else 0.0
        own = f"(start_s == {start_s!r} and end_s {'>' if later else '<'} {end_s!r})"
        while True:
            far = near + step if later else near - step
            between = (
                f"start_s > {near!r} and start_s <= {far!r}"
                if later
                else f"start_s < {near!r} and start_s >= {far!r}"
            )
            where = f"(({between}) or {own})" if near == start_s else f"{between}"
            where += f" and track == {track}"
            found = batch_of(
                self.rows_read().of_version(recording, where, dim), backwards=not later
            )
            if len(found.ids):
                yield found
            near, step = far, 4 * step
            if (near >= edge) if later else (near < edge):
                return

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """The rows among ``row_ids`` that have context tokens (N,), rising, and these (N, k, E)."""
        shape = context_shape(self.meta()) or (0, 0)
        return self.side().contexts(row_ids, shape, self.damaged)

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Captions of rows by row id, of all or of some; a row without one is left out."""
        return self.side().captions(self.rows_read(), row_ids)

    def annotations(self, kind: type[A], owners: Sequence[int | str] | None = None) -> list[A]:
        """The annotations of one kind, of all owners or of some."""
        return self.side().annotations(kind, owners)

    def annotated(self, kind: type[Annotation]) -> set[int]:
        """Ids of the recordings that have annotations of a kind."""
        every = self.catalog().all().items()
        return {i for i, each in every if (each.captioned if kind is Caption else each.has_lost)}
