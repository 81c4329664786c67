"""Markers and chapters of players and editors: WebVTT, Audacity, DaVinci Resolve, Premiere."""

from __future__ import annotations

import html
import re

from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written, require_fps
from vlar.segments.segment import Segment
from vlar.segments.spans import frames_notes, frames_of
from vlar.segments.tables import first_cell, named, rows_of, seconds, short, text_of

_CUE = re.compile(r"^\s*(?:(\d+):)?(\d+):(\d+[.,]\d+)\s*-->\s*(?:(\d+):)?(\d+):(\d+[.,]\d+)")
_HOUR = 3600.0  # timelines of editors begin at 01:00:00:00


@register("annotation", "webvtt")
class WebVtt(AnnotationFormat):
    """WebVTT chapters and captions: a cue a segment; subject = voice."""

    endings = frozenset({".vtt"})
    default_for = frozenset({".vtt"})
    holds = frozenset({"recording", "subject"})
    loses = "times below 1 ms; line breaks in labels"

    def claims(self, source: Source) -> bool:
        """Return whether it begins with WEBVTT."""
        return source.head.lstrip().startswith("WEBVTT")

    def read(self, source: Source, options: Options) -> Table:
        """The cues; ``(87%)`` at the end of a cue of 'vlar timeline' is its probability."""
        match = re.search(r"^NOTE recording: (.+?)\s*$", source.text, re.M)
        recording = html.unescape(match[1]) if match else source.stem
        segments: list[Segment] = []
        for block in re.split(r"\r?\n\s*\r?\n", source.text):
            lines = block.strip().splitlines()
            first = next((i for i, line in enumerate(lines) if _CUE.match(line)), None)
            if first is None:
                continue
            parts = _CUE.match(lines[first])
            assert parts is not None
            start, end = (
                float(parts[i] or 0) * 3600
                + float(parts[i + 1]) * 60
                + float(parts[i + 2].replace(",", "."))
                for i in (1, 4)
            )
            text = " ".join(lines[first + 1 :])
            voice = re.match(r"<v(?:\.[^ >]*)? ([^>]*)>", text)
            label = html.unescape(re.sub(r"<[^>]*>", "", text)).strip()
            chance = re.search(r" \((\d{1,3})%\)$", label)
            subject = html.unescape(voice[1]) if voice else ""
            segments.append(
                Segment(
                    recording,
                    start,
                    max(start, end),
                    label[: chance.start()] if chance else label,
                    subject,
                    probability=int(chance[1]) / 100 if chance else None,
                )
            )
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The cues, texts escaped."""
        name = html.escape(segments[0].recording, quote=False) if segments else ""
        blocks = ["WEBVTT", f"NOTE recording: {name}"] if name else ["WEBVTT"]
        for row in segments:
            voice = f"<v {html.escape(row.subject)}>" if row.subject else ""
            label = html.escape(" ".join(row.label.split()), quote=False)
            blocks.append(f"{_clock(row.start_s)} --> {_clock(row.end_s)}\n{voice}{label}")
        return ("\n\n".join(blocks) + "\n").encode(), []


def _clock(time_s: float) -> str:
    milliseconds = round(time_s * 1000)
    total, remainder = divmod(milliseconds, 1000)
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}.{remainder:03d}"


@register("annotation", "audacity")
class Audacity(AnnotationFormat):
    """Audacity label tracks: start, end and label with tabs between."""

    endings = frozenset({".txt"})
    default_for = frozenset({"_labels.txt"})
    loses = "times below 1 us"

    def claims(self, source: Source) -> bool:
        """Return whether the first line has two times and a text with tabs between."""
        cells = source.head.lstrip("\r\n").partition("\n")[0].split("\t")
        return len(cells) in (2, 3) and None not in (seconds(cells[0]), seconds(cells[1]))

    def read(self, source: Source, options: Options) -> Table:
        """A segment a line; lines of frequencies are left out."""
        segments: list[Segment] = []
        for line in source.text.splitlines():
            cells = line.split("\t")
            times = [seconds(cell) for cell in cells[:2]]
            if len(times) == 2 and times[0] is not None and times[1] is not None:
                label = cells[2] if len(cells) > 2 else ""
                name = re.sub(r"_labels$", "", source.stem)
                segments.append(Segment(name, times[0], max(times[0], times[1]), label))
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The lines."""
        lines = [
            f"{short(row.start_s)}\t{short(row.end_s)}\t{' '.join(row.label.split())}"
            for row in segments
        ]
        return ("\n".join(lines) + "\n").encode(), []


def _timecode(time_s: float, fps: float) -> str:
    frames = round(time_s * fps)
    whole = round(fps)
    total, remainder = divmod(frames, whole)
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}:{remainder:02d}"


def _of_timecode(text: str, fps: float) -> float | None:
    match = re.fullmatch(r"(\d+):(\d+):(\d+)[:;](\d+)", text.strip())
    if match is None:
        return None
    hours, minutes, whole, frames = map(int, match.groups())
    return ((hours * 3600 + minutes * 60 + whole) * round(fps) + frames) / fps


@register("annotation", "edl")
class Edl(AnnotationFormat):
    """Markers of DaVinci Resolve: an EDL with colour, name and number of frames."""

    endings = frozenset({".edl"})
    default_for = frozenset({".edl"})
    needs_fps = True
    loses = "times below a frame; points become one frame; bars and line breaks in labels"

    def claims(self, source: Source) -> bool:
        """Return whether it has markers."""
        return "|M:" in source.text and "|D:" in source.text

    def read(self, source: Source, options: Options) -> Table:
        """The markers; an hour is taken off where all of them start after one."""
        fps = require_fps(options)
        starts: list[tuple[float, float, str]] = []
        start = 0.0
        for line in source.text.splitlines():
            if match := re.match(r"^\d+\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+(\S+)\s+\S+\s*$", line):
                start = _of_timecode(match[1], fps) or 0.0
            elif match := re.search(r"\|M:(.*?)\s*\|D:(\d+)", line):
                starts.append((start, int(match[2]) / fps, match[1].strip()))
        shift = (
            _HOUR * round(fps) / fps if starts and min(row[0] for row in starts) >= _HOUR else 0.0
        )
        segments = [Segment(source.stem, a - shift, a - shift + n, label) for a, n, label in starts]
        return Table(segments, ("times are those after 01:00:00:00",) if shift else ())

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The markers, from 01:00:00:00 on."""
        fps = require_fps(options)
        lines = ["TITLE: vlar", "FCM: NON-DROP FRAME", ""]
        for number, row in enumerate(segments, 1):
            first, end = frames_of(row, fps)
            shift = 3600 * round(fps)
            begin, stop = (_timecode((frame + shift) / fps, fps) for frame in (first, first + 1))
            label = " ".join(row.label.replace("|", "/").split())
            lines.append(f"{number:03d}  001      V     C        {begin} {stop} {begin} {stop}  ")
            lines += [f" |C:ResolveColorBlue |M:{label} |D:{end - first}", ""]
        return "\n".join(lines).encode(), frames_notes(segments, fps, self.name)


@register("annotation", "premiere")
class Premiere(AnnotationFormat):
    """Markers of Premiere: a table of Marker Name, In and Out as timecodes."""

    endings = frozenset({".csv", ".txt", ".tsv"})
    default_for = frozenset({"_markers.csv"})
    needs_fps = True
    loses = "times below a frame"
    _HEADER = ("Marker Name", "Description", "In", "Out", "Duration", "Marker Type")

    def claims(self, source: Source) -> bool:
        """Return whether the header has Marker Name, In and Out."""
        return {"Marker Name", "In", "Out"} <= set(source.columns)

    def read(self, source: Source, options: Options) -> Table:
        """A segment a marker; the name, or the description of one without a name, is the label."""
        fps = require_fps(options)
        header, *rows = rows_of(source.text)
        segments: list[Segment] = []
        for number, row in enumerate((named(cells, header) for cells in rows), 2):
            start, end = _of_timecode(row["In"], fps), _of_timecode(row["Out"], fps)
            if start is None or end is None:
                raise ValueError(f"row {number} has no timecodes HH:MM:SS:FF in In and Out")
            label = row["Marker Name"] or first_cell(row, "Description")
            name = re.sub(r"_markers$", "", source.stem)
            segments.append(Segment(name, start, max(start, end), label))
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The table."""
        fps = require_fps(options)
        rows: list[tuple[str, ...]] = []
        for row in segments:
            times_s = row.start_s, row.end_s, row.duration_s
            codes = [_timecode(time_s, fps) for time_s in times_s]
            rows.append((row.label, "", *codes, "Comment"))
        return text_of([self._HEADER, *rows]).encode(), frames_notes(segments, fps, self.name)
