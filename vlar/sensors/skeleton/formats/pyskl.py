"""pyskl and mmaction2 (``.pkl``): many recordings in one pickle, which is never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.safety.files import require_memory
from vlar.safety.numbers import number
from vlar.safety.pickles import read_pickle
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    BYTES_EACH,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    caption,
    hide,
    skeleton_format,
)

_LAYOUTS = {(17, 2): "coco17", (18, 2): "openpose18", (25, 3): "ntu25", (20, 3): "kinect20"}
_RATE_HZ = 30.0


@skeleton_format("pyskl")
class Pyskl(SkeletonFormat):
    """``{split, annotations: [{frame_dir, label, img_shape, keypoint (M, T, V, C), ...}]}``.

    The pickle may hold plain data and arrays of numbers only (``vlar.safety.pickles``).
    """

    order = 10
    endings = frozenset({".pkl", ".pickle"})

    def matches(self, head: Head) -> bool:
        """A pickle of version 2 or later; what it holds shows when it is read."""
        return head.data[:1] == b"\x80"

    def read(self, path: Path) -> Iterator[Bodies]:
        """All recordings, in the order of the file."""
        stored = read_pickle(path)
        rows = stored.get("annotations") if isinstance(stored, dict) else stored
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it has no list 'annotations'")
        if rows and not any("keypoint" in row for row in rows):
            raise ValueError("its annotations hold no 'keypoint'; they lie in other files")
        for place, row in enumerate(rows):
            yield _bodies(row, place)


def _bodies(row: dict[str, Any], place: int) -> Bodies:
    points, name = row.get("keypoint"), caption(row.get("frame_dir", place))
    if not isinstance(points, np.ndarray) or points.ndim != 4 or points.dtype.kind != "f":
        raise ValueError(f"annotation {name[:60]!r} has no array 'keypoint' (M, T, V, C)")
    if points.shape[0] > MOST_PEOPLE or points.shape[2:] not in _LAYOUTS:
        raise ValueError(f"annotation {name[:60]!r} has a 'keypoint' of shape {points.shape}")
    require_memory(BYTES_EACH * points.size)
    points = points.astype(np.float32).transpose(1, 0, 2, 3)
    layout = _LAYOUTS[points.shape[2:]]
    score = row.get("keypoint_score")
    confidence = None
    if isinstance(score, np.ndarray) and score.shape == (
        points.shape[1], points.shape[0], points.shape[2],
    ):  # fmt: skip
        confidence = np.clip(score.astype(np.float32).transpose(1, 0, 2), 0, 1)
        points = hide(points, confidence)
    else:  # padding is written as zeros
        points[(points == 0).all(axis=-1)] = np.nan
    meta: dict[str, Any] = {"assumed": "rate_hz"}
    shape = row.get("img_shape")
    if isinstance(shape, tuple | list) and len(shape) == 2 and shape[0] is not None:
        sides: dict[str, Any] = {"width": shape[1], "height": shape[0]}
        meta["size"] = [number(sides, side, above=0, at_most=1e5) for side in sides]
    label = caption(row.get("label", ""))
    unit = "px" if points.shape[3] == 2 else "m"
    return Bodies(points, layout, unit, _RATE_HZ, confidence, name, label, meta)
