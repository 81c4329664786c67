"""Spreadsheets of Datavyu: ``.opf`` (a zip with ``db``) and the CSV export."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.sheets import entries, names, packed
from vlar.segments.tables import named, rows_of, text_of

_LONGEST = 20_000
_COLUMN = re.compile(r"^(?P<name>.+?) \([A-Z]+,\w+,[^()]*\)(?:-(?P<codes>.*))?$")
_CELL = re.compile(r"^(\d+):(\d+):(\d+):(\d+),(\d+):(\d+):(\d+):(\d+),(?:\((.*)\)|(.*))$")
NAMELESS, CODE = "label", "code"
"""Column of segments without a tier, and the code of columns that have one alone."""
_Cell = tuple[float, float, list[str]]


def _segments(recording: str, column: str, codes: Sequence[str], cell: _Cell) -> Iterator[Segment]:
    """A segment for each code that is set; the column itself where none is."""
    start, end, values = cell
    tier = "" if column == NAMELESS else column
    pairs = [(code, value) for code, value in zip(codes, values, strict=False) if value]
    for code, value in pairs:
        yield Segment(
            recording, start, end, value, tier=tier if code == CODE else f"{column}.{code}"
        )
    if not pairs:
        yield Segment(recording, start, end, column, tier=tier)


def _cells(segments: Iterable[Segment], columns: dict[str, list[str]]) -> dict[str, list[_Cell]]:
    """Cells by column, made of the segments of one time; columns and codes that lack are added."""
    cells: dict[str, dict[tuple[float, float], list[_Cell]]] = {}
    for row in segments:
        column, _, code = (row.tier or NAMELESS).rpartition(".")
        column, code = (column, code) if column and code else (row.tier or NAMELESS, CODE)
        codes = columns.setdefault(column, [])
        is_empty = row.label == column and code == CODE
        if code not in codes and not (is_empty and codes):
            codes.append(code)
        same = cells.setdefault(column, {}).setdefault((row.start_s, row.end_s), [])
        code_index = 0 if is_empty else codes.index(code)
        free = next(
            (cell for cell in same if not "".join(cell[2][code_index : code_index + 1])), None
        )
        if free is None or is_empty:
            free = (row.start_s, row.end_s, [])
            same.append(free)
        free[2].extend([""] * (len(codes) - len(free[2])))
        if not is_empty:
            free[2][code_index] = row.label
    return {name: [c for same in rows.values() for c in same] for name, rows in cells.items()}


@register("annotation", "datavyu")
class Datavyu(AnnotationFormat):
    """Datavyu spreadsheets: tier = column, or column.code where a column has several codes."""

    endings = frozenset({".opf"})
    default_for = frozenset({".opf"})
    holds = frozenset({"tier"})
    adds = True
    loses = "times below 1 ms"

    def claims(self, source: Source) -> bool:
        """Return whether it is a zip with an entry ``db``."""
        return "db" in names(source.data)

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each code of each cell; cells that end before they start are noted."""
        columns, cells, notes = _database(entries(source.data)["db"].decode("utf-8", "replace"))
        segments = [
            segment
            for column, rows in cells.items()
            for cell in rows
            for segment in _segments(source.stem, column, columns[column], cell)
        ]
        return Table(segments, tuple(notes))

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The spreadsheet with cells for segments that it does not have yet."""
        files = entries(existing.data) if existing else {}
        text = files.get("db", b"#4\n").decode("utf-8", "replace")
        columns, _, notes = _database(text)
        before = {name: list(codes) for name, codes in columns.items()}
        added = _cells(self.new_in(existing, segments, options, "tier"), columns)
        if any(columns[name] != codes for name, codes in before.items()):
            raise ValueError("a column of the spreadsheet lacks a code; add it in Datavyu")
        files["db"] = _inserted(text, columns, before, added).encode()
        files.setdefault("project", b"!project\ndbFile: vlar.opf\nname: vlar\nversion: 5\n")
        return packed(files), notes


def _database(text: str) -> tuple[dict[str, list[str]], dict[str, list[_Cell]], list[str]]:
    """Codes and cells by column, and notes on cells that cannot be used."""
    columns: dict[str, list[str]] = {}
    cells: dict[str, list[_Cell]] = {}
    notes: list[str] = []
    column = ""
    for line in text.splitlines():
        if len(line) > _LONGEST:
            raise ValueError(f"a line of its database has more than {_LONGEST:,} characters")
        if match := _CELL.match(line):
            numbers = [int(part) for part in match.groups()[:8]]
            start, end = _seconds(numbers[:4]), _seconds(numbers[4:])
            if end < start:
                notes.append(f"a cell of {column!r} at {start:g} s ends before it starts: left out")
                continue
            text = match[10] or "" if match[9] is None else match[9]
            cells[column].append((start, end, _values(text)))
        elif match := _COLUMN.match(line):
            column = match["name"]
            parts = re.split(r"(?<!\\),", match["codes"] or CODE)
            columns[column] = [part.rpartition("|")[0] or part for part in parts]
            cells[column] = []
    return columns, cells, notes


def _seconds(parts: Sequence[int]) -> float:
    hours, minutes, seconds, milliseconds = parts
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _stamp(time_s: float) -> str:
    seconds, milliseconds = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{milliseconds:03d}"


def _values(text: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\),", text)]


def _escaped(value: str) -> str:
    return re.sub(r"([\\,()|-])", r"\\\1", " ".join(value.split()))


def _inserted(
    text: str,
    columns: Mapping[str, list[str]],
    before: Mapping[str, list[str]],
    added: Mapping[str, list[_Cell]],
) -> str:
    """The database with cells after those of their column, and new columns at its end."""

    def lines_of(name: str) -> list[str]:
        return [
            f"{_stamp(start)},{_stamp(end)},({','.join(map(_escaped, values))})"
            for start, end, values in sorted(added.get(name, []), key=lambda cell: cell[:2])
        ]

    lines: list[str] = []
    column = ""
    for line in text.splitlines():
        match = None if _CELL.match(line) else _COLUMN.match(line)
        if match:
            lines += lines_of(column)
            column = match["name"]
        lines.append(line)
    lines += lines_of(column)
    for name in added.keys() - before.keys():
        codes = ",".join(f"{code}|NOMINAL" for code in columns[name])
        lines += [f"{name} (MATRIX,true,)-{codes}", *lines_of(name)]
    return "\n".join(lines) + "\n"


@register("annotation", "datavyu-csv")
class DatavyuTable(AnnotationFormat):
    """Datavyu CSV export: file, column, ordinal, onset and offset in milliseconds, codes."""

    endings = frozenset({".csv"})
    default_for = frozenset({"_datavyu.csv"})
    holds = frozenset({"recording", "tier"})
    several = True
    loses = "times below 1 ms"

    def claims(self, source: Source) -> bool:
        """Return whether the header has the columns of the export."""
        return {"column", "ordinal", "onset", "offset"} <= set(source.columns)

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each code of each row; rows that end before they start are noted."""
        header, *rows = rows_of(source.text)
        codes = header[header.index("offset") + 1 :]
        segments: list[Segment] = []
        notes: list[str] = []
        for number, row in enumerate((named(cells, header) for cells in rows), 2):
            start, end = float(row["onset"]) / 1000, float(row["offset"]) / 1000
            if end < start:
                notes.append(f"row {number} ends before it starts: left out")
                continue
            cell = (start, end, [row[code] for code in codes])
            recording = row.get("file") or source.stem
            segments += _segments(recording, row["column"], codes, cell)
        return Table(segments, tuple(notes))

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table; the codes of all its columns stand next to each other."""
        lines: list[list[str]] = []
        codes: dict[str, None] = {}
        tables: list[tuple[str, str, list[str], list[_Cell]]] = []
        by_recording = sorted(segments, key=lambda row: row.recording)
        for recording, rows_of_one in groupby(by_recording, key=lambda row: row.recording):
            columns: dict[str, list[str]] = {}
            cells = _cells(rows_of_one, columns)
            for name, rows in cells.items():
                tables.append((recording, name, columns[name], rows))
                codes.update(dict.fromkeys(columns[name]))
        for recording, name, tier_rows, rows in tables:
            for number, (start, end, values) in enumerate(sorted(rows, key=lambda c: c[:2]), 1):
                by_code = dict(zip(tier_rows, values, strict=False))
                times = [str(round(time * 1000)) for time in (start, end)]
                lines.append(
                    [recording, name, str(number), *times, *(by_code.get(c, "") for c in codes)]
                )
        return text_of(
            [["file", "column", "ordinal", "onset", "offset", *codes], *lines]
        ).encode(), []
