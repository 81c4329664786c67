"""Tables with a row a frame or time step: DeepEthogram, SimBA, Solomon Coder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise

from vlar.files.reading import MB
from vlar.registry import register
from vlar.segments.base import (
    MOST,
    AnnotationFormat,
    Options,
    Rows,
    Source,
    Table,
    Written,
    require_fps,
)
from vlar.segments.segment import Segment
from vlar.segments.spans import exact_rate, frames_notes, frames_of, one_at_a_time, runs
from vlar.segments.tables import Row, delimiter, rows_of, seconds, short, text_of

BACKGROUND = "background"
_BYTES_A_ROW = 10  # of its first column and its end
_POINT = re.compile(r"_(x|y|p)$")


def _frames(rows: Sequence[Row]) -> list[int]:
    """Numbers of frames of the first column, or of the rows where it has none."""
    try:
        frames = [int(float(row[0])) for row in rows]
    except ValueError:
        return list(range(len(rows)))
    if any(b - a != 1 for a, b in pairwise(frames)):
        raise ValueError("its frames do not follow each other; sort the rows")
    return frames


def _spans(values: Sequence[str], first: int, fps: float) -> list[tuple[float, float]]:
    """Spans in seconds of the frames of a column that are 1."""
    return [
        ((first + start) / fps, (first + end) / fps)
        for start, end, value in runs([_number(value) for value in values])
        if value == 1
    ]


def _number(cell: str) -> float | None:
    return 1.0 if cell == "1" else 0.0 if cell == "0" else seconds(cell)


def _marks(
    segments: Sequence[Segment], n_frames: int, fps: float, start: int = 0
) -> dict[str, bytearray]:
    """Marks by label: 1 for each frame from ``start`` on that a segment covers."""
    marks: dict[str, bytearray] = defaultdict(lambda: bytearray(n_frames))
    for row in segments:
        first, end = (min(max(f - start, 0), n_frames) for f in frames_of(row, fps))
        marks[row.label][first:end] = b"\1" * (end - first)
    return marks


def _length(segments: Sequence[Segment], fps: float, n_columns: int, more: float = 0.0) -> int:
    """Rows of a table up to the last frame.

    Raises:
        ValueError: its text would have more bytes than a file of annotations may.
    """
    length = max((frames_of(row, fps)[1] for row in segments), default=0)
    if length * (_BYTES_A_ROW + 2 * n_columns) + more > MOST:
        raise ValueError(f"it would have {length:,} rows and more than {MOST // MB} MB; write .csv")
    return length


@register("annotation", "deepethogram")
class DeepEthogram(AnnotationFormat):
    """DeepEthogram labels: a 0/1 column a behaviour, ``background`` where none is on.

    Frames with -1 are not labelled: no segment covers them, also none of background.
    """

    endings = frozenset({".csv"})
    default_for = frozenset({"_labels.csv"})
    needs_fps = True
    loses = "times below a frame; points become one frame"

    def claims(self, source: Source) -> bool:
        """Return whether the first column has no name and one is called background."""
        header = source.columns
        return len(header) > 1 and header[0] == "" and BACKGROUND in header

    def read(self, source: Source, options: Options) -> Table:
        """Runs of 1 in each column."""
        fps = require_fps(options)
        header, *rows = rows_of(source.text)
        frames = _frames(rows)
        segments = [
            Segment(recording_of(source), start, end, label)
            for column, label in enumerate(header)
            if column
            for start, end in _spans([row[column] for row in rows], frames[0], fps)
        ]
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table; where no segment covers a frame it is background, or -1 with background."""
        fps = require_fps(options)
        labels = sorted({row.label for row in segments} - {BACKGROUND})
        n_frames = _length(segments, fps, len(labels) + 1)
        marks = _marks(segments, n_frames, fps)
        columns, stated = [marks[label] for label in labels], BACKGROUND in marks
        background = marks[BACKGROUND]
        notes = frames_notes(segments, fps, self.name)
        if not stated:
            background = bytearray(not any(values) for values in zip(*columns, strict=True))
            notes += ["frames that no segment covers are background"] if any(background) else []
        lines = (
            [frame, *(values if any(values) else [-1] * len(values))]
            for frame, values in enumerate(zip(background, *columns, strict=True))
        )
        return text_of(chain([["", BACKGROUND, *labels]], lines)).encode(), notes


def recording_of(source: Source) -> str:
    """Name of the recording of a file of labels: without ``_labels``, ``_annot`` and the like."""
    return re.sub(r"_(labels|annot|targets|annotations|via)$", "", source.stem)


@register("annotation", "simba")
class SimBA(AnnotationFormat):
    """SimBA targets: points and features, then a 0/1 column a behaviour at the end."""

    endings = frozenset({".csv"})
    default_for = frozenset({"_targets.csv"})
    needs_fps = True
    adds = True
    loses = "times below a frame; points become one frame"

    def claims(self, source: Source) -> bool:
        """Return whether the columns after the first are x, y and p of points."""
        header = source.columns
        return header[0].lower() in ("", "scorer", "unnamed: 0", "frame") and bool(
            (header[1:4] and all(map(_POINT.search, header[1:4]))) or header[1:2] == ["vlar frame"]
        )

    def read(self, source: Source, options: Options) -> Table:
        """Runs of 1 in the trailing 0/1 columns, or in those that ``labels`` names."""
        fps = require_fps(options)
        header, rows, labels = _targets(source, options.labels)
        first = _frames(rows)[0] if rows else 0
        columns = {label: header.index(label) for label in labels}
        segments = [
            Segment(recording_of(source), start, end, label)
            for label, column in columns.items()
            for start, end in _spans([row[column] for row in rows], first, fps)
        ]
        notes = () if options.labels else (f"behaviours are the trailing 0/1 columns {labels}",)
        return Table(segments, notes)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table with the columns of behaviours; points and features of a file stay."""
        fps = require_fps(options)
        notes = frames_notes(segments, fps, self.name)
        header, labels = ["", "vlar frame"], list[str]()
        rows: Iterable[Row]
        if existing:
            header, rows, labels = _targets(existing, ())
            n_frames, first = len(rows), _frames(rows)[0] if rows else 0
        else:
            n_frames, first = _length(segments, fps, 5 + len({r.label for r in segments})), 0
            rows = ([str(frame), str(frame)] for frame in range(n_frames))
        shifted = [frames_of(row, fps)[1] - first for row in segments]
        if max(shifted, default=0) > n_frames:
            notes.append(f"segments after the last frame, {first + n_frames - 1}, are cut")
        marks = _marks(segments, n_frames, fps, first)
        order = [*labels, *sorted(marks.keys() - set(labels))]
        columns = [marks[label] for label in order]
        keep = [column for column, name in enumerate(header) if name not in marks]
        lines = (
            [*(row[column] for column in keep), *(marks[frame] for marks in columns)]
            for frame, row in enumerate(rows)
        )
        return text_of(chain([[header[column] for column in keep] + order], lines)).encode(), notes


def _targets(source: Source, labels: Sequence[str]) -> tuple[Row, list[Row], list[str]]:
    """Header, rows and columns of behaviours.

    Raises:
        ValueError: a named column is missing, or rows have another number of cells.
    """
    header, *rows = rows_of(source.text)
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"a row has another number of cells than the header's {len(header)}")
    missing = [label for label in labels if label not in header]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    if labels:
        return header, rows, list(labels)
    trailing = len(header)
    while trailing > 1 and _is_target(header[trailing - 1], [row[trailing - 1] for row in rows]):
        trailing -= 1
    return header, rows, header[trailing:]


def _is_target(name: str, values: Sequence[str]) -> bool:
    is_feature = name == "vlar frame" or bool(_POINT.search(name))
    return not is_feature and {_number(value) for value in values} <= {0.0, 1.0}


@register("annotation", "solomon")
class Solomon(AnnotationFormat):
    """Solomon Coder: a row a time step, a column a category with the behaviour or nothing."""

    endings = frozenset({".csv", ".txt"})
    default_for = frozenset({"_solomon.csv"})
    holds = frozenset({"tier"})
    loses = "overlaps within a tier, bouts of one label that touch; times below 1 ms"

    def claims(self, source: Source) -> bool:
        """Return whether the first column is Time and the rows follow each other at one step."""
        header = source.columns
        if len(header) < 2 or header[0].lower() not in ("time", "time (s)"):
            return False
        lines = source.head.splitlines()[1:4]
        cells = [line.split(delimiter(source.head.partition("\n")[0]))[0] for line in lines]
        events = {"Behavior", "Status", "Event"} & set(header)
        return not events and len(cells) > 1 and None not in [seconds(c.strip('"')) for c in cells]

    def read(self, source: Source, options: Options) -> Table:
        """Runs of one text in a column; a run ends a step after its last row."""
        header, *rows = rows_of(source.text, delimiter(source.head.partition("\n")[0]))
        times = [seconds(row[0]) for row in rows]
        if len(rows) < 2 or any(time is None for time in times):
            raise ValueError("its first column does not hold times alone")
        clock = [time or 0.0 for time in times]
        step = (clock[-1] - clock[0]) / (len(clock) - 1)
        if step <= 0 or any(b <= a for a, b in pairwise(clock)):
            raise ValueError("its times do not rise")
        ends = [*clock[1:], clock[-1] + step]
        segments = [
            Segment(
                recording_of(source), clock[start], round(ends[end - 1], 6), str(label), tier=tier
            )
            for column, tier in enumerate(header)
            if column
            for start, end, label in runs(["".join(row[column : column + 1]) for row in rows])
            if label
        ]
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table at the longest step that holds all times."""
        fps = exact_rate(segments)
        rows, notes = one_at_a_time(segments, lambda s: s.tier)
        notes += frames_notes(rows, fps, self.name)
        tiers = list(dict.fromkeys(row.tier or "Behaviour" for row in rows))
        written = sum(row.duration_s * fps * len(row.label) for row in rows)
        n_steps = _length(rows, fps, len(tiers), written) + 1
        columns: Mapping[str, list[str]] = {tier: [""] * n_steps for tier in tiers}
        for row in rows:
            first, end = frames_of(row, fps)
            columns[row.tier or "Behaviour"][first:end] = [row.label] * (end - first)
        cells = zip(*columns.values(), strict=True)
        lines = ([short(step / fps), *row] for step, row in enumerate(cells))
        return text_of(chain([["Time", *tiers]], lines)).encode(), notes
