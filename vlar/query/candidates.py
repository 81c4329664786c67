"""Candidates of a search, which are fetched, re-ranked, merged and turned into hits.

A plain phrase fetches them from the engine (``vlar.query.index_candidates``); a query with
operators compares every window (``vlar.query.scan_candidates``). All that follows is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlar.index.manifest import LibraryManifest
from vlar.index.protocol import LibraryModel
from vlar.index.rows import Float16, Int64, RowPerson
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.base import LibraryStore
from vlar.query.report import PhraseReport
from vlar.query.rerankers.base import Reranker
from vlar.query.temporal_merge import ScoredSpan
from vlar.types import Float32, HitPart, Window


@dataclass(frozen=True)
class Snapshot:
    """One state of a library, to be used inside ``store.snapshot()``.

    Attributes:
        store: The rows.
        manifest: What they have in common.
        model: The library's model.
        cache: The engine over the rows; None where a query compares every window.
    """

    store: LibraryStore
    manifest: LibraryManifest
    model: LibraryModel
    cache: SearchCache | None = None

    # What a re-ranker reads (``vlar.query.rerankers.base.RowReader``)

    def vectors(self, row_ids: Sequence[int]) -> Float32:
        """Vectors (N, D) of rows, in the order given."""
        batch = self.store.rows(row_ids, self.manifest.dim)
        places = np.searchsorted(batch.ids, np.asarray(row_ids, np.int64))
        return batch.vectors[places].astype(np.float32)

    def contexts(self, row_ids: Sequence[int]) -> tuple[Int64, Float16]:
        """Ids (N,) of the rows that have context tokens, rising, and the tokens (N, k, E)."""
        return self.store.contexts(row_ids)

    def captions(self, row_ids: Sequence[int]) -> Mapping[int, str]:
        """Captions by row id, of the rows that have one."""
        return self.store.captions(row_ids)

    def people(self, row_ids: Sequence[int]) -> Mapping[int, RowPerson]:
        """People that rows show, by row id; whole frames are left out."""
        if not self.manifest.persons:
            return {}
        return self.store.rows(row_ids, self.manifest.dim).people

    def windows(self, row_ids: Sequence[int]) -> Mapping[int, tuple[str, Window]]:
        """Path of the recording and time span of each row, by row id."""
        batch = self.store.rows(row_ids, self.manifest.dim)
        paths = self.store.paths(np.unique(batch.video_ids).tolist())
        return {
            int(row_id): (paths[int(video_id)], Window(*span))
            for row_id, video_id, span in zip(batch.ids, batch.video_ids, batch.spans, strict=True)
        }


@dataclass(frozen=True)
class SpanScore:
    """The scores of a candidate.

    Attributes:
        score: It ranks.
        similarity: Cosine of its best window; with several parts, 0 (``Hit`` has their mean).
        probability: Against everyday actions; with several parts, that of the weakest.
    """

    score: float
    similarity: float
    probability: float


class Candidates(Protocol):
    """The candidates of one query."""

    def best(self, n: int) -> tuple[list[ScoredSpan], bool]:
        """About the best ``n``, best first, and whether no others need to be fetched."""
        ...

    def rerank(self, reranker: Reranker, head: Sequence[ScoredSpan]) -> None:
        """Score some of the best again; ``new_score`` has the result."""
        ...

    def new_score(self, span: ScoredSpan) -> SpanScore | None:
        """The scores by the re-ranker; None for a candidate that it left out."""
        ...

    def score(self, span: ScoredSpan) -> SpanScore:
        """The scores of a candidate: new ones if there are some."""
        ...

    def neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        """Windows of the same video after a span or before it, nearest first."""
        ...

    def row_ids(self, span: ScoredSpan) -> Sequence[int]:
        """The rows that represent a span."""
        ...

    def refined(self, span: ScoredSpan) -> ScoredSpan:
        """A merged span with its final times."""
        ...

    def parts(self, span: ScoredSpan) -> tuple[HitPart, ...]:
        """The best window of each phrase of a query with operators."""
        ...

    def path(self, span: ScoredSpan) -> str:
        """The recording."""
        ...

    def report(self, answers: Sequence[ScoredSpan]) -> CandidateReport:
        """Numbers for ``vlar query --explain``; ``answers`` are the answers, best first."""
        ...


@dataclass(frozen=True)
class CandidateReport:
    """Report of what was searched.

    Attributes:
        searched: ``index`` (a plain phrase) or ``windows`` (all of them).
        videos: Number of videos searched.
        windows: Number of windows searched.
        phrases: One for each phrase or clip.
        reranked: Windows that the re-ranker scored.
        best_probability: Of the best candidate, answer or not; None without candidates.
    """

    searched: str
    videos: int
    windows: int
    phrases: tuple[PhraseReport, ...]
    reranked: int
    best_probability: float | None
