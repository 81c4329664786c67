"""Projects of the VGG Image Annotator 3 (``.json``): temporal segments of videos and audio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from vlar.files.reading import parse_json
from vlar.registry import register
from vlar.segments.base import AnnotationFormat, Options, Rows, Source, Table, Written
from vlar.segments.segment import Segment

NAMELESS = "TEMPORAL-SEGMENTS"
"""Attribute of segments without a tier."""
_CHECKBOX, _SELECT = 2, 4


@register("annotation", "via3")
class Via3(AnnotationFormat):
    """VGG Image Annotator 3: temporal segments; tier = attribute, label = option or text."""

    endings = frozenset({".json"})
    default_for = frozenset({"_via.json"})
    holds = frozenset({"recording", "tier"})
    several = True
    adds = True
    loses = ""

    def claims(self, source: Source) -> bool:
        """Return whether it has the tables of a project."""
        return source.is_json("{", "attribute", "metadata", "view", "file")

    def read(self, source: Source, options: Options) -> Table:
        """A segment for each value of an attribute; regions and whole files are noted."""
        project = _project(source)
        segments: list[Segment] = []
        lost = {"regions": 0, "whole files": 0, "without a label": 0}
        for row in project["metadata"].values():
            times = row.get("z") or []
            if row.get("xy"):
                lost["regions"] += 1
                continue
            if not times:
                lost["whole files"] += 1
                continue
            labels = list(_labels(project, row.get("av") or {}))
            lost["without a label"] += not labels
            start, end = float(times[0]), float(times[-1])
            name = _recording(project, str(row.get("vid", "")))
            segments += [
                Segment(
                    name, min(start, end), max(start, end), label, tier="" if t == NAMELESS else t
                )
                for t, label in labels
            ]
        notes = [f"{n} annotations are {what} and left out" for what, n in lost.items() if n]
        files = {
            str(f["fname"]): (str(f.get("src") or f["fname"]),) for f in project["file"].values()
        }
        return Table(segments, tuple(notes), files)

    def write(self, segments: Rows, existing: Source | None, options: Options) -> Written:
        """The project with metadata for segments that it does not have yet."""
        project = _project(existing) if existing else _empty()
        attribute_of = cache(partial(_attribute, project))
        value_of = cache(partial(_option, project))
        views = {_recording(project, view): view for view in reversed(project["view"])}
        for segment in self.new_in(existing, segments, options, "recording", "tier"):
            attribute = attribute_of(segment.tier or NAMELESS)
            value = value_of(attribute, segment.label)
            view = views.get(segment.recording) or _view(project, segment.recording)
            views[segment.recording] = view
            times = [round(segment.start_s, 6), round(segment.end_s, 6)]
            row = {"vid": view, "flg": 0, "z": times[: 1 if segment.is_point else 2], "xy": []}
            project["metadata"][_free(project, view)] = {**row, "av": {attribute: value}}
        return json.dumps(project, ensure_ascii=False).encode(), []


def _project(source: Source) -> dict[str, Any]:
    project = parse_json(source.data)
    tables = ("attribute", "file", "view", "metadata")
    if not isinstance(project, dict) or not all(isinstance(project.get(t), dict) for t in tables):
        raise ValueError("it is not a project with attribute, file, view and metadata")
    return project


def _recording(project: Mapping[str, Any], view: str) -> str:
    files = project["view"].get(view, {}).get("fid_list") or [view]
    file = project["file"].get(str(files[0]), {})
    return str(file.get("fname") or file.get("src") or view)


def _labels(project: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Attribute and label of each value of an annotation; a checkbox has several."""
    pairs: list[tuple[str, str]] = []
    for identifier, value in values.items():
        attribute = project["attribute"].get(identifier, {})
        options = attribute.get("options") or {}
        several = attribute.get("type") == _CHECKBOX and options
        parts = str(value).split(",") if several else [str(value)]
        pairs += [
            (str(attribute.get("aname", identifier)), str(options.get(p, p))) for p in parts if p
        ]
    return pairs


def _attribute(project: dict[str, Any], name: str) -> str:
    """The identifier of an attribute of temporal segments, made where it is absent."""
    rows = project["attribute"]
    for identifier, row in rows.items():
        if row.get("aname") == name and "_XY0" in str(row.get("anchor_id", "_XY0")):
            return identifier
    identifier = _next(rows)
    rows[identifier] = {
        "aname": name,
        "anchor_id": "FILE1_Z2_XY0",
        "type": _SELECT,
        "desc": "",
        "options": {},
        "default_option_id": "",
    }
    return identifier


def _option(project: dict[str, Any], identifier: str, label: str) -> str:
    """The value of an attribute that stands for a label: an option, or the text without any."""
    attribute = project["attribute"][identifier]
    options = attribute.setdefault("options", {})
    if attribute.get("type") != _SELECT and not options:
        return label
    for number, name in options.items():
        if name == label:
            return number
    number = _next(options)
    options[number] = label
    return number


def _view(project: dict[str, Any], recording: str) -> str:
    """A new view that shows a recording."""
    file, view = _next(project["file"]), _next(project["view"])
    facts = {"fid": file, "fname": recording, "type": 4, "loc": 1, "src": recording}
    project["file"][file] = facts
    project["view"][view] = {"fid_list": [file]}
    project.setdefault("project", {}).setdefault("vid_list", []).append(view)
    return view


def _free(project: Mapping[str, Any], view: str) -> str:
    number = len(project["metadata"])
    while f"{view}_v{number:07d}" in project["metadata"]:
        number += 1
    return f"{view}_v{number:07d}"


def _next(table: Mapping[str, Any]) -> str:
    number = str(len(table) + 1)
    if number in table:
        return str(max((int(key) for key in table if key.isdigit()), default=0) + 1)
    return number


def _empty() -> dict[str, Any]:
    config = {
        "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
        "ui": {
            "file_content_align": "center",
            "file_metadata_editor_visible": True,
            "spatial_metadata_editor_visible": True,
            "temporal_segment_metadata_editor_visible": True,
            "spatial_region_label_attribute_id": "",
            "gtimeline_visible_row_count": "4",
        },
    }
    project = {
        "pid": "__VIA_PROJECT_ID__",
        "rev": "__VIA_PROJECT_REV_ID__",
        "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
        "pname": "vlar",
        "creator": "vlar",
        "created": 0,
        "vid_list": [],
    }
    tables = ("attribute", "file", "metadata", "view")
    return {"project": project, "config": config} | {name: {} for name in tables}
