"""The table of vlar itself, which holds every field of a segment."""

from __future__ import annotations

import re
from typing import ClassVar

from vlar.files.reading import parse_cells
from vlar.registry import register
from vlar.segments.base import OPTIONAL, AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.tables import delimiter, seconds_in, short, text_of

_ALWAYS = ("recording", "start_s", "end_s", "label")
_DETAILS = ("subject", "tier", "modifiers", "probability", "rater")
_NEEDED = ({"start_s", "end_s", "label"}, {"start", "end", "label"})


@register("annotation", "csv")
class OwnTable(AnnotationFormat):
    """vlar's own CSV: recording, start_s, end_s, label, and the optional columns that are used."""

    endings = frozenset({".csv", ".tsv"})
    default_for = frozenset({".csv", ".tsv"})
    holds = frozenset(OPTIONAL)
    several = True
    loses: ClassVar[str] = "nothing"

    def claims(self, source: Source) -> bool:
        """Return whether the first line has ``label``, ``start_s`` or ``start``, and an end."""
        first = source.head.partition("\n")[0].strip()
        names = {cell.strip().strip('"') for cell in first.split(delimiter(first))}
        return any(names >= needed for needed in _NEEDED)

    def read(self, source: Source, options: Options) -> Table:
        """The rows; ``path`` may name the recording, and without one the file does."""
        rows = list(parse_cells(source.text, delimiter(source.head.partition("\n")[0])))
        header = [name.strip() for name in rows[0]]
        segments: list[Segment] = []
        for number, row in enumerate(rows[1:], 2):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(header):
                raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
            segments.append(_segment(dict(zip(header, row, strict=False)), number, source.stem))
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table; columns of optional fields that no segment uses are left out."""
        columns = list(_ALWAYS)
        columns += [
            name
            for name in _DETAILS
            if any(getattr(s, name) not in ("", (), None) for s in segments)
        ]
        rows = [[_cell(segment, name) for name in columns] for segment in segments]
        mark = "\t" if options.target.lower().endswith(".tsv") else ","
        return text_of([columns, *rows], mark).encode(), []


def _segment(row: dict[str, str], number: int, stem: str) -> Segment:
    chance = row.get("probability", "").strip()
    return Segment(
        row.get("recording") or row.get("path") or stem,
        seconds_in(row.get("start_s", row.get("start")), number),
        seconds_in(row.get("end_s", row.get("end")), number),
        row.get("label", ""),
        row.get("subject", ""),
        row.get("tier", ""),
        row.get("rater", ""),
        modifiers_of(row.get("modifiers", "")),
        seconds_in(chance, number) if chance else None,
    )


def _cell(segment: Segment, name: str) -> str:
    value = getattr(segment, name)
    if name == "modifiers":
        return "|".join(re.sub(r"([\\|])", r"\\\1", text) for text in value)
    if isinstance(value, float | int):
        return short(value)
    return value or ""


def modifiers_of(cell: str) -> tuple[str, ...]:
    r"""Modifiers of a cell, which are separated by ``|``; ``\|`` is the sign itself."""
    parts = [""]
    for token in re.findall(r"\\.|[\s\S]", cell):
        if token == "|":
            parts.append("")
        else:
            parts[-1] += token[-1]
    return tuple(parts) if cell else ()
