"""What changes a library: the face of its one writer.

Every change belongs inside ``with writer.transaction()``. A recording is there with all its rows or
not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from vlar.index.engines.base import Probes
from vlar.index.maintenance.compact import CompactReport
from vlar.index.maintenance.verify import LibraryFault
from vlar.index.rows import Float16, RowPerson
from vlar.index.store.base import LibraryStore
from vlar.index.store.failed import FailedFile
from vlar.index.store.values import Stamp
from vlar.types import Float32, Window


class LibraryWriter(LibraryStore, Protocol):
    """Changes a library. Its maker holds the writer's lock."""

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside are kept together or not at all, at least recording by recording."""
        ...

    def set_meta(self, facts: Mapping[str, str]) -> None:
        """Add to the manifest or change it."""
        ...

    def matching(self, pattern: str | Path) -> list[int]:
        """Ids of the recordings of a path, a folder or a glob (``vlar.index.paths.matches``)."""
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
            path: As a library writes it.
            content_hash: Of its file.
            stamp: Of its file.
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
    ) -> None:
        """Add windows with their vectors (N, D) to a recording of this transaction.

        Args:
            video_id: The recording.
            windows: N time spans.
            vectors: (N, D) of unit length.
            people: Whom each row shows, None for a whole frame; empty where all are whole frames.
        """
        ...

    def insert_contexts(
        self,
        video_id: int,
        windows: Sequence[Window],
        contexts: Float16,
        people: Sequence[RowPerson | None] = (),
    ) -> None:
        """Add context tokens (N, k, E) to rows (as in ``insert_rows``) of this transaction.

        Raises:
            LibraryError: the other contexts of the library have another shape.
        """
        ...

    def copy_recording(self, source_id: int, video_id: int) -> int:
        """Give a recording the rows of another with the same content, and all that belongs to them.

        Returns how many rows.
        """
        ...

    def duration_s(self, video_id: int) -> float:
        """Length of a recording in seconds."""
        ...

    def rename(self, video_id: int, path: str, stamp: Stamp) -> None:
        """Move a recording to a path; another one there is replaced."""
        ...

    def restamp(self, video_id: int, stamp: Stamp) -> None:
        """Remember the size and time of a file whose content is unchanged."""
        ...

    def set_unreadable(self, video_id: int, windows: int) -> None:
        """Remember how many windows of a recording could not be decoded."""
        ...

    def set_tags(self, video_id: int, tags: Mapping[str, str]) -> None:
        """Add tags to a recording; a key it has already gets the new value."""
        ...

    def delete(self, video_ids: Sequence[int]) -> None:
        """Forget recordings with their rows and tags."""
        ...

    def keep_captions(
        self, video_id: int, captions: Iterable[tuple[Window, str]], made_by: str
    ) -> None:
        """Keep the captions of a recording's windows in place of earlier ones."""
        ...

    def keep_lost(self, video_id: int, lost: Iterable[tuple[Window, float]]) -> None:
        """Keep which share of the frames of windows is lost, in place of earlier shares."""
        ...

    def remember(self, failed: FailedFile) -> None:
        """Keep a failure."""
        ...

    def forget(self, path: str) -> None:
        """Drop the failure of a path."""
        ...

    def compact(self, probes: Probes | None, retrain: bool, engine: str | None) -> CompactReport:
        """Merge every change, forget deleted rows. Outside of a transaction."""
        ...

    def repaired(self, fault: LibraryFault) -> LibraryFault:
        """A fault after its repair, which is a transaction of its own."""
        ...
