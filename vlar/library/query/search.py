"""The search: candidates, re-ranking, merging, deduplication, hits.

A plain phrase is the query with one leaf. Its candidates come from the engine; those of a query
with operators come from a scan of every window. Everything after that is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vlar.cancellation import check
from vlar.library.cache import SearchCache
from vlar.library.query.candidates import (
    CandidateReport,
    Candidates,
    ScoredSpan,
    Snapshot,
    SpanScore,
    merge,
    same_scale,
)
from vlar.library.query.feedback import log_odds, taught
from vlar.library.query.filters import kept_row_filter
from vlar.library.query.grammar import Leaf, has_order
from vlar.library.query.plan import (
    BEST_SHOWN,
    BestWindow,
    PhraseReport,
    QueryPlan,
    QueryReport,
    ReportCallback,
    remarks,
)
from vlar.library.query.rerankers import Reranker
from vlar.library.query.scan_candidates import ScanCandidates
from vlar.library.query.written import content_words, lifted_by, written_index
from vlar.library.rows import RowBatch, RowFilter
from vlar.library.store.annotations import LostFrames
from vlar.library.store.base import LibraryStore
from vlar.library.store.row_check import NO_RECORDING
from vlar.numeric import cosine
from vlar.results import Hits
from vlar.types import Copy, Float32, Hit, HitPart

SAME = 0.9995


@dataclass(frozen=True)
class DistinctSpan:
    """A span, and the spans of other videos that show the same, one a video."""

    span: ScoredSpan
    copies: list[ScoredSpan] = field(default_factory=list[ScoredSpan])


def deduplicate(
    store: LibraryStore,
    spans: Sequence[ScoredSpan],
    dim: int,
    rows: Callable[[ScoredSpan], Sequence[int]],
) -> list[DistinctSpan]:
    """Spans, best first, without those that repeat an earlier one of another video.

    Args:
        store: Holds the vectors.
        spans: Best first.
        dim: D.
        rows: Ids of the rows that represent a span.
    """
    batch = store.rows(sorted({row_id for span in spans for row_id in rows(span)}), dim)
    lengths = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
    vectors = dict(zip(batch.ids.tolist(), batch.vectors / np.maximum(lengths, 1e-12), strict=True))
    shown = {span: np.stack([vectors[row_id] for row_id in rows(span)]) for span in spans}
    distinct_spans: list[DistinctSpan] = []
    for span in spans:
        same = _same(span, distinct_spans, shown)
        if same is None:
            distinct_spans.append(DistinctSpan(span))
        elif span.video_id not in (same.span.video_id, *(c.video_id for c in same.copies)):
            same.copies.append(span)
    return distinct_spans


def _same(
    span: ScoredSpan, found: list[DistinctSpan], shown: dict[ScoredSpan, Float32]
) -> DistinctSpan | None:
    for earlier in found:
        if earlier.span.video_id == span.video_id:
            continue
        if (np.sum(shown[earlier.span] * shown[span], axis=1) >= SAME).all():
            return earlier
    return None


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
        self._words = content_words(plan.phrase)
        only = plan.only == "written"
        needs_scan = plan.only == "seen" or plan.judged or plan.miss is not None or not self._words
        self._written = None if needs_scan else written_index(snapshot, required=only)
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
        rows = self._with_written(rows)
        rows.sort(key=lambda row: (*_order(row), self._paths[row.video_id], row.start_s, row.track))
        self._rows = rows
        return rows, whole or not rows or rows[-1].stated < self._plan.min_probability

    def _with_written(self, rows: list[ScoredSpan]) -> list[ScoredSpan]:
        """Rows with the words that are written of them, and those of which all words are."""
        index, only = self._written, self._plan.only == "written"
        if index is None:
            return rows
        matching = index.having_any(self._words) if only else index.having_all(self._words)
        absent = sorted(self._written_ids(*matching) - {row.row_id for row in rows})
        if absent:
            more = self._scored(self._snapshot.store.rows(absent, self._snapshot.manifest.dim))
            new_videos = {row.video_id for row in more} - self._paths.keys()
            self._paths |= self._snapshot.store.paths(sorted(new_videos))
            rows = [*rows, *(row for row in more if row.video_id in self._paths)]
        words = index.words_of(self._words, [(row.video_id, row.row_id) for row in rows])
        lifted = [
            lifted_by(row, words.get((row.video_id, row.row_id), ()), len(self._words))
            for row in rows
        ]
        return [row for row in lifted if row.written] if only else lifted

    def _written_ids(self, videos: set[int], rows: set[int]) -> set[int]:
        """Ids of the best rows of recordings whose texts match, and of rows whose captions do."""
        engine, allowed = self._cache.engine, self._allowed or RowFilter()
        chosen = videos if allowed.videos is None else videos & allowed.videos
        ids = set[int]()
        if chosen:
            best = replace(allowed, videos=frozenset(chosen))
            ids = set(engine.search(self._query, _WRITTEN_ROWS, best)[0].tolist())
        if rows:
            ids |= rows & set(engine.ids(self._allowed).tolist())
        return ids

    def rerank(self, reranker: Reranker, head: Sequence[ScoredSpan]) -> None:
        """Score some of the best rows again."""
        ids = [row.row_id for row in head]
        rescored = reranker.rescore(self._plan.phrase, ids, self._snapshot, self._snapshot.model)
        alone = np.array([new.probability for new in rescored.values()])
        figures = self._snapshot.among(alone).tolist(), self._snapshot.stated(alone).tolist()
        self._new = {
            row_id: SpanScore(score if new.score is None else new.score, new.similarity, stated)
            for (row_id, new), score, stated in zip(rescored.items(), *figures, strict=True)
        }

    def new_score(self, span: ScoredSpan) -> SpanScore | None:
        """The scores by the re-ranker; None for a row that it left out."""
        return self._new.get(span.row_id)

    def score(self, span: ScoredSpan) -> SpanScore:
        """The scores of a row or span."""
        span_score = SpanScore(span.score, span.similarity, span.stated)
        return self._new.get(span.row_id, span_score)

    def neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        """The rows of a span's track after or before it that pass the filter, of its own length."""
        store, dim = self._snapshot.store, self._snapshot.manifest.dim
        allowed = self._allowed or RowFilter()
        rows_next = store.neighbours(
            span.video_id, span.start_s, span.end_s, dim, later=later, track=span.track
        )
        # Most spans end at the first neighbour: the others are scored where they are asked for.
        parts = (batch.part(half) for batch in rows_next for half in (slice(1), slice(1, None)))
        for part in parts:
            for row in self._scored(part):
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
        return ()

    def path(self, span: ScoredSpan) -> str:
        """The recording."""
        return self._paths[span.video_id]

    def leading(self) -> Mapping[int, float]:
        """The stated probability of each recording among the first candidates, by its id."""
        best: dict[int, float] = {}
        for row in self._rows:
            stated = self.score(row).probability
            best[row.video_id] = max(stated, best.get(row.video_id, 0.0))
        return best

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
        rated = self._snapshot.rated(batch.vectors, self._query)
        scored_spans = [
            ScoredSpan(
                int(row),
                int(video),
                start_s,
                end_s,
                float(score),
                float(similar),
                reach=float(reach),
                alone=float(alone),
            )
            for row, video, (start_s, end_s), similar, alone, score, reach in zip(
                batch.ids, batch.video_ids, batch.spans, similarity, *rated, strict=True
            )
        ]
        if not batch.people:
            return scored_spans
        people = (batch.people.get(row.row_id) for row in scored_spans)
        return [
            row if person is None else replace(row, track=person.track)
            for row, person in zip(scored_spans, people, strict=True)
        ]


def _order(row: ScoredSpan) -> tuple[bool, float, float]:
    return not row.exact, -round(row.score, 6), -round(row.similarity, 9)


_AHEAD = 0.5  # log odds of stated probabilities; by evals/search.py
_MOST_CLOSE = 6  # recordings; where more are as good, none stands out
_WRITTEN_ROWS = 256  # of the recordings whose texts match
_SHORT_S = 2.0  # windows from which on two quick steps may lie in one
_FETCHED_ROWS = 256  # at first; then four times as many, until there are enough answers


def search(
    plan: QueryPlan,
    snapshot: Snapshot,
    queries: Mapping[Leaf, Float32],
    reranker: Reranker | None,
    report: ReportCallback | None = None,
) -> Hits:
    """The best spans of a library, best first; ``plan.k`` of them whenever as many exist.

    Use inside ``store.snapshot()``.

    Args:
        plan: The query.
        snapshot: The library.
        queries: (D,) vector of each leaf of the query.
        reranker: Scores the best candidates again; None for none.
        report: Called with how the query was answered.

    Raises:
        QueryError: the filter has an unknown key.
    """
    begin = time.process_time()
    candidates: Candidates
    decides: Mapping[str, float] = {}
    if plan.judged:
        snapshot, queries, decides = taught(snapshot, queries, plan.judged)
    if plan.plain and snapshot.cache is not None:
        (query,) = queries.values()
        candidates = IndexCandidates(plan, snapshot, snapshot.cache, query)
    else:
        candidates = ScanCandidates(plan, snapshot, queries)
    compared = time.process_time()
    answers = _answers(plan, snapshot, candidates, reranker)
    hits = _hits(snapshot, candidates, answers)
    if report is not None:
        cost = {"compare": compared - begin, "rank": time.process_time() - compared}
        query_report = _report(
            plan, candidates, answers, reranker, cost, snapshot.manifest.spec.window_s
        )
        report(replace(query_report, damaged=len(snapshot.store.damaged), decides=decides))
    return Hits(hits, decides=decides)


def _answers(
    plan: QueryPlan, snapshot: Snapshot, candidates: Candidates, reranker: Reranker | None
) -> list[DistinctSpan]:
    """The first ``plan.k`` distinct spans; more candidates are fetched until they suffice."""
    head = 0 if reranker is None else reranker.head(plan.k)
    n = _FETCHED_ROWS
    while n < max(4 * plan.k, 2 * head):
        n *= 4
    waiting = reranker
    while True:
        check()
        spans, whole = candidates.best(n)
        if waiting is not None and (whole or len(spans) >= head):
            candidates.rerank(waiting, spans[:head])
            waiting = None
        if waiting is None:
            ordered = _reordered(spans, candidates)
            probable = [
                span
                for span in ordered
                if span.exact
                or (span.written and plan.only == "written")
                or candidates.score(span).probability >= plan.min_probability
            ]
            distinct = _distinct(plan, snapshot, candidates, probable)
            if whole or len(distinct) > plan.k:
                return distinct[: plan.k]
        n *= 4


def _reordered(spans: Sequence[ScoredSpan], candidates: Candidates) -> list[ScoredSpan]:
    """Spans, best first, with those that have new scores in order in the places they held."""
    places, keys = list[int](), list[tuple[float, float]]()
    for index, span in enumerate(spans):
        new = candidates.new_score(span)
        if new is not None:
            places.append(index)
            keys.append((-round(new.score, 6), -round(new.similarity, 6)))
    # The sort is stable and keys are rounded: equal rows of two files (copies) keep their order.
    order = sorted(range(len(places)), key=keys.__getitem__)
    ordered = list(spans)
    for index, other in zip(places, order, strict=True):
        ordered[index] = spans[places[other]]
    return ordered


def _distinct(
    plan: QueryPlan, snapshot: Snapshot, candidates: Candidates, rows: Sequence[ScoredSpan]
) -> list[DistinctSpan]:
    """More than ``plan.k`` distinct spans, or all: those before the last hold all their copies."""
    count = plan.k + 1
    while True:
        check()
        merged = merge(rows, candidates.neighbours, count, snapshot.judged)
        distinct = deduplicate(snapshot.store, merged, snapshot.manifest.dim, candidates.row_ids)
        if plan.one_per_recording:
            videos = [answer.span.video_id for answer in distinct]
            distinct = [answer for n, answer in enumerate(distinct) if videos.index(videos[n]) == n]
        if len(distinct) > plan.k or len(merged) < count:
            return distinct
        count *= 2


def _hits(snapshot: Snapshot, candidates: Candidates, answers: Sequence[DistinctSpan]) -> list[Hit]:
    tags = snapshot.store.tags([answer.span.video_id for answer in answers])
    hits: list[Hit] = []
    refined = [candidates.refined(answer.span) for answer in answers]
    rows = [candidates.row_ids(answer.span)[0] for answer in answers]
    captions = snapshot.store.captions(rows)
    people = _people(snapshot, candidates, answers)
    windows = snapshot.windows(rows)
    lost = _lost(snapshot.store, refined)
    standing = _standing(candidates, answers)
    for index, (answer, span) in enumerate(zip(answers, refined, strict=True)):
        score, parts = candidates.score(span), candidates.parts(span)
        best = windows.get(rows[index]) if len(set(candidates.row_ids(answer.span))) == 1 else None
        similarity = float(np.mean([part.similarity for part in parts])) if parts else None
        copies = [candidates.refined(copy) for copy in answer.copies]
        hits.append(
            Hit(
                rank=index + 1,
                path=candidates.path(span),
                start_s=span.start_s,
                end_s=span.end_s,
                score=score.score,
                probability=score.probability,
                similarity=cosine(score.similarity if similarity is None else similarity),
                tags=tags.get(span.video_id, {}),
                parts=parts,
                also=tuple(
                    Copy(candidates.path(copy), copy.start_s, copy.end_s) for copy in copies
                ),
                lost=lost[index],
                caption=captions.get(rows[index], ""),
                best_s=None if best is None else (best[1].start_s + best[1].end_s) / 2,
                row=rows[index],
                standing=standing[index],
                written=answer.span.written,
                **people.get(rows[index], {}),
            )
        )
    return hits


def _standing(candidates: Candidates, answers: Sequence[DistinctSpan]) -> list[str]:
    """Standing of each answer among the recordings of the library (``Hit.standing``).

    Recordings whose log odds lie within ``_AHEAD`` of the best are the group that leads; copies of
    an answer count with it.
    """
    best = candidates.leading()
    for answer in answers:
        for copy in answer.copies:
            best = {i: p for i, p in best.items() if i != copy.video_id}
    odds = {i: float(log_odds(np.array([p]))[0]) for i, p in best.items()}
    first = max(odds.values(), default=0.0)
    group = {i for i, value in odds.items() if value >= first - _AHEAD}
    standing = list[str]()
    for answer in answers:
        p = np.array([candidates.score(answer.span).probability])
        leads = float(log_odds(p)[0]) >= first - _AHEAD and len(group) <= _MOST_CLOSE
        standing.append(("clear" if len(group) == 1 else "close") if leads else "none")
    return standing


def _lost(store: LibraryStore, spans: Sequence[ScoredSpan]) -> list[float]:
    """The greatest share of lost frames among the windows that overlap each span."""
    losses = {i: store.annotations(LostFrames, [i]) for i in {span.video_id for span in spans}}
    shares = (
        [
            w.share
            for w in losses[span.video_id]
            if w.start_s < span.end_s and w.end_s > span.start_s
        ]
        for span in spans
    )
    return [min(max(share, default=0.0), 1.0) for share in shares]


def _people(
    snapshot: Snapshot, candidates: Candidates, answers: Sequence[DistinctSpan]
) -> dict[int, dict[str, Any]]:
    """People of best windows as values of ``Hit``, by row id; a sequence has no one person."""
    if not snapshot.manifest.persons:
        return {}
    every = (set(candidates.row_ids(answer.span)) for answer in answers)
    batch = snapshot.store.rows(
        sorted(ids.pop() for ids in every if len(ids) == 1), snapshot.manifest.dim
    )
    people: dict[int, dict[str, Any]] = {}
    for row_id, (start_s, end_s) in zip(batch.ids.tolist(), batch.spans, strict=True):
        if (person := batch.people.get(row_id)) is not None:
            middle_s = (start_s + end_s) / 2
            people[row_id] = {"track": person.track, "box": person.box, "box_s": middle_s}
    return people


def _report(
    plan: QueryPlan,
    candidates: Candidates,
    answers: Sequence[DistinctSpan],
    reranker: Reranker | None,
    cpu_s: Mapping[str, float],
    window_s: float,
) -> QueryReport:
    spans = [answer.span for answer in answers]
    facts = candidates.report(spans)
    best = max((candidates.score(span).probability for span in spans), default=None)
    return QueryReport(
        tree=plan.tree,
        searched=facts.searched,
        where=plan.where,
        min_probability=plan.min_probability,
        videos=facts.videos,
        windows=facts.windows,
        phrases=facts.phrases,
        reranker=None if reranker is None else reranker.name,
        reranked=facts.reranked,
        best_probability=facts.best_probability if best is None else best,
        cpu_s=cpu_s,
        rerank_notes=() if reranker is None else tuple(reranker.notes),
        rerank_failed=0 if reranker is None else reranker.failed,
        notes=(*remarks(plan.tree), *_unordered(plan, window_s)),
    )


def _unordered(plan: QueryPlan, window_s: float) -> tuple[str, ...]:
    """A remark on a sequence in windows that may hold both of its steps; else none."""
    if not has_order(plan.tree) or window_s < _SHORT_S:
        return ()
    what = f"steps shorter than the windows of {window_s:g} s cannot be ordered"
    return (f"{what}; make a library of shorter ones: vlar index add NEW PATHS --window 1s",)
