"""Tables of bouts: several raters in one table, and the tab export of ELAN."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.tables import first_cell, named, rows_of, seconds, short, text_of

_SESSION = re.compile(r"^start[/_ ]?end$", re.I)
_SLIPS = ("", "NA", "_DEFAULT")


@register("annotation", "rater-table")
class RaterTable(AnnotationFormat):
    """Bouts of several raters (columns Experimenter, from, to, type, ID): recording = ID.

    Marks of the session and slips (``_DEFAULT``, ``NA``) are left out; the last mark ends it.
    """

    endings = frozenset({".csv", ".tsv", ".txt"})
    default_for = frozenset({"_raters.csv"})
    holds = frozenset({"recording", "rater"})
    several = True
    loses = "times below 1 ms"

    def claims(self, source: Source) -> bool:
        """Return whether the header has the columns from, to and type."""
        return {"from", "to", "type"} <= set(source.columns)

    def read(self, source: Source, options: Options) -> Table:
        """A segment a row; rows without an end, slips and marks of the session are noted."""
        header, *rows = rows_of(source.text)
        segments: list[Segment] = []
        lengths: dict[str, float] = {}
        lost = {"marks of the session": 0, "slips": 0, "rows without times": 0}
        for row in (named(cells, header) for cells in rows):
            start, end = seconds(row["from"]), seconds(row["to"])
            name = first_cell(row, "ID") or row.get("file", "") or source.stem
            if row["type"] in _SLIPS:
                lost["slips"] += 1
                continue
            if start is None or end is None or end < start:
                lost["rows without times"] += 1
                continue
            lengths[name] = max(lengths.get(name, 0.0), end)
            if _SESSION.match(row["type"]):
                lost["marks of the session"] += 1
                continue
            rater = first_cell(row, "Experimenter", "rater", "Rater")
            segments.append(Segment(name, start, end, row["type"], rater=rater))
        notes = [f"{n} {what} are left out" for what, n in lost.items() if n]
        return Table(segments, tuple(notes), {}, lengths)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table, with semicolons."""
        rows = [
            (s.recording, s.rater, short(s.start_s), short(s.end_s), s.label, s.recording)
            for s in segments
        ]
        header = ("file", "Experimenter", "from", "to", "type", "ID")
        return text_of([header, *rows], ";").encode(), []


@register("annotation", "elan-tab")
class ElanTab(AnnotationFormat):
    """ELAN's tab export: a column a tier next to begin and end, or a row an annotation."""

    endings = frozenset({".txt", ".csv", ".tsv"})
    default_for = frozenset({".txt"})
    holds = frozenset({"recording", "subject", "tier", "rater"})
    several = True
    loses = "times below 1 ms"
    _HEADER = (
        *("Tier", "Participant", "Annotator", "Begin Time - msec", "End Time - msec"),
        *("Duration - msec", "Value", "File"),
    )

    def claims(self, source: Source) -> bool:
        """Return whether the first line has the columns of begin and end."""
        first = source.head.partition("\n")[0]
        return "Begin Time - " in first and "End Time - " in first

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each tier that has a value in a row.

        Columns that have a text in every row are facts of the recording, not tiers.
        """
        header, *rows = rows_of(source.text)
        unit = next(
            (u for u in ("msec", "ss.msec", "hh:mm:ss.ms") if f"Begin Time - {u}" in header), ""
        )
        if not unit or f"End Time - {unit}" not in header:
            raise ValueError(
                "it has no pair of columns Begin Time and End Time in msec, ss or hh:mm:ss"
            )
        scale = 1000.0 if unit == "msec" else 1.0
        times = [name for name in header if re.search(r" Time - |Duration - ", name)]
        cells = [named(row, header) for row in rows]
        facts = _facts(header, cells)
        tiers = [name for name in header if name and name not in {*times, *facts}]
        segments: list[Segment] = []
        for row in cells:
            start, end = seconds(row[f"Begin Time - {unit}"]), seconds(row[f"End Time - {unit}"])
            if start is None or end is None:
                continue
            span = start / scale, max(start, end) / scale
            name = first_cell(row, "File", "File Path", "Clip_name") or source.stem
            if "Tier" in header and "Value" in header:
                segments.append(
                    Segment(
                        name,
                        *span,
                        row["Value"] or row["Tier"],
                        subject=row.get("Participant", ""),
                        tier=row.get("Tier", ""),
                        rater=row.get("Annotator", ""),
                    )
                )
                continue
            segments += [Segment(name, *span, row[tier], tier=tier) for tier in tiers if row[tier]]
        notes = (f"columns with a text in every row are not tiers: {facts}",) if facts else ()
        return Table(segments, notes)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """A row an annotation."""
        rows: list[list[object]] = []
        for row in sorted(segments, key=lambda s: s.recording):
            begin, end = round(row.start_s * 1000), round(row.end_s * 1000)
            people = row.tier, row.subject, row.rater
            rows.append([*people, begin, end, end - begin, row.label, row.recording])
        return text_of([self._HEADER, *rows], "\t").encode(), []


def _facts(header: Sequence[str], rows: Sequence[dict[str, str]]) -> list[str]:
    """Columns with a text in every row, where others have gaps."""
    names = [name for name in header if not re.search(r" Time - |Duration - ", name)]
    full = [name for name in names if all(row[name] for row in rows)]
    return full if rows and len(full) < len(names) and "Value" not in header else []
