"""Tables of data sets of actions: CreateML, AVA, Charades."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vlar.files.reading import parse_json
from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.tables import named, rows_of, seconds, seconds_in, short, text_of

_VIDEO = ("video", "videoPath", "video_path", "path", "file", "filename")
_LABEL = ("label", "annotation", "class")
_START = ("start", "startTime", "start_time")
_END = ("end", "endTime", "end_time")


def _columns(header: Sequence[str]) -> dict[str, str] | None:
    """Columns of video, label, start and end; None where video or label is missing."""
    names = {"video": _VIDEO, "label": _LABEL, "start": _START, "end": _END}
    columns = {key: next((n for n in any_of if n in header), "") for key, any_of in names.items()}
    return columns if columns["video"] and columns["label"] else None


class _CreateML(AnnotationFormat):
    """Rows with video, label, start and end in seconds."""

    holds = frozenset({"recording"})
    several = True
    loses = ""

    def table(self, rows: Sequence[Mapping[str, Any]]) -> Table:
        """Segments of rows; a missing start is 0, and rows without an end are noted."""
        segments: list[Segment] = []
        endless = 0
        for number, row in enumerate(rows, 2):
            columns = _columns(list(row))
            if columns is None:
                raise ValueError(f"row {number} has no video or no label")
            end = seconds(row.get(columns["end"], ""))
            start = seconds(row.get(columns["start"], "")) or 0.0
            if end is None:
                endless += 1
                continue
            segments.append(
                Segment(str(row[columns["video"]]), start, end, str(row[columns["label"]]))
            )
        note = f"{endless} rows end with their video, whose length is not stated: left out"
        return Table(segments, (note,) if endless else ())


@register("annotation", "createml-csv")
class CreateMLTable(_CreateML):
    """CreateML CSV of actions: video, label, start, end."""

    endings = frozenset({".csv"})
    default_for = frozenset({"_createml.csv"})

    def claims(self, source: Source) -> bool:
        """Return whether the header has a video, a label, and a start or an end."""
        columns = _columns(source.columns)
        return columns is not None and bool(columns["start"] or columns["end"])

    def read(self, source: Source, options: Options) -> Table:
        """A segment a row."""
        header, *rows = rows_of(source.text)
        return self.table([named(row, header) for row in rows])

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table."""
        rows = [(s.recording, s.label, short(s.start_s), short(s.end_s)) for s in segments]
        return text_of([("video", "label", "start", "end"), *rows]).encode(), []


@register("annotation", "createml-json")
class CreateMLList(_CreateML):
    """CreateML JSON of actions: a list of video, label, start, end."""

    endings = frozenset({".json"})
    default_for = frozenset({"_createml.json"})

    def claims(self, source: Source) -> bool:
        """Return whether it is a list of objects with a label and a start or an end."""
        head = source.head
        return (
            source.is_json("[")
            and '"annotations"' not in head
            and all(
                any(f'"{name}"' in head for name in names)
                for names in (_VIDEO, _LABEL, _START + _END)
            )
        )

    def read(self, source: Source, options: Options) -> Table:
        """A segment an object."""
        rows = parse_json(source.data)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is not a list of objects")
        return self.table(rows)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The list."""
        rows = [
            {
                "video": s.recording,
                "label": s.label,
                "start": round(s.start_s, 6),
                "end": round(s.end_s, 6),
            }
            for s in segments
        ]
        return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode(), []


@register("annotation", "ava")
class Ava(AnnotationFormat):
    """AVA CSV: a person's action at each second; subject = person, runs of seconds are one.

    A key frame stands for the second around it. Actions are the numbers of the data set.
    """

    endings = frozenset({".csv"})
    holds = frozenset({"recording", "subject"})
    several = True
    writes = False
    loses = "everything: it is read alone"

    def claims(self, source: Source) -> bool:
        """Return whether a row has a video, a time, four shares of a box, an action, a person."""
        cells = source.head.partition("\n")[0].strip().split(",")
        numbers = [seconds(cell) for cell in cells[1:8]]
        if len(cells) not in (8, 9) or len(numbers) < 7 or None in numbers:
            return False
        return all(0 <= (n or 0) <= 1 for n in numbers[1:5]) and (numbers[5] or 0) >= 1

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each run of seconds of a person and an action."""
        times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for number, row in enumerate(rows_of(source.text, ","), 1):
            if len(row) < 8:
                raise ValueError(f"row {number} has {len(row)} cells, not 8")
            times[row[0], row[6], row[7]].append(seconds_in(row[1], number))
        segments: list[Segment] = []
        for (video, action, person), clock in times.items():
            start = last = min(clock)
            for time in [*sorted(set(clock))[1:], float("inf")]:
                if time > last + 1.001:
                    segments.append(Segment(video, start - 0.5, last + 0.5, action, person))
                    start = time
                last = time
        return Table(segments)


@register("annotation", "charades")
class Charades(AnnotationFormat):
    """Charades CSV: a row a video with its actions, ``c092 11.9 21.2;...``; subject = person."""

    endings = frozenset({".csv"})
    default_for = frozenset({"_charades.csv"})
    holds = frozenset({"recording", "subject"})
    several = True
    loses = "labels with blanks or semicolons"

    def claims(self, source: Source) -> bool:
        """Return whether the header has id, actions and length."""
        return {"id", "actions", "length"} <= set(source.columns)

    def read(self, source: Source, options: Options) -> Table:
        """A segment an action."""
        header, *rows = rows_of(source.text, ",")
        segments: list[Segment] = []
        lengths: dict[str, float] = {}
        for number, row in enumerate((named(cells, header) for cells in rows), 2):
            lengths[row["id"]] = seconds(row["length"]) or 0.0
            for part in filter(None, row["actions"].split(";")):
                cells = part.split()
                if len(cells) != 3:
                    raise ValueError(f"row {number} has the action {part[:40]!r}")
                start, end = (seconds_in(cell, number) for cell in cells[1:])
                person = row.get("subject", "")
                segments.append(Segment(row["id"], start, max(start, end), cells[0], person))
        return Table(segments, (), {}, {name: length for name, length in lengths.items() if length})

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """A row a video and person."""
        if any(not row.label or set(row.label) & set(" ;\t\n") for row in segments):
            raise ValueError("a label is empty or has blanks or semicolons; rename it")
        groups: dict[tuple[str, str], list[Segment]] = defaultdict(list)
        for row in segments:
            groups[row.recording, row.subject].append(row)
        lines: list[list[str]] = [["id", "subject", "actions", "length"]]
        for (recording, subject), rows in groups.items():
            actions = [f"{s.label} {short(s.start_s)} {short(s.end_s)}" for s in rows]
            length = max(s.end_s for s in rows)
            lines.append([recording, subject, ";".join(actions), short(length)])
        return text_of(lines).encode(), []
