"""NW-UCLA (``.json``): ``{file_name, skeletons (T, 20, 3), label}``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.safety.files import read_file
from vlar.safety.strict_json import parse_json
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    KINECT_HZ,
    MOST,
    Bodies,
    SkeletonFormat,
    caption,
    skeleton_format,
)

_JOINTS = 20


@skeleton_format("nw-ucla")
class NwUcla(SkeletonFormat):
    """One person of a Kinect v1 in metres; the label counts from 1."""

    order = 20
    endings = frozenset({".json"})

    def matches(self, head: Head) -> bool:
        """By the name of its list of frames."""
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
