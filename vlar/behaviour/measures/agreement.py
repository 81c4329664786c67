"""Agreement of people, or of people and a model, on labelled spans of recordings.

Sources: Cohen, "A coefficient of agreement for nominal scales", 1960; Fleiss, "Measuring nominal
scale agreement among many raters", 1971; Bland and Altman, "Statistical methods for assessing
agreement between two methods of clinical measurement", 1986.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import Record, finite
from vlar.metrics.intervals import DRAWS, Interval, bootstrap
from vlar.metrics.spans import overlap
from vlar.segments import Segment
from vlar.types import Float64

STEP_S = 1 / 25
"""Seconds of a step of the grid on which labels are compared."""
TOLERANCE_S = 1.0
_MOST_STEPS = 50_000_000
_MOST_PAIRS = 10_000_000
Codes = npt.NDArray[np.int64]


def kappa(a: Sequence[str], b: Sequence[str]) -> float:
    """Cohen's kappa of two sequences of labels.

    Args:
        a: Labels of one rater, a label a step.
        b: Labels of the other one, of equal length.

    Returns:
        -1 to 1; 1 where both are constant and equal.

    Raises:
        MetricError: other lengths, or no labels.
    """
    if len(a) != len(b) or not len(a):
        raise MetricError(f"kappa needs two sequences of equal length, not {len(a)} and {len(b)}")
    names, codes = np.unique([*a, *b], return_inverse=True)
    return kappa_of(_crossed(codes[: len(a)], codes[len(a) :], len(names)))


def kappa_of(counts: npt.ArrayLike) -> float:
    """Cohen's kappa of a table of counts.

    Args:
        counts: (C, C) steps by the label of one rater and of the other.
    """
    table = np.asarray(counts, np.float64)
    share = table / max(table.sum(), 1e-12)
    agreed, chance = np.trace(share), share.sum(1) @ share.sum(0)
    return 1.0 if chance >= 1 - 1e-12 else float((agreed - chance) / (1 - chance))


def fleiss(counts: npt.ArrayLike) -> float:
    """Fleiss' kappa of several raters.

    Args:
        counts: (N, C) raters that gave each step each label; every row has the same sum, 2 or more.

    Returns:
        -1 to 1; 1 where all give one label to all steps.

    Raises:
        MetricError: rows of other sums, or fewer than two raters.
    """
    table = finite(counts, "counts of raters", 2)
    raters = table.sum(1)
    if raters[0] < 2 or (raters != raters[0]).any():
        raise MetricError("every step needs the labels of the same number of raters, 2 or more")
    n = raters[0]
    agreed = ((table**2).sum(1) - n).mean() / (n * (n - 1))
    chance = ((table.sum(0) / table.sum()) ** 2).sum()
    return 1.0 if chance >= 1 - 1e-12 else float((agreed - chance) / (1 - chance))


def bout_f1(a: list[Segment], b: list[Segment], *, iou: float = 0.5) -> dict[str, float]:
    """F1 of bouts by label: each is matched once, those of greatest overlap first.

    Args:
        a: Bouts of one rater.
        b: Bouts of the other one. Subjects count where both name them.
        iou: Least intersection over union of a match, above 0 up to 1.

    Returns:
        0 to 1 for each label of either.
    """
    counts, pairs = _counts(a, b), matches(a, b, iou=iou)
    hits = Counter(a[i].label for i, _, _ in pairs)
    return {label: 2 * hits[label] / n for label, n in counts.items()}


def event_f1(
    a: list[Segment], b: list[Segment], *, tolerance_s: float = TOLERANCE_S
) -> dict[str, float]:
    """F1 of starts by label: each is matched once within a tolerance, the nearest first.

    Args:
        a: Segments of one rater; of states the start counts.
        b: Segments of the other one.
        tolerance_s: Greatest distance of a match in seconds.

    Returns:
        0 to 1 for each label of either.
    """
    rows: list[tuple[float, int, int]] = []
    for first, second in _together(a, b):
        order = sorted(second, key=lambda j: b[j].start_s)
        starts = [b[j].start_s for j in order]
        for i in first:
            start_s = a[i].start_s
            low = bisect_left(starts, start_s - tolerance_s - 1e-9)
            high = bisect_right(starts, start_s + tolerance_s + 1e-9)
            rows += [(abs(start_s - b[j].start_s), i, j) for j in order[low:high]]
    hits = Counter(a[i].label for _, i, _ in _greedy(sorted(rows)))
    return {label: 2 * hits[label] / n for label, n in _counts(a, b).items()}


def matches(
    a: list[Segment], b: list[Segment], *, iou: float = 0.5
) -> list[tuple[int, int, float]]:
    """Matched bouts of one recording, subject and label: index in ``a`` and in ``b``, and IoU."""
    if not 0 < iou <= 1:
        raise MetricError(f"the overlap of a match is {iou:g}; give a number above 0 up to 1")
    rows: list[tuple[float, int, int]] = []
    for first, second in _together(a, b):
        spans = [
            np.array([(r[i].start_s, r[i].end_s) for i in n]) for r, n in ((a, first), (b, second))
        ]
        if len(first) * len(second) > _MOST_PAIRS:
            raise MetricError(
                f"{a[first[0]].label!r} has {len(first):,} bouts; split the recording"
            )
        values = overlap(*spans)
        values[(spans[0][:, None] == spans[1][None]).all(2)] = 1.0  # also of point events
        for x, y in np.argwhere(values >= iou - 1e-12).tolist():
            rows.append((-float(values[x, y]), first[x], second[y]))
    return [(i, j, -value) for value, i, j in _greedy(sorted(rows))]


def _greedy(rows: Iterable[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Rows in order of which no later one has the first or second index of an earlier one."""
    first, second, result = set[int](), set[int](), list[tuple[float, int, int]]()
    for row in rows:
        if row[1] not in first and row[2] not in second:
            first.add(row[1])
            second.add(row[2])
            result.append(row)
    return result


def _counts(a: list[Segment], b: list[Segment]) -> dict[str, int]:
    return dict(sorted(Counter(row.label for row in (*a, *b)).items()))


def _together(a: list[Segment], b: list[Segment]) -> list[tuple[list[int], list[int]]]:
    """Indices of the segments of one recording, label and subject on both sides."""
    named = any(row.subject for row in a) and any(row.subject for row in b)
    sides: list[dict[Hashable, list[int]]] = []
    for rows in (a, b):
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            groups[row.recording, row.label, row.subject if named else ""].append(index)
        sides.append(groups)
    return [(first, sides[1][key]) for key, first in sides[0].items() if key in sides[1]]


def _crossed(a: Codes, b: Codes, n: int) -> Codes:
    return np.bincount(a * n + b, minlength=n * n).reshape(n, n)


def on_grid(segments: Iterable[Segment], n_steps: int, step_s: float) -> npt.NDArray[np.bool_]:
    """Steps that segments cover: those whose time is from a start to before its end.

    Args:
        segments: The spans; a point event covers the step that it lies in.
        n_steps: Steps from 0.
        step_s: Seconds of a step.
    """
    covered = np.zeros(n_steps, np.bool_)
    for row in segments:
        first = int(np.ceil(row.start_s / step_s - 1e-6))
        last = int(np.ceil(row.end_s / step_s - 1e-6))
        if row.is_point:
            first = int(row.start_s / step_s + 1e-6)
            last = first + 1
        covered[max(first, 0) : max(last, 0)] = True
    return covered


@dataclass(frozen=True)
class LabelAgreement(Record):
    """Agreement on one label, as the mean over pairs of raters.

    Attributes:
        kappa: Cohen's kappa of steps with the label against those without.
        interval: Interval of it, by recordings; None for fewer than three of them.
        fleiss: Fleiss' kappa of all raters; None for two of them or where one lacks a recording.
        frame_f1: F1 of steps.
        bout_f1: F1 of bouts at the overlap of the agreement.
        event_f1: F1 of starts within the tolerance.
        bouts: Bouts of each rater.
        total_s: Seconds of each rater.
        budget: Bland-Altman of the shares of time by recording, second rater minus first.
    """

    kappa: float
    interval: Interval | None
    fleiss: float | None
    frame_f1: float
    bout_f1: float
    event_f1: float
    bouts: list[int]
    total_s: list[float]
    budget: dict[str, float | None]


@dataclass(frozen=True)
class Difference(Record):
    """A bout that another rater does not have.

    Attributes:
        recording: Its recording.
        start_s: Seconds.
        end_s: Seconds.
        label: Its label.
        rater: The rater who has it.
        other: The rater who lacks it.
        overlap: Best IoU with a bout of the other one with this label, below that of a match.
        seconds: Seconds of it that the other one has not labelled so.
    """

    recording: str
    start_s: float
    end_s: float
    label: str
    rater: str
    other: str
    overlap: float
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of two or more raters.

    Attributes:
        raters: Their names.
        recordings: Recordings that two of them have at least.
        step_s: Seconds of a step.
        kappa: Cohen's kappa of the labels of all steps, as the mean over pairs; labels at one time
            are one label together.
        interval: Interval of it, by recordings; None for fewer than three of them.
        fleiss: Fleiss' kappa of all raters; None for two.
        labels: By label.
        confusion: Seconds by the labels of the first two raters; ``""`` stands for none.
        differences: Bouts that another rater lacks, those of most seconds first.
    """

    raters: tuple[str, ...]
    recordings: tuple[str, ...]
    step_s: float
    kappa: float
    interval: Interval | None
    fleiss: float | None
    labels: Mapping[str, LabelAgreement]
    confusion: Mapping[str, Mapping[str, float]]
    differences: Sequence[Difference] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        return {
            "raters": list(self.raters),
            "recordings": list(self.recordings),
            "step_s": self.step_s,
            "kappa": self.kappa,
            "interval": self.interval and self.interval.to_dict(),
            "fleiss": self.fleiss,
            "labels": {label: row.to_dict() for label, row in self.labels.items()},
            "confusion": {label: dict(row) for label, row in self.confusion.items()},
            "differences": [row.to_dict() for row in self.differences],
        }


class _Grid:
    """Labels of raters on a grid of steps.

    Attributes:
        steps: By recording and rater, a row of bits a label (labels, steps).
        pairs: Recordings by pair of raters.
    """

    def __init__(
        self,
        tables: Mapping[str, Sequence[Segment]],
        labels: Sequence[str],
        durations: Mapping[str, float],
        step_s: float,
    ) -> None:
        rows: dict[tuple[str, str], list[Segment]] = defaultdict(list)
        for rater, segments in tables.items():
            for segment in segments:
                rows[segment.recording, rater].append(segment)
        raters: dict[str, list[str]] = defaultdict(list)
        for recording, rater in rows:
            raters[recording].append(rater)
        self.pairs: dict[tuple[str, str], list[str]] = {}
        for recording, names in sorted(raters.items()):
            for pair in combinations(sorted(names, key=list(tables).index), 2):
                self.pairs.setdefault(pair, []).append(recording)
        self.recordings = sorted({r for recordings in self.pairs.values() for r in recordings})
        self.steps: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}
        for recording in self.recordings:
            rated = [segment for rater in raters[recording] for segment in rows[recording, rater]]
            length = max([durations.get(recording, 0.0), *(segment.end_s for segment in rated)])
            n_steps = max(int(np.ceil(length / step_s - 1e-9)), 1)
            if n_steps * len(labels) > _MOST_STEPS:
                raise MetricError(f"{recording!r} has {n_steps:,} steps; give a longer step")
            for rater in raters[recording]:
                by_label = [[s for s in rows[recording, rater] if s.label == x] for x in labels]
                grid = [on_grid(segments, n_steps, step_s) for segments in by_label]
                self.steps[recording, rater] = np.array(grid).reshape(len(labels), n_steps)
        self.codes = self._combined()

    def _combined(self) -> dict[tuple[str, str], Codes]:
        """Number of the set of labels of each step, the same one for all; 0 is the empty set."""
        packed = {key: np.packbits(steps, axis=0).T for key, steps in self.steps.items()}
        if not packed:
            return {}
        width = next(iter(packed.values())).shape[1]
        stacked = np.concatenate([np.zeros((1, width), np.uint8), *packed.values()])
        self.sets, codes = np.unique(stacked, axis=0, return_inverse=True)
        parts = np.split(codes.ravel()[1:], np.cumsum([len(rows) for rows in packed.values()])[:-1])
        return {key: part.astype(np.int64) for key, part in zip(packed, parts, strict=True)}

    def tables(self, label: int | None) -> dict[tuple[str, str], Float64]:
        """Counts (R, C, C) of each pair by recording: of one label, or of sets of labels."""
        n = len(self.sets) if label is None else 2
        values = (
            self.codes
            if label is None
            else {k: s[label].astype(np.int64) for k, s in self.steps.items()}
        )
        return {
            pair: np.array(
                [_crossed(values[r, pair[0]], values[r, pair[1]], n) for r in recordings],
                np.float64,
            )
            for pair, recordings in self.pairs.items()
        }

    def fleiss(self, label: int | None, raters: Sequence[str]) -> float | None:
        """Fleiss' kappa of all raters, where each has all recordings."""
        complete = all((r, rater) in self.steps for r in self.recordings for rater in raters)
        if len(raters) < 3 or not complete:
            return None
        n = len(self.sets) if label is None else 2
        parts: list[npt.NDArray[np.int64]] = []
        for recording in self.recordings:
            rows = [
                self.codes[recording, r] if label is None else self.steps[recording, r][label]
                for r in raters
            ]
            parts.append(
                np.stack([sum((row == c).astype(np.int64) for row in rows) for c in range(n)], 1)
            )
        return fleiss(np.concatenate(parts))


def agreement(
    tables: Mapping[str, Sequence[Segment]],
    *,
    durations: Mapping[str, float] | None = None,
    step_s: float = STEP_S,
    iou: float = 0.5,
    tolerance_s: float = TOLERANCE_S,
    draws: int = DRAWS,
    ignore: Sequence[str] = (),
) -> Agreement:
    """Agreement of raters on the recordings that two of them have.

    Args:
        tables: Segments by the name of a rater, two at least.
        durations: Seconds by recording; without it a recording ends with its last segment.
        step_s: Seconds of a step.
        iou: Least overlap of bouts that match.
        tolerance_s: Greatest distance of starts that match, in seconds.
        draws: Draws of recordings for the intervals.
        ignore: Labels that do not count; their time has the labels that remain, or none.

    Raises:
        MetricError: fewer than two raters, no recording in common, or a step that is not above 0.
    """
    if not step_s > 0:
        raise MetricError(f"the step is {step_s:g} s; give seconds above 0")
    tables = {
        name: [row for row in rows if row.label not in ignore] for name, rows in tables.items()
    }
    labels = sorted({row.label for rows in tables.values() for row in rows})
    grid = _Grid(tables, labels, durations or {}, step_s)
    if not grid.pairs:
        names = ", ".join(f"{name!r}" for name in tables) or "none"
        raise MetricError(f"the raters ({names}) have no recording in common; give the same ones")
    shared = set(grid.recordings)
    rows = {
        name: [s for s in segments if s.recording in shared] for name, segments in tables.items()
    }
    sides = {
        pair: tuple([s for s in rows[name] if s.recording in recordings] for name in pair)
        for pair, recordings in grid.pairs.items()
    }
    scores = [
        (bout_f1(a, b, iou=iou), event_f1(a, b, tolerance_s=tolerance_s)) for a, b in sides.values()
    ]
    figures: dict[str, LabelAgreement] = {}
    for index, label in enumerate(labels):
        counts = grid.tables(index)
        mean, interval = _kappa(counts, grid, draws)
        by_label = {
            name: [s for s in segments if s.label == label] for name, segments in rows.items()
        }
        spans, starts = (_mean(s[i][label] for s in scores if label in s[i]) for i in (0, 1))
        figures[label] = LabelAgreement(
            mean,
            interval,
            grid.fleiss(index, list(tables)),
            _mean(map(_frame_f1, counts.values())),
            spans,
            starts,
            [len(segments) for segments in by_label.values()],
            [round(sum(s.duration_s for s in segments), 6) for segments in by_label.values()],
            _budget(counts),
        )
    mean, interval = _kappa(grid.tables(None), grid, draws)
    joint = grid.fleiss(None, list(tables))
    return Agreement(
        tuple(tables),
        tuple(grid.recordings),
        step_s,
        mean,
        interval,
        joint,
        figures,
        _confusion(grid, labels, step_s),
        _differences(sides, iou),
    )


def _mean(values: Iterable[float]) -> float:
    rows = list(values)
    return float(np.mean(rows)) if rows else 0.0


def _frame_f1(counts: Float64) -> float:
    table = counts.sum(0)
    steps = 2 * table[1, 1] + table[0, 1] + table[1, 0]
    return float(2 * table[1, 1] / steps) if steps else 1.0


def _kappa(
    counts: Mapping[tuple[str, str], Float64], grid: _Grid, draws: int
) -> tuple[float, Interval | None]:
    """Mean over pairs of kappa, and its interval from draws of recordings."""

    def figure(chosen: npt.NDArray[np.int64]) -> float:
        weights = np.bincount(chosen, minlength=len(grid.recordings))
        values: list[float] = []
        for pair, tables in counts.items():
            pair_weights = weights[[grid.recordings.index(r) for r in grid.pairs[pair]]]
            if pair_weights.any():
                values.append(kappa_of(np.tensordot(pair_weights, tables, 1)))
        return _mean(values)

    everything = np.arange(len(grid.recordings))
    few = len(grid.recordings) < 3
    interval = None if few else bootstrap(figure, grid.recordings, draws=draws)
    return figure(everything), interval


def _budget(counts: Mapping[tuple[str, str], Float64]) -> dict[str, float | None]:
    """Mean difference of the shares of time, and the limits that hold 95 % of the differences."""
    shares = [(t[:, :, 1].sum(1) - t[:, 1, :].sum(1)) / t.sum((1, 2)) for t in counts.values()]
    values = np.concatenate(shares)
    if len(values) < 2:
        return {"bias": float(values.mean()), "sd": None, "low": None, "high": None}
    bias, sd = float(values.mean()), float(values.std(ddof=1))
    return {"bias": bias, "sd": sd, "low": bias - 1.96 * sd, "high": bias + 1.96 * sd}


def _confusion(grid: _Grid, labels: Sequence[str], step_s: float) -> dict[str, dict[str, float]]:
    """Seconds by sets of labels of the first pair."""
    pair, tables = next(iter(grid.tables(None).items()))
    del pair
    bits = np.unpackbits(grid.sets, axis=1)[:, : len(labels)].astype(bool)
    names = ["+".join(label for label, bit in zip(labels, row, strict=True) if bit) for row in bits]
    table = tables.sum(0) * step_s
    return {
        names[x]: {names[y]: round(float(table[x, y]), 6) for y in np.flatnonzero(table[x])}
        for x in range(len(names))
        if table[x].any()
    }


def _differences(
    sides: Mapping[tuple[str, str], tuple[list[Segment], ...]], iou: float
) -> list[Difference]:
    """Bouts without a match, those of most seconds first."""
    result: list[Difference] = []
    for (first, second), (a, b) in sides.items():
        pairs = matches(a, b, iou=iou)
        for rater, other, rows, others, hits in (
            (first, second, a, b, {i for i, _, _ in pairs}),
            (second, first, b, a, {j for _, j, _ in pairs}),
        ):
            spans: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
            for row in others:
                spans[row.recording, row.label].append((row.start_s, row.end_s))
            for row in (row for index, row in enumerate(rows) if index not in hits):
                near = spans[row.recording, row.label]
                best = overlap([(row.start_s, row.end_s)], near).max() if near else 0.0
                joint = sum(max(min(e, row.end_s) - max(s, row.start_s), 0.0) for s, e in near)
                lacking = max(row.duration_s - joint, 0.0)
                result.append(
                    Difference(
                        row.recording,
                        row.start_s,
                        row.end_s,
                        row.label,
                        rater,
                        other,
                        round(float(best), 6),
                        round(lacking, 6),
                    )
                )
    return sorted(result, key=lambda d: (-d.seconds, d.recording, d.start_s))
