"""SFINGE 3D text: a Leap Motion hand, 20 joints of position and quaternion in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    Bodies,
    SkeletonFormat,
    is_numbers,
    numbers,
    skeleton_format,
    text_of,
)

_JOINTS = 20
_FIELDS = 7
_RATE_HZ = 20.0


@skeleton_format("sfinge")
class Sfinge(SkeletonFormat):
    """Lines of 140 numbers between ``;``: five fingers of four joints, in metres, y up."""

    order = 20
    endings = frozenset({".txt"})

    def matches(self, head: Head) -> bool:
        """By the count of its first line."""
        lines = head.lines[:1] or [""]
        return is_numbers(lines[0], _JOINTS * _FIELDS, ";")

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        lines = [line for line in text_of(path).splitlines() if line.strip()]
        if any(line.strip(" ;").count(";") != _JOINTS * _FIELDS - 1 for line in lines):
            raise ValueError(f"a line has another number of values than {_JOINTS * _FIELDS}")
        values = numbers(";".join(lines), ";").reshape(len(lines), _JOINTS, _FIELDS)
        points = np.ascontiguousarray(values[..., :3])
        yield Bodies(points[:, None], "leap20", "m", _RATE_HZ)
