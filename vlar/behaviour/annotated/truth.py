"""Annotations of recordings: which spans belong to which recording, and labels at every step.

A step that no span covers is not annotated, unless the annotation is exhaustive (``background``).

Letters: S steps of time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlar.behaviour.annotated.support import covered
from vlar.errors import UsageError
from vlar.files.compressed import inner_stem
from vlar.segments import Segment, read
from vlar.segments.spans import runs
from vlar.types import Float64

NOT_ANNOTATED = -1
BACKGROUND = ""
_OVERLAP = 0.02  # share of the annotated time in which labels of one track may overlap
_POINT_S = 0.25  # a point event is learned as a span around it
_PIECES = re.compile(r"[0-9]+|[^\W\d_]+")
_MOST_LABELS = 200


@dataclass(frozen=True)
class TruthTrack:
    """Labels that exclude each other, and where they are annotated.

    Attributes:
        labels: K labels; the empty text is the background.
        tier: Their tier; the empty text where all tiers are one track.
        subject: Their subject; the empty text for any.
        points: Labels that are point events.
        steps: (S,) number of the label at each step of each recording, or ``NOT_ANNOTATED``.
    """

    labels: tuple[str, ...]
    tier: str
    subject: str
    points: tuple[str, ...]
    steps: tuple[npt.NDArray[np.int64], ...]


def truth_of(
    recordings: Sequence[Path],
    truth: str | Path | Sequence[Segment],
    *,
    fps: float | None = None,
) -> list[list[Segment]]:
    """The spans of each recording.

    A file of one recording belongs to the recording whose name shares most pieces with its own, a
    span in a file of several to the recording that it names.

    Args:
        recordings: Paths.
        truth: A file of annotations, a folder of them, or segments.
        fps: Frames a second, for formats that count frames.

    Raises:
        UsageError: the annotations cannot be read, or no recording has a span.
    """
    if not isinstance(truth, str | Path):
        spans = _by_name(recordings, list(truth), alone=len(recordings) == 1)
    elif Path(truth).is_dir():
        spans = _of_folder(recordings, Path(truth), fps)
    else:
        spans = _by_name(recordings, read(truth, fps=fps), alone=len(recordings) == 1)
    if not any(spans):
        source = truth if isinstance(truth, str | Path) else "the segments"
        raise UsageError(
            f"{source}: no span belongs to {recordings[0].name}; name each annotation like its "
            "recording, or give the recording's file name in it"
        )
    return spans


def _of_folder(recordings: Sequence[Path], folder: Path, fps: float | None) -> list[list[Segment]]:
    resolved = {path.resolve() for path in recordings}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.resolve() not in resolved and not path.name.startswith(".")
    ]
    result: list[list[Segment]] = []
    problem: UsageError | None = None
    for recording in recordings:
        spans: list[Segment] = []
        ranked = sorted(files, key=lambda file: (-_likeness(recording, file), file.name))
        for file in ranked:
            if not _likeness(recording, file):
                break
            try:
                spans = read(file, fps=fps)
            except UsageError as error:
                problem = problem or error
                continue
            break
        result.append(spans)
    if not any(result):
        for file in files:  # files of several recordings, of any name
            try:
                by_recording = _by_name(recordings, read(file, fps=fps))
            except UsageError as error:
                problem = problem or error
                continue
            result = [old + new for old, new in zip(result, by_recording, strict=True)]
    if not any(result) and problem is not None:
        raise problem
    return result


def _likeness(recording: Path, other: Path | str) -> float:
    """Pieces (numbers and words) that two names have in common from the beginning."""
    stem = inner_stem(other) if isinstance(other, Path) else inner_stem(Path(other))
    a, b = (_PIECES.findall(name.lower()) for name in (inner_stem(recording), stem))
    common = 0
    for one, two in zip(a, b, strict=False):
        if one != two:
            if one.isdecimal() and two.isdecimal():
                return 0.0  # day1 is not day2
            break
        common += 1
    # Of two files that share as much the one with fewer strange pieces.
    return common - 0.001 * (len(b) - common) if common else 0.0


def _by_name(
    recordings: Sequence[Path], segments: Iterable[Segment], *, alone: bool = False
) -> list[list[Segment]]:
    """Segments by the recording that they name."""
    by_name: dict[str, list[Segment]] = {}
    for segment in segments:
        by_name.setdefault(segment.recording, []).append(segment)
    if alone and len(by_name) == 1:
        return [next(iter(by_name.values()))]
    result: list[list[Segment]] = [[] for _ in recordings]
    for name, spans in by_name.items():
        index = matched(recordings, name)
        if index is not None:
            result[index] += spans
    return result


def matched(recordings: Sequence[Path], name: str) -> int | None:
    """Index of the recording that a name means; None where none is like it, or two equally.

    Names are the same without folder and endings (``.csv.xz``), else those that have most pieces,
    numbers and words, in common from the beginning: ``20_annot.txt`` means ``20_dlc.csv.xz``.

    Args:
        recordings: Paths, or names of recordings.
        name: As a file of annotations states it, or its own name.
    """
    scores = [_named(path, name) for path in recordings]
    best = max(scores, default=0.0)
    return scores.index(best) if best > 0 and scores.count(best) == 1 else None


def _named(recording: Path, name: str) -> float:
    if name in (str(recording), recording.name):
        return 1e6
    if inner_stem(Path(name)) == inner_stem(recording) or Path(name).name == recording.name:
        return 1e5
    return _likeness(recording, name)


def fitting(spans: Sequence[Segment], duration_s: float, start_s: float) -> list[Segment]:
    """Spans in seconds from the first frame, cut at the end of the recording.

    Spans in the clock of the file (``time_s`` that does not begin at 0) are moved, unless all of
    them end before it begins: these count from the first frame already.

    Args:
        spans: Spans of one recording.
        duration_s: Its length.
        start_s: Time of its first frame in its own clock.
    """
    shift_s = start_s if any(span.end_s > start_s for span in spans) else 0.0
    moved: list[Segment] = []
    for span in spans:
        begin, end = max(0.0, span.start_s - shift_s), min(duration_s, span.end_s - shift_s)
        if begin <= end and span.end_s >= shift_s:
            moved.append(Segment(span.recording, begin, end, span.label, span.subject, span.tier))
    return moved


def tracks_of(
    spans: Sequence[Sequence[Segment]],
    times_s: Sequence[Float64],
    *,
    background: bool,
    ignore: Sequence[str] = (),
    tier: str | None = None,
) -> list[TruthTrack]:
    """Tracks of labels that exclude each other.

    Args:
        spans: Spans of each recording, in seconds.
        times_s: (S,) middles of the steps of each recording.
        background: Whether time outside every span shows none of the labels.
        ignore: Labels whose spans are not annotated.
        tier: The tier to learn; None takes all.

    Raises:
        UsageError: a label or tier does not exist, or a track has fewer than two labels.
    """
    everything = [span for rows in spans for span in rows]
    tiers = sorted({span.tier for span in everything})
    if tier is not None and tier not in tiers:
        raise UsageError(f"no tier is called {tier!r}; the annotation has {', '.join(tiers)[:120]}")
    chosen = [[s for s in rows if tier is None or s.tier == tier] for rows in spans]
    names = {span.label for rows in chosen for span in rows}
    strange = next((name for name in ignore if name not in names), None)
    if strange is not None:
        raise UsageError(
            f"--ignore {strange!r} is not a label of the annotation; it has "
            f"{', '.join(sorted(names))[:160]}"
        )
    if len(names) > _MOST_LABELS:
        raise UsageError(f"the annotation has {len(names)} labels; at most {_MOST_LABELS} are read")
    step_s = _step(times_s)
    several = any(len({s.subject for s in rows if s.subject}) > 1 for rows in chosen)
    groups: dict[tuple[str, str], list[list[Segment]]] = {}
    for key in sorted({(s.tier, s.subject if several else "") for rows in chosen for s in rows}):
        groups[key] = [
            [s for s in rows if (s.tier, s.subject if several else "") == key] for rows in chosen
        ]
    if not _overlap(chosen, times_s):
        groups = {("", ""): chosen}
    tracks: list[TruthTrack] = []
    for (name, subject), rows in groups.items():
        labels = sorted({span.label for part in rows for span in part} - set(ignore))
        alone = [[label] for label in labels] if _overlap(rows, times_s) else [labels]
        for subset in alone:
            one_of_many = len(alone) > 1
            steps = tuple(
                _steps(part, times, subset, ignore, step_s, background, one_of_many)
                for part, times in zip(rows, times_s, strict=True)
            )
            tracks.append(_track(subset, name, subject, rows, steps))
    if not tracks:
        raise UsageError("the annotation has no label left to learn; ignore fewer")
    return tracks


def _step(times_s: Sequence[Float64]) -> float:
    longest = max(times_s, key=len)
    return float(longest[1] - longest[0]) if len(longest) > 1 else 1.0


def _overlap(rows: Sequence[Sequence[Segment]], times_s: Sequence[Float64]) -> bool:
    """Return whether more than a trace of the annotated time has several labels."""
    labelled = several = 0
    for part, times in zip(rows, times_s, strict=True):
        count = np.zeros(len(times), np.int64)
        spans: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for span in part:
            key = span.label, span.tier, span.subject
            spans.setdefault(key, []).append((span.start_s, span.end_s))
        for pairs in spans.values():
            count += covered(pairs, times)
        labelled += int((count > 0).sum())
        several += int((count > 1).sum())
    return several > _OVERLAP * max(1, labelled)


def _steps(
    spans: Sequence[Segment],
    times_s: Float64,
    labels: Sequence[str],
    ignore: Sequence[str],
    step_s: float,
    background: bool,
    one_of_many: bool,
) -> npt.NDArray[np.int64]:
    """(S,) labels of one recording; the background has the number after the labels."""
    # A recording without any span was not annotated.
    background_step = len(labels) if background and spans else NOT_ANNOTATED
    steps = np.full(len(times_s), background_step, np.int64)
    for span in spans:
        if span.label in labels or span.label in ignore or not one_of_many:
            continue
        steps[_covered(span, times_s, step_s)] = len(labels)  # annotated, with another label
    for span in sorted(spans, key=lambda span: span.label in ignore):
        mask = _covered(span, times_s, step_s)
        if span.label in ignore:
            steps[mask] = NOT_ANNOTATED
        elif span.label in labels:
            steps[mask] = labels.index(span.label)
    return steps


def _covered(span: Segment, times_s: Float64, step_s: float) -> npt.NDArray[np.bool_]:
    half = max(_POINT_S, step_s) if span.is_point else 0.0
    return covered([(span.start_s - half, span.end_s + half)], times_s)


def _track(
    labels: Sequence[str],
    tier: str,
    subject: str,
    rows: Sequence[Sequence[Segment]],
    steps: tuple[npt.NDArray[np.int64], ...],
) -> TruthTrack:
    present = sorted({int(n) for part in steps for n in np.unique(part)} - {NOT_ANNOTATED})
    names = [*labels, BACKGROUND]
    if len(present) < 2:
        only = names[present[0]] if present else (labels[0] if labels else "")
        raise UsageError(
            f"only {only!r} is annotated, and nothing differs from it; state background where time "
            "outside the spans shows none of the labels"
        )
    column_of = np.full(len(names) + 1, NOT_ANNOTATED, np.int64)
    column_of[present] = np.arange(len(present))
    names_present = tuple(names[n] for n in present)
    flat = [span for part in rows for span in part]
    points = tuple(
        label
        for label in names_present
        if label and all(span.is_point for span in flat if span.label == label)
    )
    return TruthTrack(
        names_present, tier, subject, points, tuple(column_of[part] for part in steps)
    )


def labelled_minutes(
    tracks: Sequence[TruthTrack],
    minutes: float | None,
    step_s: float,
    block_s: float = 20.0,
    *,
    allowed: Sequence[npt.NDArray[np.bool_]] | None = None,
    always: Sequence[npt.NDArray[np.bool_]] | None = None,
) -> list[npt.NDArray[np.bool_]]:
    """Steps that are learned from: blocks evenly over the annotated time of all recordings.

    Args:
        tracks: The tracks of all recordings.
        minutes: How many minutes of annotated time; None for all of it.
        step_s: Seconds of a step.
        block_s: Seconds of a block.
        allowed: (S,) steps of each recording that may be drawn; None for all.
        always: (S,) steps of each recording that are learned from in any case; None for none.
    """
    annotated = [
        np.logical_or.reduce([track.steps[n] != NOT_ANNOTATED for track in tracks])
        for n in range(len(tracks[0].steps))
    ]
    fixed = [np.zeros_like(mask) for mask in annotated] if always is None else list(always)
    fixed = [mask & inside for mask, inside in zip(fixed, annotated, strict=True)]
    masks = [mask & ~steps for mask, steps in zip(annotated, fixed, strict=True)]
    if allowed is not None:
        masks = [mask & inside for mask, inside in zip(masks, allowed, strict=True)]
    total = sum(int(mask.sum()) for mask in masks)
    n_wanted = total if minutes is None else round(minutes * 60 / step_s)
    if n_wanted < total:
        masks = [_blocks(mask, n_wanted / max(1, total), round(block_s / step_s)) for mask in masks]
    return [mask | steps for mask, steps in zip(masks, fixed, strict=True)]


def _blocks(mask: npt.NDArray[np.bool_], share: float, steps: int) -> npt.NDArray[np.bool_]:
    """A share of the steps of a mask, in even blocks of about ``steps``."""
    annotated = np.flatnonzero(mask)
    count = max(1, round(len(annotated) * share / steps))
    size = round(len(annotated) * share / count)
    chosen = np.zeros(len(mask), np.bool_)
    if size:
        middles = (np.arange(count) + 0.5) / count * len(annotated)
        for begin in (middles - size / 2).astype(np.intp).clip(0):
            chosen[annotated[begin : begin + size]] = True
    return chosen


def durations_of(steps: Mapping[int, npt.NDArray[np.int64]], label: int) -> list[int]:
    """Lengths in steps of the complete bouts of a label in pieces of annotated steps."""
    lengths: list[int] = []
    for part in steps.values():
        parts = runs(part)
        for (_, _, before), (first, last, value), (_, _, after) in zip(
            parts, parts[1:], parts[2:], strict=False
        ):
            if value == label and NOT_ANNOTATED not in (before, after):
                lengths.append(last - first)
    return lengths
