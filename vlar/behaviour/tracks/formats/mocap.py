"""Motion capture and JSON: AMC with and without its ASF, BVH, and MARS.

Angles of an AMC file without its skeleton (ASF) stay angles: the unit of the clip is ``deg``. With
``NAME.asf``, or a single ``.asf`` next to it, and for BVH, joints are placed in space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlar.behaviour.tracks.formats.base import (
    MOST_POINTS,
    PointTracks,
    TrackFormat,
    missing,
    text_of,
    track_format,
)
from vlar.files.compressed import inner_stem
from vlar.files.reading import parse_json, require_few_words, require_memory
from vlar.media.signals import FileHead
from vlar.types import Float64, JsonDict

_MOST_FRAMES = 2_000_000
_MOST_DEPTH = 100
_AMC_ROOT = ("tx", "ty", "tz", "rx", "ry", "rz")
_MARS = ("nose", "right_ear", "left_ear", "neck", "right_hip", "left_hip", "tail_base")


@dataclass
class _Joint:
    """A joint of a skeleton: where it hangs, and what moves it."""

    name: str
    parent: int = -1
    offset: Float64 = field(default_factory=lambda: np.zeros(3))
    axis: Float64 = field(default_factory=lambda: np.eye(3))
    channels: tuple[str, ...] = ()


@track_format("amc")
class Amc(TrackFormat):
    """Acclaim motion: blocks of a frame number and lines of a bone with its values."""

    order = 10
    endings = frozenset({".amc"})

    def matches(self, head: FileHead) -> bool:
        """A line ``:DEGREES`` or ``:FULLY-SPECIFIED``."""
        return any(
            line.strip().upper() in (":DEGREES", ":FULLY-SPECIFIED", ":RADIANS")
            for line in head.lines[:20]
        )

    def read(self, path: Path) -> PointTracks:
        """Joints where the skeleton is there, else angles; the frame rate is not in the file."""
        text = text_of(path)
        require_few_words(text)
        frames, order = _amc_frames(text)
        step = frames.step
        facts: JsonDict = {"frame_step": step}
        if step > 1:
            facts["assumed"] = f"its frames are numbered in steps of {step}"
        skeleton = _asf_of(path)
        if skeleton is not None:
            points, names, bones = _placed_amc(skeleton, frames.values)
            return PointTracks(points, names, bones=bones, meta=facts)
        bones_of = [name for name in order if name != "root"]
        points = missing(len(frames.values["root"]), 1, len(bones_of) + 1, 3)
        points[:, 0, 0] = frames.values["root"][:, 3:6]
        for number, name in enumerate(bones_of):
            values = frames.values[name]
            points[:, 0, number + 1] = 0  # a bone may turn about fewer than three axes
            points[:, 0, number + 1, : values.shape[1]] = values[:, :3]
        return PointTracks(points, ("root", *bones_of), unit="deg", meta=facts)


@dataclass(frozen=True)
class _AmcFrames:
    values: dict[str, Float64]
    step: int


def _amc_frames(text: str) -> tuple[_AmcFrames, list[str]]:
    """Values (T, n) of each bone, and the bones in order."""
    rows: dict[str, list[list[float]]] = {}
    numbers: list[int] = []
    scale = 1.0
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            scale = 180 / math.pi if words[0].upper() == ":RADIANS" else scale
        elif len(words) == 1 and words[0].isdigit():
            numbers.append(int(words[0]))
        else:
            try:
                rows.setdefault(words[0], []).append([float(word) for word in words[1:7]])
            except ValueError:
                raise ValueError(f"a value of the bone {words[0][:40]!r} is not a number") from None
    if not numbers or "root" not in rows:
        raise ValueError("it has no frame, or no bone 'root'")
    if len(rows) > MOST_POINTS or len(numbers) > _MOST_FRAMES:
        raise ValueError(f"it has {len(rows)} bones and {len(numbers)} frames, more than are read")
    values: dict[str, Float64] = {}
    for name, part in rows.items():
        if len(part) != len(numbers) or len({len(row) for row in part}) != 1 or not part[0]:
            raise ValueError(f"the bone {name[:40]!r} is not in every frame alike")
        values[name] = np.array(part)
        if name != "root":
            values[name] *= scale
    if values["root"].shape[1] != len(_AMC_ROOT):
        raise ValueError("its root has not 6 values")
    steps = np.diff(numbers) if len(numbers) > 1 else np.array([1])
    step = int(np.median(steps)) if len(steps) else 1
    if step < 1 or (steps != step).any():
        raise ValueError("its frames are not numbered in even steps")
    return _AmcFrames(values, step), list(rows)


def _asf_of(path: Path) -> list[_Joint] | None:
    """The skeleton next to an AMC file; None without one."""
    asf_file = path.with_name(f"{inner_stem(path)}.asf")
    files = [asf_file] if asf_file.is_file() else sorted(path.parent.glob("*.asf"))
    prefix = inner_stem(path).partition("_")[0]
    named = [file for file in files if file.stem == prefix]
    files = files if len(files) == 1 else named
    return read_asf(text_of(files[0])) if len(files) == 1 else None


def read_asf(text: str) -> list[_Joint]:
    """Joints of an Acclaim skeleton, parents first."""
    bones: dict[str, _Joint] = {"root": _Joint("root", channels=_AMC_ROOT)}
    links: list[tuple[str, str]] = []
    section, current, scale = "", _Joint(""), 1.0
    direction, length = np.zeros(3), 0.0
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            section = words[0].lower()
        elif section == ":units" and words[0] == "length" and len(words) > 1:
            scale = 1 / float(words[1]) * 0.0254
        elif section == ":bonedata":
            if words[0] == "begin":
                current, direction, length = _Joint(""), np.zeros(3), 0.0
            elif words[0] == "name":
                current.name = words[1]
            elif words[0] == "direction":
                direction = np.array([float(word) for word in words[1:4]])
            elif words[0] == "length":
                length = float(words[1])
            elif words[0] == "axis":
                current.axis = _rotation([float(word) for word in words[1:4]], "xyz")
            elif words[0] == "dof":
                current.channels = tuple(words[1:])
            elif words[0] == "end":
                current.offset = direction * length * scale
                bones[current.name] = current
        elif section == ":hierarchy" and words[0] not in ("begin", "end"):
            links += [(words[0], child) for child in words[1:]]
    joints, row_of = [bones["root"]], {"root": 0}
    for parent, child in links:
        if parent not in row_of or child not in bones or child in row_of:
            raise ValueError("the hierarchy of its skeleton (ASF) is malformed")
        bones[child].parent = row_of[parent]
        row_of[child] = len(joints)
        joints.append(bones[child])
    if len(joints) > MOST_POINTS:
        raise ValueError(f"its skeleton has {len(joints)} bones, more than are read")
    joints[0].offset = np.array([scale, scale, scale])  # of the root's way
    return joints


def _placed_amc(
    joints: Sequence[_Joint], values: dict[str, Float64]
) -> tuple[np.ndarray, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Ends of the bones in metres: (T, 1, V, 3)."""
    root = values["root"]
    count = len(root)
    points = missing(count, 1, len(joints), 3)
    turns = [_rotations(root[:, 3:6], "xyz")]
    places = [root[:, :3] * joints[0].offset[0]]
    for joint in joints[1:]:
        offsets = np.zeros((count, 3))
        stored = values.get(joint.name)
        for column, channel in enumerate(joint.channels):
            axis = "xyz".find(channel[-1:].lower())
            if stored is not None and channel.lower().startswith("r") and axis >= 0:
                offsets[:, axis] = stored[:, column] if column < stored.shape[1] else 0
        local = joint.axis @ _rotations(offsets, "xyz") @ joint.axis.T
        turn = turns[joint.parent] @ local
        turns.append(turn)
        places.append(places[joint.parent] + turn @ joint.offset)
    for number, joint_place in enumerate(places):
        points[:, 0, number] = joint_place
    names = tuple(joint.name for joint in joints)
    bones = tuple((names[joint.parent], joint.name) for joint in joints[1:])
    return points, names, bones


def _rotations(degrees: Float64, order: str) -> Float64:
    """(T, 3, 3) rotations by angles (T, 3), the first axis of ``order`` first."""
    result = np.broadcast_to(np.eye(3), (len(degrees), 3, 3))
    for column, axis in enumerate(order):
        a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        angle = np.radians(degrees[:, column])
        turn = np.zeros((len(degrees), 3, 3))
        turn[:, range(3), range(3)] = 1
        turn[:, a, a] = turn[:, b, b] = np.cos(angle)
        turn[:, a, b], turn[:, b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def _rotation(degrees: Sequence[float], order: str) -> Float64:
    return _rotations(np.array([degrees]), order)[0]


@track_format("bvh")
class Bvh(TrackFormat):
    """Biovision hierarchy: joints, channels, and a table of frames with its frame time."""

    order = 10
    endings = frozenset({".bvh"})

    def matches(self, head: FileHead) -> bool:
        """A first word ``HIERARCHY``."""
        return bool(head.lines) and head.lines[0].strip().upper() == "HIERARCHY"

    def read(self, path: Path) -> PointTracks:
        """Joints in the unit of the file."""
        text = text_of(path)
        require_few_words(text)
        words = iter(text.split())
        joints = list(_bvh_joints(words))
        count, rate = _bvh_clock(words)
        width = sum(len(joint.channels) for joint in joints)
        require_memory(16.0 * count * width)
        try:
            table = np.array([float(word) for word in words])
        except ValueError:
            raise ValueError("its frames hold something that is not a number") from None
        if width < 1 or len(table) != count * width:
            raise ValueError(f"it has {len(table)} numbers, and {count} frames of {width}")
        return _placed_bvh(joints, table.reshape(count, width), rate)


def _bvh_joints(words: Iterator[str]) -> Iterator[_Joint]:
    parents: list[int] = []
    current: _Joint | None = None
    count = -1
    for word in words:
        if word.upper() in ("ROOT", "JOINT", "END"):
            name = next(words, "")
            if word.upper() == "END":
                name = f"{current.name if current else ''} end"
            if current is not None:
                yield current
            current = _Joint(name, parents[-1] if parents else -1)
            count += 1
            if count >= MOST_POINTS or len(parents) > _MOST_DEPTH:
                raise ValueError("its skeleton has more joints than are read")
        elif word == "{":
            parents.append(count)
        elif word == "}" and parents:
            parents.pop()
        elif word.upper() == "OFFSET" and current is not None:
            current.offset = np.array([float(next(words)) for _ in range(3)])
        elif word.upper() == "CHANNELS" and current is not None:
            current.channels = tuple(next(words).lower() for _ in range(min(6, int(next(words)))))
        elif word.upper() == "MOTION":
            break
    if current is None:
        raise ValueError("it has no joint")
    yield current


def _bvh_clock(words: Iterator[str]) -> tuple[int, float]:
    """Frames, and frames a second, of ``Frames: N`` and ``Frame Time: S``."""
    try:
        if next(words).lower() != "frames:":
            raise ValueError("it has no line 'Frames:'")
        count = int(next(words))
        if [next(words).lower(), next(words).lower()] != ["frame", "time:"]:
            raise ValueError("it has no line 'Frame Time:'")
        seconds = float(next(words))
    except StopIteration:
        raise ValueError("its motion is cut") from None
    if not 0 < count <= _MOST_FRAMES or not 1e-5 < seconds < 1e3:
        raise ValueError(f"it states {count} frames of {seconds:g} s")
    return count, 1 / seconds


def _placed_bvh(joints: Sequence[_Joint], table: Float64, rate: float) -> PointTracks:
    points = missing(len(table), 1, len(joints), 3)
    turns: list[Float64] = []
    places: list[Float64] = []
    column = 0
    for joint in joints:
        way = np.broadcast_to(joint.offset, (len(table), 3)).copy()
        turn = np.broadcast_to(np.eye(3), (len(table), 3, 3))
        for channel in joint.channels:
            axis = "xyz".find(channel[0])
            if channel.endswith("position") and axis >= 0:
                way[:, axis] = table[:, column] + (joint.offset[axis] if joint.parent >= 0 else 0)
            elif channel.endswith("rotation") and axis >= 0:
                turn = turn @ _rotations(table[:, column : column + 1], channel[0])
            column += 1
        if joint.parent >= 0:
            up = turns[joint.parent]
            way = places[joint.parent] + (up @ way[..., None])[..., 0]
            turn = up @ turn
        turns.append(turn)
        places.append(way)
    for number, joint_place in enumerate(places):
        points[:, 0, number] = joint_place
    names = tuple(joint.name for joint in joints)
    bones = tuple((names[joint.parent], joint.name) for joint in joints if joint.parent >= 0)
    return PointTracks(points, names, rate_hz=rate, bones=bones)


@track_format("mars")
class Mars(TrackFormat):
    """JSON of MARS: ``keypoints`` [frame][mouse][x row, y row][7 points], ``scores``."""

    order = 10
    endings = frozenset({".json"})

    def matches(self, head: FileHead) -> bool:
        """The keys ``keypoints`` and ``scores`` of an object."""
        start = head.data[:4096].lstrip()
        return (
            start.startswith(b"{")
            and b'"keypoints"' in head.data
            and (b'"scores"' in head.data or b"[[[[" in head.data.replace(b" ", b""))
        )

    def read(self, path: Path) -> PointTracks:
        """The tracks; a frame rate is not in such files."""
        content = parse_json(text_of(path))
        try:
            stored = np.asarray(content["keypoints"], np.float64)
        except (KeyError, TypeError, ValueError):
            raise ValueError("its keypoints are not numbers of one shape") from None
        if stored.ndim != 4 or stored.shape[2] != 2:
            raise ValueError(f"its keypoints have the shape {stored.shape}")
        names = (
            _MARS
            if stored.shape[3] == len(_MARS)
            else tuple(f"point {n}" for n in range(stored.shape[3]))
        )
        points = missing(stored.shape[0], stored.shape[1], stored.shape[3], 2)
        points[:] = stored.transpose(0, 1, 3, 2)
        scores = content.get("scores")
        confidence = None if scores is None else np.asarray(scores, np.float32)
        if confidence is not None and confidence.shape != points.shape[:3]:
            raise ValueError("its scores do not fit its keypoints")
        animals = (
            ("",)
            if len(points[0]) == 1
            else tuple(f"animal {n + 1}" for n in range(points.shape[1]))
        )
        return PointTracks(points, names, animals, unit="px", confidence=confidence)
