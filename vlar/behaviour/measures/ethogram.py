"""Ethograms: time budgets, bins of time, transitions and conditions of labelled spans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, overload

import numpy as np

from vlar.errors import UsageError
from vlar.metrics.checks import Record
from vlar.segments import Segment

_MOST_BINS = 1_000_000


class _Row(Record):
    """A row whose fields are also read by name: ``row["share"]``."""

    def __getitem__(self, name: str) -> Any:
        if name not in {field.name for field in fields(self)}:
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True)
class Budget(_Row):
    """Time budget of a label of a subject in a recording.

    Attributes:
        recording: The recording.
        subject: Empty for none.
        label: The behaviour.
        bouts: Number of bouts and point events.
        total_s: Sum of the bouts' seconds; 0 for point events.
        share: Share of the recording that the bouts cover, 0 to 1; overlaps count once.
        mean_s: Mean seconds of a bout; None for point events.
        latency_s: Seconds from the beginning of the recording to the first start.
        rate_per_min: Bouts and point events a minute of the recording.
    """

    recording: str
    subject: str
    label: str
    bouts: int
    total_s: float
    share: float
    mean_s: float | None
    latency_s: float
    rate_per_min: float


@dataclass(frozen=True)
class TimeBin(_Row):
    """Time budget of a label of a subject in a bin of a recording.

    Attributes:
        recording: The recording.
        subject: Empty for none.
        label: The behaviour.
        start_s: Begin of the bin in seconds.
        end_s: End of the bin; the last one ends with the recording.
        starts: Bouts and point events that start in it.
        total_s: Seconds of it that bouts cover.
        share: Share of it that bouts cover, 0 to 1.
    """

    recording: str
    subject: str
    label: str
    start_s: float
    end_s: float
    starts: int
    total_s: float
    share: float


@dataclass(frozen=True)
class Transition(_Row):
    """Change from a label to the next one of the same subject in a recording.

    Attributes:
        first: Label that comes before.
        then: Label that starts next.
        count: Number of such changes, over all recordings and subjects.
        probability: Share of the changes from ``first``, 0 to 1.
    """

    first: str
    then: str
    count: int
    probability: float


@dataclass(frozen=True)
class Condition(_Row):
    """A label under a condition, over subjects of recordings.

    Attributes:
        value: Value of the independent variable.
        label: The behaviour.
        n: Subjects of recordings; those without the label count as 0.
        share_mean: Mean share of time.
        share_sd: Standard deviation of it; None for one.
        bouts_mean: Mean number of bouts.
        bouts_sd: Standard deviation of it; None for one.
        latency_mean: Mean seconds to the first start of those that show the label; None for none.
    """

    value: str
    label: str
    n: int
    share_mean: float
    share_sd: float | None
    bouts_mean: float
    bouts_sd: float | None
    latency_mean: float | None


@dataclass(frozen=True)
class Ethogram(Sequence[Budget]):
    """Time budgets as a sequence of rows, with the segments that they come from.

    Attributes:
        segments: The segments.
        durations: Seconds by recording.
        rows: A row for each recording, subject and label.
    """

    segments: tuple[Segment, ...]
    durations: Mapping[str, float]
    rows: tuple[Budget, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Budget]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> Budget: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Budget]: ...
    def __getitem__(self, index: int | slice) -> Budget | Sequence[Budget]:
        return self.rows[index]

    def to_dict(self) -> dict[str, Any]:
        """Rows, durations and transitions as a JSON object."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "durations": dict(self.durations),
            "transitions": [row.to_dict() for row in self.transitions()],
        }

    def bins(self, length_s: float) -> list[TimeBin]:
        """Time budgets by bin.

        Args:
            length_s: Seconds of a bin, above 0; the last one of a recording may be shorter.

        Raises:
            UsageError: the length is not above 0, or gives more than a million bins.
        """
        longest = max(self.durations.values(), default=0.0)
        if not length_s > 0 or longest / length_s * max(len(self.rows), 1) > _MOST_BINS:
            raise UsageError(
                f"bins of {length_s:g} s are not usable for {longest:g} s; choose others"
            )
        result: list[TimeBin] = []
        for (recording, subject, label), spans in _grouped(self.segments).items():
            end = self.durations[recording]
            edges = [*np.arange(0.0, end - 1e-9, length_s).tolist(), end]
            for start, stop in pairwise(edges):
                is_last = stop == end
                starts = sum(
                    start <= s.start_s < stop or (is_last and s.start_s == stop) for s in spans
                )
                total = _covered(spans, start, stop)
                result.append(
                    TimeBin(
                        recording,
                        subject,
                        label,
                        round(start, 6),
                        round(stop, 6),
                        starts,
                        round(total, 6),
                        round(total / (stop - start), 6),
                    )
                )
        return result

    def transitions(self) -> list[Transition]:
        """Changes from each label to the one that starts next, most probable first by label."""
        counts: dict[tuple[str, str], int] = defaultdict(int)
        groups: dict[Hashable, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            groups[segment.recording, segment.subject].append(segment)
        for rows in groups.values():
            for before, after in pairwise(
                sorted(rows, key=lambda s: (s.start_s, s.end_s, s.label))
            ):
                counts[before.label, after.label] += 1
        totals: dict[str, int] = defaultdict(int)
        for (first, _), count in counts.items():
            totals[first] += count
        rows = [
            Transition(first, then, count, round(count / totals[first], 6))
            for (first, then), count in counts.items()
        ]
        return sorted(rows, key=lambda row: (row.first, -row.count, row.then))

    def conditions(self, values: Mapping[str, str]) -> list[Condition]:
        """Means over subjects of recordings by the value of an independent variable.

        Args:
            values: Value by recording; recordings without one are left out.
        """
        units: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for row in self.rows:
            if row.recording in values:
                units[values[row.recording]].add((row.recording, row.subject))
        cells = {(row.recording, row.subject, row.label): row for row in self.rows}
        result: list[Condition] = []
        for value in sorted(units):
            for label in sorted({row.label for row in self.rows}):
                rows = [cells.get((*unit, label)) for unit in sorted(units[value])]
                shares = np.array([row.share if row else 0.0 for row in rows])
                bouts = np.array([row.bouts if row else 0 for row in rows], np.float64)
                latencies = [row.latency_s for row in rows if row]
                result.append(
                    Condition(
                        value,
                        label,
                        len(rows),
                        *_spread(shares),
                        *_spread(bouts),
                        round(float(np.mean(latencies)), 6) if latencies else None,
                    )
                )
        return result


def ethogram(
    segments: Sequence[Segment], *, duration_s: float | Mapping[str, float] | None = None
) -> Ethogram:
    """Time budgets of labelled spans: number, total, share, mean and latency of each label.

    Args:
        segments: Bouts and point events of one or more recordings.
        duration_s: Seconds of a recording, or by recording. A recording without one ends with its
            last segment.

    Returns:
        A sequence of rows by recording, subject and label; ``bins``, ``transitions`` and
        ``conditions`` give further tables.

    Raises:
        UsageError: a duration is not above 0, or a segment starts after it.
    """
    stated = duration_s if isinstance(duration_s, Mapping) else {}
    durations: dict[str, float] = {}
    for recording in sorted({s.recording for s in segments}):
        last = max(s.end_s for s in segments if s.recording == recording)
        length = stated.get(recording, last or 1.0)
        length = float(duration_s if isinstance(duration_s, float | int) else length)
        latest = max(s.start_s for s in segments if s.recording == recording)
        if not 0 < length < 1e12 or latest > length + 1e-3:
            raise UsageError(
                f"{recording!r} has the duration {length:g} s and a segment from {latest:g} s; "
                "give its duration in seconds"
            )
        durations[recording] = length
    rows: list[Budget] = []
    for (recording, subject, label), spans in _grouped(segments).items():
        length = durations[recording]
        states = [s.duration_s for s in spans if not s.is_point]
        total = float(sum(states))
        rows.append(
            Budget(
                recording,
                subject,
                label,
                len(spans),
                round(total, 6),
                round(_covered(spans, float("-inf"), float("inf")) / length, 6),
                round(total / len(states), 6) if states else None,
                round(min(s.start_s for s in spans), 6),
                round(60 * len(spans) / length, 6),
            )
        )
    return Ethogram(tuple(segments), durations, tuple(rows))


def _grouped(segments: Sequence[Segment]) -> dict[tuple[str, str, str], list[Segment]]:
    groups: dict[tuple[str, str, str], list[Segment]] = defaultdict(list)
    for segment in segments:
        groups[segment.recording, segment.subject, segment.label].append(segment)
    return dict(sorted(groups.items()))


def _covered(segments: Sequence[Segment], start_s: float, end_s: float) -> float:
    """Seconds of a span that segments cover; overlaps count once."""
    total, reached = 0.0, start_s
    for segment in sorted(segments, key=lambda s: s.start_s):
        begin, end = max(segment.start_s, reached), min(segment.end_s, end_s)
        if end > begin:
            total += end - begin
            reached = end
    return total


def _spread(values: np.ndarray[Any, Any]) -> tuple[float, float | None]:
    sd = round(float(values.std(ddof=1)), 6) if len(values) > 1 else None
    return round(float(values.mean()), 6), sd
