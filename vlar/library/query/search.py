"""The search: candidates, re-ranking, merging, deduplication, hits.

A plain phrase is the query with one leaf. Its candidates come from the engine; those of a query
with operators come from a scan of every window. Everything after that is the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vlar.cancellation import check
from vlar.heads.calibration import BY_RULE
from vlar.language.foreign import understood
from vlar.library.query.candidates import (
    Candidates,
    ScoredSpan,
    Snapshot,
    merge,
)
from vlar.library.query.feedback import log_odds, taught
from vlar.library.query.grammar import Leaf, Phrase, has_order, leaves
from vlar.library.query.index_candidates import IndexCandidates
from vlar.library.query.plan import (
    QueryPlan,
    QueryReport,
    ReportCallback,
    remarks,
)
from vlar.library.query.rerankers import Reranker
from vlar.library.query.scan_candidates import ScanCandidates
from vlar.library.store.annotations import LostFrames
from vlar.library.store.base import LibraryStore
from vlar.numeric import cosine
from vlar.results import Hits
from vlar.types import Copy, Float32, Hit

SAME = 0.9995
_UNFITTED = f"{BY_RULE}; for lists with a promise: vlar calibrate LIBRARY LABELLED"


@dataclass(frozen=True)
class DistinctSpan:
    """A span, and the spans of other videos that show the same, one a video."""

    span: ScoredSpan
    copies: list[ScoredSpan] = field(default_factory=list[ScoredSpan])


def deduplicate(spans: Sequence[ScoredSpan], candidates: Candidates) -> list[DistinctSpan]:
    """Spans, best first, without those that repeat an earlier one of another video."""
    rows = candidates.row_ids
    batch = candidates.rows(sorted({row_id for span in spans for row_id in rows(span)}))
    lengths = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
    vectors = dict(zip(batch.ids.tolist(), batch.vectors / np.maximum(lengths, 1e-12), strict=True))
    shown = {
        span: np.stack([vectors[row_id] for row_id in rows(span)])
        for span in spans
        if vectors.keys() >= set(rows(span))  # else one is damaged by now
    }
    distinct_spans: list[DistinctSpan] = []
    earlier: dict[int, Float32] = {}
    owners = np.empty(len(shown), np.int64)
    for span, parts in shown.items():
        count = len(distinct_spans)
        # One product with all earlier spans: a long recording has thousands.
        alike = np.ones(count, bool)
        for part, vector in enumerate(parts):
            known = earlier.setdefault(part, np.empty((len(shown), len(vector)), vector.dtype))
            alike &= known[:count] @ vector >= SAME
            known[count] = vector
        same = np.flatnonzero(alike & (owners[:count] != span.video_id))
        if not len(same):
            owners[count] = span.video_id
            distinct_spans.append(DistinctSpan(span))
            continue
        first = distinct_spans[same[0]]
        if span.video_id not in (first.span.video_id, *(c.video_id for c in first.copies)):
            first.copies.append(span)
    return distinct_spans


_AHEAD = 0.5  # log odds of stated probabilities; by evals/results/search.json
_MOST_CLOSE = 6  # recordings; where more are as good, none stands out
_SHORT_S = 2.0  # windows from which on two quick steps may lie in one
_FETCHED_ROWS = 256  # at first; then four times as many, until there are enough answers


def search(
    plan: QueryPlan,
    snapshot: Snapshot,
    queries: Mapping[Leaf, Float32],
    reranker: Reranker | None,
    report: ReportCallback | None = None,
) -> Hits:
    """The best spans of a library, best first; ``k`` of them whenever as many exist.

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
    hits = _hits(plan, snapshot, candidates, answers)
    if report is not None:
        cost = {"compare": compared - begin, "rank": time.process_time() - compared}
        model = snapshot.model
        unread = remarks(plan.tree, english=model.english, few_words=model.few_words)
        by_rule = not model.calibrated and any(isinstance(leaf, Phrase) for leaf in queries)
        unfitted = (_UNFITTED.format(model=model.name),) if by_rule else ()
        notes = (*unread, *unfitted, *_unordered(plan, hits, snapshot.manifest.spec.window_s))
        query_report = _report(plan, candidates, answers, reranker, cost, notes)
        report(replace(query_report, damaged=len(snapshot.store.damaged), decides=decides))
    return Hits(hits, decides=decides)


def _answers(
    plan: QueryPlan, snapshot: Snapshot, candidates: Candidates, reranker: Reranker | None
) -> list[DistinctSpan]:
    """The first ``k`` distinct spans; more candidates are fetched until they suffice."""
    head = 0 if reranker is None else reranker.head(plan.request.k)
    n = _FETCHED_ROWS
    while n < max(4 * plan.request.k, 2 * head):
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
                or (span.written and plan.request.only == "written")
                or candidates.score(span).probability >= plan.request.min_probability
            ]
            distinct = _distinct(plan, snapshot, candidates, probable)
            if whole or len(distinct) > plan.request.k or _all_answered(plan, snapshot, distinct):
                return distinct[: plan.request.k]
        n *= 4


def _all_answered(plan: QueryPlan, snapshot: Snapshot, distinct: Sequence[DistinctSpan]) -> bool:
    """Return whether each recording of the library has its one answer."""
    return plan.request.one_per_recording and len(distinct) == snapshot.store.counts()[0]


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
    """More than ``k`` distinct spans, or all: those before the last hold all their copies.

    Where each recording answers once and all have answered, further spans can be copies alone: of
    these as many again are looked at.
    """
    count = plan.request.k + 1
    n_videos = len({row.video_id for row in rows})
    have_answered = False
    while True:
        check()
        merged = merge(rows, candidates.neighbours, count, snapshot.judged)
        distinct = deduplicate(merged, candidates)
        if plan.request.one_per_recording:
            videos = [answer.span.video_id for answer in distinct]
            distinct = [answer for n, answer in enumerate(distinct) if videos.index(videos[n]) == n]
        if len(distinct) > plan.request.k or len(merged) < count or have_answered:
            return distinct
        have_answered = plan.request.one_per_recording and len(distinct) == n_videos
        count *= 2


def _hits(
    plan: QueryPlan, snapshot: Snapshot, candidates: Candidates, answers: Sequence[DistinctSpan]
) -> list[Hit]:
    tags = snapshot.store.tags([answer.span.video_id for answer in answers])
    hits: list[Hit] = []
    refined = [candidates.refined(answer.span) for answer in answers]
    rows = [candidates.row_ids(answer.span)[0] for answer in answers]
    captions = snapshot.store.captions(rows)
    people = _people(snapshot, candidates, answers)
    batch = candidates.rows(rows)
    middle_s = {i: sum(span) / 2 for i, span in zip(batch.ids.tolist(), batch.spans, strict=True)}
    lost = _lost(snapshot.store, refined)
    standing = _standing(candidates, answers)
    phrases = [leaf.text for leaf in leaves(plan.tree) if isinstance(leaf, Phrase)]
    english = understood(phrases) if snapshot.model.english else {}
    origins = _origins(snapshot, candidates, answers)
    for index, (answer, span) in enumerate(zip(answers, refined, strict=True)):
        score, parts = candidates.score(span), candidates.parts(span)
        is_row = len(set(candidates.row_ids(answer.span))) == 1
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
                best_s=middle_s.get(rows[index]) if is_row else None,
                row=rows[index],
                standing=standing[index],
                written=answer.span.written,
                origin=origins[index],
                calibrated=snapshot.model.calibrated,
                understood=english,
                **people.get(rows[index], {}),
            )
        )
    return hits


def _origins(
    snapshot: Snapshot, candidates: Candidates, answers: Sequence[DistinctSpan]
) -> list[str]:
    """Origin of each answer, ``mapped`` or ``encoded``; empty in a library without mapped rows."""
    if snapshot.manifest.mapping is None:
        return [""] * len(answers)
    rows = [set(candidates.row_ids(answer.span)) for answer in answers]
    mapped = snapshot.store.mapped(sorted(set().union(*rows)))
    return ["mapped" if ids & mapped else "encoded" for ids in rows]


def _standing(candidates: Candidates, answers: Sequence[DistinctSpan]) -> list[str]:
    """Standing of each answer among the recordings of the library (``Hit.standing``).

    Recordings whose log odds lie within ``_AHEAD`` of the best are the group that leads; copies of
    an answer count with it.
    """
    best = candidates.leading()
    for answer in answers:
        for copy in answer.copies:
            best = {i: p for i, p in best.items() if i != copy.video_id}
    odds = dict(zip(best, log_odds(np.fromiter(best.values(), np.float64)).tolist(), strict=True))
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
    batch = candidates.rows([ids.pop() for ids in every if len(ids) == 1])
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
    notes: tuple[str, ...],
) -> QueryReport:
    spans = [answer.span for answer in answers]
    facts = candidates.report(spans)
    best = max((candidates.score(span).probability for span in spans), default=None)
    return QueryReport(
        tree=plan.tree,
        searched=facts.searched,
        where=plan.where,
        min_probability=plan.request.min_probability,
        videos=facts.videos,
        windows=facts.windows,
        phrases=facts.phrases,
        reranker=None if reranker is None else reranker.name,
        reranked=facts.reranked,
        best_probability=facts.best_probability if best is None else best,
        cpu_s=cpu_s,
        rerank_notes=() if reranker is None else tuple(reranker.notes),
        rerank_failed=0 if reranker is None else reranker.failed,
        notes=notes,
    )


def _unordered(plan: QueryPlan, hits: Sequence[Hit], window_s: float) -> tuple[str, ...]:
    """A remark on a sequence whose steps lie in one window of an answer; else none."""
    if not has_order(plan.tree) or window_s < _SHORT_S:
        return ()
    pairs = [pair for hit in hits for pair in zip(hit.parts, hit.parts[1:], strict=False)]
    if pairs and all(first.end_s <= then.start_s for first, then in pairs):
        return ()
    what = f"steps shorter than the windows of {window_s:g} s cannot be ordered"
    return (f"{what}; make a library of shorter ones: vlar index add NEW PATHS --window 1s",)
