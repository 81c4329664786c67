"""Figures of repeated work from segments: cycles, durations, waiting times, violations of an order.

These are the key figures of manual processes in the sense of methods-time measurement (Maynard,
Stegemerten and Schwab, "Methods-time measurement", 1948): how often a step is done, how long it
takes, what passes without one, and where the order is not kept.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vlar.behaviour.timeline.decoding import UNKNOWN, AnswerSegment
from vlar.errors import UsageError
from vlar.types import JsonDict

SKIPPED, REPEATED, BACK = "skipped", "repeated", "back"


@dataclass(frozen=True)
class StepFigures:
    """Figures of one step of the work.

    Attributes:
        label: The step.
        count: Number of times.
        share: Share of the whole time, 0 to 1.
        total_s: Seconds in all.
        mean_s: Mean seconds of one; None where it was not done.
        spread_s: Standard deviation of the seconds of one (n - 1); None for fewer than two.
        shortest_s: Seconds of the shortest; None where it was not done.
        longest_s: Seconds of the longest; None where it was not done.
        waiting_s: Mean seconds of waiting before it; None where it was not done.
    """

    label: str
    count: int
    share: float
    total_s: float
    mean_s: float | None
    spread_s: float | None
    shortest_s: float | None
    longest_s: float | None
    waiting_s: float | None


@dataclass(frozen=True)
class Violation:
    """A step that was not the next one of the order.

    Attributes:
        path: The recording.
        start_s: Where the step begins, in seconds.
        label: The step.
        expected: The step that the order has there.
        kind: ``skipped`` where steps were left out, ``repeated`` for the same step again, ``back``
            for an earlier step of the cycle.
    """

    path: str
    start_s: float
    label: str
    expected: str
    kind: str


@dataclass(frozen=True)
class Cycle:
    """One pass through the order of steps.

    Attributes:
        path: The recording.
        start_s: Where its first step begins, in seconds.
        end_s: Where its last step ends.
        complete: Whether every step was done, in order.
    """

    path: str
    start_s: float
    end_s: float
    complete: bool

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Process:
    """The figures of the work in some recordings.

    Attributes:
        steps: The figures of every step.
        cycles: The passes; without an order, from each segment of a recording's first label to the
            next one.
        violations: Steps out of order; none without an order, or in a recording with one step.
        waiting_s: Seconds without a step, in all.
        duration_s: Seconds of all segments.
        order: The steps in their order; empty for none.
    """

    steps: tuple[StepFigures, ...]
    cycles: tuple[Cycle, ...]
    violations: tuple[Violation, ...]
    waiting_s: float
    duration_s: float
    order: tuple[str, ...] = ()

    @property
    def complete(self) -> tuple[Cycle, ...]:
        """The complete passes."""
        return tuple(cycle for cycle in self.cycles if cycle.complete)

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        lengths = [cycle.duration_s for cycle in self.complete]
        return {
            "duration_s": round(self.duration_s, 3),
            "waiting_s": round(self.waiting_s, 3),
            "cycles": len(self.cycles),
            "complete_cycles": len(lengths),
            "cycle_mean_s": _rounded(_mean(lengths)),
            "cycle_spread_s": _rounded(_spread(lengths)),
            "order": list(self.order),
            "order_violations": len(self.violations),
            "steps": [
                {k: _rounded(v) if isinstance(v, float) else v for k, v in asdict(step).items()}
                for step in self.steps
            ],
            "violations": [
                {**asdict(violation), "start_s": round(violation.start_s, 3)}
                for violation in self.violations
            ],
        }


def measure(
    rows: Sequence[AnswerSegment], order: Sequence[str] = (), idle: Sequence[str] = ()
) -> Process:
    """The figures of segments.

    Args:
        rows: Segments of one or more recordings, each in order of time.
        order: The steps of a cycle in their order. Without one, a cycle begins with every segment
            of the label that comes first in its recording.
        idle: Labels that are waiting, as ``unknown`` is: segments without a label.

    Raises:
        UsageError: a step comes twice in the order, is idle, or is ``unknown``.
    """
    steps = tuple(order)
    for label in steps:
        if steps.count(label) > 1 or label in idle or label == UNKNOWN:
            raise UsageError(
                f"the order has {label!r}, which comes twice or is a time of waiting; give each "
                "step of the work once"
            )
    work = [row for row in rows if row.label is not None and row.label not in idle]
    total_s = sum(row.duration_s for row in rows)
    waits = _waits(rows, idle)
    labels = [*steps, *sorted({row.label or "" for row in work} - set(steps))]
    cycles, violations = _passes(work, steps) if steps else (_rounds(work), [])
    return Process(
        tuple(_figures(label, work, waits, total_s) for label in labels),
        tuple(cycles),
        tuple(violations),
        total_s - sum(row.duration_s for row in work),
        total_s,
        steps,
    )


def _figures(
    label: str, work: Sequence[AnswerSegment], waits: Sequence[float], total_s: float
) -> StepFigures:
    lengths = [row.duration_s for row in work if row.label == label]
    before = [wait for row, wait in zip(work, waits, strict=True) if row.label == label]
    return StepFigures(
        label,
        len(lengths),
        sum(lengths) / total_s if total_s > 0 else 0.0,
        sum(lengths),
        _mean(lengths),
        _spread(lengths),
        min(lengths, default=None),
        max(lengths, default=None),
        _mean(before),
    )


def _waits(rows: Sequence[AnswerSegment], idle: Sequence[str]) -> list[float]:
    """Seconds without a step before each step of the work, within its recording."""
    waits: list[float] = []
    path, end_s = None, 0.0
    for row in rows:
        if row.path != path:
            path, end_s = row.path, 0.0
        if row.label is None or row.label in idle:
            continue
        waits.append(max(0.0, row.start_s - end_s))
        end_s = row.end_s
    return waits


def _passes(
    work: Sequence[AnswerSegment], order: Sequence[str]
) -> tuple[list[Cycle], list[Violation]]:
    """The passes through an order, and the steps that were not the next one."""
    step_of = {label: index for index, label in enumerate(order)}
    cycles: list[list[AnswerSegment]] = []
    broken: set[int] = set()
    violations: list[Violation] = []
    last: AnswerSegment | None = None
    steps = [row for row in work if row.label in step_of]
    ordered = {path for path, count in Counter(row.path for row in steps).items() if count > 1}
    for row in steps:
        label = row.label or ""
        step, before = step_of[label], -1
        if last is not None and last.path == row.path:
            before = step_of[last.label or ""]
        expected = (before + 1) % len(order)
        repeated = step == before and len(order) > 1
        fresh = before < 0 or (step <= before and not repeated)
        if fresh:
            cycles.append([])
        cycles[-1].append(row)
        if step != expected and row.path in ordered:
            kind = REPEATED if repeated else BACK if 0 < step < before else SKIPPED
            violations.append(Violation(row.path, row.start_s, label, order[expected], kind))
            if step or not fresh:  # a new pass that begins as it should is not to blame
                broken.add(len(cycles) - 1)
        last = row
    whole = {n for n, rows in enumerate(cycles) if n not in broken and len(rows) == len(order)}
    cycles_found = [_cycle(rows, number in whole) for number, rows in enumerate(cycles)]
    return cycles_found, violations


def _rounds(work: Sequence[AnswerSegment]) -> list[Cycle]:
    """Cycles from each segment of a recording's first label to the next one."""
    cycles: list[Cycle] = []
    for path in dict.fromkeys(row.path for row in work):
        rows = [row for row in work if row.path == path]
        starts = [index for index, row in enumerate(rows) if row.label == rows[0].label]
        ends = [*starts[1:], len(rows)]
        cycles += [_cycle(rows[a:b], True) for a, b in zip(starts, ends, strict=True)]
    return cycles


def _cycle(rows: Sequence[AnswerSegment], complete: bool) -> Cycle:
    return Cycle(rows[0].path, rows[0].start_s, rows[-1].end_s, complete)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
