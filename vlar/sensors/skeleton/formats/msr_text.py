"""MSR-Action3D text: 20 lines a frame, each x, y, z in metres and a confidence."""

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

    def matches(self, head: Head) -> bool:
        """Lines of four numbers, of which the last is 0 to 1."""
        lines = [line for line in head.lines[:_JOINTS] if line.strip()]
        if len(lines) < 2 or not all(is_numbers(line, 4) for line in lines):
            return False
        return all(0 <= float(line.split()[3]) <= 1 for line in lines)

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        values = numbers(text_of(path))
        frames, left = divmod(len(values), _JOINTS * 4)
        if left:
            raise ValueError(
                f"it has {len(values):,} numbers, which are not frames of {_JOINTS} joints of 4"
            )
        rows = values.reshape(frames, _JOINTS, 4)
        points = rows[..., :3].copy()
        points[(np.abs(points) < _ALL_LOST).all(axis=-1)] = np.nan
        yield Bodies(points[:, None], "kinect20_msr", "m", _RATE_HZ)
