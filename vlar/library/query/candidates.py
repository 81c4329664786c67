"""Candidates of a search, which are fetched, re-ranked, merged and turned into hits.

A plain phrase fetches them from the engine (``vlar.library.query.search``); a query with
operators compares every window (``vlar.library.query.scan_candidates``). All that follows is the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from vlar.cancellation import check
from vlar.library.cache import RowFigures, SearchCache
from vlar.library.manifest import LibraryManifest
from vlar.library.query.plan import PhraseReport
from vlar.library.query.rerankers import Reranker
from vlar.library.rows import Float16, Int64, RowBatch, RowPerson
from vlar.library.store.base import LibraryStore
from vlar.model.library_model import LibraryModel
from vlar.types import Float32, Float64, HitPart, Window

SHARE_OF_BEST = 0.5  # of the best window's score: below it a window answers less than more
_SHARED_TIME = 0.5
_RARE = 0.05
_TOUCH_S = 1e-6


class ScoredSpan(NamedTuple):  # hundreds a query: made in a third of the time of a dataclass
    """A row, or a span of rows, with its score.

    Attributes:
        row_id: The row, or the candidate's number.
        video_id: Its video.
        start_s: Seconds.
        end_s: Seconds.
        score: 0 to 1; it ranks.
        similarity: Cosine of its best window; 0 where a query has several parts.
        reach: 0 to 1; decides how far a span grows. None for the score.
        track: Whom its best window shows: a person of the video, or 0 for the whole frame.
        alone: Probability that it shows the phrase, whatever else the library holds; None for the
            score.
        written: Content words of the phrase that stand in its names, tags or caption.
        exact: Whether these are all of them.
    """

    row_id: int
    video_id: int
    start_s: float
    end_s: float
    score: float
    similarity: float = 0.0
    track: int = 0
    reach: float | None = None
    alone: float | None = None
    written: tuple[str, ...] = ()
    exact: bool = False

    @property
    def stated(self) -> float:
        """The probability that is stated."""
        return self.score if self.alone is None else self.alone

    @property
    def growth(self) -> float:
        """The value that is compared with that of neighbours."""
        return self.score if self.reach is None else self.reach


# The rows of a span's video after it (later=True) or before it, nearest first, all as long as it
# and of its track.
Neighbours = Callable[[ScoredSpan, bool], Iterator[ScoredSpan]]


def merge(
    rows: Iterable[ScoredSpan],
    neighbours: Neighbours,
    k: int,
    judged: Iterable[ScoredSpan] = (),
) -> list[ScoredSpan]:
    """The first ``k`` spans of rows that come best first, without those that were judged."""
    spans: list[ScoredSpan] = []
    by_video: dict[int, list[ScoredSpan]] = {}
    for span in judged:
        by_video.setdefault(span.video_id, []).append(span)
    for row in rows:
        check()
        earlier = by_video.setdefault(row.video_id, [])
        if _covered(row, earlier):
            continue
        span = _grown(_grown(row, row, neighbours, earlier, True), row, neighbours, earlier, False)
        earlier.append(span)
        spans.append(span)
        if len(spans) == k:
            break
    return spans


def same_scale(row: ScoredSpan, other: ScoredSpan) -> bool:
    """Return whether two windows of a video are equally long, as all of one scale are."""
    length_s = other.end_s - other.start_s
    return abs(row.end_s - row.start_s - length_s) <= 0.01 * length_s


def refined(
    span: ScoredSpan,
    first: ScoredSpan,
    last: ScoredSpan,
    before: Iterable[ScoredSpan],
    after: Iterable[ScoredSpan],
) -> ScoredSpan:
    """A merged span with its ends at the crossings.

    Args:
        span: As merged.
        first: The window it was grown from backwards.
        last: The window it was grown from forwards; for a single best window both are the same.
        before: Windows before ``first``, nearest first.
        after: Windows after ``last``, nearest first.
    """
    start_s = _crossing(first, before)
    end_s = _crossing(last, after)
    start_s = span.start_s if start_s is None else min(max(start_s, span.start_s), span.end_s)
    end_s = span.end_s if end_s is None else max(min(end_s, span.end_s), span.start_s)
    # Crossings that pass each other are not usable: the event is shorter than a window.
    return span._replace(start_s=start_s, end_s=end_s) if start_s < end_s else span


def _grown(
    span: ScoredSpan,
    best: ScoredSpan,
    neighbours: Neighbours,
    earlier: list[ScoredSpan],
    later: bool,
) -> ScoredSpan:
    start_s, end_s, least = span.start_s, span.end_s, SHARE_OF_BEST * best.growth
    for row in neighbours(best, later):
        apart = row.start_s > end_s + _TOUCH_S or row.end_s < start_s - _TOUCH_S
        if apart or _covered(row, earlier) or row.growth < least:
            break
        start_s, end_s = min(start_s, row.start_s), max(end_s, row.end_s)
    return span._replace(start_s=start_s, end_s=end_s)


def _covered(row: ScoredSpan, spans: list[ScoredSpan]) -> bool:
    for span in spans:
        shared_s = min(row.end_s, span.end_s) - max(row.start_s, span.start_s)
        if shared_s >= 0 and shared_s >= _SHARED_TIME * (row.end_s - row.start_s):
            return True
    return False


def _crossing(inner: ScoredSpan, outwards: Iterable[ScoredSpan]) -> float | None:
    level = SHARE_OF_BEST * inner.score
    for row in outwards:
        apart_s = max(row.start_s - inner.end_s, inner.start_s - row.end_s)
        if apart_s > _TOUCH_S:
            return None
        if row.score < level:
            share = (inner.score - level) / (inner.score - row.score)
            return _middle_s(inner) + share * (_middle_s(row) - _middle_s(inner))
        inner = row
    return None


def _middle_s(row: ScoredSpan) -> float:
    return (row.start_s + row.end_s) / 2.0


@dataclass(frozen=True)
class Snapshot:
    """One state of a library, to be used inside ``store.snapshot()``.

    Attributes:
        store: The rows.
        manifest: Their common properties.
        model: The library's model.
        cache: The engine over the rows; None where a query compares every window.
        judged: Moments that were judged; they are not answers.
        figures: Kept figures of rows that no query changes, for queries without an engine.
    """

    store: LibraryStore
    manifest: LibraryManifest
    model: LibraryModel
    cache: SearchCache | None = None
    judged: tuple[ScoredSpan, ...] = ()
    figures: RowFigures | None = None

    @cached_property
    def recordings(self) -> int:
        """Number of recordings of the library."""
        return self.store.counts()[0]

    def expected(self, probability: Float64, row_ids: Sequence[int]) -> Float64:
        """Probabilities (N,) of rows; those of mapped rows are what encoded ones would have."""
        if self.manifest.mapping is None:
            return probability
        mapped = self.store.mapped(row_ids)
        is_mapped = np.array([row_id in mapped for row_id in row_ids], np.bool_)
        return np.where(is_mapped, self.manifest.mapping.scaled(probability), probability)

    def rated(
        self, vectors: Float32, query: Float32, row_ids: Sequence[int]
    ) -> tuple[Float64, Float64, Float64]:
        """(N,) three figures of how rows (N, D) answer a query (D,), each 0 to 1.

        The probability that a row shows it, which ignores all other rows; the score, which also
        weighs the size of the library; and the reach: an event is as long in any library, so how
        far spans reach goes by the window alone, at the prior of a rare event.
        """
        figures = self.everyday(vectors, row_ids)
        more = () if figures is None else (figures,)
        alone = np.asarray(self.model.match_probability(vectors, query, *more), np.float64)
        alone = self.expected(alone, row_ids)
        hits = self.among(alone)
        if hits is alone:
            return self.stated(alone), alone, alone
        rare = _RARE * alone
        return self.stated(alone), hits, rare / (rare + (1 - _RARE) * (1 - alone))

    def everyday(self, vectors: Float32, row_ids: Sequence[int] | Int64) -> Float64 | None:
        """Figures (N, 3) of rows that no query changes (``LibraryModel.everyday``)."""
        figures = self.figures if self.cache is None else self.cache.everyday
        if figures is None:
            return self.model.everyday(vectors)
        return figures.of(np.asarray(row_ids, np.int64), vectors, self.model.everyday)

    def among(self, probability: Float32 | Float64) -> Float64:
        """(N,) probabilities of hits of this library from those of windows alone."""
        return self.model.among(np.asarray(probability, np.float64), self.recordings)

    def stated(self, probability: Float32 | Float64) -> Float64:
        """(N,) stated probabilities of moments, independent of the library."""
        return self.model.moment(np.asarray(probability, np.float64))

    # What a re-ranker reads (``vlar.library.query.rerankers.RowReader``)

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


class SpanScore(NamedTuple):
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
        """Best ``n`` candidates or slightly more, best first, and whether no others need to be
        fetched.
        """
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

    def rows(self, row_ids: Sequence[int]) -> RowBatch:
        """Rows in rising order of their ids, with their vectors; damaged ones are left out."""
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

    def leading(self) -> Mapping[int, float]:
        """The stated probability of each recording among the first candidates, by its id."""
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
        best_probability: Probability of the best candidate, answer or not; None without candidates.
    """

    searched: str
    videos: int
    windows: int
    phrases: tuple[PhraseReport, ...]
    reranked: int
    best_probability: float | None
