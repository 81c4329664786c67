"""CVAT for video 1.1 (``.xml``): tracks of boxes with attributes, and tags of frames."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from vlar.files.reading import parse_json
from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written, require_fps
from vlar.segments.segment import Segment
from vlar.segments.spans import frame_runs, frames_notes, frames_of, runs
from vlar.segments.xml import LARGE, parse, text_of

_MOST_TAGS = 200_000  # one a frame, which 64 MB of XML hold
_PIXEL = {"width": "1", "height": "1"}  # a size that others need; that of the boxes of a new file
_SOURCE = "vlar"
_VISIBLE = "track"
_Box = tuple[int, bool, dict[str, str]]  # frame, whether it is outside, attributes
_Run = tuple[int, int, str, str]  # first frame, frame after the last one, attribute, value


@register("annotation", "cvat")
class Cvat(AnnotationFormat):
    """CVAT for video: subject = track, tier = attribute, label = value; a tag is a label.

    A track without attributes has its own label while it is visible. Segments are
    written as tags, those of a subject as tracks.
    """

    endings = frozenset({".xml"})
    default_for = frozenset({".xml"})
    holds = frozenset({"recording", "subject", "tier"})
    needs_fps = True
    loses = "times below a frame; boxes of a new file are one pixel"

    def claims(self, source: Source) -> bool:
        """Return whether it has annotations with tracks or images."""
        head = source.head
        return "<annotations" in head and any(
            f"<{tag}" in head for tag in ("track", "image", "meta")
        )

    def read(self, source: Source, options: Options) -> Table:
        """Runs of each attribute of each track, and of each tag."""
        fps = require_fps(options)
        root = parse(source.data, LARGE)
        name = root.findtext("meta/task/name") or root.findtext("meta/source") or source.stem
        segments: list[Segment] = []
        for track in root.iter("track"):
            subject = _subject(track)
            for first, end, attribute, label in _track(track):
                tier = attribute or _VISIBLE
                segments.append(Segment(name, first / fps, end / fps, label, subject, tier))
        tagged: dict[tuple[str, str], set[int]] = {}
        for image in root.iter("image"):
            for tag in image.iter("tag"):
                values = [(row.get("name", ""), row.text or "") for row in tag.iter("attribute")]
                for tier, label in values or [("", tag.get("label", ""))]:
                    tagged.setdefault((tier, label), set()).add(int(image.get("id", 0)))
        for (tier, label), frames in tagged.items():
            for first, end in frame_runs(frames):
                segments.append(Segment(name, first / fps, end / fps, label, tier=tier))
        length = root.findtext("meta/task/size")
        return Table(segments, (), {}, {name: int(length) / fps} if length else {})

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """A tag for each frame of each segment; other content of a file that exists stays."""
        fps = require_fps(options)
        root = parse(existing.data, LARGE) if existing else ET.Element("annotations")
        if existing is None:
            ET.SubElement(root, "version").text = "1.1"
            task = ET.SubElement(ET.SubElement(root, "meta"), "task")
            ET.SubElement(task, "name").text = segments[0].recording if segments else ""
            size = ET.SubElement(task, "original_size")
            for side, pixels in _PIXEL.items():
                ET.SubElement(size, side).text = pixels
            names = ET.SubElement(task, "labels")
            for name in sorted({row.subject or row.tier or row.label for row in segments}):
                ET.SubElement(ET.SubElement(names, "label"), "name").text = name
        images = {int(image.get("id", 0)): image for image in root.iter("image")}
        for image in images.values():
            for tag in image.findall("tag"):
                image.remove(tag)
        held = _held(root)
        fresh = [row for row in segments if _key(row, fps) not in held]
        if sum(frames_of(row, fps)[1] - frames_of(row, fps)[0] for row in fresh) > _MOST_TAGS:
            raise ValueError(f"it would have more than {_MOST_TAGS:,} tags; write .csv")
        for number, row in enumerate(fresh, len(root.findall("track"))):
            if row.subject:
                root.append(_track_of(row, number, fps))
                continue
            for frame in range(*frames_of(row, fps)):
                if frame not in images:
                    facts = {"id": str(frame), "name": f"frame_{frame:06d}"}
                    images[frame] = ET.SubElement(root, "image", facts | _PIXEL)
                facts = {"label": row.tier or row.label, "source": _SOURCE}
                tag = ET.SubElement(images[frame], "tag", facts)
                if row.tier:
                    ET.SubElement(tag, "attribute", {"name": row.tier}).text = row.label
        return text_of(root), frames_notes(fresh, fps, self.name)


def _subject(track: ET.Element) -> str:
    """Label and number of a track; of vlar's own tracks the label alone."""
    label = track.get("label", "")
    return label if track.get("source") == _SOURCE else f"{label} {track.get('id', '')}".strip()


def _track_of(row: Segment, number: int, fps: float) -> ET.Element:
    """A track that shows one segment by a box of one pixel."""
    first, end = frames_of(row, fps)
    facts = {"id": str(number), "label": row.subject, "source": _SOURCE}
    if row.tier == _VISIBLE and row.subject == f"{row.label} {row.subject.rpartition(' ')[2]}":
        facts = {"id": row.subject.rpartition(" ")[2], "label": row.label, "source": "manual"}
    track = ET.Element("track", facts)
    for frame, outside in ((first, "0"), (end, "1")):
        corners = {"xtl": "0", "ytl": "0", "xbr": "1", "ybr": "1", "occluded": "0", "keyframe": "1"}
        box = ET.SubElement(track, "box", {"frame": str(frame), "outside": outside, **corners})
        if facts["source"] == _SOURCE:
            ET.SubElement(box, "attribute", {"name": row.tier or "label"}).text = row.label
    return track


def _key(row: Segment, fps: float) -> tuple[object, ...]:
    return *frames_of(row, fps), row.subject, row.tier, row.label


def _held(root: ET.Element) -> set[tuple[object, ...]]:
    """Segments of the tracks, which stay as they are."""
    return {
        (first, end, _subject(track), name or _VISIBLE, label)
        for track in root.iter("track")
        for first, end, name, label in _track(track)
    }


def _track(track: ET.Element) -> Iterator[_Run]:
    """Runs of the attributes of a track while it is visible, or of its label without any.

    An attribute holds until the next box that states it; ``outside`` ends the run.
    """
    boxes: list[_Box] = [
        (
            int(box.get("frame", 0)),
            box.get("outside") == "1",
            {row.get("name", ""): row.text or "" for row in box.iter("attribute")},
        )
        for box in track
        if box.get("frame") is not None
    ]
    return _visible(boxes, track.get("label", ""))


def _visible(boxes: list[_Box], label: str) -> Iterator[_Run]:
    """Runs of attributes, or of the label without any, while the boxes are not outside."""
    boxes = sorted(boxes, key=lambda box: box[0])
    frames = [frame for frame, _, _ in boxes]
    values: dict[str, str] = {}
    states: list[dict[str, str] | None] = []
    for _, outside, stated in boxes:
        values = values | stated
        states.append(None if outside else values)
    for name in sorted({name for _, _, stated in boxes for name in stated}) or [""]:
        labels = [s if s is None else s.get(name) if name else label for s in states]
        for first, end, value in runs(labels):
            if isinstance(value, str) and value:
                last = frames[end] if end < len(frames) else frames[end - 1] + 1
                yield frames[first], last, name, value


@register("annotation", "cvat-json")
class CvatJson(AnnotationFormat):
    """CVAT annotations as JSON, of a backup or its server: as ``cvat``, and read alone."""

    endings = frozenset({".json"})
    holds = frozenset({"subject", "tier"})
    writes = False
    needs_fps = True
    loses = "everything: it is read alone"

    def claims(self, source: Source) -> bool:
        """Return whether it has tags, shapes and tracks."""
        return source.is_json("{ [", "tags", "shapes", "tracks")

    def read(self, source: Source, options: Options) -> Table:
        """Runs of each attribute of each track, and of each tag; shapes without a track are not."""
        fps = require_fps(options)
        content = parse_json(source.data)
        jobs: list[dict[str, Any]] = content if isinstance(content, list) else [content]
        segments: list[Segment] = []
        tagged: dict[tuple[str, str], set[int]] = {}
        shapes = 0
        for job in jobs:
            shapes += len(job.get("shapes") or ())
            for number, track in enumerate(job.get("tracks") or ()):
                label = _name(track)
                subject = f"{label} {track.get('id', number)}"
                boxes: list[_Box] = [
                    (int(s["frame"]), bool(s.get("outside")), _attributes(s))
                    for s in list[Any](track.get("shapes") or ())
                ]
                fixed = _attributes(track)  # hold over the whole track
                boxes = [(frame, outside, fixed | stated) for frame, outside, stated in boxes]
                for first, end, name, value in _visible(boxes, label):
                    tier = name or _VISIBLE
                    segments.append(
                        Segment(source.stem, first / fps, end / fps, value, subject, tier)
                    )
            for tag in job.get("tags") or ():
                for tier, value in _attributes(tag).items() or [("", _name(tag))]:
                    tagged.setdefault((tier, value), set()).add(int(tag["frame"]))
        for (tier, value), frames in tagged.items():
            for first, end in frame_runs(frames):
                segments.append(Segment(source.stem, first / fps, end / fps, value, tier=tier))
        note = f"{shapes} shapes of single frames are left out"
        return Table(segments, (note,) if shapes else ())


def _name(row: Mapping[str, Any]) -> str:
    """Label of a track or tag; of the server it is a number."""
    return str(row.get("label", row.get("label_id", "")))


def _attributes(row: Mapping[str, Any]) -> dict[str, str]:
    """Values of attributes by name, of the server by number."""
    return {
        str(a.get("name", a.get("spec_id", ""))): str(a["value"])
        for a in row.get("attributes") or ()
        if str(a.get("value", "")) != ""
    }
