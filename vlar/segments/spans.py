"""Spans that formats without overlaps hold, and spans of frames."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlar.segments.segment import Segment

if TYPE_CHECKING:
    import numpy.typing as npt


def without_overlap(
    segments: Sequence[Segment], key: Callable[[Segment], Hashable]
) -> tuple[list[Segment], list[str]]:
    """Segments of which those of one key do not overlap: overlapping ones become one.

    Returns:
        The segments, and a note with the number that were joined.
    """
    result: list[Segment] = []
    last: dict[Hashable, int] = {}
    joined = 0
    for segment in sorted(segments, key=lambda s: (s.start_s, s.end_s)):
        before = last.get(key(segment))
        if before is not None and segment.start_s < result[before].end_s - 1e-9:
            result[before] = replace(result[before], end_s=max(result[before].end_s, segment.end_s))
            joined += 1
            continue
        last[key(segment)] = len(result)
        result.append(segment)
    note = f"{joined} segments overlap others of their kind and are joined with them"
    return result, [note] if joined else []


def one_at_a_time(
    segments: Sequence[Segment], key: Callable[[Segment], Hashable]
) -> tuple[list[Segment], list[str]]:
    """Segments of which one at a time holds for a key: the later one ends the earlier one.

    Returns:
        The segments, and a note with the number that were cut or left out.
    """
    result: list[Segment] = []
    last: dict[Hashable, int] = {}
    changed = 0
    for segment in sorted(segments, key=lambda s: (s.start_s, -s.end_s)):
        before = last.get(key(segment))
        if before is not None and segment.start_s < result[before].end_s - 1e-9:
            changed += 1
            if segment.start_s > result[before].start_s:
                result[before] = replace(result[before], end_s=segment.start_s)
            else:
                continue
        last[key(segment)] = len(result)
        result.append(segment)
    note = f"{changed} segments overlap others and are cut: one at a time is held"
    return result, [note] if changed else []


def runs(values: Sequence[Hashable] | npt.NDArray[Any]) -> list[tuple[int, int, Any]]:
    """Runs of equal values: first index, index after the last, value."""
    import numpy as np

    array = values if isinstance(values, np.ndarray) else np.array([*values, None], object)[:-1]
    borders = np.flatnonzero(array[1:] != array[:-1]) + 1
    starts = [0, *borders.tolist()] if len(array) else []
    return [(a, b, values[a]) for a, b in zip(starts, [*starts[1:], len(array)], strict=True)]


def frames_of(segment: Segment, fps: float) -> tuple[int, int]:
    """First frame and frame after the last one, 0-based, at least one frame.

    Args:
        segment: The span; its ends are rounded to the borders between frames.
        fps: Frames a second.
    """
    first = max(round(segment.start_s * fps), 0)
    return first, max(round(segment.end_s * fps), first + 1)


_RATES = (1, 2, 5, 10, 12, 15, 20, 24, 25, 30, 50, 60, 100, 120, 200, 240, 250, 500, 1000)


def exact_rate(segments: Sequence[Segment]) -> float:
    """The lowest common rate whose frames begin within .5 ms of all times; else 1,000 a second."""
    times = [time for row in segments for time in (row.start_s, row.end_s)]
    fits = (r for r in _RATES if all(abs(t - round(t * r) / r) < 5e-4 for t in times))
    return float(next(fits, _RATES[-1]))


def stored_rate(segments: Sequence[Segment], fps: float | None) -> float:
    """The rate that a file which states its own is written with.

    Args:
        segments: The segments.
        fps: The rate that the caller gives; a common one below 500 that all times fit better wins.
    """
    exact = exact_rate(segments)
    fits = fps and all(
        abs(time - round(time * fps) / fps) < 5e-4
        for row in segments
        for time in (row.start_s, row.end_s)
    )
    return fps if fps and (fits or exact >= 500) else exact


def frames_notes(segments: Sequence[Segment], fps: float, name: str) -> list[str]:
    """Notes on times that are rounded to frames, and on points that become one frame long."""
    times = [time for row in segments for time in (row.start_s, row.end_s)]
    most = max((abs(t - round(t * fps) / fps) for t in times), default=0.0)
    notes = [f"times are rounded to frames, by up to {1000 * most:.0f} ms"] if most > 1e-3 else []
    return notes + points_note(segments, name)


def points_note(segments: Sequence[Segment], name: str) -> list[str]:
    """A note on point events that become one frame long."""
    points = sum(segment.is_point for segment in segments)
    return [f"{name} holds no points: {points} become one frame long"] if points else []


def frame_runs(frames: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Runs of frames that follow each other: first frame, and frame after the last one."""
    ordered = sorted(frames)
    start = 0
    for index in range(1, len(ordered) + 1):
        if index == len(ordered) or ordered[index] != ordered[index - 1] + 1:
            yield ordered[start], ordered[index - 1] + 1
            start = index
