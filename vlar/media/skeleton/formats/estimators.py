"""MediaPipe: 33 landmarks a frame as CSV, JSON or ``.npy``, in a picture or in metres.

Landmarks of a picture are shares of its width and height: their angles are right only where the
width over the height is known. A first line ``# width=1280 height=720 rate_hz=25`` of a CSV file,
or the fields of the same names of a JSON file, state it; 16 to 9 and 30 frames a second are assumed
without them. Landmarks around a middle of the hips at 0 are world landmarks, in metres.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlar.files.arrays import read_npy
from vlar.files.reading import cell_numbers, number, parse_json, read_file, require_memory
from vlar.media.signals import FileHead, evenly
from vlar.media.skeleton.formats.base import (
    BYTES_EACH,
    MOST,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    hide,
    link,
    skeleton_format,
    stated,
    text_of,
)
from vlar.types import Float32

_JOINTS = 17
_RATE_HZ = 30.0


@skeleton_format("coco")
class CocoKeypoints(SkeletonFormat):
    """``annotations[].keypoints``: 51 numbers, visibility 0 is missing; a picture is a frame.

    Results of detectors (a list with ``image_id``, ``keypoints`` and ``score``) are read too.
    """

    order = 20
    endings = frozenset({".json"})

    def matches(self, head: FileHead) -> bool:
        """Match by the names of the fields."""
        return b'"keypoints"' in head.data and b'"image_id"' in head.data

    def read(self, path: Path) -> Iterator[Bodies]:
        """The pictures in the order of their number, as one recording."""
        stored: Any = parse_json(read_file(path, MOST))
        rows = stored.get("annotations") if isinstance(stored, dict) else stored
        if not isinstance(rows, list):
            raise ValueError("it has no list 'annotations'")  # noqa: TRY004 - of the content
        frames: dict[str | int, list[Float32]] = {}
        for row in rows:
            image, joints = _row(row)
            frames.setdefault(image, []).append(joints)
            if len(frames[image]) > MOST_PEOPLE:
                raise ValueError(f"a picture has more than {MOST_PEOPLE} people")
        if not frames:
            raise ValueError("it has no annotation")
        ordered = sorted(frames, key=_frame_key)
        linked = link([np.stack(frames[image]) for image in ordered])
        confidence = np.clip(np.nan_to_num(linked[..., 2]), 0, 1)
        points = hide(linked[..., :2], confidence)
        yield Bodies(points, "coco17", "px", _RATE_HZ, confidence, meta={"assumed": "rate_hz"})


def _row(row: Any) -> tuple[str | int, Float32]:
    image = row.get("image_id") if isinstance(row, dict) else None
    flat = row.get("keypoints") if isinstance(row, dict) else None
    if (
        not isinstance(image, int | str)
        or not isinstance(flat, list)
        or len(flat) != 3 * _JOINTS
        or not all(isinstance(one, int | float) for one in flat)
    ):
        raise ValueError(f"an annotation has no 'image_id' or no {3 * _JOINTS} 'keypoints'")
    return image, np.array(flat, np.float32).reshape(_JOINTS, 3)


def _frame_key(image: str | int) -> tuple[int, str]:
    text = str(image)
    digits = "".join(c for c in text if c.isdecimal())
    return (int(digits[-15:]) if digits else 0, text)


_MEDIAPIPE_JOINTS = 33
_SIZE = (1280.0, 720.0)
_HIPS = (23, 24)
_CENTRED = 0.03  # metres from the middle of the hips to 0, of world landmarks
_SEEN = 0.1  # visibility below which a landmark is a guess
_COLUMNS = {_MEDIAPIPE_JOINTS * 4, _MEDIAPIPE_JOINTS * 4 + 1}


@skeleton_format("mediapipe")
class MediaPipe(SkeletonFormat):
    """Landmarks of one person in each frame; what is hardly visible is NaN."""

    order = 30
    endings = frozenset({".csv", ".json", ".npy"})

    def matches(self, head: FileHead) -> bool:
        """Match by the columns, the field names, or the shape of the array."""
        if head.ending == ".npy":
            return any(shape in head.data[:128] for shape in (b", 33, 4)", b", 33, 3)", b", 132)"))
        if head.ending == ".json":
            named = b'"visibility"' in head.data and b'"x"' in head.data
            return named and b'"keypoints"' not in head.data
        lines = [line for line in head.lines[:2] if not line.startswith("#")]
        return bool(lines) and _is_header(lines[0].split(","))

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        if path.suffix.lower() == ".npy":
            yield _bodies(_from_npy(path), {})
        elif path.suffix.lower() == ".json":
            yield _bodies(*_from_json(path))
        else:
            yield _bodies(*_from_csv(path))


def _is_header(columns: list[str]) -> bool:
    names = [name.strip().strip('"').lower() for name in columns]
    return len(names) in _COLUMNS and all(
        name.startswith(("x", "y", "z", "v")) for name in names[-_MEDIAPIPE_JOINTS * 4 :]
    )


def _from_csv(path: Path) -> tuple[Float32, Mapping[str, Any]]:
    lines = [line for line in text_of(path).splitlines() if line.strip()]
    settings = stated(lines[0]) if lines and lines[0].startswith("#") else {}
    lines = lines[1:] if settings else lines
    if len(lines) < 2:
        raise ValueError("it has no row")
    columns, rows = len(lines[0].split(",")), [line.split(",") for line in lines[1:]]
    if columns not in _COLUMNS or any(len(row) != columns for row in rows):
        raise ValueError(f"a row has another number of cells than the header's {columns}")
    values = cell_numbers([row[-_MEDIAPIPE_JOINTS * 4 :] for row in rows], _MEDIAPIPE_JOINTS * 4)
    points = values.reshape(len(rows), _MEDIAPIPE_JOINTS, 4).astype(np.float32)
    if columns == _MEDIAPIPE_JOINTS * 4:
        return points, settings
    return _by_frame(points, [row[0] for row in rows], settings)


def _by_frame(
    values: Float32, frames: list[str], settings: Mapping[str, Any]
) -> tuple[Float32, Mapping[str, Any]]:
    """Landmarks of numbered frames, of which some may be left out."""
    rate = number(settings, "rate_hz", above=0, at_most=1000) if "rate_hz" in settings else None
    try:
        numbers = np.array(frames, np.float64)
    except ValueError:
        raise ValueError("its first column does not hold the numbers of frames") from None
    if len(numbers) < 2:
        return values, settings
    even_values, every = evenly(numbers / (rate or _RATE_HZ), values)
    return even_values, {**settings, "rate_hz": every, "rate_is_assumed": rate is None}


def _from_json(path: Path) -> tuple[Float32, Mapping[str, Any]]:
    stored: Any = parse_json(read_file(path, MOST))
    settings = stored if isinstance(stored, dict) else {}
    frames = stored if isinstance(stored, list) else None
    for key in ("frames", "landmarks", "pose_landmarks"):
        frames = settings.get(key, frames)
    if not isinstance(frames, list) or not frames:
        raise ValueError("it has no list of frames")
    if len(frames) == _MEDIAPIPE_JOINTS and isinstance(frames[0], dict) and "x" in frames[0]:
        frames = [frames]  # one frame
    return np.stack([_frame(frame) for frame in frames]), settings


def _frame(frame: Any) -> Float32:
    """(33, 4) landmarks of a frame; NaN where nobody is found."""
    inner = frame
    for key in ("landmarks", "pose_landmarks", "landmark"):
        inner = inner.get(key, inner) if isinstance(inner, dict) else inner
    if inner is None or inner == []:
        return np.full((_MEDIAPIPE_JOINTS, 4), np.nan, np.float32)
    if not isinstance(inner, list) or len(inner) != _MEDIAPIPE_JOINTS:
        count = len(inner) if isinstance(inner, list) else 0
        raise ValueError(f"a frame has {count} landmarks where MediaPipe has {_MEDIAPIPE_JOINTS}")
    rows = np.full((_MEDIAPIPE_JOINTS, 4), np.nan, np.float32)
    for row, point in zip(rows, inner, strict=True):
        if not isinstance(point, dict):
            raise ValueError("a landmark has no x, y and z")  # noqa: TRY004 - of the content
        row[:] = [_coordinate(point, name) for name in ("x", "y", "z", "visibility")]
    return rows


def _coordinate(point: Mapping[str, Any], name: str) -> float:
    settings = {"z": 0.0, "visibility": 1.0, **point}
    return number(settings, name, above=-1e6, at_most=1e6)


def _from_npy(path: Path) -> Float32:
    values = read_npy(path, MOST)
    if values.dtype.kind != "f":
        raise ValueError(f"it holds {values.dtype.name}, not floating-point numbers")
    if values.ndim == 2 and values.shape[1] == _MEDIAPIPE_JOINTS * 4:
        values = values.reshape(-1, _MEDIAPIPE_JOINTS, 4)
    if values.ndim != 3 or values.shape[1] != _MEDIAPIPE_JOINTS or values.shape[2] not in (3, 4):
        raise ValueError(f"its shape is {values.shape}; (T, 33, 4) or (T, 33, 3) is read")
    if values.shape[2] == 3:
        values = np.concatenate([values, np.ones_like(values[..., :1])], axis=2)
    return values.astype(np.float32)


def _bodies(values: Float32, settings: Mapping[str, Any]) -> Bodies:
    """(T, 33, 4) landmarks as one person."""
    values = values[:, None]
    confidence = np.clip(np.nan_to_num(values[..., 3]), 0, 1)
    rate = number(settings, "rate_hz", above=0, at_most=1000) if "rate_hz" in settings else None
    assumed = rate is None or bool(settings.get("rate_is_assumed"))
    meta: dict[str, Any] = {"assumed": "rate_hz"} if assumed else {}
    with np.errstate(invalid="ignore"):
        hips = values[..., _HIPS, :2].mean(axis=2)
    if np.isfinite(hips).any() and float(np.nanmax(np.abs(hips))) < _CENTRED:
        points = values[..., :3] * np.array([1, -1, 1], np.float32)
        return Bodies(
            hide(points, confidence, _SEEN),
            "mediapipe33",
            "m",
            rate or _RATE_HZ,
            confidence,
            meta=meta,
        )
    has_size = "width" in settings and "height" in settings
    size = list(_SIZE)
    if has_size:
        size = [number(settings, key, above=0, at_most=1e5) for key in ("width", "height")]
    else:
        meta = {"assumed": " ".join([*meta.values(), "size"])}
    points = hide(values[..., :2], confidence, _SEEN)
    meta = {**meta, "size": size}
    return Bodies(points, "mediapipe33", "picture", rate or _RATE_HZ, confidence, meta=meta)


_LAYOUTS = {18: "openpose18", 25: "openpose25"}
_MOST_BYTES = 4 << 20  # of a frame
_MOST_FRAMES = 200_000
_NAME = re.compile(r"(\d+)_keypoints\.json$")
_MARK = b'"pose_keypoints_2d"'


@skeleton_format("openpose")
class OpenPose(SkeletonFormat):
    """``people[].pose_keypoints_2d``: x, y and confidence of each joint; 0 is missing."""

    order = 10
    endings = frozenset({".json"})

    def matches(self, head: FileHead) -> bool:
        """Match by the name of the list of joints."""
        return b'"people"' in head.data and (_MARK in head.data or b'"people":[]' in head.data)

    def read(self, path: Path) -> Iterator[Bodies]:
        """A single frame."""
        yield _openpose_bodies([_people(path)])


def json_files(folder: Path) -> list[Path]:
    """The files of a folder that OpenPose wrote, by frame; none where it is another folder."""
    try:
        files = [
            (int(match[1]), Path(entry.path))
            for entry in os.scandir(folder)
            if (match := _NAME.search(entry.name)) and not entry.name.startswith(".")
        ]
    except OSError:
        return []
    return [path for _, path in sorted(files)]


def read_folder(folder: Path) -> Bodies:
    """A folder as one recording; people are followed from frame to frame.

    Raises:
        OSError: a file cannot be opened.
        ValueError: a file is malformed, or there are too many.
    """
    files = json_files(folder)
    if not files or len(files) > _MOST_FRAMES:
        raise ValueError(f"it holds {len(files):,} files NUMBER_keypoints.json")
    frames: list[Float32] = []
    size = 0
    for path in files:
        frames.append(_people(path))
        size += frames[-1].size
        require_memory(BYTES_EACH * size)
    return _openpose_bodies(frames)


def _people(path: Path) -> Float32:
    """(M, V, 3) x, y and confidence of the people of a frame."""
    stored: Any = parse_json(read_file(path, _MOST_BYTES))
    people = stored.get("people") if isinstance(stored, dict) else None
    if not isinstance(people, list) or len(people) > MOST_PEOPLE:
        raise ValueError(f"{path.name} has no list of at most {MOST_PEOPLE} people")
    rows: list[Float32] = []
    for person in people:
        flat = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        if not isinstance(flat, list) or not all(isinstance(one, int | float) for one in flat):
            raise ValueError(f"{path.name}: a person has no 'pose_keypoints_2d'")
        if len(flat) // 3 not in _LAYOUTS or len(flat) % 3:
            raise ValueError(
                f"{path.name}: a person has {len(flat)} numbers; 18 or 25 joints of 3 are read"
            )
        rows.append(np.array(flat, np.float32).reshape(-1, 3))
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{path.name}: people with different numbers of joints")
    return np.stack(rows) if rows else np.zeros((0, 25, 3), np.float32)


def _openpose_bodies(frames: list[Float32]) -> Bodies:
    joints = {frame.shape[1] for frame in frames if len(frame)}
    if len(joints) != 1:
        raise ValueError("no person is in any frame" if not joints else "its joints change")
    linked = link(
        [frame if len(frame) else np.zeros((0, *joints, 3), np.float32) for frame in frames]
    )
    confidence = np.nan_to_num(linked[..., 2])
    points = hide(linked[..., :2], confidence)
    assumed = {"assumed": "rate_hz"}
    return Bodies(points, _LAYOUTS[joints.pop()], "px", _RATE_HZ, confidence, meta=assumed)
