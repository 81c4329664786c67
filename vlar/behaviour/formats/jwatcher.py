"""Focal data of JWatcher: ``.dat`` with keys and times, ``.fmf`` with the names of the keys."""

from __future__ import annotations

import re
from itertools import pairwise

from vlar.files.reading import MB, read_file
from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment
from vlar.segments.spans import one_at_a_time

_NOTHING = "-"
_ROW = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*,\s*(.+?)\s*$")
_NAME = re.compile(r"^Behaviour\.name\.(.+?)\s*=\s*(.*?)\s*$", re.M)


@register("annotation", "jwatcher")
class JWatcher(AnnotationFormat):
    """JWatcher focal data: a key holds until the next one; names come from the .fmf next to it."""

    endings = frozenset({".dat"})
    default_for = frozenset({".dat"})
    holds = frozenset({"recording"})
    loses = "overlaps; times below 1 ms; labels are written as keys, without an .fmf"

    def claims(self, source: Source) -> bool:
        """Return whether the first line names the first line of data."""
        return source.head.lstrip().startswith("FirstLineOfData")

    def read(self, source: Source, options: Options) -> Table:
        """A segment from each key to the next one, the last to EOF."""
        text = source.text
        rows = [match.groups() for line in text.splitlines() if (match := _ROW.match(line))]
        names, notes = self._names(source), list[str]()
        name = re.search(r"^#\s*Name:\s*(.+?)\s*$", text, re.M)
        recording = name[1].removesuffix(".dat") if name else source.stem
        if not rows or rows[-1][1] != "EOF":
            notes.append("it has no EOF: its last key is a point")
            rows += [(rows[-1][0], "EOF")] if rows else []
        segments = [
            Segment(recording, float(start) / 1000, float(end) / 1000, names.get(key, key))
            for (start, key), (end, _) in pairwise(rows)
            if key not in (_NOTHING, "EOF") and float(end) >= float(start)
        ]
        duration = float(rows[-1][0]) / 1000 if rows else 0.0
        return Table(segments, tuple(notes), {}, {recording: duration})

    @staticmethod
    def _names(source: Source) -> dict[str, str]:
        """Names of keys, of the master file that lies next to the data."""
        master = re.search(r"^FocalMasterFile=(.+?)\s*$", source.text, re.M)
        name = re.split(r"[/\\\\]", master[1])[-1] if master else f"{source.stem}.fmf"
        file = source.path.with_name(name)
        if file == source.path or not file.is_file():
            return {}
        try:
            text = read_file(file, MB).decode("utf-8", "replace")
        except OSError:
            return {}
        return {key: label for key, label in _NAME.findall(text) if label}

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The data with a key at each start, and ``-`` where nothing holds."""
        rows, notes = one_at_a_time(segments, lambda s: s.recording)
        if any("\n" in row.label or row.label in (_NOTHING, "EOF") for row in rows):
            raise ValueError("a label is '-' or EOF, or has several lines; rename it")
        lines: list[str] = []
        for row, later in zip(rows, [*rows[1:], None], strict=True):
            lines.append(f"{round(row.start_s * 1000)}, {row.label}")
            if later is not None and round(later.start_s, 3) > round(row.end_s, 3):
                lines.append(f"{round(row.end_s * 1000)}, {_NOTHING}")
        end = rows[-1].end_s if rows else 0.0
        master = re.search(r"^FocalMasterFile=.*$", existing.text, re.M) if existing else None
        head = [
            "FirstLineOfData=8",
            "#" + "-" * 59,
            f"# Name: {rows[0].recording if rows else ''}.dat",
            "# Format: Focal Data File 1.0",
            "#" + "-" * 59,
            master[0] if master else "FocalMasterFile=",
            "#BEGIN DATA",
        ]
        return "\n".join([*head, *lines, f"{round(end * 1000)}, EOF", ""]).encode(), notes
