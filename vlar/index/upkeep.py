"""``Library.compact``, ``Library.upgrade``, ``Library.verify`` and ``Library.copy_to``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlar.errors import LibraryError, UsageError
from vlar.index.connection import LibraryConnection
from vlar.index.maintenance.compact import CompactReport
from vlar.index.maintenance.upgrade import UpgradeReport
from vlar.index.maintenance.verify import LibraryFault

if TYPE_CHECKING:
    from vlar.index.library_copy import CopyReport


class LibraryUpkeep(LibraryConnection):
    """The part of a library that keeps it sound, small and up to date."""

    def compact(self, *, retrain: bool = False, kind: str | None = None) -> CompactReport:
        """Merge all changes into the search cache, forget deleted rows, shrink the files.

        SQLite writes a second copy of the database, so free space of its size is needed.

        Args:
            retrain: Build the search engine again even where it has not drifted.
            kind: Name of the search engine from now on (``flat``, ``ivf``, ``ivf-sq8``); ``auto``
                chooses by the number of rows.

        Raises:
            UnknownNameError: no engine has this name.
            LibraryLockedError: another process is writing.
            LibraryError: the library cannot be written to.
        """
        with self._mutex, self._writing() as writer:
            self._cache = None
            return writer.compact(self._models.probes(), retrain, kind)

    def upgrade(self, *, progress: Callable[[int, int], None] | None = None) -> UpgradeReport:
        """Bring the library up to date with its model: only parts that changed are computed.

        An interrupted run resumes; queries use the old rows until all new ones are ready.

        Args:
            progress: Called with the number of recordings done and their total.

        Raises:
            LibraryError: it is empty, or none of its recordings can be read.
            UsageError: it is another model's and shares no part with this one.
            LibraryLockedError: another process is writing.
        """
        with self._mutex:
            self._cache = None
            return self._backend.upgrade(self._models.given(), progress)

    def copy_to(
        self, other: LibraryUpkeep, *, progress: Callable[[int, int], None] | None = None
    ) -> CopyReport:
        """Copy all recordings, rows, contexts, captions and tags into another library.

        Either may be a folder or in Milvus. An interrupted copy resumes. At the end both libraries
        are read, and their digests must be equal (``vlar.index.library_copy``).

        Args:
            other: A new library, or a part of this one.
            progress: Called with rows done and rows in all, after each commit.

        Raises:
            UsageError: it is the same library.
            LibraryError: this one is empty or damaged, or the other one holds something else.
            LibraryLockedError: another process is writing to the other one.
        """
        from vlar.index.library_copy import copy_library

        if self.path == other.path:
            raise UsageError(f"{self.path} cannot be copied to itself; give another library")
        with self._mutex, other._mutex:
            store = self._reader()
            if store is None:
                raise LibraryError(f"library {self.path} is empty; there is nothing to copy")
            with other._writing() as writer:
                report = copy_library(store, writer, progress)
                other._settle()
                return report

    def verify(self, *, repair: bool = False, files: bool = True) -> list[LibraryFault]:
        """All faults of the library, its search cache and its recordings' files.

        Args:
            repair: Repair what can be repaired (the rule: ``vlar.index.maintenance.repair``).
            files: Whether to check the recordings' files too.

        Raises:
            LibraryError: it is so damaged that it cannot be read.
            LibraryLockedError: another process is writing (only with ``repair``).
        """
        with self._mutex:
            store = self._reader()
            if store is None:
                return []
            with store.snapshot():
                found = list(store.verify(files))
            if not repair or not found:
                return found
            if any(fault.kind == "lock" for fault in found):
                self._backend.repair_lock()
            self._cache = None
            with self._writing() as writer:
                return [writer.repaired(each) for each in found]
