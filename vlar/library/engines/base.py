"""The contract of a search engine: it proposes rows for a vector.

An engine is a cache. The store (SQLite) is the source of truth, and an engine that is lost, stale
or damaged is built again from it. It identifies rows by their ids: an id is never reused. The
similarity of a proposed row is computed again from the stored vector, so an engine changes how fast
an answer comes and which rows are candidates, but never a score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

from vlar.library.rows import Float16, Int64, RowFilter, RowSource, RowTable
from vlar.types import Float32

# Returns vectors (Q, D) like those of real queries; an engine may measure its recall with them.
Probes = Callable[[], Float32]


class CacheDamage(Exception):  # noqa: N818 - as in the messages
    """The file of an engine holds what it cannot hold; the engine is built again."""


class Engine(ABC):
    """Finds the rows most similar to a vector. Registered as ``@register("engine", NAME)``.

    A new engine implements ``build``, ``add``, ``delete``, ``search``, ``count``, ``ids`` and
    ``last_id``. ``write`` and ``read`` are optional: an engine without a file is built again by
    each process.

    Attributes:
        name: The registered name.
        exact: Whether the proposals are always the best rows.
        rows: Least and greatest number of rows (None: no limit) it is chosen for. None for an
            engine that is used only on request (``vlar index compact --type NAME``).
        why: Reason for it at these sizes, for ``vlar index info``.
        row_us: Microseconds of a processor that it takes to build, a row of 512 numbers.
        facts: JSON values for ``read`` and for ``vlar index info``.
        is_near: Whether rows are read as fast as from memory, so that those of a narrow filter may
            all be read and compared.
    """

    name: str
    exact: bool
    rows: tuple[int, int | None] | None
    why: str
    row_us: float = 20.0
    facts: Mapping[str, Any]
    is_near: bool = True

    @classmethod
    def available(cls) -> bool:
        """Return whether the libraries it needs are installed; True by default."""
        return True

    @classmethod
    @abstractmethod
    def build(cls, source: RowSource, probes: Probes | None) -> Self:
        """An engine that holds all rows of a source.

        Args:
            source: N rows.
            probes: Text vectors to measure with; None where no model is loaded.
        """

    @abstractmethod
    def add(self, table: RowTable, vectors: Float16) -> None:
        """Add rows, whose ids are greater than ``last_id``, with vectors (N, D)."""

    @abstractmethod
    def delete(self, ids: Int64) -> None:
        """Delete rows by id; ids that it does not hold are ignored."""

    @abstractmethod
    def search(
        self, query: Float32, k: int, allowed: RowFilter | None = None
    ) -> tuple[Int64, Float32]:
        """Ids and scores of rows that include the best ``k``, best first.

        Args:
            query: (D,) of unit length.
            k: Rows wanted. The result has ``k`` rows whenever the filter leaves as many, and more
                where the engine's own scores are only approximate.
            allowed: Rows that may be proposed; None allows all.
        """

    @abstractmethod
    def ids(self, allowed: RowFilter | None = None) -> Int64:
        """Ids of the rows it holds that pass a filter, in rising order."""

    def count(self, allowed: RowFilter | None = None) -> int:
        """Number of the rows it holds that pass a filter."""
        return len(self.ids(allowed))

    def holds(self, source: RowSource) -> bool:
        """Return whether it holds the vectors of a source as they are stored, for ``verify``."""
        return True

    def held_rows(self, ids: Int64) -> tuple[RowTable, Float32] | None:
        """Rows of rising ids and their vectors (M, D) as they are stored; None where it lacks some
        of them, or keeps vectors in another form.
        """
        return None

    def rows_of(self, videos: frozenset[int]) -> RowTable | None:
        """Rows of some recordings, in any order; None where that takes longer than the store."""
        return None

    def prepare(self, query: Float32) -> None:  # noqa: B027 - most engines prepare nothing
        """Compare all rows with a query (D,) that ``search`` is asked for next.

        Other threads may call it meanwhile: what waits is compared in one product.
        """

    @property
    @abstractmethod
    def last_id(self) -> int:
        """Greatest id that was ever added; 0 before the first."""

    # Optional: an engine whose changes wait to be merged, and one that has a file ---------------

    @property
    def added(self) -> int:
        """Rows added since it was built, which still wait to be merged; 0 by default."""
        return 0

    @property
    def deleted(self) -> int:
        """Rows deleted since it was built, which still wait to be merged; 0 by default."""
        return 0

    def merged(self, source: RowSource, probes: Probes | None) -> Self | None:
        """Engine with all changes merged; None where it must be built again."""
        return self

    def table(self) -> RowTable:
        """The rows of the file that ``write`` writes; needed only where ``write`` is."""
        return RowTable.empty()

    def write(self, path: Path) -> bool:
        """Write its file; False where it has none."""
        return False

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any], table: RowTable) -> Self | None:
        """Read the file (bytes behind it are ignored); None where it does not fit."""
        return None
