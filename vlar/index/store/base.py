"""What a library needs of the place that holds it: a folder with SQLite, or Milvus.

A ``LibraryStore`` reads one state of a library. A ``LibraryWriter`` (``vlar.index.store.changes``)
changes it. A ``Backend`` (``vlar.index.store.backend``) knows the place: whether a library is
there, who may write. Ids of rows and recordings are never reused, and a vector is never changed in
place: an id stands for one vector for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from vlar.errors import LibraryError
from vlar.index.engines.base import Probes
from vlar.index.rows import Float16, Int64, RowBatch, RowFilter, RowSource
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.failed import FailedFile
from vlar.index.store.row_check import CheckedRows
from vlar.index.store.values import KnownVideo, RecordingFacts

if TYPE_CHECKING:
    from vlar.index.maintenance.verify import LibraryFault
    from vlar.index.report import LibraryInfo, VideoRow


class SnapshotMovedError(LibraryError):
    """Rows that a query was reading were removed meanwhile; the query runs again."""


class LibraryStore(Protocol):
    """Reads a library; the caller serialises its use.

    Attributes:
        damaged: Rows and contexts that were left out of what was read: what is wrong, by row id.
            The caller clears it before a query.
    """

    damaged: dict[int, str]

    @property
    def address(self) -> str:
        """The library as a user writes it, for messages."""
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...

    # One state ----------------------------------------------------------------------------------

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads inside use one state, whatever a writer commits meanwhile."""
        ...

    def data_version(self) -> int:
        """A number that changes with every commit, while this store is open."""
        ...

    def meta(self) -> Mapping[str, str]:
        """The manifest."""
        ...

    # Recordings ---------------------------------------------------------------------------------

    def known(self) -> list[KnownVideo]:
        """Every recording with what identifies its file."""
        ...

    def recordings(self) -> list[RecordingFacts]:
        """Every recording with its facts, oldest first."""
        ...

    def with_content(self, content_hash: str) -> list[KnownVideo]:
        """The recordings of one content, oldest first."""
        ...

    def at_path(self, path: str) -> KnownVideo | None:
        """The recording of a path."""
        ...

    def row_of(self, path: str) -> int | None:
        """The id of the recording of a path."""
        ...

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Path by recording id, of all or of some."""
        ...

    def videos(self) -> list[VideoRow]:
        """Every recording, by path."""
        ...

    def durations(self) -> dict[int, float]:
        """Length of every recording in seconds, by id."""
        ...

    def between(self, fact: str, low: float, high: float) -> set[int]:
        """Ids of the recordings whose fact lies between two numbers, both included.

        Args:
            fact: ``duration_s`` in seconds, or ``added`` or ``modified`` in seconds since 1970.
            low: Least.
            high: Greatest.
        """
        ...

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        """Tags by recording id, of all or of some."""
        ...

    def tag_keys(self) -> list[str]:
        """Every tag key in use, sorted."""
        ...

    def tagged(self, key: str, value: str) -> set[int]:
        """Ids of the recordings with this tag."""
        ...

    def tag_values(self, key: str) -> dict[int, str]:
        """The value of a tag by recording id; a recording without it is left out."""
        ...

    # Rows ---------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int, float]:
        """Recordings, rows, and the total duration in seconds."""
        ...

    def has_rows(self) -> bool:
        """Whether there is any row, at no cost."""
        ...

    def rows(self, row_ids: Sequence[int], dim: int) -> RowBatch:
        """The rows of some ids, in the order of their ids; damaged ones are left out."""
        ...

    def scan(self, dim: int, allowed: RowFilter) -> Iterator[CheckedRows]:
        """All rows of recordings that a filter allows, in batches.

        Rows whose times it does not allow may be among them. Damaged rows are left out, and rows
        of no recording; ``damaged`` has them.
        """
        ...

    def source(self, dim: int) -> RowSource:
        """All rows in rising order of their ids. Use inside ``snapshot``."""
        ...

    def spans(self, video_id: int) -> list[tuple[float, float]]:
        """Start and end of every window of a recording, by time."""
        ...

    def ids_of(self, *, people: bool) -> Int64:
        """Sorted ids of the rows of people, or of the rows of whole frames."""
        ...

    def neighbours(
        self, video_id: int, start_s: float, end_s: float, dim: int, *, later: bool, track: int = 0
    ) -> Iterator[RowBatch]:
        """The rows before or after a window of a recording, nearest first, in growing batches.

        They are those of one track: of the whole frame (0), or of one person.
        """
        ...

    def context_size(self) -> tuple[int, int]:
        """Number of rows that have context tokens, and the bytes of the tokens."""
        ...

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """The rows among ``row_ids`` that have context tokens (N,), rising, and these (N, k, E)."""
        ...

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Captions of rows by row id, of all or of some; a row without one is left out."""
        ...

    def captioned_paths(self) -> set[str]:
        """The recordings whose windows were captioned."""
        ...

    def caption_entries(self, video_id: int) -> list[tuple[float, float, str, str]]:
        """Start, end, text and captioner of each window of a recording that was captioned."""
        ...

    def lost_entries(self, video_id: int) -> list[tuple[float, float, float]]:
        """Start, end and share of each window of a recording that lost frames."""
        ...

    def failed_files(self) -> dict[str, FailedFile]:
        """Files whose reading crashed or took too long, by path."""
        ...

    def greatest_lost(self, spans: Iterable[tuple[int, float, float]]) -> list[float]:
        """The greatest share of lost frames among windows that overlap each (id, start, end)."""
        ...

    # Search and upkeep --------------------------------------------------------------------------

    def search_cache(self, current: SearchCache | None, probes: Probes | None) -> SearchCache:
        """What is searched in the present state; ``current`` must not be used afterwards."""
        ...

    def rebuilt_cache(self, probes: Probes | None) -> SearchCache:
        """The same, built again from the rows."""
        ...

    def note_damage(self, cache: SearchCache) -> None:
        """Put the rows that a cache lacks into ``damaged``.

        Raises:
            CacheDamage: such a row is whole.
        """
        ...

    def damage_line(self) -> str | None:
        """One line about the rows in ``damaged``; None without any."""
        ...

    def info(self) -> LibraryInfo:
        """What the library holds."""
        ...

    def verify(self, files: bool) -> Iterator[LibraryFault]:
        """All faults. Use inside ``snapshot``."""
        ...
