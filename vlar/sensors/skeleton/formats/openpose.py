"""OpenPose JSON: one file a frame in a folder, or a file with one frame."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.safety.files import read_file, require_memory
from vlar.safety.strict_json import parse_json
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    BYTES_EACH,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    hide,
    skeleton_format,
)
from vlar.sensors.skeleton.formats.linking import link
from vlar.types import Float32

_LAYOUTS = {18: "openpose18", 25: "openpose25"}
_RATE_HZ = 30.0
_MOST_BYTES = 4 << 20  # of a frame
_MOST_FRAMES = 200_000
_NAME = re.compile(r"(\d+)_keypoints\.json$")
_MARK = b'"pose_keypoints_2d"'


@skeleton_format("openpose")
class OpenPose(SkeletonFormat):
    """``people[].pose_keypoints_2d``: x, y and confidence of each joint; 0 is missing."""

    order = 10
    endings = frozenset({".json"})

    def matches(self, head: Head) -> bool:
        """By the name of its list of joints."""
        return b'"people"' in head.data and (_MARK in head.data or b'"people":[]' in head.data)

    def read(self, path: Path) -> Iterator[Bodies]:
        """A single frame."""
        yield _bodies([_people(path)])


def json_files(folder: Path) -> list[Path]:
    """The files of a folder that OpenPose wrote, by frame; none where it is another folder."""
    try:
        found = [
            (int(match[1]), Path(entry.path))
            for entry in os.scandir(folder)
            if (match := _NAME.search(entry.name)) and not entry.name.startswith(".")
        ]
    except OSError:
        return []
    return [path for _, path in sorted(found)]


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
    return _bodies(frames)


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


def _bodies(frames: list[Float32]) -> Bodies:
    joints = {frame.shape[1] for frame in frames if len(frame)}
    if len(joints) != 1:
        raise ValueError("no person is in any frame" if not joints else "its joints change")
    linked = link([frame if len(frame) else np.zeros((0, *joints, 3), np.float32)
                   for frame in frames])  # fmt: skip
    confidence = np.nan_to_num(linked[..., 2])
    points = hide(linked[..., :2], confidence)
    assumed = {"assumed": "rate_hz"}
    return Bodies(points, _LAYOUTS[joints.pop()], "px", _RATE_HZ, confidence, meta=assumed)
