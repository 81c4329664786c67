"""The place of a library: whether one is there, and who may write to it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from vlar.index.engines.base import Probes
from vlar.index.maintenance.upgrade import UpgradeProgress, UpgradeReport
from vlar.index.protocol import LibraryModel
from vlar.index.report import LibraryInfo
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.base import LibraryStore
from vlar.index.store.changes import LibraryWriter


class Backend(Protocol):
    """The place of a library."""

    @property
    def address(self) -> str:
        """The library as a user writes it."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes may open it while this one has it open."""
        ...

    def check(self, create: bool) -> None:
        """Refuse a place that is not a library and cannot become one.

        Raises:
            LibraryError: the message names what is there, and what to do.
        """
        ...

    def reader(self) -> LibraryStore | None:
        """A connection for reads; None where nothing was written yet."""
        ...

    def writing(self) -> AbstractContextManager[LibraryWriter]:
        """A connection for the one writer, with its lock held.

        Raises:
            LibraryLockedError: another process is writing.
        """
        ...

    def lock(self) -> AbstractContextManager[None]:
        """The writer's lock alone.

        Raises:
            LibraryLockedError: another process is writing.
        """
        ...

    def repair_lock(self) -> None:
        """Remove what stands in place of a lock and is not one."""
        ...

    def settle(self, current: SearchCache | None, probes: Probes | None) -> SearchCache | None:
        """After a change: make a large library ready, so that no query waits; None: nothing to do.

        The writer's lock is held.
        """
        ...

    def empty_info(self) -> LibraryInfo:
        """Facts of a library that holds nothing yet."""
        ...

    def upgrade(
        self, model: LibraryModel | None, progress: UpgradeProgress | None
    ) -> UpgradeReport:
        """Bring the library up to date with its model."""
        ...
