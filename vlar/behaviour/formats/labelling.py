"""JSON of labelling programs: Label Studio, FiftyOne, COCO for video."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from vlar.files.reading import parse_json
from vlar.media.video.files import VIDEO_ENDINGS
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
from vlar.segments.spans import frame_runs, frames_notes, frames_of

_MEDIA = ("video", "audio", "video_url", "url", "timeseries", "csv", "ts")
_LOCAL = "?d="  # of local files of Label Studio


@register("annotation", "label-studio")
class LabelStudio(AnnotationFormat):
    """Label Studio tasks with timeline labels: frames from 1, inclusive; rater = completed_by.

    Labels of audio and time series are in seconds. Predictions have the model as rater.
    """

    endings = frozenset({".json"})
    default_for = frozenset({"_label_studio.json"})
    holds = frozenset({"recording", "tier", "rater", "probability"})
    several = True
    adds = True
    needs_fps = True
    loses = "times below a frame; points become one frame"
    NAMELESS = "videoLabels"

    def claims(self, source: Source) -> bool:
        """Return whether it is a list of tasks with data and results."""
        return source.is_json("[", "data", "result")

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each range and label of annotations that were not cancelled."""
        segments: list[Segment] = []
        cancelled = 0
        for task in _tasks(source):
            recording = _media(task)
            for answer in task.get("annotations") or task.get("completions") or []:
                if answer.get("was_cancelled"):
                    cancelled += 1
                    continue
                person = _person(answer.get("completed_by"))
                segments += _results(recording, answer, person, None, options)
            for answer in task.get("predictions") or []:
                model, score = str(answer.get("model_version") or "prediction"), answer.get("score")
                segments += _results(recording, answer, model, score, options)
        return Table(
            segments, (f"{cancelled} cancelled annotations are left out",) if cancelled else ()
        )

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """Tasks with results for segments that they do not have yet."""
        fps = require_fps(options)
        tasks = _tasks(existing) if existing else []
        by_media = {_media(task): task for task in tasks}
        groups: dict[tuple[str, str, bool], list[Segment]] = defaultdict(list)
        for row in self.new_in(
            existing, segments, options, "recording", "tier", "rater", "probability", fps=fps
        ):
            groups[row.recording, row.rater, row.probability is not None].append(row)
        for (recording, rater, is_model), rows in groups.items():
            if recording not in by_media:
                data = {"video": recording}
                by_media[recording] = {"data": data, "annotations": [], "predictions": []}
                tasks.append(by_media[recording])
            answer: dict[str, Any] = {"result": [self._result(row, fps) for row in rows]}
            if is_model:
                answer["model_version"] = rater or "vlar"
            elif rater:
                answer["completed_by"] = int(rater) if rater.isdigit() else {"email": rater}
            by_media[recording].setdefault("predictions" if is_model else "annotations", []).append(
                answer
            )
        text = json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"
        return text.encode(), frames_notes(segments, fps, self.name)

    def _result(self, row: Segment, fps: float) -> dict[str, Any]:
        first, end = frames_of(row, fps)
        value = {"ranges": [{"start": first + 1, "end": end}], "timelinelabels": [row.label]}
        result = {
            "type": "timelinelabels",
            "from_name": row.tier or self.NAMELESS,
            "to_name": "video",
            "origin": "manual",
            "value": value,
        }
        return result if row.probability is None else {**result, "score": row.probability}


def _tasks(source: Source) -> list[dict[str, Any]]:
    tasks = parse_json(source.data)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError("it is not a list of tasks")
    return tasks


def _media(task: Mapping[str, Any]) -> str:
    data = task.get("data") or {}
    names = [name for name in _MEDIA if isinstance(data.get(name), str)] or [
        name for name, value in data.items() if isinstance(value, str)
    ]
    path = str(data[names[0]]) if names else str(task.get("id", ""))
    return unquote(path.partition(_LOCAL)[2]) if _LOCAL in path else path


def _person(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("username") or value.get("id")
    return "" if value is None else str(value)


def _results(
    recording: str, answer: Mapping[str, Any], rater: str, score: float | None, options: Options
) -> Iterator[Segment]:
    for result in answer.get("result") or []:
        value = result.get("value") or {}
        kind = str(result.get("type", ""))
        labels = value.get(kind) or value.get("labels") or []
        tier = result.get("from_name") or ""
        tier = "" if tier == LabelStudio.NAMELESS else tier
        chance = result.get("score", score)
        spans: list[tuple[float, float]] = []
        if "ranges" in value:
            fps = require_fps(options)
            spans = [((row["start"] - 1) / fps, row["end"] / fps) for row in value["ranges"]]
        elif "start" in value and "end" in value:
            spans = [(float(value["start"]), float(value["end"]))]
        for start, end in spans:
            for label in labels:
                yield Segment(recording, start, end, str(label), "", tier, rater, (), chance)


@register("annotation", "fiftyone")
class FiftyOne(AnnotationFormat):
    """FiftyOne temporal detections: ``labels.json`` with timestamps or frames, or ``samples.json``.

    Supports count frames from 1, inclusive. Other fields of a segment are attributes.
    """

    endings = frozenset({".json"})
    default_for = frozenset({"_fiftyone.json"})
    holds = frozenset(OPTIONAL)
    several = True
    loses = "nothing"

    def claims(self, source: Source) -> bool:
        """Return whether it has labels by video, or samples with temporal detections."""
        return any(
            source.is_json("{", spans, rows)
            for spans in ("timestamps", "support")
            for rows in ("labels", "samples")
        )

    def read(self, source: Source, options: Options) -> Table:
        """Detections of every video."""
        content = parse_json(source.data)
        classes = content.get("classes") or []
        videos = dict(content.get("labels") or {})
        for sample in content.get("samples") or []:
            fields = (f for f in sample.values() if isinstance(f, Mapping))
            rows = [row for field in fields for row in field.get("detections") or []]
            videos[str(sample.get("filepath") or sample.get("id"))] = rows
        segments: list[Segment] = []
        for name, rows in videos.items():
            for row in rows or []:
                label = row.get("label", "")
                label = classes[label] if isinstance(label, int) else label
                more = {k: v for k, v in (row.get("attributes") or {}).items() if k in OPTIONAL}
                more["modifiers"] = tuple(map(str, more.get("modifiers") or ()))
                chance = row.get("confidence", more.pop("probability", None))
                recording = str(more.pop("recording", name))
                if "timestamps" in row:
                    start, end = (float(time) for time in row["timestamps"])
                else:
                    fps = require_fps(options)
                    start, end = (row["support"][0] - 1) / fps, row["support"][1] / fps
                segments.append(
                    Segment(recording, start, end, str(label), probability=chance, **more)
                )
        return Table(segments)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The labels, in seconds."""
        classes = {label: n for n, label in enumerate(sorted({row.label for row in segments}))}
        videos: dict[str, list[dict[str, Any]]] = {}
        for row in segments:
            detection: dict[str, Any] = {
                "label": classes[row.label],
                "timestamps": [round(row.start_s, 6), round(row.end_s, 6)],
            }
            more = {n: getattr(row, n) for n in ("subject", "tier", "rater", "modifiers")}
            name, ending = os.path.splitext(row.recording)  # noqa: PTH122
            if ending.lower() in VIDEO_ENDINGS:  # its importer looks names up without ending
                more["recording"] = row.recording
            else:
                name = row.recording
            if more := {name: value for name, value in more.items() if value}:
                detection["attributes"] = more
            if row.probability is not None:
                detection["confidence"] = row.probability
            videos.setdefault(name, []).append(detection)
        content = {"classes": list(classes), "labels": videos}
        return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode(), []


@register("annotation", "coco-video")
class CocoVideo(AnnotationFormat):
    """COCO for video: runs of frames in which an instance is present; subject = instance.

    Both forms are read: a list of boxes a video (``bboxes``), and an annotation an image.
    """

    endings = frozenset({".json"})
    holds = frozenset({"recording", "subject"})
    several = True
    writes = False
    needs_fps = True
    loses = "everything: it is read alone"

    def claims(self, source: Source) -> bool:
        """Return whether it has videos, categories and annotations."""
        return source.is_json("{", "videos", "categories", "annotations")

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each run of frames of an instance."""
        content = parse_json(source.data)
        labels = {row["id"]: str(row["name"]) for row in content["categories"]}
        videos = {row["id"]: row for row in content["videos"]}
        images = {row["id"]: row for row in content.get("images") or []}
        frames: dict[tuple[Any, str, str], set[int]] = defaultdict(set)
        for number, row in enumerate(content["annotations"]):
            image = images.get(row.get("image_id"), {})
            video = row.get("video_id", image.get("video_id"))
            instance = row.get("instance_id", row.get("track_id", row.get("id", number)))
            if "bboxes" in row:
                present = {i for i, box in enumerate(row["bboxes"]) if box is not None}
            else:
                present = {int(image.get("frame_id", image.get("frame_index", 0)))}
            frames[video, str(instance), labels[row["category_id"]]] |= present
        segments: list[Segment] = []
        for (video, instance, label), present in frames.items():
            facts = videos[video]
            fps = float(facts["fps"]) if facts.get("fps") else require_fps(options)
            name = str(facts.get("file_name") or facts.get("name") or video)
            for first, end in frame_runs(present):
                segments.append(Segment(name, first / fps, end / fps, label, instance))
        return Table(segments)
