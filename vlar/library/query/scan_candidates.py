"""Candidates of a query with operators: every window compared, the query evaluated on each.

The score, which ranks, is the value of the query (``vlar.library.query.expression_scoring``) on
normalized scores of the windows (``vlar.library.query.similarity``). The probability is that of
the weakest part, against everyday actions as for a plain phrase. A span of a THEN grows backwards
by the value of its first part and forwards by that of its last. No vector is kept: memory holds a
few numbers a window for each phrase, and one batch of vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlar.library.query.candidates import (
    CandidateReport,
    ScoredSpan,
    Snapshot,
    SpanScore,
    refined,
    same_scale,
)
from vlar.library.query.expression_scoring import PRODUCT, WEAKEST, Evaluator, SpanScores
from vlar.library.query.filters import path_matches, row_filter
from vlar.library.query.grammar import Leaf, Phrase, Says, leaves, show
from vlar.library.query.plan import BEST_SHOWN, BestWindow, PhraseReport, QueryPlan
from vlar.library.query.rerankers import Reranker, Rescored
from vlar.library.query.similarity import Comparison, compare
from vlar.library.rows import RowBatch, RowFilter
from vlar.library.store.base import LibraryStore
from vlar.numeric import cosine
from vlar.types import Float32, HitPart

_LEADING = 256  # candidates whose recordings are compared with the first
_LEAST = 1e-9  # less is not an answer at all: outside of IN, or no such sequence


class ScanCandidates:
    """All answers to a query with operators. Use inside ``store.snapshot()``.

    ``ScoredSpan.row_id`` is the place of an answer among the ranked ones.

    Args:
        plan: The query.
        snapshot: The library.
        queries: (D,) vector of each leaf.

    Raises:
        QueryError: the filter has an unknown key.
    """

    def __init__(
        self, plan: QueryPlan, snapshot: Snapshot, queries: Mapping[Leaf, Float32]
    ) -> None:
        self._plan, self._snapshot = plan, snapshot
        self._allowed = _allowed(plan, snapshot.store)
        self._compared = compare(
            snapshot.store,
            snapshot.manifest,
            snapshot.model,
            queries,
            self._allowed,
            [leaf for leaf in leaves(plan.tree) if isinstance(leaf, Says)],
            snapshot.everyday,
        )
        compared = self._compared
        self._evaluator = Evaluator(compared.windows, compared.normalized, compared.matching)
        self._spans = _ranked(self._evaluator.spans(plan.tree), compared)
        self._weakest = self._evaluator.at_parts(
            plan.tree, self._spans, compared.probability, WEAKEST
        )
        self._new: dict[int, SpanScore] = {}
        self._new_windows: dict[tuple[Leaf, int], Rescored] = {}

    def best(self, n: int) -> tuple[list[ScoredSpan], bool]:
        """The best ``n``, best first, and whether these are all."""
        size = min(n, len(self._spans))
        return [self._span(index) for index in range(size)], size == len(self._spans)

    def rerank(self, reranker: Reranker, head: Sequence[ScoredSpan]) -> None:
        """Evaluate the query again on spans whose windows were all scored again.

        Each phrase has the probability that the re-ranker gives it on the window of its part.
        """
        if not head:
            return
        compared, plan = self._compared, self._plan
        spans = self._spans.take(np.array([span.row_id for span in head]))
        windows = np.unique(np.concatenate(list(spans.parts.values())))
        windows = windows[windows >= 0]
        index_of = {int(compared.windows.ids[index]): index for index in windows.tolist()}
        probability = {leaf: values.copy() for leaf, values in compared.probability.items()}
        for leaf in compared.probability:
            if not isinstance(leaf, Phrase):
                continue
            rescored = reranker.rescore(
                leaf.text, list(index_of), self._snapshot, self._snapshot.model
            )
            stated = self._snapshot.stated(np.array([new.probability for new in rescored.values()]))
            for (row_id, new), p in zip(rescored.items(), stated.tolist(), strict=True):
                self._new_windows[leaf, index_of[row_id]] = replace(new, probability=p)
                probability[leaf][index_of[row_id]] = p
        scored = [index for _, index in self._new_windows]
        left_out = set(windows[~np.isin(windows, scored)].tolist())
        value = self._evaluator.at_parts(plan.tree, spans, probability, PRODUCT)
        weakest = self._evaluator.at_parts(plan.tree, spans, probability, WEAKEST)
        for index, span in enumerate(head):
            if left_out.isdisjoint(int(part[index]) for part in spans.parts.values()):
                self._new[span.row_id] = SpanScore(float(value[index]), 0.0, float(weakest[index]))

    def new_score(self, span: ScoredSpan) -> SpanScore | None:
        """The scores by the re-ranker; None for a span that it left out."""
        return self._new.get(span.row_id)

    def score(self, span: ScoredSpan) -> SpanScore:
        """The scores of an answer."""
        span_score = SpanScore(span.score, 0.0, float(self._weakest[span.row_id]))
        return self._new.get(span.row_id, span_score)

    def neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        """Each next window, with its value relative to the window at the end of the span."""
        edge = self._edge(span, later)
        row_id = edge.row_id
        which = (self._spans.end_curve if later else self._spans.begin_curve)[span.row_id]
        curve = self._evaluator.curves[which]
        step = 1 if later else -1
        scale = span.score / max(float(curve[row_id]), _LEAST)
        row_id += step
        windows, track = self._compared.windows, edge.track
        while 0 <= row_id < len(curve) and windows.video_ids[row_id] == span.video_id:
            if windows.track(row_id) != track:
                return  # windows are sorted by track
            row = self._window(row_id, span.video_id, float(curve[row_id]) * scale)
            if same_scale(row, edge):
                yield row
            row_id += step

    def row_ids(self, span: ScoredSpan) -> tuple[int, int]:
        """The first and the last row of a span."""
        ids = self._compared.windows.ids
        return int(ids[self._spans.first[span.row_id]]), int(ids[self._spans.last[span.row_id]])

    def rows(self, row_ids: Sequence[int]) -> RowBatch:
        """Rows as the store has them."""
        return self._snapshot.store.rows(sorted(set(row_ids)), self._snapshot.manifest.dim)

    def refined(self, span: ScoredSpan) -> ScoredSpan:
        """The span with its ends at the crossings, but within the filter."""
        span_refined = refined(
            span,
            self._edge(span, False),
            self._edge(span, True),
            self.neighbours(span, False),
            self.neighbours(span, True),
        )
        (_, latest_start_s), (earliest_end_s, _) = self._allowed.start_s, self._allowed.end_s
        return span_refined._replace(
            start_s=max(min(span_refined.start_s, latest_start_s), span.start_s),
            end_s=min(max(span_refined.end_s, earliest_end_s), span.end_s),
        )

    def parts(self, span: ScoredSpan) -> tuple[HitPart, ...]:
        """The best window of each phrase."""
        values = self._spans.parts
        places = ((f, int(values[f][span.row_id])) for f in leaves(self._plan.tree) if f in values)
        return tuple(self._part(leaf, index) for leaf, index in places if index >= 0)

    def path(self, span: ScoredSpan) -> str:
        """The recording."""
        return self._compared.paths[span.video_id]

    def leading(self) -> Mapping[int, float]:
        """The stated probability of each recording among the first candidates, by its id."""
        first = (self._span(index) for index in range(min(len(self._spans), _LEADING)))
        best: dict[int, float] = {}
        for span in first:
            best.setdefault(span.video_id, self.score(span).probability)
        return best

    def report(self, answers: Sequence[ScoredSpan]) -> CandidateReport:
        """Numbers for ``vlar query --explain``."""
        compared = self._compared
        probability = self._weakest.copy()
        for rank, new in self._new.items():
            probability[rank] = new.probability
        return CandidateReport(
            searched="windows",
            videos=len(compared.paths),
            windows=len(compared.windows.ids),
            phrases=tuple(self._phrase(leaf) for leaf in compared.probability),
            reranked=len({window for _, window in self._new_windows}),
            best_probability=float(probability.max()) if len(probability) else None,
        )

    def _phrase(self, leaf: Leaf) -> PhraseReport:
        windows, probability = self._compared.windows, self._compared.probability[leaf]
        order = np.argsort(-probability, kind="stable")[:BEST_SHOWN].tolist()
        rows = tuple(
            BestWindow(
                self._compared.paths[int(windows.video_ids[index])],
                float(windows.start_s[index]),
                float(windows.end_s[index]),
                float(probability[index]),
            )
            for index in order
        )
        return PhraseReport(_leaf_text(leaf), rows, int((probability >= 0.5).sum()))

    def _part(self, leaf: Leaf, at: int) -> HitPart:
        compared = self._compared
        row_score = Rescored(
            float(compared.similarity[leaf][at]), float(compared.probability[leaf][at])
        )
        rescored = self._new_windows.get((leaf, at), row_score)
        start_s, end_s = compared.windows.start_s[at], compared.windows.end_s[at]
        return HitPart(
            _leaf_text(leaf),
            float(start_s),
            float(end_s),
            rescored.probability,
            cosine(rescored.similarity),
        )

    def _edge(self, span: ScoredSpan, later: bool) -> ScoredSpan:
        index = int((self._spans.last if later else self._spans.first)[span.row_id])
        return self._window(index, span.video_id, span.score)

    def _window(self, at: int, video_id: int, value: float) -> ScoredSpan:
        windows = self._compared.windows
        times = float(windows.start_s[at]), float(windows.end_s[at])
        return ScoredSpan(at, video_id, *times, value, track=windows.track(at))

    def _span(self, at: int) -> ScoredSpan:
        spans = self._spans
        times = float(spans.start_s[at]), float(spans.end_s[at])
        return ScoredSpan(at, int(spans.video_ids[at]), *times, float(spans.value[at]))


def _allowed(plan: QueryPlan, store: LibraryStore) -> RowFilter:
    chosen = row_filter(store, plan.where)
    for pattern in plan.scopes:
        inside = frozenset(i for i, path in store.paths().items() if path_matches(path, pattern))
        chosen = replace(chosen, videos=inside if chosen.videos is None else chosen.videos & inside)
    return chosen


def _ranked(spans: SpanScores, compared: Comparison) -> SpanScores:
    """Best first; equal ones by path and time, in every run."""
    spans = spans.take(np.flatnonzero(spans.value > _LEAST))
    by_path = sorted(compared.paths, key=compared.paths.__getitem__)
    rank_of = {video_id: index for index, video_id in enumerate(by_path)}
    places = np.array([rank_of[video_id] for video_id in spans.video_ids.tolist()], np.int64)
    # Rounded for the order only, as for a plain phrase.
    return spans.take(np.lexsort((spans.start_s, places, -np.round(spans.value, 9))))


def _leaf_text(leaf: Leaf) -> str:
    """A phrase as it is, a clip or words of captions as they are written in a query."""
    return leaf.text if isinstance(leaf, Phrase) else show(leaf)
