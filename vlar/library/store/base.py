"""Protocols of the stores of a library: a folder with SQLite, or a database of a plugin.

A ``LibraryStore`` reads one state of a library. A ``LibraryWriter`` changes it. A ``Backend``
(``vlar.library.backends``) is the place: it opens both, searches and keeps the library sound. Ids
of rows and recordings are never reused, and a vector is never changed in place: an id is never
reused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from vlar.errors import LibraryError
from vlar.library.rows import Float16, Int64, RowBatch, RowFilter, RowPerson, RowSource, VideoRow
from vlar.library.store.annotations import A, Annotation, FailedFile
from vlar.library.store.row_check import CheckedRows
from vlar.library.store.values import RecordingFacts, Stamp
from vlar.types import Float32, Window


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

    def recordings(self, content_hash: str | None = None) -> list[RecordingFacts]:
        """Every recording with its facts, or those of one content; oldest first."""
        ...

    def at_path(self, path: str) -> RecordingFacts | None:
        """The recording of a path."""
        ...

    def paths(self, video_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Path by recording id, of all or of some."""
        ...

    def videos(self) -> list[VideoRow]:
        """Every recording, by path."""
        ...

    def fact(self, name: str) -> dict[int, float]:
        """A fact of every recording by id; one that is damaged is left out.

        Args:
            name: ``duration_s`` in seconds, or ``added`` or ``modified`` in seconds since 1970.
        """
        ...

    def tags(self, video_ids: Sequence[int] | None = None) -> dict[int, dict[str, str]]:
        """Tags by recording id, of all or of some."""
        ...

    def tag_keys(self) -> list[str]:
        """Every tag key in use, sorted."""
        ...

    def tagged(self, key: str, value: str | None = None) -> dict[int, str]:
        """The value of a tag, any or a given one, by the id of the recordings that have it."""
        ...

    # Rows ---------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int, float]:
        """Recordings, rows, and the total duration in seconds."""
        ...

    def has_rows(self) -> bool:
        """Return whether there is any row, at no cost."""
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

    def adjacent(self, row_ids: Sequence[int]) -> dict[int, tuple[int | None, int | None]]:
        """Ids of the rows before and after rows in their recording and track, by row id.

        None where there is none. A store that would have to read vectors for them has none.
        """
        return {}

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """The rows among ``row_ids`` that have context tokens (N,), rising, and these (N, k, E)."""
        ...

    def captions(self, row_ids: Sequence[int] | None = None) -> dict[int, str]:
        """Captions of rows by row id, of all or of some; a row without one is left out."""
        ...

    def mapped(self, row_ids: Sequence[int] | None = None) -> set[int]:
        """Rows, of all or of some, whose vectors are predicted (``VectorMapping``)."""
        ...

    def mapped_by_time(self, row_ids: Sequence[int] | None = None) -> Iterable[tuple[int, int]]:
        """Recording and id of the same rows; all of them by recording, track and time."""
        ...

    # Annotations --------------------------------------------------------------------------------

    def annotations(self, kind: type[A], owners: Sequence[int | str] | None = None) -> Sequence[A]:
        """The annotations of one kind, of all owners or of some, in the order of time or path.

        Args:
            kind: ``Caption`` or ``LostFrames``, owned by recordings, or ``FailedFile``.
            owners: Ids of recordings, or paths.
        """
        ...

    def annotated(self, kind: type[Annotation]) -> set[int]:
        """Ids of the recordings that have annotations of a kind."""
        ...


class LibraryWriter(LibraryStore, Protocol):
    """Changes a library. Its maker holds the writer's lock.

    Every change belongs inside ``with writer.transaction()``. A recording is there with all its
    rows or not at all.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside are kept together or not at all, at least recording by recording."""
        ...

    def set_meta(self, facts: Mapping[str, str]) -> None:
        """Add to the manifest or change it."""
        ...

    def matching(self, pattern: str | Path) -> list[int]:
        """Ids of the recordings of a path, a folder or a glob
        (``vlar.library.store.paths.matches``).
        """
        ...

    def put_video(
        self,
        path: str,
        content_hash: str,
        stamp: Stamp,
        duration_s: float,
        added_at_s: float | None = None,
    ) -> int:
        """A recording without rows; what was at this path before loses its rows, not its tags.

        Args:
            path: Path as the library writes it.
            content_hash: Content hash of its file.
            stamp: Stamp of its file.
            duration_s: Length in seconds.
            added_at_s: Seconds since 1970; None is now.
        """
        ...

    def insert_rows(
        self,
        video_id: int,
        windows: Sequence[Window],
        vectors: Float32,
        people: Sequence[RowPerson | None] = (),
        contexts: Sequence[Float16 | None] = (),
        mapped: Sequence[bool] = (),
    ) -> None:
        """Add windows with their vectors (N, D) to a recording of this transaction.

        Args:
            video_id: The recording.
            windows: N time spans.
            vectors: (N, D) of unit length.
            people: Whom each row shows, None for a whole frame; empty where all are whole frames.
            contexts: Context tokens (k, E) of each row, None for none; empty where none has any.
            mapped: Whether each vector is predicted; empty where none is.

        Raises:
            LibraryError: the other contexts of the library have another shape.
        """
        ...

    def put_encoded(self, video_id: int, rows: RowBatch, vectors: Float32) -> None:
        """Give mapped rows of a recording the vectors (N, D) that they were predicted for."""
        ...

    def update(
        self,
        video_id: int,
        *,
        path: str | None = None,
        stamp: Stamp | None = None,
        unreadable: int | None = None,
        tags: Mapping[str, str | None] | None = None,
    ) -> None:
        """Change facts of a recording; None leaves one as it is.

        Args:
            video_id: The recording.
            path: Its new path; another recording there is replaced.
            stamp: Size and time of its file.
            unreadable: Windows that could not be decoded.
            tags: Added to it; a key it has already gets the new value, and None removes it.
        """
        ...

    def read_again(self, path: str) -> None:
        """Forget what a recording's content was, so that the next ``add`` reads its file."""
        ...

    def delete(self, video_ids: Sequence[int]) -> None:
        """Forget recordings with their rows and tags."""
        ...

    def annotate(self, kind: type[A], owner: int | str, annotations: Iterable[A]) -> None:
        """Keep annotations of a recording, or of a path, in place of earlier ones of the kind."""
        ...


def line_of(address: str, damaged: Mapping[int, str], of: str = "") -> str | None:
    """One line about damaged rows of a library, by id with the reason; None without any.

    Args:
        address: The library.
        damaged: The rows.
        of: Whose the first one is, such as `` of a.mp4``.
    """
    if not damaged:
        return None
    first, count = min(damaged), len(damaged)
    row = f"row {first}{of}"
    what = f"{row} is damaged ({damaged[first]}) and is not used"
    if count > 1:
        what = f"{count} rows are damaged and are not used, first {row} ({damaged[first]})"
    return f"{address}: {what}; run: vlar index verify {address} --repair"


def failed_by_path(store: LibraryStore) -> dict[str, FailedFile]:
    """Files whose reading crashed or took too long, by path."""
    return {failed_file.path: failed_file for failed_file in store.annotations(FailedFile)}
