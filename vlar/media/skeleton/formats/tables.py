"""Tables of any joints: a CSV file whose first line names the layout.

    # layout=coco17 unit=px rate_hz=25
    frame,person,nose_x,nose_y,left_eye_x,...

The columns are ``JOINT_x``, ``JOINT_y``, ``JOINT_z`` with the joint names of the layout, or with
their numbers from 0, and optionally ``JOINT_score``, ``person`` and ``frame`` or ``time_s``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.files.reading import cell_numbers, number, parse_csv
from vlar.media.signals import FileHead, evenly
from vlar.media.skeleton.formats.base import (
    Bodies,
    SkeletonFormat,
    hide,
    require_few_people,
    skeleton_format,
    stated,
    text_of,
    unseen,
)
from vlar.media.skeleton.layouts import Layout, layout, names
from vlar.types import Float32, Float64

_METRES = {"m": 1.0, "mm": 0.001, "cm": 0.01}
_PICTURES = ("px", "picture")
_AXES = ("x", "y", "z")
_NOT_JOINTS = ("frame", "time_s", "person", "frame_id")


@skeleton_format("csv")
class NamedCsv(SkeletonFormat):
    """Joints by name; an empty cell is a joint that is not seen."""

    order = 20
    endings = frozenset({".csv"})

    def matches(self, head: FileHead) -> bool:
        """A first line that begins with # and names a layout."""
        lines = head.lines[:1]
        return bool(lines) and lines[0].startswith("#") and "layout=" in lines[0]

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        first, _, body = text_of(path).partition("\n")
        settings = stated(first)
        if "layout" not in settings:
            raise ValueError(f"its first line {first[:60]!r} names no layout such as layout=ntu25")
        rows = parse_csv(body)
        if len(rows) < 2:
            raise ValueError("it has no row")
        yield _bodies(layout(settings["layout"]), settings, rows[0], rows[1:])


def _bodies(
    rows_of: Layout, settings: dict[str, Any], header: list[str], rows: list[list[str]]
) -> Bodies:
    unit = settings.get("unit")
    if unit not in (*_METRES, *_PICTURES):
        raise ValueError(
            f"its first line gives the unit {str(unit)[:40]!r}; give m, cm, mm, px or picture"
        )
    values = cell_numbers(rows, len(header))
    columns = {name: index for index, name in enumerate(header)}
    people = values[:, columns["person"]] if "person" in columns else np.zeros(len(values))
    key = next((name for name in ("time_s", "frame", "frame_id") if name in columns), None)
    when = np.arange(len(values), dtype=float) if key is None else values[:, columns[key]]
    if not (np.isfinite(people).all() and np.isfinite(when).all()):
        raise ValueError("a row has no frame, time or person")
    ids, times = np.unique(people), np.unique(when)
    require_few_people(len(ids))
    dims = 3 if any(name.endswith("_z") for name in header) else 2
    points = unseen(len(times), len(ids), len(rows_of.joints), dims + 1)
    cell = np.searchsorted(times, when), np.searchsorted(ids, people)
    for joint, (name, columns_of_joint) in enumerate(_named(rows_of, header)):
        for axis, letter in enumerate((*_AXES[:dims], "score")):
            column = columns.get(
                f"{columns_of_joint}_{letter}", columns.get(f"{letter}_{columns_of_joint}")
            )
            if column is not None:
                points[(*cell, joint, axis)] = values[:, column]
            elif letter != "score":
                raise ValueError(f"the joint {name!r} has no column {columns_of_joint}_{letter}")
    return _in_time(rows_of, settings, points, times if key == "time_s" else None)


def _in_time(
    rows_of: Layout, settings: dict[str, Any], found: Float32, times: Float64 | None
) -> Bodies:
    """The table (T, M, V, C + 1) with its score last, evenly spaced in time and in metres."""
    unit = settings["unit"]
    if times is not None:
        found, rate = evenly(times, found)
    elif "rate_hz" in settings:
        rate = number(settings, "rate_hz", above=0, at_most=10_000)
    else:
        raise ValueError("it has no column time_s; set rate_hz=... in its first line")
    points, score = found[..., :-1], found[..., -1]
    confidence = np.clip(np.nan_to_num(score), 0, 1) if np.isfinite(score).any() else None
    points = points if confidence is None else hide(points, confidence)
    points = points * np.float32(_METRES.get(unit, 1.0))
    size = [settings[key] for key in ("width", "height") if key in settings]
    meta = {"size": size} if len(size) == 2 else {}
    if unit == "picture" and not meta:
        raise ValueError("the unit 'picture' needs width=... and height=... in its first line")
    unit = "m" if unit in _METRES else unit
    return Bodies(points.astype(np.float32), rows_of.name, unit, rate, confidence, meta=meta)


def _named(rows_of: Layout, header: Sequence[str]) -> list[tuple[str, str]]:
    """Each joint and what its columns call it: its name or its number."""
    joints = {name.rpartition("_")[0] for name in header if name.rpartition("_")[2] in _AXES}
    joints |= {name[2:] for name in header if name[:2] in ("x_", "y_", "z_")}
    joints -= {"", *_NOT_JOINTS}
    if joints == set(rows_of.joints):
        return [(name, name) for name in rows_of.joints]
    if joints == {str(number) for number in range(len(rows_of.joints))}:
        return [(name, str(index)) for index, name in enumerate(rows_of.joints)]
    like = [name for name in names() if len(layout(name).joints) == len(joints)]
    strange = sorted(joints - set(rows_of.joints))[:3]
    raise ValueError(
        f"it has {len(joints)} joints ({', '.join(strange)[:60]} ...) and the layout "
        f"{rows_of.name!r} has {len(rows_of.joints)}"
        + (f"; name the layout {' or '.join(like)}, and convert it with remap" if like else "")
    )
