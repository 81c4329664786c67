"""Candidates of one phrase, which the engine proposes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vlar.library.cache import SearchCache
from vlar.library.query.candidates import (
    CandidateReport,
    ScoredSpan,
    Snapshot,
    SpanScore,
    same_scale,
)
from vlar.library.query.feedback import TaughtModel
from vlar.library.query.filters import Condition, kept_row_filter
from vlar.library.query.plan import BEST_SHOWN, BestWindow, PhraseReport, QueryPlan
from vlar.library.query.rerankers import Reranker
from vlar.library.query.written import content_words, lifted_by, written_index
from vlar.library.rows import Int64, RowBatch, RowFilter, RowTable
from vlar.library.store.row_check import NO_RECORDING
from vlar.types import Float32, HitPart

_WRITTEN_ROWS = 256  # of the recordings whose texts match
# Rows whose similarity lies this near to the last one fetched may have been missed: the engine
# compares in single precision, and equal rows (copies of a file) come in any order.
_UNSETTLED = 1e-5
_NEAR, _FURTHER = 2, 12  # rows on each side that are read with a likely answer, and beyond these


@dataclass
class _Scored:
    """Rows that one phrase has read in one state of a library, kept for when it is asked again.

    Attributes:
        best: By number of rows, those that the engine proposed, best first, and whether these are
            all.
        rows: All rows that were scored, by id.
        adjacent: Ids of the rows before and after some of them.
        paths: Path by recording.
        damaged: Damage by row.
    """

    best: dict[int, tuple[list[ScoredSpan], bool]] = field(default_factory=dict[int, Any])
    rows: dict[int, ScoredSpan] = field(default_factory=dict[int, ScoredSpan])
    adjacent: dict[int, tuple[int | None, int | None]] = field(default_factory=dict[int, Any])
    paths: dict[int, str] = field(default_factory=dict[int, str])
    damaged: dict[int, str] = field(default_factory=dict[int, str])


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
        self._new: dict[int, SpanScore] = {}
        self._words = content_words(plan.phrase)
        request = plan.request
        only = request.only == "written"
        needs_scan = (
            request.only == "seen" or plan.judged or request.miss is not None or not self._words
        )
        self._written = None if needs_scan else written_index(snapshot, required=only)
        self._rows: list[ScoredSpan] = []
        self._likely: list[ScoredSpan] = []  # of which few rows next to them were read
        self._read: dict[int, tuple[RowBatch, int]] = {}  # by row id
        self._timelines = frozenset[int](), RowTable.empty()
        heads = snapshot.model.heads(query) if isinstance(snapshot.model, TaughtModel) else ()
        key = _key(snapshot.store.data_version(), query, plan.where, heads)
        self._known = cache.asked.keep(key, _Scored)

    def best(self, n: int) -> tuple[list[ScoredSpan], bool]:
        """Rows among the ``n`` most similar, by probability; and whether these are all.

        Rows after one that is less probable than the plan allows are not needed either.
        """
        if n not in self._known.best:
            self._known.best[n] = self._proposed(n)
        self._snapshot.store.damaged.update(self._known.damaged)
        rows, whole = self._known.best[n]
        # Rounded for the order only: equal rows of two files are in the order of their paths.
        rows = self._with_written(list(rows))
        rows.sort(key=lambda row: (*_order(row), self._paths[row.video_id], row.start_s, row.track))
        self._rows = rows
        return rows, whole or not rows or rows[-1].stated < self._plan.request.min_probability

    def _proposed(self, n: int) -> tuple[list[ScoredSpan], bool]:
        store = self._snapshot.store
        ids, _ = self._cache.engine.search(self._query, n, self._allowed)
        rows = self._scored(self._batch(ids), counts=False)
        rows = sorted(rows, key=lambda row: -row.similarity)[:n]
        whole = len(ids) < n
        if not whole:
            rows = [row for row in rows if row.similarity > rows[-1].similarity + _UNSETTLED]
        new_videos = {row.video_id for row in rows} - self._paths.keys()
        self._paths.update(store.paths(sorted(new_videos)))
        if orphans := [row for row in rows if row.video_id not in self._paths]:
            self._known.damaged.update({row.row_id: NO_RECORDING for row in orphans})
            rows = [row for row in rows if row.video_id in self._paths]
        return rows, whole

    def _batch(self, ids: Int64) -> RowBatch:
        """Rows that the engine proposed, in rising order of their ids.

        Those that were read and checked in this state of the library come from the engine, where
        it holds the same vectors; rows that are shown are read again (``rows``).
        """
        store, dim = self._snapshot.store, self._snapshot.manifest.dim
        ids = np.sort(ids)
        held = None if self._snapshot.manifest.persons else self._cache.engine.held_rows(ids)
        if held is None:
            return store.rows(ids.tolist(), dim)
        table, vectors = held
        sound = self._cache.sound.keep(store.data_version(), set[int])
        absent = np.array([row_id not in sound for row_id in ids.tolist()])
        if not absent.any():
            spans = zip(table.starts_s.tolist(), table.ends_s.tolist(), strict=True)
            return RowBatch(ids, table.video_ids, tuple(spans), vectors)
        read = store.rows(ids[absent].tolist(), dim)
        places, times_s = np.searchsorted(ids, read.ids), np.array(read.spans).reshape(-1, 2)
        same = (
            (vectors[places] == read.vectors).all(axis=1)
            & (table.video_ids[places] == read.video_ids)
            & (table.starts_s[places] == times_s[:, 0])
            & (table.ends_s[places] == times_s[:, 1])
        )
        sound.update(read.ids[same].tolist())
        if absent.all():
            return read
        both = RowBatch.joined([self._batch(ids[~absent]), read])
        return both.part(np.argsort(both.ids))

    @property
    def _paths(self) -> dict[int, str]:
        return self._known.paths

    def _with_written(self, rows: list[ScoredSpan]) -> list[ScoredSpan]:
        """Rows with the words that are written of them, and those of which all words are."""
        index, only = self._written, self._plan.request.only == "written"
        if index is None:
            return rows
        matching = index.having_any(self._words) if only else index.having_all(self._words)
        absent = sorted(self._written_ids(*matching) - {row.row_id for row in rows})
        if absent:
            more = self._scored(self._snapshot.store.rows(absent, self._snapshot.manifest.dim))
            new_videos = {row.video_id for row in more} - self._paths.keys()
            self._paths.update(self._snapshot.store.paths(sorted(new_videos)))
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
        alone = self._snapshot.expected(alone, list(rescored))
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
        new = self._new.get(span.row_id)
        return SpanScore(span.score, span.similarity, span.stated) if new is None else new

    def neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        """The rows of a span's track after or before it that pass the filter, of its own length."""
        allowed = self._allowed or RowFilter()
        for row in self._all_neighbours(span, later):
            if same_scale(row, span) and allowed.allows(row.row_id, row.start_s, row.end_s):
                yield row

    def _all_neighbours(self, span: ScoredSpan, later: bool) -> Iterator[ScoredSpan]:
        store, known, edge = self._snapshot.store, self._known, span
        if span.row_id not in known.adjacent:
            self._read_adjacent(span)
        while True:
            if edge.row_id not in known.adjacent and not self._read_further(edge):
                known.adjacent.update(store.adjacent([edge.row_id]))
            row_id = known.adjacent.get(edge.row_id, (0, 0))[later]
            if row_id is None:
                return
            if row_id not in known.rows:
                self._read_further(edge)
            if row_id not in known.rows:
                break
            row = known.rows[row_id]
            if ((row.start_s, row.end_s) > (edge.start_s, edge.end_s)) != later:
                return  # an index that is damaged
            yield row
            edge = row
        times, dim = (edge.start_s, edge.end_s), self._snapshot.manifest.dim
        rows_next = store.neighbours(span.video_id, *times, dim, later=later, track=span.track)
        # Most spans end at the first neighbour: the others are scored where they are asked for.
        halves = (slice(1), slice(1, None)) if edge is span else (slice(None),)
        for batch in rows_next:
            for half in halves:
                yield from self._scored(batch.part(half))

    def _read_adjacent(self, span: ScoredSpan) -> None:
        """Read the rows next to a row, and those next to the rows that are likely asked for next.

        Many rows are read and scored in half the time of as many single ones.
        """
        store, known = self._snapshot.store, self._known
        ids = [row.row_id for row in self._rows]
        first = ids.index(span.row_id) if span.row_id in ids else len(ids)
        best = {span.video_id: span}  # rows of one recording are mostly of one span
        for row in self._rows[first + 1 :]:
            if len(best) > self._plan.request.k or row.stated < self._plan.request.min_probability:
                break
            best.setdefault(row.video_id, row)
        likely = list(best.values())
        if self._read_near(likely, _NEAR):
            self._likely = likely
            return
        ids = [row.row_id for row in likely if row.row_id not in known.adjacent]
        adjacent = store.adjacent(ids)
        known.adjacent.update(adjacent)
        absent = {
            i for pair in adjacent.values() for i in pair if i is not None
        } - known.rows.keys()
        if absent:
            self._scored(store.rows(sorted(absent), self._snapshot.manifest.dim))

    def _read_further(self, edge: ScoredSpan) -> bool:
        """Read more rows next to a row, and to likely ones: where one span grows, the others do."""
        likely, self._likely = self._likely, []
        return self._read_near([edge, *likely], _FURTHER)

    def _read_near(self, spans: Sequence[ScoredSpan], reach: int) -> bool:
        """Read the rows next to some by the times that the engine has; False where it has none."""
        table = self._in_order({span.video_id for span in spans})
        if table is None:
            return False
        ids, owners, known = table.ids, table.video_ids, self._known
        is_next = owners[1:] == owners[:-1]
        before = np.concatenate([[0], np.where(is_next, ids[:-1], 0)])
        after = np.concatenate([np.where(is_next, ids[1:], 0), [0]])
        places = np.flatnonzero(np.isin(ids, [span.row_id for span in spans]))[:, None]
        near = (places + np.arange(-reach, reach + 1)).clip(0, len(ids) - 1)
        near = np.unique(near[owners[near] == owners[places]])
        sides = zip(before[near].tolist(), after[near].tolist(), strict=True)
        near_ids = ids[near].tolist()
        known.adjacent.update(
            (row_id, (first or None, last or None))
            for row_id, (first, last) in zip(near_ids, sides, strict=True)
        )
        if absent := set(near_ids) - known.rows.keys():
            self._scored(self._batch(np.array(sorted(absent), np.int64)), counts=False)
        return True

    def _in_order(self, videos: set[int]) -> RowTable | None:
        """The engine's rows of recordings, and perhaps of more, in the order of their times."""
        if self._snapshot.manifest.persons:
            return None
        if not videos <= self._timelines[0]:
            table = self._cache.engine.rows_of(frozenset(videos))
            if table is None:
                return None
            table = table.where(np.lexsort((table.ends_s, table.starts_s, table.video_ids)))
            columns = table.video_ids, table.starts_s, table.ends_s
            if np.logical_and.reduce([np.diff(column) == 0 for column in columns]).any():
                return None  # the order of the store decides
            self._timelines = frozenset(videos), table
        return self._timelines[1]

    def rows(self, row_ids: Sequence[int]) -> RowBatch:
        """Rows in rising order of their ids; those that this query read are not read again."""
        row_ids, dim = sorted(set(row_ids)), self._snapshot.manifest.dim
        if absent := [row_id for row_id in row_ids if row_id not in self._read]:
            batch = self._snapshot.store.rows(absent, dim)
            self._read.update({i: (batch, at) for at, i in enumerate(batch.ids.tolist())})
            row_ids = [row_id for row_id in row_ids if row_id in self._read]
        if not row_ids:
            return self._snapshot.store.rows(row_ids, dim)
        read = [self._read[row_id] for row_id in row_ids]
        return RowBatch(
            np.array(row_ids, np.int64),
            np.array([batch.video_ids[at] for batch, at in read], np.int64),
            tuple(batch.spans[at] for batch, at in read),
            np.stack([batch.vectors[at] for batch, at in read]),
            {i: b.people[i] for i, (b, _) in zip(row_ids, read, strict=True) if i in b.people},
        )

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
            stated = self.score(row).probability if self._new else row.stated
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

    def _scored(self, batch: RowBatch, *, counts: bool = True) -> list[ScoredSpan]:
        if not len(batch.ids):
            return []
        similarity = batch.vectors.astype(np.float64) @ self._query.astype(np.float64)
        rated = self._snapshot.rated(batch.vectors, self._query, batch.ids.tolist())
        columns = (column.tolist() for column in (batch.ids, batch.video_ids, similarity, *rated))
        scored_spans = [
            ScoredSpan(row, video, start_s, end_s, score, similar, reach=reach, alone=alone)
            for row, video, similar, alone, score, reach, (start_s, end_s) in zip(
                *columns, batch.spans, strict=True
            )
        ]
        if batch.people:
            people = (batch.people.get(row.row_id) for row in scored_spans)
            scored_spans = [
                row if person is None else row._replace(track=person.track)
                for row, person in zip(scored_spans, people, strict=True)
            ]
        if counts:
            self._read.update({row.row_id: (batch, at) for at, row in enumerate(scored_spans)})
        self._known.rows.update({row.row_id: row for row in scored_spans})
        self._known.damaged.update(self._snapshot.store.damaged)
        return scored_spans


def is_known(cache: SearchCache, version: int, query: Float32) -> bool:
    """Return whether a phrase was asked before in a state of the store, without filters."""
    return cache.asked.get(_key(version, query)) is not None


def _key(
    version: int, query: Float32, where: tuple[Condition, ...] = (), heads: tuple[Any, ...] = ()
) -> tuple[Hashable, ...]:
    return version, query.tobytes(), where, heads


def _order(row: ScoredSpan) -> tuple[bool, float, float]:
    return not row.exact, -round(row.score, 6), -round(row.similarity, 9)
