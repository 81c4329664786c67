"""NTU RGB+D text (``.skeleton``): Kinect v2, 25 joints, up to six people a frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    KINECT_HZ,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    require_few_people,
    skeleton_format,
    text_of,
    unseen,
)

_JOINTS = 25
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

    def matches(self, head: Head) -> bool:
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
        points = unseen(len(frames), len(people), _JOINTS, 3)
        for at, frame in enumerate(frames):
            for person, joints in frame.items():
                points[at, people[person]] = joints
        yield Bodies(points, "ntu25", "m", KINECT_HZ)


def _frame(lines: Iterator[str]) -> dict[str, np.ndarray]:
    """Joints (25, 3) of each person of a frame."""
    found: dict[str, np.ndarray] = {}
    for _ in range(_count(lines, "bodies", MOST_PEOPLE)):
        facts = _line(lines).split()
        if len(facts) != _OF_BODY:
            raise ValueError(
                f"a body has {len(facts)} facts where NTU has {_OF_BODY}; it is of another format"
            )
        joints = _count(lines, "joints", 10_000)
        if joints != _JOINTS:
            raise ValueError(f"a body has {joints} joints where NTU has {_JOINTS}")
        rows = [_line(lines).split() for _ in range(joints)]
        if any(len(row) != _FIELDS for row in rows):
            raise ValueError(f"a joint has {len(rows[0])} numbers where NTU has {_FIELDS}")
        try:
            values = np.array(rows, np.float64)
        except ValueError:
            raise ValueError("a joint holds something that is not a number") from None
        values[values[:, -1] == 0, :3] = np.nan
        found[facts[0]] = values[:, :3].astype(np.float32)
    return found


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
