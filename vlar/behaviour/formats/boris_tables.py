"""Exports of BORIS as tables: START and STOP (tabular), and a row a bout (aggregated)."""

from __future__ import annotations

from collections.abc import Mapping

from vlar.behaviour.formats.boris import comment_of, modifiers_of, origin_of, unpaired
from vlar.registry import register
from vlar.segments.base import (
    OPTIONAL,
    SHEET,
    AnnotationFormat,
    Options,
    Rows,
    Source,
    Table,
    Written,
)
from vlar.segments.segment import Segment
from vlar.segments.tables import (
    Row,
    delimiter,
    first_cell,
    named,
    rows_of,
    seconds,
    seconds_in,
    text_of,
)

_NOBODY = "No focal subject"
_LENGTHS = ("Total length", "Media duration (s)", "Observation duration")
_FACTS = {
    *("Observation id", "Observation date", "Description", "Observation duration", "Source"),
    *("Observation type", "Time offset (s)", "Coding duration", "Media file"),
    *("Media file name", "Media file path", "Total length", "Media duration (s)", "FPS"),
    *("FPS (frame/s)", "Subject", "Time"),
}
_TABULAR = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,"
    "Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifiers,Behavior type,Time,"
    "Media file name,Image index,Image file path,Comment"
)
_AGGREGATED = (
    "Observation id,Observation date,Description,Media file,Total length,FPS,Subject,Behavior,"
    "Behavioral category,Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,"
    "Comment stop"
)


class _Content:
    """Header, rows and facts of an export."""

    def __init__(self, source: Source, columns: str) -> None:
        text = source.text
        self.mark = delimiter(text.lstrip("\r\n").partition("\n")[0])
        rows = rows_of(text, self.mark)
        header_row = next((i for i, row in enumerate(rows[:400]) if _is_header(row)), None)
        self.header: Row = rows[header_row] if header_row is not None else _guessed(rows[0])
        body = rows[header_row + 1 :] if header_row is not None else rows
        self.facts = {row[0]: row[1] if len(row) > 1 else "" for row in rows[: header_row or 0]}
        head = [row[0] for row in rows[: header_row or 0]]
        first = head.index("variable") + 1 if "variable" in head else len(head)
        self.variables = {name: self.facts[name] for name in head[first:]}
        self.recording = self.facts.get("Observation id") or source.stem
        self.notes: list[str] = []
        self.tables = [named(row, self.header) for row in body]
        self._details = self._modifiers()

    def _modifiers(self) -> list[str]:
        """Columns of modifiers."""
        header = self.header
        begin = header.index("Behavioral category") + 1 if "Behavioral category" in header else 0
        stop = (n for n in ("Behavior type", "Comment", "Status", "Time") if n in header[begin:])
        ends = min((header.index(n, begin) for n in stop), default=begin)
        return header[begin:ends] if begin else [n for n in header if "odifier" in n]

    def table(self, segments: list[Segment]) -> Table:
        """The table with media, durations and conditions of every observation."""
        media: dict[str, dict[str, None]] = {}
        lengths: dict[str, float] = {}
        conditions: dict[str, Mapping[str, str]] = {}
        end = self.header.index("Subject") if "Subject" in self.header else 0
        columns = [name for name in self.header[:end] if name not in _FACTS]
        for row in self.tables:
            name = row.get("Observation id") or self.recording
            file = first_cell(row, "Media file path", "Media file", "Media file name", "Source")
            media.setdefault(name, {}).update({file: None} if file else {})
            length = next((t for key in _LENGTHS if (t := seconds(row.get(key, "")))), None)
            if length:
                lengths[name] = length
            conditions[name] = {c: row[c] for c in columns} or self.variables
        files = {name: tuple(paths) for name, paths in media.items()}
        return Table(segments, tuple(self.notes), files, lengths, conditions)

    def segment(self, row: Mapping[str, str], start_s: float, end_s: float) -> Segment:
        """The segment of a row."""
        subject = row.get("Subject", "")
        rater, share = origin_of(first_cell(row, "Comment start", "Comment"))
        return Segment(
            row.get("Observation id") or self.recording,
            start_s,
            end_s,
            row["Behavior"],
            "" if subject.lower() == _NOBODY.lower() else subject,
            row.get("Behavioral category", ""),
            rater,
            modifiers_of(row[name] for name in self._details),
            share,
        )


def _is_header(row: Row) -> bool:
    return "Behavior" in row and ("Time" in row or "Start (s)" in row)


def _guessed(row: Row) -> Row:
    """Names of the columns of an aggregated export without its header."""
    kind = next((i for i, cell in enumerate(row) if cell in ("STATE", "POINT")), None)
    if kind is None or kind < 5 or len(row) < kind + 4:
        raise ValueError("it has no header with the columns Behavior and Time or Start (s)")
    names = [f"column {i + 1}" for i in range(len(row))]
    around = ("Subject", "Behavior", "Behavioral category", "Modifiers", "Behavior type")
    names[kind - 4 : kind + 1] = around
    names[kind + 1 : kind + 4] = ["Start (s)", "Stop (s)", "Duration (s)"]
    names[0] = "Observation id"
    return names


class _Export(AnnotationFormat):
    """Behaviour that both exports share: rows are added, those of the file stay."""

    endings = frozenset({".csv", ".tsv", ".txt", SHEET})
    holds = frozenset(OPTIONAL)
    several = True
    adds = True
    columns = ""

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The export with rows of the segments that it does not have yet."""
        if existing is None:
            mark = "\t" if options.target.lower().endswith(".tsv") else ","
            header = self.columns.split(",")
            begin = text_of([header], mark)
        elif existing.suffix == SHEET:
            raise ValueError("a workbook is read and not written; write .tsv")
        else:
            content = _Content(existing, self.columns)
            mark, header = content.mark, content.header
            begin = existing.text.rstrip("\r\n") + "\n"
            names = {content.recording} if "Observation id" not in header else set[str]()
            if names and {row.recording for row in segments} - names:
                raise ValueError(f"its rows belong to observation {content.recording!r} alone")
        fresh = self.new_in(existing, segments, options, "recording", "subject", "modifiers")
        rows = [cells for row in fresh for cells in self.cells(row)]
        lines = [[row.get(name, "") for name in header] for row in rows]
        return (begin + text_of(lines, mark)).encode(), []

    def cells(self, segment: Segment) -> list[dict[str, str]]:
        """Rows of a segment by the names of columns."""
        raise NotImplementedError


def _common(segment: Segment) -> dict[str, str]:
    return {
        "Observation id": segment.recording,
        "Media file": segment.recording,
        "Media file name": segment.recording,
        "Source": segment.recording,
        "Subject": segment.subject or _NOBODY,
        "Behavior": segment.label,
        "Behavioral category": segment.tier,
        "Modifiers": "|".join(segment.modifiers),
        **dict.fromkeys(("Comment", "Comment start"), comment_of(segment)),
    }


@register("annotation", "boris-tabular")
class BorisTabular(_Export):
    """Tabular events of BORIS, old and new: rows with START, STOP and POINT."""

    default_for = frozenset({"_tabular.csv", "_tabular.tsv"})
    columns = _TABULAR

    def claims(self, source: Source) -> bool:
        """Return whether a line has the columns Behavior, Time, and Status or Behavior type."""
        lines = (line.replace('"', "") for line in source.head.splitlines()[:400])
        cells = (
            [c.strip() for c in line.split(delimiter(line))] for line in lines if "Behavior" in line
        )
        return any(
            "Time" in row and "Behavior" in row and ("Status" in row or "Behavior type" in row)
            for row in cells
        )

    def read(self, source: Source, options: Options) -> Table:
        """Bouts from starts and stops in the order of the file; unpaired ones are noted."""
        content = _Content(source, self.columns)
        segments: list[Segment] = []
        started: dict[tuple[str, str, str, tuple[str, ...]], list[float]] = {}
        for number, row in enumerate(content.tables, 1):
            status = first_cell(row, "Status", "Behavior type").upper()
            time = seconds_in(first_cell(row, "Time"), number)
            segment = content.segment(row, time, time)
            key = (segment.recording, segment.subject, segment.label, segment.modifiers)
            if status == "START":
                started.setdefault(key, []).append(time)
            elif status == "STOP" and started.get(key):
                begin = started[key].pop()
                segments.append(content.segment(row, min(begin, time), max(begin, time)))
            elif status == "STOP":
                content.notes.append(f"{unpaired((key[1], key[2], key[3]), time)}")
            else:
                segments.append(segment)
        for key, times in started.items():
            content.notes += [unpaired((key[1], key[2], key[3]), time) for time in times]
        return content.table(segments)

    def cells(self, segment: Segment) -> list[dict[str, str]]:
        """A row of a point, or two rows of a state."""
        times = {"START": segment.start_s, "STOP": segment.end_s}
        rows = {"POINT": segment.start_s} if segment.is_point else times
        return [
            {**_common(segment), "Time": f"{t:.3f}", "Status": status, "Behavior type": status}
            for status, t in rows.items()
        ]


@register("annotation", "boris-aggregated")
class BorisAggregated(_Export):
    """Aggregated events of BORIS: a row a bout, also without the header."""

    default_for = frozenset({"_aggregated.csv", "_aggregated.tsv"})
    columns = _AGGREGATED

    def claims(self, source: Source) -> bool:
        """Return whether it has the columns of starts and stops, or rows of STATE and POINT."""
        cells = source.columns
        if "Start (s)" in cells and "Behavior" in cells:
            return True
        kind = next((i for i, cell in enumerate(cells) if cell in ("STATE", "POINT")), 0)
        return kind >= 5 and len(cells) > kind + 3 and seconds(cells[kind + 1]) is not None

    def read(self, source: Source, options: Options) -> Table:
        """A segment a row."""
        content = _Content(source, self.columns)
        segments: list[Segment] = []
        for number, row in enumerate(content.tables, 1):
            start = seconds_in(first_cell(row, "Start (s)"), number)
            stop = seconds(first_cell(row, "Stop (s)"))
            segments.append(content.segment(row, start, start if stop is None else stop))
        return content.table(segments)

    def cells(self, segment: Segment) -> list[dict[str, str]]:
        """The row of a bout."""
        times = (segment.start_s, segment.end_s, segment.duration_s)
        names = ("Start (s)", "Stop (s)", "Duration (s)")
        row = {name: f"{t:.3f}" for name, t in zip(names, times, strict=True)}
        if segment.is_point:
            row["Duration (s)"] = "NA"
        return [
            {**_common(segment), **row, "Behavior type": "POINT" if segment.is_point else "STATE"}
        ]
