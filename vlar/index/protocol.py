"""What a library needs of a model (``vlar.model.model.Model`` has it) and of a search structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from vlar.index.store.database import Float16, Int64
from vlar.index.store.rows import RowSource, RowTable, Selection
from vlar.types import Clip, Encoded, Float32, Float64

# Gives vectors (Q, D) like those that will be asked; called only by types that measure with them.
Probes = Callable[[], Float32]


class Matcher(Protocol):
    """How well a row answers a text."""

    def match_probability(self, vectors: Float32, query: Float32) -> Float32 | Float64:
        """(N,) probability 0 to 1 that each row (N, D) shows what the query (D,) says."""
        ...


class LibraryModel(Matcher, Protocol):
    """Clips and texts to vectors of one space, and how well a row answers a text."""

    @property
    def name(self) -> str:
        """The spec that loads it again."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes a vector."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def n_frames(self) -> int:
        """T."""
        ...

    @property
    def shorter_side(self) -> int:
        """Pixels; larger frames are shrunk to it while decoding."""
        ...

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to their vectors (D,) of unit length, and context where text depends on video."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q texts to (Q, D) of unit length."""
        ...


@runtime_checkable
class ConditioningModel(Protocol):
    """What a model has besides, where a text may have another vector for each video."""

    @property
    def conditions_text(self) -> bool:
        """Whether it has."""
        ...

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Q texts as each of N windows sees them, from contexts (N, k, E): (N, Q, D)."""
        ...


def conditioning(model: object) -> ConditioningModel | None:
    """The model as one whose text depends on the video; None where it does not."""
    return model if isinstance(model, ConditioningModel) and model.conditions_text else None


class AnnIndex(Protocol):
    """A search structure over N rows. Registered as ``@register("engine", NAME)``.

    It knows rows by their place, 0 to N - 1 by rising row id. It proposes rows; their similarities
    are computed again from the truth.

    Attributes:
        name: As registered.
        exact: Whether the proposals are the best rows for certain.
        rows: The least and the most (None: any) rows it is chosen for.
        why: The reason for it at these sizes, for ``vlar index info``.
        size: N.
        facts: JSON values that ``read`` needs again, and what ``info`` shows.
    """

    name: str
    exact: bool
    rows: tuple[int, int | None]
    why: str
    size: int
    facts: Mapping[str, Any]

    @classmethod
    def build(cls, source: RowSource, probes: Probes | None) -> tuple[AnnIndex, RowTable]:
        """From all rows of a store."""
        ...

    def updated(
        self, keep: Selection, vectors: Float16, source: RowSource, probes: Probes | None
    ) -> AnnIndex | None:
        """The places of ``keep``, with new vectors (M, D) behind them: what ``source`` holds now.

        None where it should be built anew instead.
        """
        ...

    def reach(self, k: int) -> int:
        """How many proposals hold the best ``k``: ``k`` where scores are exact."""
        ...

    def search(self, query: Float32, k: int, allowed: Selection | None) -> tuple[Int64, Float32]:
        """Places and scores of the best ``k`` rows among ``allowed`` (None: all), best first."""
        ...

    def write(self, path: Path) -> bool:
        """Write the FAISS file; False where this type has none (no FAISS)."""
        ...

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any]) -> AnnIndex | None:
        """Read the FAISS file (bytes behind it are ignored); None where it does not fit."""
        ...
