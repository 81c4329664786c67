"""Texts of bouts by channel or stream: BENTO ``.annot`` and the Caltech annotator ``.txt``."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import cycle, groupby

from vlar.behaviour.formats.frame_tables import recording_of
from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written, require_fps
from vlar.segments.segment import Segment
from vlar.segments.spans import frames_notes, frames_of, one_at_a_time, stored_rate
from vlar.segments.tables import seconds


@register("annotation", "bento")
class Bento(AnnotationFormat):
    """BENTO: bouts by channel and behaviour, in seconds or frames; the stop is inclusive.

    A bout in seconds ends one frame after its stop; frames of older files count from 1.
    """

    endings = frozenset({".annot"})
    default_for = frozenset({".annot"})
    holds = frozenset({"tier"})
    loses = "times below a frame; points become one frame"

    def claims(self, source: Source) -> bool:
        """Return whether it begins as a file of BENTO and lists annotations."""
        return "List of annotations:" in source.text and "List of channels:" in source.text

    def read(self, source: Source, options: Options) -> Table:
        """Bouts of every channel; tier = channel."""
        text = source.text
        rate = re.search(r"^Annotation framerate:\s*([\d.]+)", text, re.M)
        fps = float(rate[1]) if rate and float(rate[1]) > 0 else require_fps(options)
        rows = list(_bouts(text))
        in_frames = bool(rows) and all(abs(d - (b - a) - 1) < 0.01 for *_, a, b, d in rows)
        segments: list[Segment] = []
        for channel, label, start, stop, _ in rows:
            begin, end = ((start - 1) / fps, stop / fps) if in_frames else (start, stop + 1 / fps)
            segments.append(Segment(recording_of(source), begin, end, label, tier=channel))
        frames = [
            re.search(rf"^Annotation {w} frame:\s*(\d+)", text, re.M) for w in ("start", "stop")
        ]
        lengths = {}
        if frames[0] and frames[1]:
            lengths = {recording_of(source): (int(frames[1][1]) - int(frames[0][1]) + 1) / fps}
        return Table(segments, (), {}, lengths)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """Bouts in seconds; the head of a file that exists stays."""
        head = existing.text if existing else ""
        rate = re.search(r"^Annotation framerate:\s*([\d.]+)", head, re.M)
        fps = stored_rate(segments, options.fps and require_fps(options))
        fps = float(rate[1]) if rate else fps
        channels = sorted(
            {row.tier or "Ch1" for row in segments}
            | set(re.findall(r"^(\S+?)-{5,}\s*$", head, re.M))
        )
        labels = sorted({row.label for row in segments} | set(_listed(head)))
        last = max((frames_of(row, fps)[1] for row in segments), default=1)
        begin = head.partition("List of channels:")[0] or (
            "Bento annotation file\nMovie file(s):  \n\nStimulus name: \n"
            "Annotation start frame: 1\n"
            f"Annotation stop frame: {last}\nAnnotation framerate: {fps:f}\n\n"
        )
        lines = [begin + "List of channels:", *channels, "", "List of annotations:", *labels, ""]
        by_channel: dict[str, list[Segment]] = defaultdict(list)
        for row in segments:
            by_channel[row.tier or "Ch1"].append(row)
        for channel in channels:
            lines.append(f"{channel}----------")
            rows = sorted(by_channel[channel], key=lambda r: r.label)
            for label, bouts in groupby(rows, key=lambda r: r.label):
                lines += [f">{label}", "Start\t Stop\t Duration "]
                for row in sorted(bouts, key=lambda r: r.start_s):
                    stop = max(row.end_s, row.start_s + 1 / fps) - 1 / fps
                    times = row.start_s, stop, stop - row.start_s + 1 / fps
                    lines.append("\t".join(f"{time:.12g}" for time in times))
                lines.append("")
            lines.append("")
        return "\n".join(lines).encode(), frames_notes(segments, fps, self.name)


def _listed(text: str) -> list[str]:
    part = text.partition("List of annotations:")[2].partition("-----")[0]
    return [line.strip() for line in part.splitlines()[:-1] if line.strip()]


def _bouts(text: str) -> list[tuple[str, str, float, float, float]]:
    """Channel, label, start, stop and duration of each row."""
    rows: list[tuple[str, str, float, float, float]] = []
    channel = label = ""
    for line in text.splitlines():
        if match := re.match(r"^(\S+?)-{5,}\s*$", line):
            channel = match[1]
        elif line.startswith(">"):
            label = line[1:].strip()
        elif channel and label and line.strip():
            cells = [seconds(cell) for cell in line.split()]
            if len(cells) >= 2 and cells[0] is not None and cells[1] is not None:
                start, stop = cells[0], cells[1]
                length = cells[2] if len(cells) > 2 else None
                rows.append(
                    (channel, label, start, stop, stop - start if length is None else length)
                )
    return rows


@register("annotation", "caltech")
class Caltech(AnnotationFormat):
    """Caltech annotator: streams S1, S2 with a type for every frame, 1-based and inclusive."""

    endings = frozenset({".txt"})
    default_for = frozenset({"_annot.txt"})
    holds = frozenset({"tier"})
    needs_fps = True
    loses = "times below a frame; overlaps within a stream; frames that no segment covers are other"
    FILLER = "other"

    def claims(self, source: Source) -> bool:
        """Return whether it has a configuration and streams."""
        return bool(re.search(r"^S\d+:\s*start\s+end\s+type", source.text, re.M))

    def read(self, source: Source, options: Options) -> Table:
        """Rows of every stream; tier = stream."""
        fps = require_fps(options)
        stream, segments = "", list[Segment]()
        for line in source.text.splitlines():
            if match := re.match(r"^(S\d+):\s*start\s+end\s+type", line):
                stream = match[1]
            elif stream and (match := re.match(r"^\s*(\d+)\s+(\d+)\s+(.+?)\s*$", line)):
                start, end = (int(match[1]) - 1) / fps, int(match[2]) / fps
                segments.append(Segment(recording_of(source), start, end, match[3], tier=stream))
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The streams, without gaps; the hot keys of a file that exists stay."""
        fps = require_fps(options)
        names = [
            name if re.fullmatch(r"S\d+", name) else "" for name in {row.tier for row in segments}
        ]
        if "" in names and len(names) > 1:
            raise ValueError("its streams are called S1, S2, ...; name the tiers so")
        rows, notes = one_at_a_time(segments, lambda s: s.tier)
        notes += frames_notes(rows, fps, self.name)
        keys = _hot_keys(existing.text if existing else "")
        labels = list(dict.fromkeys([*keys, *(row.label for row in rows)]))
        letters = cycle("abcdefghijklmnopqrstuvwxyz0123456789")
        last = max((frames_of(row, fps)[1] for row in rows), default=0)
        body: list[str] = []
        filled = 0
        for stream, group in groupby(
            sorted(rows, key=lambda s: s.tier), key=lambda s: s.tier or "S1"
        ):
            body += ["", f"{stream}:\tstart\tend\ttype", "-" * 29]
            end_last = 0
            for row in sorted(group, key=lambda s: s.start_s):
                first, end = frames_of(row, fps)
                first = max(first, end_last)
                if first >= end:
                    continue
                if first > end_last:
                    body.append(f"   \t{end_last + 1}\t{first}\t{self.FILLER}")
                body.append(f"   \t{first + 1}\t{end}\t{row.label}")
                filled += first > end_last
                end_last = end
            if end_last < last:
                body.append(f"   \t{end_last + 1}\t{last}\t{self.FILLER}")
                filled += 1
        if filled:
            notes.append(f"{filled} gaps are filled with {self.FILLER!r}")
            labels = list(dict.fromkeys([*labels, self.FILLER]))
        head = ["Caltech Behavior Annotator - Annotation File", "", "Configuration file:"]
        head += [f"{label}\t{keys.get(label) or next(letters)}" for label in labels]
        return "\n".join([*head, *body, ""]).encode(), notes


def _hot_keys(text: str) -> dict[str, str]:
    part = re.split(r"^S\d+:", text.partition("Configuration file:")[2], maxsplit=1, flags=re.M)[0]
    pairs = [line.split() for line in part.splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
