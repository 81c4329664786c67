"""CTR-GCN (``.npz``): the arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``; no pickles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlar.safety.numpy_files import read_npz
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    KINECT_HZ,
    Bodies,
    SkeletonFormat,
    skeleton_format,
)
from vlar.types import Float32

_LAYOUTS = {25: "ntu25", 20: "kinect20"}
_PEOPLE = 2


@skeleton_format("ctr-gcn")
class CtrGcn(SkeletonFormat):
    """Rows (N, T, M * V * 3) of two people, and one-hot labels (N, classes); zeros are padding."""

    order = 10
    endings = frozenset({".npz"})

    def matches(self, head: Head) -> bool:
        """By the name of its first array."""
        return head.data[:2] == b"PK" and b"x_train.npy" in head.data[:200]

    def read(self, path: Path) -> Iterator[Bodies]:
        """All recordings, those for training first."""
        arrays = read_npz(path)
        for subset in ("train", "test"):
            rows, labels = arrays.get(f"x_{subset}"), arrays.get(f"y_{subset}")
            if rows is None:
                continue
            if rows.ndim != 3 or rows.dtype.kind != "f":
                raise ValueError(f"x_{subset} is of shape {rows.shape}, not (N, T, M * V * 3)")
            if labels is not None and (labels.dtype.kind not in "biuf" or not labels.size):
                raise ValueError(f"y_{subset} holds no labels that are numbers")
            for number, row in enumerate(rows):
                label = "" if labels is None else _label(labels, number)
                yield _bodies(row.astype(np.float32), f"{subset}{number:06}", label)


def _label(labels: np.ndarray, number: int) -> str:
    if labels.ndim not in (1, 2) or len(labels) <= number:
        raise ValueError("it has fewer labels than recordings")
    row = labels[number]
    return str(int(row.argmax()) if row.ndim else int(row))


def _bodies(row: Float32, name: str, label: str) -> Bodies:
    joints, left = divmod(row.shape[1], _PEOPLE * 3)
    if left or joints not in _LAYOUTS:
        raise ValueError(
            f"a frame has {row.shape[1]} numbers; 2 people of 25 or 20 joints are read"
        )
    points = row.reshape(len(row), _PEOPLE, joints, 3)
    used = np.flatnonzero(np.any(points != 0, axis=(1, 2, 3)))
    points = points[: int(used[-1]) + 1 if len(used) else 1].copy()
    points[~np.any(points != 0, axis=(2, 3))] = np.nan  # a person who is not there
    return Bodies(points, _LAYOUTS[joints], "m", KINECT_HZ, None, name, label)
