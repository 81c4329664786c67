"""The value of a query on every window of a library: probabilities combined by its operators.

For windows ``i`` with a value from 0 to 1 of each phrase (docs/ranking.md has the full rule):

- ``A AND B``: the product ``a(i) b(i)``; ``A OR B``: ``1 - (1 - a(i)) (1 - b(i))``; ``NOT A``:
  ``1 - a(i)``. A weight ``w`` counts a part ``w`` times: ``a(i)^w``, and in an OR
  ``1 - (1 - a(i))^w``. A product ``[..]`` is the best of its combinations. ``A IN "x"`` is
  ``a(i)`` in the videos whose path matches, else 0.
- ``A THEN B WITHIN t``: pairs of windows of one video, where B begins at most ``t`` seconds after A
  ends, and not before that (except by half a window, which windows on a grid cannot avoid). A
  pair has the value ``a(i) b(j)``; for each ``j`` only the best ``i`` is an answer. It spans both.
- ``A DURING B``: the spans of A, times the value of B on each; they grow where both hold.
- On such a span the value of a phrase is that of its best window whose middle lies in the span;
  the operators then work as above, so ``(A THEN B) AND NOT C`` forbids windows of C in between.

Next to that product, ``at_parts`` gives the probability of the weakest part (minimum for AND and
THEN, maximum for OR), which a threshold can be compared with however many parts a query has.

All windows are evaluated, so none is missed for being second in every phrase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlar.library.query.grammar import (
    And,
    During,
    In,
    Leaf,
    Like,
    Node,
    Not,
    Or,
    Phrase,
    Product,
    Says,
    Then,
    Weighted,
    has_sequence,
    leaves,
    parts_of,
)
from vlar.library.rows import Int64
from vlar.types import Float64

_TOUCH_S = 1e-6


class RangeMax:
    """Answers range maxima by a sparse table (Bender and Farach-Colton 2000): N log N once.

    Args:
        video_ids: (N,) of each value.
        time_s: (N,) of each value.
        value: (N,).
    """

    def __init__(self, video_ids: Int64, time_s: Float64, value: Float64) -> None:
        self._order = np.lexsort((time_s, video_ids))
        self._videos, column_of = np.unique(video_ids[self._order], return_inverse=True)
        self._ends = np.searchsorted(column_of, np.arange(len(self._videos)), side="right")
        # One axis for all videos: each begins after the end of the previous one.
        longest = np.zeros(len(self._videos))
        np.maximum.at(longest, column_of, time_s[self._order])
        self._begin_s = np.concatenate([[0.0], np.cumsum(longest + 1.0)])[:-1]
        self._axis = time_s[self._order] + self._begin_s[column_of]
        self._value = value[self._order]
        self._levels = [np.arange(len(value))]

    def find(self, video_ids: Int64, low_s: Float64, high_s: Float64) -> Int64:
        """Index (M,) of the best value from ``low_s`` to ``high_s`` (both included) of each video.

        -1 where there is none; of equal values the earliest.
        """
        if not len(self._videos) or not len(video_ids):
            return np.full(len(video_ids), -1)
        columns = np.searchsorted(self._videos, video_ids).clip(max=len(self._videos) - 1)
        is_held = self._videos[columns] == video_ids
        begin = np.concatenate([[0], self._ends[:-1]])[columns]
        axis = self._begin_s[columns]
        low = np.searchsorted(self._axis, axis + low_s - _TOUCH_S, side="left")
        high = np.searchsorted(self._axis, axis + high_s + _TOUCH_S, side="right")
        low, high = np.maximum(low, begin), np.minimum(high, self._ends[columns])
        size = np.where(is_held, high - low, 0)
        rows_of_videos = np.full(len(video_ids), -1)
        some = np.flatnonzero(size > 0)
        best = self._best(low[some], size[some])
        rows_of_videos[some] = self._order[best]
        return rows_of_videos

    def _best(self, low: Int64, size: Int64) -> Int64:
        # A range is covered by two blocks of the largest power of two that fits.
        level = np.frexp(size)[1] - 1
        best = low.copy()
        for step in range(int(level.max(initial=0)) + 1):
            table, chosen = self._level(step), level == step
            left = table[low[chosen]]
            right = table[low[chosen] + size[chosen] - (1 << step)]
            best[chosen] = np.where(self._value[right] > self._value[left], right, left)
        return best

    def _level(self, step: int) -> Int64:
        while len(self._levels) <= step:
            below, half = self._levels[-1], 1 << (len(self._levels) - 1)
            left, right = below[:-half], below[half:]
            self._levels.append(np.where(self._value[right] > self._value[left], right, left))
        return self._levels[step]


DEFAULT_WITHIN_S = 30.0
_OVERLAP = 0.5  # of a window: how far B may begin before A ends


@dataclass(frozen=True)
class ScoredWindows:
    """N windows in any order; all arrays are (N,).

    ``base_s`` is the library's window length, ``tracks`` whom each shows: 0 for the whole frame,
    else the number of a person in the recording; None where all are whole frames.
    """

    ids: Int64
    video_ids: Int64
    start_s: Float64
    end_s: Float64
    base_s: float
    tracks: Int64 | None = None

    def track(self, at: int) -> int:
        """Person that one of them shows."""
        return 0 if self.tracks is None else int(self.tracks[at])

    @property
    def middle_s(self) -> Float64:
        """(N,) seconds."""
        return (self.start_s + self.end_s) / 2.0


@dataclass(frozen=True)
class SpanScores:
    """M answers, not yet merged; all arrays are (M,).

    Attributes:
        video_ids: Recording of each.
        start_s: Seconds.
        end_s: Seconds.
        value: Probability.
        first: The window it begins with.
        last: The window it ends with.
        begin_curve: Index of the evaluator's curve that decides how far it reaches back.
        end_curve: Index of the curve that decides how far it reaches forward.
        parts: By leaf, its best window (-1: none).
    """

    video_ids: Int64
    start_s: Float64
    end_s: Float64
    value: Float64
    first: Int64
    last: Int64
    begin_curve: Int64
    end_curve: Int64
    parts: Mapping[Leaf, Int64]

    def __len__(self) -> int:
        """M, the number of spans."""
        return len(self.value)

    def take(self, rows: Int64) -> SpanScores:
        """The answers at some places, in the order given."""
        return SpanScores(
            **{name: getattr(self, name)[rows] for name in _ARRAYS},
            parts={leaf: windows[rows] for leaf, windows in self.parts.items()},
        )


_ARRAYS = ("video_ids", "start_s", "end_s", "value", "first", "last", "begin_curve", "end_curve")


class Evaluator:
    """Evaluates trees over one set of windows.

    Args:
        windows: N windows.
        probability: (N,) of each leaf of the trees.
        matching: (N,) 1 for windows of the videos that match a pattern of ``IN``, else 0.
    """

    def __init__(
        self,
        windows: ScoredWindows,
        probability: Mapping[Leaf, Float64],
        matching: Callable[[str], Float64],
    ) -> None:
        self.windows = windows
        self.curves: list[Float64] = []
        self._probability = probability
        self._matching = matching
        self._best: dict[Leaf, RangeMax] = {}

    def spans(self, node: Node) -> SpanScores:
        """All answers to a tree, in arbitrary order."""
        if not has_sequence(node):
            return self._windows_as_spans(node)
        match node:
            case Then():
                return self._pairs(node)
            case During():
                return self._meanwhile(node)
            case And(parts):
                (sequence,) = (part for part in parts if has_sequence(part))
                spans = self.spans(sequence)
                values = [
                    spans.value if part is sequence else self._value_on_spans(part, spans)
                    for part in parts
                ]
                others = dict.fromkeys(
                    leaf for part in parts if part is not sequence for leaf in leaves(part)
                )
                best = {leaf: self._best_window(leaf, spans) for leaf in others}
                return replace(
                    spans, value=_every(values, _weights(parts)), parts={**spans.parts, **best}
                )
            case Or(parts):
                return _joined([self.spans(part) for part in parts])
            case In(part, pattern):
                spans = self.spans(part)
                return replace(spans, value=spans.value * self._matching(pattern)[spans.first])
            case _:
                return self.spans(parts_of(node)[0])

    def curve(self, node: Node) -> Float64:
        """(N,) value of a tree without THEN on each window."""
        return _Terms(lambda leaf: self._probability[leaf], self._matching, PRODUCT).value(node)

    def at_parts(
        self, node: Node, spans: SpanScores, probability: Mapping[Leaf, Float64], rule: Combination
    ) -> Float64:
        """(M,) value of spans by other values of the leaves, at the windows of their parts."""

        def of_leaf(leaf: Leaf) -> Float64:
            # NaN where a leaf has no window: then the other side of an OR answers.
            windows = spans.parts[leaf]
            return np.where(windows < 0, np.nan, probability[leaf][windows])

        terms = _Terms(of_leaf, lambda pattern: self._matching(pattern)[spans.first], rule)
        return terms.value(node)

    def _value_on_spans(self, node: Node, spans: SpanScores) -> Float64:
        """(M,) value of a tree without THEN on each span."""

        def of_leaf(leaf: Leaf) -> Float64:
            windows = self._best_window(leaf, spans)
            return np.where(windows < 0, 0.0, self._probability[leaf][windows])

        terms = _Terms(of_leaf, lambda pattern: self._matching(pattern)[spans.first], PRODUCT)
        return terms.value(node)

    def _windows_as_spans(self, node: Node) -> SpanScores:
        windows, every = self.windows, np.arange(len(self.windows.ids))
        value = self.curve(node)
        self.curves.append(value)
        which = np.full(len(every), len(self.curves) - 1)
        return SpanScores(
            windows.video_ids,
            windows.start_s,
            windows.end_s,
            value,
            every,
            every,
            which,
            which,
            dict.fromkeys(leaves(node), every),
        )

    def _pairs(self, node: Then) -> SpanScores:
        first_spans, right = self.spans(node.first), self.spans(node.second)
        within_s = DEFAULT_WITHIN_S if node.within_s is None else node.within_s
        ends = RangeMax(first_spans.video_ids, first_spans.end_s, first_spans.value)
        latest_s = right.start_s + _OVERLAP * self.windows.base_s
        partner = ends.find(right.video_ids, right.start_s - within_s, latest_s)
        rows = np.flatnonzero(partner >= 0)
        # A short window inside a long one is not before it.
        rows = rows[first_spans.start_s[partner[rows]] < right.start_s[rows]]
        first_spans, right = first_spans.take(partner[rows]), right.take(rows)
        return SpanScores(
            right.video_ids,
            first_spans.start_s,
            np.maximum(first_spans.end_s, right.end_s),
            _every([first_spans.value, right.value], _weights((node.first, node.second))),
            first_spans.first,
            right.last,
            first_spans.begin_curve,
            right.end_curve,
            {**right.parts, **first_spans.parts},
        )

    def _meanwhile(self, node: During) -> SpanScores:
        spans = self.spans(node.part)
        values = [spans.value, self._value_on_spans(node.other, spans)]
        value = _every(values, _weights((node.part, node.other)))
        best = {leaf: self._best_window(leaf, spans) for leaf in leaves(node.other)}
        meanwhile = replace(spans, value=value, parts={**best, **spans.parts})
        if has_sequence(node.part):
            return meanwhile
        self.curves.append(value)  # a span is a window here
        which = np.full(len(value), len(self.curves) - 1)
        return replace(meanwhile, begin_curve=which, end_curve=which)

    def _best_window(self, leaf: Leaf, spans: SpanScores) -> Int64:
        if leaf not in self._best:
            windows = self.windows
            self._best[leaf] = RangeMax(
                windows.video_ids, windows.middle_s, self._probability[leaf]
            )
        return self._best[leaf].find(spans.video_ids, spans.start_s, spans.end_s)


@dataclass(frozen=True)
class Combination:
    """Rules by which an AND and an OR combine values, each (N,), with weights."""

    every: Callable[[Sequence[Float64], Sequence[float]], Float64]
    any: Callable[[Sequence[Float64], Sequence[float]], Float64]


@dataclass(frozen=True)
class _Terms:
    """A tree on N windows or spans, with known values of its leaves."""

    of_leaf: Callable[[Leaf], Float64]
    matching: Callable[[str], Float64]
    rule: Combination

    def value(self, node: Node) -> Float64:
        """(N,) of a tree."""
        match node:
            case Phrase() | Like() | Says():
                return self.of_leaf(node)
            case Product():
                return np.max([self.of_leaf(phrase) for phrase in node.phrases], axis=0)
            case Not(Weighted(part, weight)):
                return (1.0 - self.value(part)) ** weight
            case Not(part):
                return 1.0 - self.value(part)
            case And(parts):
                values = [self.value(part) for part in parts]
                return self.rule.every(values, _weights(parts))
            case Or(parts):
                values = [np.nan_to_num(self.value(part), nan=0.0) for part in parts]
                return self.rule.any(values, _weights(parts))
            case In(part, pattern):
                return self.value(part) * self.matching(pattern)
            case Weighted(part):
                return self.value(part)
            case Then(first, second) | During(first, second):
                values = [self.value(part) for part in (first, second)]
                return self.rule.every(values, _weights((first, second)))


def _weights(parts: Sequence[Node]) -> list[float]:
    return [part.weight if isinstance(part, Weighted) else 1.0 for part in parts]


def _every(values: Sequence[Float64], weights: Sequence[float]) -> Float64:
    return np.prod([v if w == 1.0 else v**w for v, w in zip(values, weights, strict=True)], axis=0)


def _any(values: Sequence[Float64], weights: Sequence[float]) -> Float64:
    return 1.0 - _every([1.0 - value for value in values], weights)


def _joined(several: Sequence[SpanScores]) -> SpanScores:
    every_leaf = dict.fromkeys(leaf for spans in several for leaf in spans.parts)
    parts = {
        leaf: np.concatenate([s.parts.get(leaf, np.full(len(s), -1)) for s in several])
        for leaf in every_leaf
    }
    arrays = {name: np.concatenate([getattr(s, name) for s in several]) for name in _ARRAYS}
    return SpanScores(**arrays, parts=parts)


PRODUCT = Combination(_every, _any)
WEAKEST = Combination(
    lambda values, _: np.min(values, axis=0), lambda values, _: np.max(values, axis=0)
)
