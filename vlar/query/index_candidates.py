"""Candidates of a plain phrase: rows that the engine proposes, ranked by probability.

The engine proposes the rows with the greatest cosine. Among these, the calibrated probability
ranks, since it also weighs how well a row fits everyday actions and blank pictures. Retrieval is
better for it (evals/README.md), and the number that is printed is the one that ranks. Similarities
are computed from the stored vectors in double precision, so they do not depend on the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from vlar.index.rows import RowBatch, RowFilter
from vlar.index.search_cache.cache import SearchCache
from vlar.index.store.row_check import NO_RECORDING
from vlar.query.candidates import CandidateReport, Snapshot, SpanScore
from vlar.query.plan import QueryPlan
from vlar.query.report import BEST_SHOWN, BestWindow, PhraseReport
from vlar.query.rerankers.base import Reranker
from vlar.query.temporal_merge import ScoredSpan, same_scale
from vlar.query.where import kept_row_filter
from vlar.types import Float32, HitPart

# Rows whose similarity lies this near to the last one fetched may have been missed: the engine
# compares in single precision, and equal rows (copies of a file) come in any order.
_UNSETTLED = 1e-5


class IndexCandidates:
    """Rows for one phrase. Use inside ``store.snapshot()``.

    Args:
        plan: A plain query.
        snapshot: The library.
        cache: The engine over its rows.
        query: (D,) vector of the phrase.

    Raises:
        QueryError: the filter has an unknown key.
    """

    def __init__(
        self, plan: QueryPlan, snapshot: Snapshot, cache: SearchCache, query: Float32
    ) -> None:
        self._plan, self._snapshot, self._cache = plan, snapshot, cache
        self._query = query
        self._allowed = kept_row_filter(snapshot.store, cache, plan.where)
        self._paths: dict[int, str] = {}
        self._new: dict[int, SpanScore] = {}
        self._rows: list[ScoredSpan] = []

    def best(self, n: int) -> tuple[list[ScoredSpan], bool]:
        """Rows among the ``n`` most similar, by probability; and whether these are all.

        Rows after one that is less probable than the plan allows are not needed either.
        """
        store, dim = self._snapshot.store, self._snapshot.manifest.dim
        ids, _ = self._cache.engine.search(self._query, n, self._allowed)
        rows = self._scored(store.rows(ids.tolist(), dim))
        rows = sorted(rows, key=lambda row: -row.similarity)[:n]
        whole = len(ids) < n
        if not whole:
            rows = [row for row in rows if row.similarity > rows[-1].similarity + _UNSETTLED]
        new_videos = {row.video_id for row in rows} - self._paths.keys()
        self._paths |= store.paths(sorted(new_videos))
        if orphans := [row for row in rows if row.video_id not in self._paths]:
            store.damaged.update({row.row_id: NO_RECORDING for row in orphans})
            rows = [row for row in rows if row.video_id in self._paths]
        # Rounded for the order only: equal rows of two files are in the order of their paths.
        rows.sort(key=lambda row: (*_order(row), self._paths[row.video_id], row.start_s, row.track))
        self._rows = rows
        return rows, whole or not rows or rows[-1].score < self._plan.min_probability

    def rerank(self, reranker: Reranker, head: Sequence[ScoredSpan]) -> None:
        """Score some of the best rows again."""
        ids = [row.row_id for row in head]
        found = reranker.rescore(self._plan.phrase, ids, self._snapshot, self._snapshot.model)
        self._new = {
            row_id: SpanScore(
                new.probability if new.score is None else new.score,
                new.similarity,
                new.probability,
            )
            for row_id, new in found.items()
        }

    def new_score(self, span: ScoredSpan) -> SpanScore | None:
        """The scores by the re-ranker; None for a row that it left out."""
        return self._new.get(span.row_id)

    def score(self, span: ScoredSpan) -> SpanScore:
        """The scores of a row or span."""
        own = SpanScore(span.score, span.similarity, span.score)
        return self._new.get(span.row_id, own)

    def neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        """The rows of a span's track after or before it that pass the filter, of its own length."""
        store, dim = self._snapshot.store, self._snapshot.manifest.dim
        allowed = self._allowed or RowFilter()
        found = store.neighbours(
            span.video_id, span.start_s, span.end_s, dim, later=later, track=span.track
        )
        for batch in found:
            for row in self._scored(batch):
                if same_scale(row, span) and allowed.allows(row.row_id, row.start_s, row.end_s):
                    yield row

    def row_ids(self, span: ScoredSpan) -> tuple[int, ...]:
        """The best window of a span."""
        return (span.row_id,)

    def refined(self, span: ScoredSpan) -> ScoredSpan:
        """The span as it is: the union of its windows."""
        return span

    def parts(self, span: ScoredSpan) -> tuple[HitPart, ...]:
        """A plain phrase has no parts."""
        del span
        return ()

    def path(self, span: ScoredSpan) -> str:
        """The recording."""
        return self._paths[span.video_id]

    def report(self, answers: Sequence[ScoredSpan]) -> CandidateReport:
        """Numbers for ``vlar query --explain``."""
        allowed = self._allowed
        if allowed is None or allowed.videos is None:
            videos = self._snapshot.store.counts()[0]
        else:
            videos = len(allowed.videos)
        probability = [self.score(span).probability for span in answers]
        best = tuple(
            BestWindow(self.path(span), span.start_s, span.end_s, value)
            for span, value in zip(answers[:BEST_SHOWN], probability, strict=False)
        )
        sure = sum(value >= 0.5 for value in probability)
        return CandidateReport(
            searched="index",
            videos=videos,
            windows=self._cache.engine.count(allowed),
            phrases=(PhraseReport(self._plan.phrase, best, sure),),
            reranked=len(self._new),
            best_probability=max((self.score(row).probability for row in self._rows), default=None),
        )

    def _scored(self, batch: RowBatch) -> list[ScoredSpan]:
        if not len(batch.ids):
            return []
        similarity = batch.vectors.astype(np.float64) @ self._query.astype(np.float64)
        probability = self._snapshot.model.match_probability(batch.vectors, self._query)
        found = [
            ScoredSpan(int(row_id), int(video_id), start_s, end_s, float(p), float(s))
            for row_id, video_id, (start_s, end_s), s, p in zip(
                batch.ids, batch.video_ids, batch.spans, similarity, probability, strict=True
            )
        ]
        if not batch.people:
            return found
        people = (batch.people.get(row.row_id) for row in found)
        return [
            row if person is None else replace(row, track=person.track)
            for row, person in zip(found, people, strict=True)
        ]


def _order(row: ScoredSpan) -> tuple[float, float]:
    return -round(row.score, 6), -round(row.similarity, 9)
