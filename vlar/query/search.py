"""The search: candidates, re-ranking, merging, deduplication, hits.

A plain phrase is the query with one leaf. Its candidates come from the engine; those of a query
with operators come from a scan of every window. Everything after that is the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vlar.index.store.annotations import LostFrames
from vlar.index.store.base import LibraryStore
from vlar.numeric import cosine
from vlar.query.candidates import Candidates, Snapshot
from vlar.query.dedup import DistinctSpan, deduplicate
from vlar.query.grammar.tree import Leaf
from vlar.query.index_candidates import IndexCandidates
from vlar.query.plan import QueryPlan
from vlar.query.report import QueryReport, ReportCallback
from vlar.query.rerankers.base import Reranker
from vlar.query.scan_candidates import ScanCandidates
from vlar.query.temporal_merge import ScoredSpan, merge
from vlar.types import Copy, Float32, Hit

_FETCHED_ROWS = 256  # at first; then four times as many, until there are enough answers


def search(
    plan: QueryPlan,
    snapshot: Snapshot,
    queries: Mapping[Leaf, Float32],
    reranker: Reranker | None,
    report: ReportCallback | None = None,
) -> list[Hit]:
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
        found = _report(plan, candidates, answers, reranker, cost)
        report(replace(found, damaged=len(snapshot.store.damaged)))
    return hits


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
        spans, whole = candidates.best(n)
        if waiting is not None and (whole or len(spans) >= head):
            candidates.rerank(waiting, spans[:head])
            waiting = None
        if waiting is None:
            ordered = _reordered(spans, candidates)
            probable = [
                span
                for span in ordered
                if candidates.score(span).probability >= plan.min_probability
            ]
            found = _distinct(plan, snapshot, candidates, probable)
            if whole or len(found) > plan.k:
                return found[: plan.k]
        n *= 4


def _reordered(spans: Sequence[ScoredSpan], candidates: Candidates) -> list[ScoredSpan]:
    """Spans, best first, with those that have new scores in order in the places they held."""
    places, keys = list[int](), list[tuple[float, float]]()
    for place, span in enumerate(spans):
        new = candidates.new_score(span)
        if new is not None:
            places.append(place)
            keys.append((-round(new.score, 6), -round(new.similarity, 6)))
    # The sort is stable and keys are rounded: equal rows of two files (copies) keep their order.
    order = sorted(range(len(places)), key=keys.__getitem__)
    ordered = list(spans)
    for place, other in zip(places, order, strict=True):
        ordered[place] = spans[places[other]]
    return ordered


def _distinct(
    plan: QueryPlan, snapshot: Snapshot, candidates: Candidates, rows: Sequence[ScoredSpan]
) -> list[DistinctSpan]:
    """More than ``plan.k`` distinct spans, or all: those before the last hold all their copies."""
    wanted = plan.k + 1
    while True:
        merged = merge(rows, candidates.neighbours, wanted)
        found = deduplicate(snapshot.store, merged, snapshot.manifest.dim, candidates.row_ids)
        if len(found) > plan.k or len(merged) < wanted:
            return found
        wanted *= 2


def _hits(snapshot: Snapshot, candidates: Candidates, answers: Sequence[DistinctSpan]) -> list[Hit]:
    tags = snapshot.store.tags([answer.span.video_id for answer in answers])
    hits: list[Hit] = []
    refined = [candidates.refined(answer.span) for answer in answers]
    rows = [candidates.row_ids(answer.span)[0] for answer in answers]
    captions = snapshot.store.captions(rows)
    people = _people(snapshot, candidates, answers)
    lost = _lost(snapshot.store, refined)
    for place, (answer, span) in enumerate(zip(answers, refined, strict=True)):
        score, parts = candidates.score(span), candidates.parts(span)
        similarity = float(np.mean([part.similarity for part in parts])) if parts else None
        copies = [candidates.refined(copy) for copy in answer.copies]
        hits.append(
            Hit(
                rank=place + 1,
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
                lost=lost[place],
                caption=captions.get(rows[place], ""),
                **people.get(rows[place], {}),
            )
        )
    return hits


def _lost(store: LibraryStore, spans: Sequence[ScoredSpan]) -> list[float]:
    """The greatest share of lost frames among the windows that overlap each span."""
    found = {i: store.annotations(LostFrames, [i]) for i in {span.video_id for span in spans}}
    shares = (
        [w.share for w in found[span.video_id] if w.start_s < span.end_s and w.end_s > span.start_s]
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
    found: dict[int, dict[str, Any]] = {}
    for row_id, (start_s, end_s) in zip(batch.ids.tolist(), batch.spans, strict=True):
        if (person := batch.people.get(row_id)) is not None:
            middle_s = (start_s + end_s) / 2
            found[row_id] = {"track": person.track, "box": person.box, "box_s": middle_s}
    return found


def _report(
    plan: QueryPlan,
    candidates: Candidates,
    answers: Sequence[DistinctSpan],
    reranker: Reranker | None,
    cpu_s: Mapping[str, float],
) -> QueryReport:
    found = candidates.report([answer.span for answer in answers])
    return QueryReport(
        tree=plan.tree,
        searched=found.searched,
        where=plan.where,
        min_probability=plan.min_probability,
        videos=found.videos,
        windows=found.windows,
        phrases=found.phrases,
        reranker=None if reranker is None else reranker.name,
        reranked=found.reranked,
        best_probability=found.best_probability,
        cpu_s=cpu_s,
        rerank_notes=() if reranker is None else tuple(reranker.notes),
        rerank_failed=0 if reranker is None else reranker.failed,
    )
