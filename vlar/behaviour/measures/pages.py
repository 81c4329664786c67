"""Ethograms as tables, drawings and a page, with the paragraph for the methods section."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from vlar.behaviour.measures.agreement import Agreement
from vlar.behaviour.measures.drawing import COLOURS, Drawing, Shape, marks
from vlar.behaviour.measures.ethogram import Ethogram, ethogram
from vlar.errors import UsageError, explained
from vlar.formatting import counted, escaped, without
from vlar.metrics.checks import Record
from vlar.results import cell
from vlar.segments import Segment
from vlar.segments.tables import text_of
from vlar.version import __version__

_LEFT, _WIDTH, _ROW = 190, 760, 16
_COLUMNS = 120  # of a row of an actogram
_MOST_ROWS = 400
_LONGEST = 26  # letters of a name in a drawing
_VIDEOS = (".mp4", ".webm", ".mov", ".m4v", ".ogv")
_PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Report:
    """Everything that the files of an ethogram show.

    Attributes:
        content: The time budgets.
        bin_s: Seconds of a bin; None for a round number near a tenth of the longest recording.
        variable: Name of the independent variable; empty for none.
        values: Value of it by recording.
        media: Paths of media files by recording.
        notes: What was left out or assumed when the annotations were read.
        model: Name of the model that made the segments; empty for people.
        held_out: Sentence on the figures of that model; empty for none.
    """

    content: Ethogram
    bin_s: float | None = None
    variable: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    media: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    notes: Sequence[str] = ()
    model: str = ""
    held_out: str = ""

    @property
    def length_s(self) -> float:
        """Seconds of a bin."""
        longest = max(self.content.durations.values(), default=1.0)
        return self.bin_s if self.bin_s is not None else [*marks(longest), longest][1]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of each table by its name."""
        content = self.content
        tables: dict[str, Sequence[Record]] = {
            "budget": content.rows,
            "bins": content.bins(self.length_s),
            "transitions": content.transitions(),
        }
        if self.values:
            tables["conditions"] = content.conditions(self.values)
        rows = {name: [row.to_dict() for row in table] for name, table in tables.items()}
        bouts = [
            {**segment.to_dict(), "duration_s": round(segment.duration_s, 6)}
            for segment in content.segments
        ]
        return {**rows, "bouts": bouts}

    def write(self, folder: Path) -> list[Path]:
        """Write tables (CSV), drawings (SVG, PNG), the methods paragraph and the page.

        Raises:
            UsageError: the folder or a file cannot be written.
        """
        with explained(UsageError, f"{folder} cannot be written", "choose another --out"):
            folder.mkdir(parents=True, exist_ok=True)
            tables = self.tables()
            for name, rows in tables.items():
                _write_table(folder / f"{name}.csv", rows)
            drawings = {
                "raster": raster(self.content),
                "actogram": actogram(self.content, self.length_s),
            }
            for name, drawing in drawings.items():
                drawing.write(folder / f"{name}.svg")
                drawing.write(folder / f"{name}.png")
            (folder / "methods.txt").write_text(methods(self) + "\n", "utf-8")
            (folder / "ethogram.html").write_text(self._page(folder, tables, drawings), "utf-8")
        return sorted(folder.iterdir())

    def _page(
        self,
        folder: Path,
        tables: Mapping[str, list[dict[str, Any]]],
        drawings: Mapping[str, Drawing],
    ) -> str:
        parts = {
            "Time budgets": _html(tables["budget"]),
            "Bouts": drawings["raster"].svg(),
            "Activity": drawings["actogram"].svg(),
            "Transitions": _html(tables["transitions"]),
        }
        if "conditions" in tables:
            parts[f"By {self.variable}"] = _html(tables["conditions"])
        parts["Methods"] = f"<p>{escape(methods(self))}</p>"
        media = {name: (*self.media.get(name, ()), name) for name in self.content.durations}
        return _page("Ethogram", folder, parts, media)


def write_differences(
    file: Path,
    raters: Mapping[str, Sequence[Segment]],
    result: Agreement,
    lines: Sequence[str],
    media: Mapping[str, Sequence[str]],
) -> None:
    """Write a page of two or more raters: their bouts one below the other, and those that differ.

    Args:
        file: The page.
        raters: Segments of each.
        result: Their agreement.
        lines: Its figures as text.
        media: Paths of media files by recording.

    Raises:
        UsageError: the page cannot be written.
    """
    rows = [
        replace(segment, subject=segment.label, label=rater)
        for rater, segments in raters.items()
        for segment in segments
        if segment.recording in result.recordings
    ]
    ends: dict[str, float] = defaultdict(float)
    for row in rows:
        ends[row.recording] = max(ends[row.recording], row.end_s, 1e-3)
    worst = [row.to_dict() for row in result.differences[:_MOST_ROWS]]
    parts = {
        "Figures": f"<pre>{escape(chr(10).join(lines))}</pre>",
        "Bouts that differ, the worst first": f"<div>{_html(worst)}</div>",
        "Bouts of each": raster(ethogram(rows, duration_s=ends)).svg(),
    }
    with explained(UsageError, f"{file} cannot be written", "choose another --html"):
        file.write_text(_page("Agreement", file.parent, parts, media), "utf-8")


def _page(
    title: str, folder: Path, parts: Mapping[str, str], media: Mapping[str, Sequence[str]]
) -> str:
    """A page of headings with their content, and the video of the bout that is clicked."""
    addresses: dict[str, str] = {}
    for name, paths in media.items():
        films = [Path(p) for p in paths if PurePath(p).suffix.lower() in _VIDEOS]
        for path in [film for film in films if film.is_file()][:1]:
            address = os.path.relpath(path.resolve(), folder.resolve()).replace(os.sep, "/")
            addresses[name] = quote(address)
    first = next(iter(addresses.values()), "")
    return _PAGE.format(
        title=title,
        video=f'<video controls src="{first}"></video>' if first else "",
        content="".join(f"<h2>{escape(name)}</h2>{part}" for name, part in parts.items()),
        media=json.dumps(addresses).replace("<", "\\u003c"),
    )


def _write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in columns] for row in rows]
    file.write_bytes(text_of([[_cell(name) for name in columns], *cells]).encode())


def _cell(value: Any) -> Any:
    """A value as a cell that begins no formula and holds no control character."""
    text = "|".join(value) if isinstance(value, list) else value
    return cell(escaped(text)) if isinstance(text, str) else value


def _html(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in rows[0])
    lines = [f"<table><tr>{head}</tr>"]
    for row in rows:
        cells = (
            "" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v)
            for v in row.values()
        )
        bout = ""
        if "start_s" in row:
            bout = f' data-s="{row["start_s"]:.3f}" data-r="{escape(row["recording"])}"'
        lines.append(f"<tr{bout}>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _short(text: str) -> str:
    text = without(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def raster(content: Ethogram) -> Drawing:
    """Bouts along time: a line for each label of each subject of each recording, 400 at most."""
    colours = _colours(content)
    bouts: dict[tuple[str, str, str], list[Segment]] = defaultdict(list)
    for segment in content.segments:
        bouts[segment.recording, segment.subject, segment.label].append(segment)
    longest = max(content.durations.values(), default=1.0)
    drawing = Drawing(_LEFT + _WIDTH + 40, 0)
    scale, y, block = _WIDTH / longest, 10.0, ("", "")
    for row in content.rows[:_MOST_ROWS]:
        if (row.recording, row.subject) != block:
            block = (row.recording, row.subject)
            y += 8
            title = _short(" ".join(filter(None, (PurePath(row.recording).name, row.subject))))
            drawing.shapes.append(Shape("text", 8, y + 11, text=title, colour="#000000"))
            y += _ROW
        drawing.shapes.append(Shape("text", _LEFT - 8, y + 11, text=_short(row.label), right=True))
        rows = bouts[row.recording, row.subject, row.label]
        drawing.shapes += [_bar(segment, scale, y, colours[row.label]) for segment in rows]
        y += _ROW
    drawing.axis(_LEFT, y + 4, _WIDTH, longest)
    drawing.height = int(y + 30)
    if len(content.rows) > _MOST_ROWS:
        text = f"and {len(content.rows) - _MOST_ROWS} more"
        drawing.shapes.append(Shape("text", 8, y + 20, text=text))
    return drawing


def _bar(segment: Segment, scale: float, y: float, colour: str) -> Shape:
    text = f"{segment.label} {segment.start_s:.2f} to {segment.end_s:.2f} s"
    x, width = _LEFT + segment.start_s * scale, max(segment.duration_s * scale, 1.0)
    return Shape(
        "rect", x, y + 2, width, _ROW - 4, colour, text, False, segment.start_s, segment.recording
    )


def actogram(content: Ethogram, row_s: float) -> Drawing:
    """Activity along time, folded into rows: bars have the height of the share of time with a bout.

    Args:
        content: The ethogram; all labels but those called background, other or base count.
        row_s: Seconds of a row; the first 400 rows are drawn.
    """
    rows = [(r, i) for r, length in content.durations.items() for i in range(_rows(length, row_s))]
    rows = rows[:_MOST_ROWS]
    drawing = Drawing(_LEFT + _WIDTH + 40, len(rows) * 26 + 40)
    step, height = row_s / _COLUMNS, 20.0
    for index, (recording, number) in enumerate(rows):
        y = 8.0 + 26 * index
        begin = number * row_s
        name = f"{_short(PurePath(recording).name)} {begin:g} s"
        drawing.shapes.append(Shape("text", _LEFT - 8, y + 15, text=name, right=True))
        drawing.shapes.append(Shape("line", _LEFT, y + height, _WIDTH, 0, "#bbbbbb"))
        for column, share in enumerate(_activity(content.segments, recording, begin, step)):
            if share > 0:
                x = _LEFT + _WIDTH * column / _COLUMNS
                bar = max(height * share, 1.0)
                time = begin + column * step
                text = f"{time:.1f} s: {share:.0%}"
                width, top = _WIDTH / _COLUMNS, y + height - bar
                drawing.shapes.append(
                    Shape("rect", x, top, width, bar, COLOURS[0], text, False, time, recording)
                )
    drawing.axis(_LEFT, 8.0 + 26 * len(rows), _WIDTH, row_s)
    return drawing


def _rows(length_s: float, row_s: float) -> int:
    return max(int(-(-(length_s - 1e-9) // row_s)), 1)


def _activity(
    segments: Sequence[Segment], recording: str, begin: float, step: float
) -> list[float]:
    """Share of each column of a row that a bout of any subject covers, at ten points of it."""
    rows = [
        s
        for s in segments
        if s.recording == recording
        and s.label.lower() not in ("background", "other", "base")
        and s.end_s >= begin
        and s.start_s < begin + _COLUMNS * step
    ]
    points = [False] * (10 * _COLUMNS)
    for segment in rows:
        first = int((segment.start_s - begin) / step * 10)
        last = max(int((segment.end_s - begin) / step * 10 + 1e-9), first + 1)
        for point in range(max(first, 0), min(last, len(points))):
            points[point] = True
    return [sum(points[i : i + 10]) / 10 for i in range(0, len(points), 10)]


def _colours(content: Ethogram) -> dict[str, str]:
    labels = sorted({segment.label for segment in content.segments})
    return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}


def methods(report: Report) -> str:
    """The paragraph for a methods section: figures, definitions, and limits."""
    content = report.content
    segments, hours = content.segments, sum(content.durations.values()) / 3600
    points = sum(segment.is_point for segment in segments)
    labels = sorted({segment.label for segment in segments})
    subjects = {(s.recording, s.subject) for s in segments}
    chances = [s.probability for s in segments if s.probability is not None]
    raters = sorted({s.rater for s in segments if s.probability is None} - {""})
    models = ", ".join(sorted({s.rater for s in segments if s.probability is not None} - {""})[:10])
    parts = [
        f"We analysed {counted(len(content.durations), 'recordings')} ({hours:.3g} h, "
        f"{counted(len(subjects), 'subjects')} of recordings) with "
        f"{counted(len(segments) - points, 'bouts')} and {counted(points, 'point events')} of "
        f"{counted(len(labels), 'behaviours')} ({', '.join(labels[:20])}) in vlar {__version__}."
    ]
    if raters:
        parts.append(f"The annotations are by {', '.join(raters[:10])}.")
    if chances:
        name = f" {report.model or models}".rstrip()
        parts.append(
            f"{len(chances)} segments come from a model{name} with a mean probability of "
            f"{sum(chances) / len(chances):.2f} ({sum(p < 0.7 for p in chances)} below .7); they "
            "were not coded by a person, and its agreement with people (vlar agreement) limits "
            "every figure."
        )
        parts += [f"Their rater is {models}."] if models and report.model else []
        parts += [report.held_out] if report.held_out else []
    parts.append(
        "Share is the time that bouts cover over the duration of the recording, overlaps once; "
        "mean duration leaves point events out; latency is the time to the first start; "
        "transitions go from each bout to the one of the same subject that starts next."
    )
    if report.variable:
        parts.append(
            f"Means by {report.variable} are over subjects of recordings, of which those without a "
            "behaviour count as 0."
        )
    if report.notes:
        parts.append(f"Reading reported: {'; '.join(report.notes[:5])}.")
    return " ".join(parts)
