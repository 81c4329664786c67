"""Runs a plan over a library: filter, search, look again, merge, fold, rank.

``score`` is what ranks: the similarity (inner product) of a span's best window with the text. It
is computed from the stored vectors in double precision, so it does not depend on the search cache.
Where text depends on the video it is the conditioned text (``vlar.query.rerank``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlar.index.protocol import Matcher
from vlar.index.search_cache.cache import Cached
from vlar.index.search_cache.snapshot import Chosen
from vlar.index.store.database import RowBatch, Store
from vlar.query.dedup import Answer, fold
from vlar.query.plan import Plan
from vlar.query.report import BEST_SHOWN, BestWindow, PhraseReport, QueryReport, Tell
from vlar.query.rerank import SecondLook, head_rows, look_again, reordered, rescored
from vlar.query.temporal_merge import Match, merge, same_scale
from vlar.query.where import chosen_rows, select
from vlar.types import Float32, Hit

# Rows whose similarity lies this near to the last one fetched may have been missed: the search
# compares in single precision, and equal rows (copies of a file) come in any order.
_UNSETTLED = 1e-5
_FEWEST_ROWS = 64


@dataclass(frozen=True)
class Search:
    """One phrase over one state of a library. Use inside ``store.snapshot()``."""

    store: Store
    cached: Cached
    matcher: Matcher
    query: Float32

    def best(self, k: int, allowed: Chosen | None) -> list[Match]:
        """The best ``k`` rows (or all there are) among ``allowed`` (None: any), best first."""
        ids, _ = self.cached.index.search(self.query, k, allowed)
        rows = self._matches(self.store.rows(ids.tolist(), self.cached.origin.dim))
        return sorted(rows, key=lambda row: -row.similarity)[:k]

    def neighbours(self, match: Match, later: bool) -> Iterator[Match]:
        """The rows of a match's video after or before it, nearest first, of its own length."""
        dim = self.cached.origin.dim
        for batch in self.store.neighbours(
            match.video_id, match.start_s, match.end_s, dim, later=later
        ):
            yield from (row for row in self._matches(batch) if same_scale(row, match))

    def _matches(self, batch: RowBatch) -> list[Match]:
        if not len(batch.ids):
            return []
        similarity = batch.vectors.astype(np.float64) @ self.query.astype(np.float64)
        probability = self.matcher.match_probability(batch.vectors, self.query)
        return [
            Match(int(row_id), int(video_id), start_s, end_s, float(s), float(p))
            for row_id, video_id, (start_s, end_s), s, p in zip(
                batch.ids, batch.video_ids, batch.spans, similarity, probability, strict=True
            )
        ]


def answer(plan: Plan, search: Search, report: Tell | None = None) -> list[Hit]:
    """The best spans of a library, best first; ``plan.k`` of them whenever so many exist.

    Those below ``plan.min_probability`` are left out of these; ``report`` is told of the search.

    Raises:
        QueryError: the filter has an unknown key.
    """
    begin = time.process_time()
    allowed = chosen_rows(search.store, search.cached, plan.where)
    paths: dict[int, str] = {}
    head = head_rows(search.matcher, plan.k)
    fetch = max(4 * plan.k, 2 * head, _FEWEST_ROWS)
    looks: dict[int, SecondLook] | None = None
    answers: list[Answer] = []
    while True:
        rows = search.best(fetch, allowed)
        whole = len(rows) < fetch
        settled = rows if whole else _settled(rows)
        paths |= search.store.paths(sorted({row.video_id for row in settled} - paths.keys()))
        # Rounded for the order only: equal rows of two files stand by path in every run.
        settled.sort(key=lambda m: (-round(m.similarity, 9), paths[m.video_id], m.start_s))
        if looks is None and (whole or len(settled) >= head):
            looks = look_again(search.store, search.matcher, plan.phrase, settled[:head])
        if looks is not None:
            answers = _distinct(reordered(settled, looks), search, plan.k)
            if whole or len(answers) > plan.k:
                break
        fetch *= 4
    answers = [replace(answer, span=rescored(answer.span, looks)) for answer in answers[: plan.k]]
    if report is not None:
        spans = [answer.span for answer in answers]
        report(_report(plan, search, allowed, spans, len(looks), time.process_time() - begin))
    answers = [row for row in answers if row.span.probability >= plan.min_probability]
    tags = search.store.tags([answer.span.video_id for answer in answers])
    return [
        _hit(place + 1, answer.span, answer.also, paths, tags)
        for place, answer in enumerate(answers)
    ]


def _distinct(rows: list[Match], search: Search, k: int) -> list[Answer]:
    """More than ``k`` answers (or all): then those before the last hold every equal copy."""
    wanted = k + 1
    while True:
        spans = merge(rows, search.neighbours, wanted)
        answers = fold(search.store, spans, search.cached.origin.dim)
        if len(answers) > k or len(spans) < wanted:
            return answers
        wanted *= 2


def _settled(rows: list[Match]) -> list[Match]:
    last = min(row.similarity for row in rows)
    return [row for row in rows if row.similarity > last + _UNSETTLED]


def _report(
    plan: Plan,
    search: Search,
    allowed: Chosen | None,
    spans: list[Match],
    looked_again: int,
    cpu_s: float,
) -> QueryReport:
    paths = search.store.paths()
    videos = select(search.store, plan.where)
    best = tuple(
        BestWindow(paths[span.video_id], span.start_s, span.end_s, span.probability)
        for span in spans[:BEST_SHOWN]
    )
    sure = sum(span.probability >= 0.5 for span in spans)
    return QueryReport(
        tree=plan.tree,
        searched="index",
        where=plan.where,
        min_probability=plan.min_probability,
        videos=len(paths) if videos is None else len(videos),
        windows=search.store.row_count() if allowed is None else allowed.count,
        phrases=(PhraseReport(plan.phrase, best, sure),),
        looked_again=looked_again,
        best_probability=max((span.probability for span in spans), default=None),
        cpu_s={"search": cpu_s},
    )


def _hit(
    rank: int,
    span: Match,
    also: Sequence[int],
    paths: Mapping[int, str],
    tags: Mapping[int, Mapping[str, str]],
) -> Hit:
    return Hit(
        rank=rank,
        path=paths[span.video_id],
        start_s=span.start_s,
        end_s=span.end_s,
        score=span.similarity,
        probability=span.probability,
        similarity=span.similarity,
        tags=tags.get(span.video_id, {}),
        also=tuple(paths[video_id] for video_id in also),
    )
