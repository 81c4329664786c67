"""JSON of data sets and programs: ActivityNet, and annotations of JABS."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from vlar.files.reading import parse_json
from vlar.registry import register
from vlar.segments.base import (
    OPTIONAL,
    AnnotationFormat,
    Options,
    Rows,
    Source,
    Table,
    Written,
    require_fps,
)
from vlar.segments.segment import Segment
from vlar.segments.spans import frames_notes, frames_of, without_overlap

_MORE = ("subject", "tier", "rater", "modifiers", "probability")


@register("annotation", "activitynet")
class ActivityNet(AnnotationFormat):
    """ActivityNet and THUMOS JSON: a database, its inner object alone, or a list of it.

    Fields of a segment that the format does not define stand next to its label.
    """

    endings = frozenset({".json"})
    default_for = frozenset({".json"})
    holds = frozenset(OPTIONAL)
    several = True
    adds = True
    loses = "nothing"

    def claims(self, source: Source) -> bool:
        """Return whether an annotation with a segment is in it."""
        pairs = (("annotations", "segment"), ("database",), ("results", "segment"))
        return any(source.is_json("{ [", *names) for names in pairs)

    def read(self, source: Source, options: Options) -> Table:
        """Annotations of every video, with durations."""
        segments: list[Segment] = []
        lengths: dict[str, float] = {}
        media: dict[str, tuple[str, ...]] = {}
        for name, video in _videos(parse_json(source.data)):
            length = video.get("duration", video.get("duration_second"))
            lengths |= {name: float(length)} if length else {}
            media |= {name: (str(video["url"]),)} if video.get("url") else {}
            for row in video.get("annotations") or []:
                start, end = (float(time) for time in row["segment"])
                chance = row.get("probability", row.get("score"))
                details = {key: str(row[key]) for key in _MORE[:3] if key in row}
                segments.append(
                    Segment(
                        name,
                        start,
                        max(start, end),
                        str(row.get("label", "")),
                        **details,
                        modifiers=tuple(map(str, row.get("modifiers", ()))),
                        probability=None if chance is None else float(chance),
                    )
                )
        return Table(segments, (), media, lengths)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The database with annotations for segments that it does not have yet."""
        start: Any = {"version": "vlar", "taxonomy": [], "database": {}}
        content = parse_json(existing.data) if existing else start
        videos = dict(_videos(content))
        for row in self.new_in(existing, segments, options, "recording", *_MORE[:4]):
            if row.recording not in videos:
                video: dict[str, Any] = {"subset": "", "annotations": []}
                videos[row.recording] = video
                if isinstance(content, list):
                    content.append({row.recording: video})
                else:
                    content.get("database", content)[row.recording] = video
            video = videos[row.recording]
            more = {name: getattr(row, name) for name in _MORE}
            more = {name: value for name, value in more.items() if value not in ("", (), None)}
            times = [round(row.start_s, 6), round(row.end_s, 6)]
            video.setdefault("annotations", [])
            video["annotations"].append({"segment": times, "label": row.label, **more})
        return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode(), []


def _videos(content: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """Name and object of each video.

    Raises:
        ValueError: it is neither a database nor its inner object nor a list.
    """
    if isinstance(content, Mapping):
        inner = content.get("database", content.get("results", content))
        if isinstance(inner, Mapping):  # in results the rows of a video are a list
            rows = {k: {"annotations": v} if isinstance(v, list) else v for k, v in inner.items()}
            return [(str(k), v) for k, v in rows.items() if isinstance(v, dict)]
        content = inner
    if isinstance(content, list):
        names = ("id", "video_id", "video_name", "video", "name")
        pairs: list[tuple[str, dict[str, Any]]] = []
        for row in content:
            name = next((str(row[key]) for key in names if key in row), None)
            pairs += [(name, row)] if name is not None else _videos(row)
        return pairs
    raise ValueError("it is neither a database of videos nor a list of them")


@register("annotation", "jabs")
class Jabs(AnnotationFormat):
    """JABS annotations: spans of frames by animal and behaviour; ``not X`` where X is absent.

    Frames count from 0 and the end is inclusive. Frames without a span are not labelled.
    """

    endings = frozenset({".json"})
    default_for = frozenset({"_jabs.json"})
    holds = frozenset({"recording", "subject", "tier"})
    needs_fps = True
    loses = "tiers other than the behaviour; times below a frame; overlaps; points become one frame"
    ABSENT = "not "

    def claims(self, source: Source) -> bool:
        """Return whether it has labels and a number of frames."""
        return source.is_json("{", "num_frames", "labels")

    def read(self, source: Source, options: Options) -> Table:
        """Spans of every animal; subject = identity, tier = behaviour."""
        content = parse_json(source.data)
        fps = require_fps(options)
        name = str(content.get("file") or source.stem)
        labels = content.get("unfragmented_labels") or content["labels"]
        segments = [
            Segment(
                name,
                row["start"] / fps,
                (row["end"] + 1) / fps,
                label if row.get("present", True) else self.ABSENT + label,
                str(animal),
                label,
            )
            for animal, behaviours in labels.items()
            for label, rows in behaviours.items()
            for row in rows
        ]
        return Table(segments, (), {}, {name: content["num_frames"] / fps})

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The spans; other keys of a file that exists stay."""
        fps = require_fps(options)
        content: dict[str, Any] = parse_json(existing.data) if existing else {"version": 1}
        rows, notes = without_overlap(segments, lambda s: (s.subject, s.label))
        notes += frames_notes(rows, fps, self.name)
        labels: dict[str, dict[str, list[dict[str, Any]]]] = {}
        last = 0
        for row in rows:
            first, end = frames_of(row, fps)
            is_absent = row.label.startswith(self.ABSENT)
            label = row.label.removeprefix(self.ABSENT)
            span = {"start": first, "end": end - 1, "present": not is_absent}
            labels.setdefault(row.subject or "0", {}).setdefault(label, []).append(span)
            last = max(last, end)
        content["labels"] = content["unfragmented_labels"] = labels
        content["num_frames"] = max(last, content.get("num_frames", 0))
        content["file"] = content.get("file") or (rows[0].recording if rows else "")
        return (json.dumps(content, indent=1) + "\n").encode(), notes
