"""Tables of tracks: DeepLabCut and Lightning Pose (3 or 4 header rows), SLEAP, and named columns.

time_s,mouse.nose_x,mouse.nose_y,mouse.nose_likelihood,...
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar.behaviour.tracks.formats.base import (
    PointTracks,
    TrackFormat,
    missing,
    text_of,
    track_format,
)
from vlar.files.reading import require_memory
from vlar.media.signals import FileHead
from vlar.types import Float64, JsonDict

_AXES = ("x", "y", "z")
_SCORES = ("likelihood", "confidence", "conf", "score", "p")
_SINGLE = "single"
_HEADER_ROWS = ("scorer", "individuals", "bodyparts", "coords")
_SEPARATORS = (",", ";", "\t")
_COLUMN = re.compile(
    r"^(?P<point>.*?[^_ .])[_ .]?(?P<axis>[xyz]|likelihood|confidence|conf|score|p)$"
)
_IMU = re.compile(r"(^|_)(acc|accel|accelerometer|gyro|gyr|gyroscope)_?[xyz](_|$)")
_CLOCKS = {"time_s": 1.0, "time": 1.0, "time_ms": 1e-3, "timestamp_ms": 1e-3, "timestamp": 0.0}
_FRAMES = {"frame", "frame_idx", "frame_index", "frame_id", "frame_number"}
_TRACKS = re.compile(r"(track|instance|individual|animal|subject|person)(_id|_idx|_name)?|identity")
_WORDS = {"nan", "na", "null", "none"}
Column = tuple[int, str, str, str]
"""Number of a column, animal, point, and axis or ``likelihood``."""


@track_format("dlc-csv")
class DeepLabCutCsv(TrackFormat):
    """Header rows scorer, [individuals,] bodyparts, coords; image paths may be the index."""

    order = 10
    endings = frozenset({".csv"})

    def matches(self, head: FileHead) -> bool:
        """Rows of the header by their first cell."""
        first = [line.split(",")[0].strip().lower() for line in head.lines[:4]]
        return "bodyparts" in first[:3] and "coords" in first

    def read(self, path: Path) -> PointTracks:
        """The tracks; a frame rate is not in such files."""
        text = text_of(path)
        rows = _rows(text, 4, ",")
        levels = {
            row[0].strip().lower(): row for row in rows if row[0].strip().lower() in _HEADER_ROWS
        }
        if "bodyparts" not in levels or "coords" not in levels:
            raise ValueError("its header has no row 'bodyparts' or no row 'coords'")
        names = levels["bodyparts"]
        animals = levels.get("individuals", [""] * len(names))
        if not len(names) == len(animals) == len(levels["coords"]):
            raise ValueError("the rows of its header have different numbers of cells")
        columns: list[Column] = []
        for number, axis in enumerate(cell.strip().lower() for cell in levels["coords"]):
            if number and (axis in _AXES or axis in _SCORES):
                kind = axis if axis in _AXES else "likelihood"
                columns.append((number, animals[number].strip(), names[number].strip(), kind))
        return tracks_of(columns, _numbers(text, len(levels), ",", columns), unit="px")


@track_format("sleap-csv")
class SleapCsv(TrackFormat):
    """Analysis of SLEAP: ``track, frame_idx, POINT.x, POINT.y``, a row for an animal in a frame."""

    order = 20
    endings = frozenset({".csv"})

    def matches(self, head: FileHead) -> bool:
        """A header with the columns of tracks and frames."""
        return bool(head.lines) and {"track", "frame_idx"} <= {
            cell.strip('" ') for cell in head.lines[0].split(",")
        }

    def read(self, path: Path) -> PointTracks:
        """The tracks, by the numbers of their frames; a frame rate is not in such files."""
        text = text_of(path)
        header = [cell.strip() for cell in _rows(text, 1, ",")[0]]
        columns: list[Column] = [
            (number, "", f"{animal}.{point}" if animal else point, axis)
            for number, animal, point, axis in _points_of(header)
        ]
        frame: Column = (header.index("frame_idx"), "", "", "frame")
        values = _numbers(text, 1, ",", [*columns, frame])
        frames, names = values[:, -1], np.array(_cells(text, header.index("track"), ","))
        if not (np.isfinite(frames) & (frames >= 0) & (frames == np.round(frames))).all():
            raise ValueError("a frame_idx of it is not a whole number from 0")
        count = int(frames.max()) + 1
        if count > 100 * len(frames) + 1_000_000:
            raise ValueError("its frames are numbered far beyond their count")
        animals = tuple(dict.fromkeys(names.tolist()))
        if len(animals) > 1 and "" in animals:
            raise ValueError("some of its rows name no track; track them, or remove them")
        read = tracks_of(columns, values[:, :-1], unit="px")
        points = missing(count, len(animals), *read.points.shape[2:])
        scores = None if read.confidence is None else np.full(points.shape[:3], np.nan, np.float32)
        for row, animal in enumerate(animals):
            mine = names == animal
            places = frames[mine].astype(np.int64)
            _require_once(places.tolist())
            points[places, row] = read.points[mine, 0]
            if scores is not None and read.confidence is not None:
                scores[places, row] = read.confidence[mine, 0]
        return replace(read, points=points, animals=animals, confidence=scores)


@track_format("table")
class PlainTable(TrackFormat):
    """Columns ``[ANIMAL.]POINT_x, POINT_y[, POINT_z][, POINT_likelihood]``, and a clock."""

    order = 60
    endings = frozenset({".csv", ".tsv", ".txt"})

    def matches(self, head: FileHead) -> bool:
        """A header with an x and a y of at least one point."""
        if not head.lines or head.lines[0].startswith("#"):
            return False
        cells = head.lines[0].split(_separator(head.lines[0]))
        if any(_IMU.search(cell.strip().lower()) for cell in cells):
            return False
        return bool(_points_of(cells))

    def read(self, path: Path) -> PointTracks:
        """The tracks; with ``time_s`` or ``timestamp`` also their times."""
        text = text_of(path)
        separator = _separator(text.partition("\n")[0])
        header = [cell.strip() for cell in _rows(text, 1, separator)[0]]
        columns = _points_of(header)
        if not columns:
            raise ValueError("it has no columns such as nose_x and nose_y")
        lower = [name.lower() for name in header]
        for number, name in enumerate(lower):
            if name in _FRAMES:
                _require_once(_cells(text, number, separator))
            elif _TRACKS.fullmatch(name) and len(set(_cells(text, number, separator))) > 1:
                raise ValueError(
                    f"its column {header[number]!r} names several tracks, and a row is read as a "
                    "frame; write columns ANIMAL.POINT_x and ANIMAL.POINT_y, a row for a frame"
                )
        clock = next((name for name in _CLOCKS if name in lower), None)
        times: list[Column] = [] if clock is None else [(lower.index(clock), "", "", "time")]
        values = _numbers(text, 1, separator, columns + times)
        if clock is None:
            return tracks_of(columns, values)
        factor = _CLOCKS[clock]
        meta: JsonDict = {}
        times_s = values[:, -1]
        if not factor:
            step = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
            factor = 1e-3 if step >= 1 else 1.0
            meta = {"assumed": f"the column {clock!r} counts {'milli' if step >= 1 else ''}seconds"}
        is_clock = clock.startswith("time") and not clock.startswith("timestamp")
        start_s = float(times_s[0]) * factor if len(times_s) and is_clock else 0.0
        meta["start_s"] = start_s if np.isfinite(start_s) else 0.0
        times_s = (times_s - times_s[0]) * factor if len(times_s) else times_s
        return tracks_of(columns, values[:, :-1], times_s=times_s, meta=meta)


def tracks_of(
    columns: Sequence[Column], values: Float64, *, unit: str = "", **facts: Any
) -> PointTracks:
    """Tracks from the columns of a table.

    Points that belong to no animal (``single``) become an animal of their own where others exist.

    Args:
        columns: N columns.
        values: (T, N) numbers.
        unit: Unit of the coordinates.
        facts: More fields of ``PointTracks``.

    Raises:
        ValueError: no point has both x and y, or no frame is left.
    """
    animals = tuple(dict.fromkeys(animal for _, animal, _, _ in columns))
    names = tuple(dict.fromkeys(point for _, _, point, _ in columns))
    if not columns or not len(values):
        raise ValueError("it holds no frame" if columns else "it holds no point")
    dims = 3 if any(axis == "z" for *_, axis in columns) else 2
    points = missing(len(values), len(animals), len(names), dims)
    has_scores = any(axis == "likelihood" for *_, axis in columns)
    scores = np.full(points.shape[:3], np.nan, np.float32) if has_scores else None
    for number, (_, animal, point, axis) in enumerate(columns):
        row = animals.index(animal), names.index(point)
        if axis in _AXES:
            points[(slice(None), *row, _AXES.index(axis))] = values[:, number]
        elif scores is not None:
            scores[(slice(None), *row)] = values[:, number]
    points[~np.isfinite(points).all(axis=-1)] = np.nan
    return PointTracks(points, names, animals, unit=unit, confidence=scores, **facts)


def _points_of(header: Sequence[str]) -> list[Column]:
    """Columns of points that have both x and y; a column of a score needs its point."""
    matched = {
        number: match
        for number, cell in enumerate(header)
        if (match := _COLUMN.match(cell.strip().strip('"')))
    }
    axes: dict[str, set[str]] = {}
    for match in matched.values():
        axes.setdefault(match["point"], set()).add(match["axis"])
    columns: list[Column] = []
    for number, match in matched.items():
        if {"x", "y"} <= axes[match["point"]]:
            animal, dot, point = match["point"].partition(".")
            axis = match["axis"] if match["axis"] in _AXES else "likelihood"
            if not (dot and point):
                animal, point = "", match["point"]
            columns.append((number, animal, point, axis))
    return columns


def _require_once(frames: Sequence[str] | Sequence[int]) -> None:
    if len(set(frames)) < len(frames):
        raise ValueError(
            "it repeats a frame; one row for an animal in a frame is read, or columns "
            "ANIMAL.POINT_x and ANIMAL.POINT_y"
        )


def _cells(text: str, number: int, separator: str) -> list[str]:
    """Texts of a column, without the header."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n")[1:] if line.strip()]
    plain = (line.split(separator, number + 1) for line in lines)
    try:
        rows = csv.reader(lines, delimiter=separator) if '"' in text else plain
        return [row[number].strip() if len(row) > number else "" for row in rows]
    except csv.Error as error:
        raise ValueError(f"it is not a table ({error})") from None


def _separator(line: str) -> str:
    return max(_SEPARATORS, key=line.count)


def _rows(text: str, count: int, separator: str) -> list[list[str]]:
    """Cells of the first lines."""
    lines = io.StringIO(text[: 1 << 22], newline="")
    try:
        rows = [
            row
            for row, _ in zip(csv.reader(lines, delimiter=separator), range(count), strict=False)
        ]
    except csv.Error as error:
        raise ValueError(f"it is not a table ({error})") from None
    if len(rows) < count or not all(rows):
        raise ValueError(f"it has fewer than {count} header rows")
    return rows


def _numbers(text: str, skip: int, separator: str, columns: Sequence[Column]) -> Float64:
    """(T, N) numbers of some columns; NaN for an empty cell.

    Raises:
        ValueError: a row is too short, or a cell is not a number.
    """
    numbers_read = [number for number, *_ in columns]
    require_memory(3.0 * len(text))
    body = text.replace("\r\n", "\n")
    for _ in range(skip):
        body = body.partition("\n")[2]
    for _ in range(2):  # twice: of three separators the middle one stands in two pairs
        body = body.replace(2 * separator, f"{separator}nan{separator}")
    body = body.replace(f"{separator}\n", f"{separator}nan\n")
    if body.endswith(separator):
        body += "nan"
    if separator == ";" and "," in body and "." not in body[:10_000]:
        body = body.replace(",", ".")
    lines = [line for line in body.split("\n") if line.strip()]
    if not lines:
        raise ValueError("it holds no frame")
    require_memory(16.0 * len(lines) * len(columns))
    try:
        return np.loadtxt(
            lines,
            delimiter=separator,
            usecols=numbers_read,
            ndmin=2,
            comments=None,
            converters=None if _is_plain(body) else _number,
            encoding="utf-8",
            quotechar='"',
        )
    except (ValueError, IndexError) as error:
        raise ValueError(f"a cell of it is not a number ({str(error)[:80]})") from None


def _is_plain(body: str) -> bool:
    """Return whether no cell needs a converter: a word other than nan is rare."""
    return not re.search(r"(?i)(^|[,;\t\n])\s*(na|null|none|\s+)\s*([,;\t\n]|$)", body)


def _number(cell: str) -> float:
    cell = cell.strip()
    return float("nan") if cell.lower() in _WORDS or not cell else float(cell)
