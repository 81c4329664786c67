"""The library in a folder: ``library.sqlite`` is the source of truth, ``ann.faiss`` a cache.

``Store`` and ``StoreWriter`` know the tables. The two classes here add what stands in tables of
their own (captions, lost frames, failed files), the search cache and the upkeep, so that both have
the whole face of a library (``vlar.index.store.base``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vlar.index.engines.base import Probes
from vlar.index.folder import check_place, make_folder
from vlar.index.maintenance.compact import CompactReport, compact, settle
from vlar.index.maintenance.info import describe
from vlar.index.maintenance.repair import remove_lock, repair
from vlar.index.maintenance.upgrade import UpgradeProgress, UpgradeReport, upgrade
from vlar.index.maintenance.verify import LibraryFault, verify
from vlar.index.protocol import LibraryModel
from vlar.index.report import LibraryInfo
from vlar.index.rows import Int64, RowFilter
from vlar.index.search_cache import cache as search
from vlar.index.store import captions as caption_table
from vlar.index.store import failed as failed_table
from vlar.index.store import lost as lost_table
from vlar.index.store import schema, values
from vlar.index.store.damage import damage_line
from vlar.index.store.database import Store
from vlar.index.store.lock import writer_lock
from vlar.index.store.row_check import NO_RECORDING, CheckedRows
from vlar.index.store.row_source import StoreRows
from vlar.index.store.writer import StoreWriter
from vlar.types import Window

_BATCH_ROWS = 8192
_FACTS = {"duration_s": "duration_s", "added": "added_at_s", "modified": "mtime_ns / 1e9"}


class SqliteStore(Store):
    """Reads the library of a folder."""

    def recordings(self) -> list[values.RecordingFacts]:
        """Every recording with its facts, oldest first."""
        found: list[values.RecordingFacts] = []
        for facts in self.fetch(f"SELECT {values.RECORDING} FROM videos ORDER BY id"):
            if faults := values.recording_faults(facts):
                raise self.damage(f"recording {facts[0]}: {', '.join(faults)}")
            video_id, path, content_hash, size, mtime_ns, duration_s, unreadable, added_s = facts
            stamp = values.Stamp(size, mtime_ns)
            found.append(
                values.RecordingFacts(
                    video_id, path, content_hash, stamp, duration_s, unreadable, added_s
                )
            )
        return found

    def durations(self) -> dict[int, float]:
        """Length of every recording in seconds, by id; 0 where it is damaged."""
        found = self.fetch("SELECT id, duration_s FROM videos")
        return {i: length if values.is_length(length) else 0.0 for i, length in found}

    def between(self, fact: str, low: float, high: float) -> set[int]:
        """Ids of the recordings whose fact lies between two numbers, both included."""
        query = f"SELECT id FROM videos WHERE {_FACTS[fact]} BETWEEN ? AND ?"
        return {video_id for (video_id,) in self.fetch(query, (low, high))}

    def tag_values(self, key: str) -> dict[int, str]:
        """The value of a tag by recording id; a recording without it is left out."""
        held = self.fetch("SELECT video_id, value FROM tags WHERE key = ?", (key,))
        return {i: has for i, has in held if isinstance(i, int) and isinstance(has, str)}

    def spans(self, video_id: int) -> list[tuple[float, float]]:
        """Start and end of every window of a recording, by time."""
        query = (
            "SELECT start_s, end_s FROM rows WHERE video_id = ? AND track = 0 "
            "ORDER BY start_s, end_s"
        )
        found = self.fetch(query, (video_id,))
        return [(s, e) for s, e in found if isinstance(s, float) and isinstance(e, float)]

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        """All rows of recordings that a filter allows, in batches of 8192."""
        ids = self._scanned_ids(allowed)
        for start in range(0, len(ids), _BATCH_ROWS):
            yield self.rows_as_arrays(ids[start : start + _BATCH_ROWS].tolist(), dim)

    def _scanned_ids(self, allowed: RowFilter) -> Int64:
        """Ids of the rows; those of no recording are noted as damaged."""
        paths = self.paths()
        if allowed.videos is not None or allowed.rows is not None:
            known = paths.keys() if allowed.videos is None else allowed.videos & paths.keys()
            found = self.row_ids(known)
            return found if allowed.rows is None else found[np.isin(found, list(allowed.rows))]
        found = self.row_ids(paths)
        if len(found) < self.row_count():
            every = {row_id for (row_id,) in self.fetch("SELECT id FROM rows")}
            self.damaged.update(dict.fromkeys(every.difference(found.tolist()), NO_RECORDING))
        return found

    def source(self, dim: int) -> StoreRows:
        """All rows in rising order of their ids."""
        return StoreRows(self, dim)

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Captions of rows by row id, of all or of some."""
        if row_ids is None:
            return caption_table.all_captions(self)
        return caption_table.captions_of(self, row_ids)

    def caption_entries(self, video_id: int) -> list[tuple[float, float, str, str]]:
        """Start, end, text and captioner of each window of a recording that was captioned."""
        return caption_table.caption_entries(self, video_id)

    def lost_entries(self, video_id: int) -> list[tuple[float, float, float]]:
        """Start, end and share of each window of a recording that lost frames."""
        return lost_table.lost_entries(self, video_id)

    def failed_files(self) -> dict[str, failed_table.FailedFile]:
        """Files whose reading crashed or took too long, by path."""
        return failed_table.failed_files(self)

    def captioned_paths(self) -> set[str]:
        """The recordings whose windows were captioned."""
        return caption_table.captioned_paths(self)

    def greatest_lost(self, spans: Iterable[tuple[int, float, float]]) -> list[float]:
        """The greatest share of lost frames among windows that overlap each (id, start, end)."""
        return lost_table.greatest_lost(self, spans)

    def search_cache(
        self, current: search.SearchCache | None, probes: Probes | None
    ) -> search.SearchCache:
        """The cache of the present state. Call it first inside ``snapshot``."""
        return search.refresh(self, current, probes)

    def rebuilt_cache(self, probes: Probes | None) -> search.SearchCache:
        """The cache, built again from the rows."""
        return search.rebuild(self, probes)

    def note_damage(self, cache: search.SearchCache) -> None:
        """Put the rows that a cache lacks into ``damaged``."""
        search.note_damage(self, cache)

    def damage_line(self) -> str | None:
        """One line about the rows in ``damaged``; None without any."""
        return damage_line(self)

    def info(self) -> LibraryInfo:
        """What the library holds."""
        return describe(self.file.parent, self)

    def verify(self, files: bool) -> Iterator[LibraryFault]:
        """All faults."""
        return verify(self, files)


class SqliteWriter(SqliteStore, StoreWriter):
    """Writes the library of a folder."""

    def copy_recording(self, source_id: int, video_id: int) -> int:
        """Give a recording the rows of another with the same content, and all that belongs to them.

        Returns how many rows.
        """
        rows = self.copy_rows(source_id, video_id)
        lost_table.keep_lost(self, video_id, ())
        lost_table.copy_lost(self, source_id, video_id)
        caption_table.copy_captions(self, source_id, video_id)
        return rows

    def keep_captions(
        self, video_id: int, captions: Iterable[tuple[Window, str]], made_by: str
    ) -> None:
        """Keep the captions of a recording's windows in place of earlier ones."""
        caption_table.keep_captions(self, video_id, captions, made_by)

    def keep_lost(self, video_id: int, lost: Iterable[tuple[Window, float]]) -> None:
        """Keep which share of the frames of windows is lost, in place of earlier shares."""
        lost_table.keep_lost(self, video_id, lost)

    def remember(self, failed: failed_table.FailedFile) -> None:
        """Keep a failure."""
        failed_table.remember(self, failed)

    def forget(self, path: str) -> None:
        """Drop the failure of a path."""
        failed_table.forget(self, path)

    def compact(self, probes: Probes | None, retrain: bool, engine: str | None) -> CompactReport:
        """Merge every change into the cache, forget deleted rows, shrink the files."""
        return compact(self, probes, retrain, engine)

    def repaired(self, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair."""
        return repair(self, fault)


class FolderBackend:
    """A library in a folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._path)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may open it too: always."""
        return True

    def check(self, create: bool) -> None:
        """Refuse a path that is not a library and cannot become one."""
        check_place(self._path, create)

    def reader(self) -> SqliteStore | None:
        """A read-only connection; None without a database."""
        if not (self._path / schema.FILE_NAME).exists():
            return None
        return SqliteStore.open_to_read(self._path)

    @contextmanager
    def writing(self) -> Generator[SqliteWriter, None, None]:
        """The writer, with its lock held; the folder is created where it is absent."""
        make_folder(self._path)
        with writer_lock(self._path):
            writer = SqliteWriter.open_to_write(self._path)
            try:
                yield writer
            finally:
                writer.close()

    @contextmanager
    def lock(self) -> Generator[None, None, None]:
        """The writer's lock alone."""
        with writer_lock(self._path):
            yield

    def repair_lock(self) -> None:
        """Delete what stands in place of the lock and is not an empty file."""
        remove_lock(self._path)

    def settle(
        self, current: search.SearchCache | None, probes: Probes | None
    ) -> search.SearchCache | None:
        """After a change: update the cache of a large library, so that no query waits for it."""
        return settle(self._path, current, probes)

    def empty_info(self) -> LibraryInfo:
        """Facts of a library that holds nothing yet."""
        return describe(self._path, None)

    def upgrade(
        self, model: LibraryModel | None, progress: UpgradeProgress | None
    ) -> UpgradeReport:
        """Bring the library up to date with its model."""
        return upgrade(self._path, model, progress)
