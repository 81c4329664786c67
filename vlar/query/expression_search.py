"""Runs a query with operators: every window compared, evaluated, merged, ranked.

``score``, which ranks, is what the query is worth (``vlar.query.evaluate``) by how far windows
stand out in the library (``vlar.query.normalization``); ``probability`` is that of its weakest
part,
against everyday actions as for a plain phrase. Windows that answer together are merged as for a
plain phrase (``vlar.query.temporal_merge``); a span of a THEN grows backwards by what its first
part is
worth and onwards by its last. No vector is kept: memory holds some numbers a window for each
phrase, and one batch of vectors.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vlar.index.manifest import Manifest
from vlar.index.protocol import LibraryModel
from vlar.index.store.database import Store
from vlar.index.store.rows import RowFilter
from vlar.query.boundary_refinement import refined
from vlar.query.compare import Compared, compare, encoded
from vlar.query.dedup import Answer, fold
from vlar.query.evaluate import WEAKEST, Evaluator, Spans
from vlar.query.grammar import Like, leaves, show
from vlar.query.grammar.tree import Leaf
from vlar.query.plan import Plan
from vlar.query.report import BEST_SHOWN, BestWindow, PhraseReport, QueryReport, Tell
from vlar.query.rerank import SecondLook, reordered
from vlar.query.rerank_spans import SecondLooks, look_again_at_spans
from vlar.query.temporal_merge import Match, merge, same_scale
from vlar.query.where import path_matches, row_filter
from vlar.types import Float64, Hit, HitPart

_LEAST = 1e-9  # what is worth less is no answer at all: outside of IN, or no such sequence


def compose(
    plan: Plan,
    store: Store,
    manifest: Manifest,
    model: LibraryModel,
    report: Tell | None = None,
) -> list[Hit]:
    """The best spans of a library, best first; ``report`` is told how they were found.

    Use inside ``store.snapshot()``.

    Raises:
        QueryError: the filter has an unknown key.
        DecodeError: the clip of a LIKE cannot be read.
    """
    begin = time.process_time()
    queries = encoded(leaves(plan.tree), model)
    known = time.process_time()
    compared = compare(store, manifest, model, queries, _rows(plan, store))
    seen = time.process_time()
    evaluator = Evaluator(compared.windows, compared.relative, compared.matching)
    spans = evaluator.spans(plan.tree)
    ranked = _ranked(spans, compared)
    looks = look_again_at_spans(plan, store, model, compared, evaluator, ranked)
    weakest = evaluator.at_parts(plan.tree, ranked, compared.probability, WEAKEST)
    for place, look in looks.spans.items():
        weakest[place] = look.probability
    answers = _Answers(compared, evaluator, ranked, weakest, looks)
    hits = _hits(plan, store, answers, manifest.dim)
    ended = time.process_time()
    cost = {"encode": known - begin, "compare": seen - known, "evaluate": ended - seen}
    if report is not None:
        report(_report(plan, answers, cost))
    return hits


def _rows(plan: Plan, store: Store) -> RowFilter:
    chosen = row_filter(store, plan.where)
    for pattern in plan.scopes:
        meant = frozenset(i for i, path in store.paths().items() if path_matches(path, pattern))
        chosen = replace(chosen, videos=meant if chosen.videos is None else chosen.videos & meant)
    return chosen


def _ranked(spans: Spans, compared: Compared) -> Spans:
    """Best first; equal ones by path and time, in every run."""
    some = np.flatnonzero(spans.value > _LEAST)
    spans = spans.take(some)
    by_path = {video: place for place, (video, _) in enumerate(
        sorted(compared.paths.items(), key=lambda item: item[1])
    )}  # fmt: skip
    places = np.array([by_path[video] for video in spans.video_ids.tolist()], np.int64)
    # Rounded for the order only, as for a plain phrase.
    return spans.take(np.lexsort((spans.start_s, places, -np.round(spans.value, 9))))


@dataclass(frozen=True)
class _Answers:
    """All answers, best first, and how to walk from the windows at their ends outwards."""

    compared: Compared
    evaluator: Evaluator
    spans: Spans
    probability: Float64
    looks: SecondLooks

    def rows(self, min_probability: float) -> Iterator[Match]:
        """Those that are probable enough, as rows to merge; ``row_id`` is the place here."""
        head = max(self.looks.spans, default=-1) + 1
        again = reordered([self._match(at) for at in range(head)], self.looks.spans)
        rest = (self._match(at) for at in range(head, len(self.spans)))
        enough = self.probability >= min_probability
        return (row for row in itertools.chain(again, rest) if enough[row.row_id])

    def neighbours(self, span: Match, later: bool) -> Iterator[Match]:
        """What each next window is worth beside a span: in proportion to the one at its end."""
        edge = self._edge(span, later)
        at = edge.row_id
        which = (self.spans.end_curve if later else self.spans.begin_curve)[span.row_id]
        curve = self.evaluator.curves[which]
        step = 1 if later else -1
        scale = span.probability / max(float(curve[at]), _LEAST)
        at += step
        while 0 <= at < len(curve) and self.compared.windows.video_ids[at] == span.video_id:
            row = self._window(at, span.video_id, float(curve[at]) * scale)
            if same_scale(row, edge):
                yield row
            at += step

    def refined(self, span: Match) -> Match:
        """With the times of its crossings."""
        return refined(
            span,
            self._edge(span, False),
            self._edge(span, True),
            self.neighbours(span, False),
            self.neighbours(span, True),
        )

    def parts(self, span: Match) -> tuple[HitPart, ...]:
        """What each phrase says of it."""
        spoken = ((leaf, int(at[span.row_id])) for leaf, at in self.spans.parts.items())
        return tuple(self._part(leaf, at) for leaf, at in spoken if at >= 0)

    def _part(self, leaf: Leaf, at: int) -> HitPart:
        compared = self.compared
        probability = float(compared.probability[leaf][at])
        look = SecondLook(float(compared.similarity[leaf][at]), probability)
        look = self.looks.windows.get((leaf, at), look)
        start_s, end_s = compared.windows.start_s[at], compared.windows.end_s[at]
        return HitPart(
            leaf_text(leaf), float(start_s), float(end_s), look.probability, look.similarity
        )

    def ends(self, span: Match) -> tuple[int, int]:
        """Ids of its first and its last row."""
        ids = self.compared.windows.ids
        return (
            int(ids[self.spans.first[span.row_id]]),
            int(ids[self.spans.last[span.row_id]]),
        )

    def _edge(self, span: Match, later: bool) -> Match:
        at = int((self.spans.last if later else self.spans.first)[span.row_id])
        return self._window(at, span.video_id, span.probability)

    def _window(self, at: int, video_id: int, value: float) -> Match:
        windows = self.compared.windows
        return Match(
            at, video_id, float(windows.start_s[at]), float(windows.end_s[at]), value, value
        )

    def _match(self, at: int) -> Match:
        spans, value = self.spans, float(self.spans.value[at])
        start_s, end_s = float(spans.start_s[at]), float(spans.end_s[at])
        return Match(at, int(spans.video_ids[at]), start_s, end_s, value, value)


def _hits(plan: Plan, store: Store, answers: _Answers, dim: int) -> list[Hit]:
    folded = _distinct(plan, store, answers, dim)
    tags = store.tags([answer.span.video_id for answer in folded])
    paths = answers.compared.paths
    hits: list[Hit] = []
    for place, answer in enumerate(folded):
        span = answers.refined(answer.span)
        parts = answers.parts(span)
        look = answers.looks.spans.get(span.row_id)
        hits.append(
            Hit(
                rank=place + 1,
                path=paths[span.video_id],
                start_s=span.start_s,
                end_s=span.end_s,
                score=span.similarity if look is None else look.similarity,
                probability=float(answers.probability[span.row_id]),
                similarity=float(np.mean([part.similarity for part in parts])),
                tags=tags.get(span.video_id, {}),
                parts=parts,
                also=tuple(paths[video_id] for video_id in answer.also),
            )
        )
    return hits


def _distinct(plan: Plan, store: Store, answers: _Answers, dim: int) -> list[Answer]:
    """The first ``plan.k`` answers, each with all its copies."""
    wanted = plan.k + 1
    while True:
        merged = merge(answers.rows(plan.min_probability), answers.neighbours, wanted)
        folded = fold(store, merged, dim, answers.ends)
        if len(folded) > plan.k or len(merged) < wanted:
            return folded[: plan.k]
        wanted *= 2


def leaf_text(leaf: Leaf) -> str:
    """A phrase as it is, a clip as it is written in a query."""
    return show(leaf) if isinstance(leaf, Like) else leaf.text


def _report(plan: Plan, answers: _Answers, cpu_s: Mapping[str, float]) -> QueryReport:
    compared, windows = answers.compared, answers.compared.windows
    phrases: list[PhraseReport] = []
    for leaf, probability in compared.probability.items():
        order = np.argsort(-probability, kind="stable")[:BEST_SHOWN].tolist()
        rows = tuple(
            BestWindow(
                compared.paths[int(windows.video_ids[at])],
                float(windows.start_s[at]),
                float(windows.end_s[at]),
                float(probability[at]),
            )
            for at in order
        )
        phrases.append(PhraseReport(leaf_text(leaf), rows, int((probability >= 0.5).sum())))
    return QueryReport(
        tree=plan.tree,
        searched="windows",
        where=plan.where,
        min_probability=plan.min_probability,
        videos=len(compared.paths),
        windows=len(windows.ids),
        phrases=tuple(phrases),
        looked_again=answers.looks.n_windows,
        best_probability=float(answers.probability.max()) if len(answers.spans) else None,
        cpu_s=cpu_s,
    )
