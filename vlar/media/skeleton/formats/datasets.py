"""Files of data sets: UTD-MHAD, UT-Kinect, MSR-Action3D, SBU, NTU RGB+D, NW-UCLA, SFINGE 3D."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.files.arrays import is_matlab, names_in, read_matlab, read_npz
from vlar.files.reading import parse_json, read_file
from vlar.media.signals import FileHead
from vlar.media.skeleton.formats.base import (
    KINECT_HZ,
    MOST,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    caption,
    is_numbers,
    numbers,
    require_few_people,
    skeleton_format,
    text_of,
    unseen,
)
from vlar.types import Float32

_UTD, _UT, _LENGTHS = "d_skel", "complete_skeleton", "action_length"
_JOINTS = 20
_UT_HZ = 15.0  # the array holds every second frame of 30 a second, as its authors recorded them
_UT_LABELS = (
    *("walk", "sit down", "stand up", "pick up", "carry", "throw", "push", "pull"),
    *("wave hands", "clap hands"),
)


@skeleton_format("kinect-mat")
class KinectMat(SkeletonFormat):
    """``d_skel`` (20, 3, T); or ``complete_skeleton`` and ``action_length``. Metres.

    UTD-MHAD begins with the head; UT-Kinect has the order of the development kit.
    """

    order = 20
    endings = frozenset({".mat", ".npz"})

    def matches(self, head: FileHead) -> bool:
        """Match by the names of the variables."""
        if head.data[:2] == b"PK":
            return b"complete_skeleton.npy" in head.data[:200]
        if not is_matlab(head.data):
            return False
        return bool({_UTD, _UT} & _variables(head.path))

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording, or all of them by subject, repetition and action."""
        arrays = _arrays(path)
        if _UTD in arrays:
            yield _utd(arrays[_UTD])
        elif _UT in arrays and _LENGTHS in arrays:
            yield from _ut(arrays[_UT], arrays[_LENGTHS])
        else:
            raise ValueError(f"it has no variable {_UTD!r}, nor {_UT!r} and {_LENGTHS!r}")


def _variables(path: Path) -> set[str]:
    from vlar.files.arrays import shapes_in

    try:
        return set(shapes_in(path))
    except (OSError, ValueError):
        # A damaged file of this kind: its name decides, so that reading it can name the damage.
        return {_UTD} if "skel" in path.name.lower() else set()


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if path.suffix.lower() == ".npz":
        names_in(path)
        return read_npz(path)
    return read_matlab(path, [_UTD, _UT, _LENGTHS])


def _utd(array: npt.NDArray[Any]) -> Bodies:
    if array.ndim != 3 or array.shape[:2] != (_JOINTS, 3):
        raise ValueError(f"its {_UTD!r} is of shape {array.shape}, not (20, 3, T)")
    points = array.transpose(2, 0, 1).astype(np.float32)
    return Bodies(_seen(points)[:, None], "kinect20_utd", "m", KINECT_HZ)


def _ut(array: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Iterator[Bodies]:
    if array.ndim != 6 or array.shape[4:] != (_JOINTS, 3) or lengths.shape != array.shape[:3]:
        raise ValueError(
            f"its {_UT!r} is of shape {array.shape} and {_LENGTHS!r} of {lengths.shape}; "
            "(subjects, repetitions, actions, T, 20, 3) and the first three are read"
        )
    for index in np.ndindex(*lengths.shape):
        stated = float(lengths[index])
        if not 1 <= stated <= array.shape[3]:  # also where it is not finite
            continue
        length = int(stated)
        subject, repetition, action = index
        points = _seen(array[index][:length].astype(np.float32))
        label = _UT_LABELS[action] if action < len(_UT_LABELS) else str(action + 1)
        name = f"s{subject + 1:02}_e{repetition + 1:02}_a{action + 1:02}"
        yield Bodies(points[:, None], "kinect20", "m", _UT_HZ, None, name, label)


def _seen(points: Float32) -> Float32:
    points = points.copy()
    points[(points == 0).all(axis=-1)] = np.nan
    return points


_RATE_HZ = 15.0
_ALL_LOST = 1e-6


@skeleton_format("msr-action3d")
class MsrText(SkeletonFormat):
    """One person of a Kinect v1, in an order of its own: shoulders first, head last.

    The files give each joint a place whatever its confidence, which is 0 for most joints of the
    trunk; so the confidence hides nothing, and a joint of zeros is NaN.
    """

    order = 60
    endings = frozenset({".txt"})

    def matches(self, head: FileHead) -> bool:
        """Lines of four numbers, of which the last is 0 to 1."""
        lines = [line for line in head.lines[:_JOINTS] if line.strip()]
        if len(lines) < 2 or not all(is_numbers(line, 4) for line in lines):
            return False
        return all(0 <= float(line.split()[3]) <= 1 for line in lines)

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        values = numbers(text_of(path))
        frames, remainder = divmod(len(values), _JOINTS * 4)
        if remainder:
            raise ValueError(
                f"it has {len(values):,} numbers, which are not frames of {_JOINTS} joints of 4"
            )
        rows = values.reshape(frames, _JOINTS, 4)
        points = rows[..., :3].copy()
        points[(np.abs(points) < _ALL_LOST).all(axis=-1)] = np.nan
        yield Bodies(points[:, None], "kinect20_msr", "m", _RATE_HZ)


_SBU_JOINTS, _SBU_PEOPLE = 15, 2
_SBU_FIELDS = 1 + _SBU_PEOPLE * _SBU_JOINTS * 3
_SBU_LARGEST = 10.0  # x and y are shares of the picture, z goes to 7.8125
_SBU_METRES, _SBU_ORIGIN = (-2.56, -1.92, 1.28), (1.28, 0.96, 0.0)  # as its authors state


@skeleton_format("sbu")
class SbuText(SkeletonFormat):
    """Two people of a Kinect v1: the frame, then 15 joints of person A, then of person B.

    The file has x and y in shares of the picture (y down) and z from 0 to 7.8125; they are read in
    metres by the formula of the authors. The people keep their rows. A joint of zeros is NaN.
    """

    order = 20
    endings = frozenset({".txt"})

    def matches(self, head: FileHead) -> bool:
        """Match by the count of the first line, a whole first number, and small places."""
        words = [word.strip() for word in (head.lines or [""])[0].strip(" ,").split(",")]
        if not words[0].isdecimal() or not all(words):
            return False
        if not is_numbers(",".join(words), _SBU_FIELDS, ","):
            return False
        return all(abs(float(word)) <= _SBU_LARGEST for word in words[1:])

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        lines = [line.strip(" ,") for line in text_of(path).splitlines() if line.strip(" ,")]
        if any(line.count(",") != _SBU_FIELDS - 1 for line in lines):
            raise ValueError(f"a line has another number of values than {_SBU_FIELDS}")
        rows = numbers(",".join(lines), ",").reshape(len(lines), _SBU_FIELDS)
        if not (np.diff(rows[:, 0]) > 0).all():
            raise ValueError("its frame numbers do not rise from line to line")
        points = _seen(rows[:, 1:].reshape(len(rows), _SBU_PEOPLE, _SBU_JOINTS, 3))
        points = points * np.array(_SBU_METRES, np.float32) + np.array(_SBU_ORIGIN, np.float32)
        yield Bodies(points, "sbu15", "m", _RATE_HZ)


_NTU_JOINTS = 25
_FIELDS = 12  # of a joint: x y z, two places in pictures, a quaternion, the state
_OF_BODY = 10
_MOST_FRAMES = 1_000_000


@skeleton_format("ntu")
class NtuText(SkeletonFormat):
    """Frames; bodies; per body ten facts, the number of joints, and a line a joint.

    The tracking numbers are not stable over a recording, so people are put into the order of their
    first frame and of their number. A joint of the state 0 is not tracked, and is NaN.
    """

    order = 10
    endings = frozenset({".skeleton", ".txt"})

    def matches(self, head: FileHead) -> bool:
        """Two counts, a line of a body, and the number of joints."""
        lines = head.lines[:4]
        if len(lines) < 2 or not all(line.strip().isdecimal() for line in lines[:2]):
            return False
        if head.ending == ".skeleton":
            return True
        return len(lines) == 4 and len(lines[2].split()) == _OF_BODY

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        lines = iter(text_of(path).splitlines())
        frames = [_frame(lines) for _ in range(_count(lines, "frames", _MOST_FRAMES))]
        people: dict[str, int] = {}
        for frame in frames:
            for person in frame:
                people.setdefault(person, len(people))
        if not people:
            raise ValueError("no body is in any of its frames")
        require_few_people(len(people))
        points = unseen(len(frames), len(people), _NTU_JOINTS, 3)
        for index, frame in enumerate(frames):
            for person, joints in frame.items():
                points[index, people[person]] = joints
        yield Bodies(points, "ntu25", "m", KINECT_HZ)


def _frame(lines: Iterator[str]) -> dict[str, np.ndarray]:
    """Joints (25, 3) of each person of a frame."""
    arrays: dict[str, np.ndarray] = {}
    for _ in range(_count(lines, "bodies", MOST_PEOPLE)):
        facts = _line(lines).split()
        if len(facts) != _OF_BODY:
            raise ValueError(
                f"a body has {len(facts)} facts where NTU has {_OF_BODY}; it is of another format"
            )
        joints = _count(lines, "joints", 10_000)
        if joints != _NTU_JOINTS:
            raise ValueError(f"a body has {joints} joints where NTU has {_NTU_JOINTS}")
        rows = [_line(lines).split() for _ in range(joints)]
        if any(len(row) != _FIELDS for row in rows):
            raise ValueError(f"a joint has {len(rows[0])} numbers where NTU has {_FIELDS}")
        try:
            values = np.array(rows, np.float64)
        except ValueError:
            raise ValueError("a joint holds something that is not a number") from None
        values[values[:, -1] == 0, :3] = np.nan
        arrays[facts[0]] = values[:, :3].astype(np.float32)
    return arrays


def _count(lines: Iterator[str], what: str, most: int) -> int:
    text = _line(lines)
    if not text.isdecimal() or len(text) > 9 or int(text) > most:
        raise ValueError(f"{text[:40]!r} stands where its number of {what} should")
    return int(text)


def _line(lines: Iterator[str]) -> str:
    line = next(lines, None)
    if line is None:
        raise ValueError("it is cut off")
    return line.strip()


@skeleton_format("nw-ucla")
class NwUcla(SkeletonFormat):
    """One person of a Kinect v1 in metres; the label counts from 1."""

    order = 20
    endings = frozenset({".json"})

    def matches(self, head: FileHead) -> bool:
        """Match by the name of the list of frames."""
        return b'"skeletons"' in head.data

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        stored: Any = parse_json(read_file(path, MOST))
        frames = stored.get("skeletons") if isinstance(stored, dict) else None
        try:
            points = np.array(frames, np.float32)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("its 'skeletons' are not lists of numbers of one length") from None
        if points.ndim != 3 or points.shape[1:] != (_JOINTS, 3):
            raise ValueError(f"its 'skeletons' are of shape {points.shape}, not (T, 20, 3)")
        points[np.repeat((points == 0).all(axis=2, keepdims=True), 3, axis=2)] = np.nan
        name, label = caption(stored.get("file_name", "")), caption(stored.get("label", ""))
        yield Bodies(points[:, None], "kinect20", "m", KINECT_HZ, None, name, label)


_SFINGE_FIELDS = 7
_SFINGE_RATE_HZ = 20.0


@skeleton_format("sfinge")
class Sfinge(SkeletonFormat):
    """Lines of 140 numbers between ``;``: five fingers of four joints, in metres, y up."""

    order = 20
    endings = frozenset({".txt"})

    def matches(self, head: FileHead) -> bool:
        """Match by the count of the first line."""
        lines = head.lines[:1] or [""]
        return is_numbers(lines[0], _JOINTS * _SFINGE_FIELDS, ";")

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        lines = [line for line in text_of(path).splitlines() if line.strip()]
        if any(line.strip(" ;").count(";") != _JOINTS * _SFINGE_FIELDS - 1 for line in lines):
            raise ValueError(f"a line has another number of values than {_JOINTS * _SFINGE_FIELDS}")
        values = numbers(";".join(lines), ";").reshape(len(lines), _JOINTS, _SFINGE_FIELDS)
        points = np.ascontiguousarray(values[..., :3])
        yield Bodies(points[:, None], "leap20", "m", _SFINGE_RATE_HZ)
