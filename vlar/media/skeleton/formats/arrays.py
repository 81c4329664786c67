"""Skeletons as arrays: vlar's own files and CTR-GCN (``.npz``), pyskl and mmaction2 (``.pkl``).

A pickle is never run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.files.arrays import read_npz
from vlar.files.pickles import read_pickle
from vlar.files.reading import number, parse_json, require_memory
from vlar.media.signals import FileHead
from vlar.media.skeleton.formats.base import (
    BYTES_EACH,
    KINECT_HZ,
    MOST_PEOPLE,
    Bodies,
    SkeletonFormat,
    caption,
    hide,
    skeleton_format,
)
from vlar.types import Float32

_LAYOUTS = {25: "ntu25", 20: "kinect20"}
_PEOPLE = 2
_UNITS = ("m", "px", "picture")


@skeleton_format("npz")
class VlarSkeletons(SkeletonFormat):
    """File format of ``vlar pose --skeletons``: one recording, and its facts as JSON."""

    order = 15
    endings = frozenset({".npz"})

    def matches(self, head: FileHead) -> bool:
        """Match by the name of the first array."""
        return head.data[:2] == b"PK" and b"facts.npy" in head.data[:200]

    def read(self, path: Path) -> Iterator[Bodies]:
        """The recording."""
        arrays = read_npz(path)
        points, facts = arrays.get("points"), arrays.get("facts")
        if points is None or facts is None or points.dtype.kind != "f" or facts.ndim:
            raise ValueError("it has no arrays 'points' and 'facts'")
        require_memory(BYTES_EACH * points.size)
        facts_read: Any = parse_json(str(facts))
        if not isinstance(facts_read, dict) or facts_read.get("unit") not in _UNITS:
            raise ValueError("its facts have no unit m, px or picture")
        confidence = arrays.get("confidence")
        if confidence is not None and (
            confidence.shape != points.shape[:3] or confidence.dtype.kind != "f"
        ):
            raise ValueError("its confidence is not of the shape of its points")
        size = facts_read.get("size")
        meta: dict[str, Any] = {}
        if isinstance(size, list) and len(size) == 2:
            sides: dict[str, Any] = dict(zip(("width", "height"), size, strict=True))
            meta["size"] = [number(sides, side, above=0, at_most=1e5) for side in sides]
        yield Bodies(
            points.astype(np.float32),
            str(facts_read.get("layout")),
            facts_read["unit"],
            number(facts_read, "rate_hz", above=0, at_most=10_000),
            None if confidence is None else confidence.astype(np.float32),
            caption(facts_read.get("name", "")),
            caption(facts_read.get("label", "")),
            meta,
        )


@skeleton_format("ctr-gcn")
class CtrGcnArrays(SkeletonFormat):
    """Rows (N, T, M * V * 3) of two people, and one-hot labels (N, classes); zeros are padding."""

    order = 10
    endings = frozenset({".npz"})

    def matches(self, head: FileHead) -> bool:
        """Match by the name of the first array."""
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
            for index, row in enumerate(rows):
                label = "" if labels is None else _label(labels, index)
                yield _bodies(row.astype(np.float32), f"{subset}{index:06}", label)


def _label(labels: np.ndarray, number: int) -> str:
    if labels.ndim not in (1, 2) or len(labels) <= number:
        raise ValueError("it has fewer labels than recordings")
    row = labels[number]
    return str(int(row.argmax()) if row.ndim else int(row))


def _bodies(row: Float32, name: str, label: str) -> Bodies:
    joints, remainder = divmod(row.shape[1], _PEOPLE * 3)
    if remainder or joints not in _LAYOUTS:
        raise ValueError(
            f"a frame has {row.shape[1]} numbers; 2 people of 25 or 20 joints are read"
        )
    points = row.reshape(len(row), _PEOPLE, joints, 3)
    used = np.flatnonzero(np.any(points != 0, axis=(1, 2, 3)))
    points = points[: int(used[-1]) + 1 if len(used) else 1].copy()
    points[~np.any(points != 0, axis=(2, 3))] = np.nan  # a person who is not there
    return Bodies(points, _LAYOUTS[joints], "m", KINECT_HZ, None, name, label)


_PYSKL_LAYOUTS = {(17, 2): "coco17", (18, 2): "openpose18", (25, 3): "ntu25", (20, 3): "kinect20"}
_RATE_HZ = 30.0


@skeleton_format("pyskl")
class Pyskl(SkeletonFormat):
    """``{split, annotations: [{frame_dir, label, img_shape, keypoint (M, T, V, C), ...}]}``.

    The pickle may hold plain data and arrays of numbers only (``vlar.files.pickles``).
    """

    order = 10
    endings = frozenset({".pkl", ".pickle"})

    def matches(self, head: FileHead) -> bool:
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
        for index, row in enumerate(rows):
            yield _pyskl_bodies(row, index)


def _pyskl_bodies(row: dict[str, Any], place: int) -> Bodies:
    points, name = row.get("keypoint"), caption(row.get("frame_dir", place))
    if not isinstance(points, np.ndarray) or points.ndim != 4 or points.dtype.kind != "f":
        raise ValueError(f"annotation {name[:60]!r} has no array 'keypoint' (M, T, V, C)")
    if points.shape[0] > MOST_PEOPLE or points.shape[2:] not in _PYSKL_LAYOUTS:
        raise ValueError(f"annotation {name[:60]!r} has a 'keypoint' of shape {points.shape}")
    require_memory(BYTES_EACH * points.size)
    points = points.astype(np.float32).transpose(1, 0, 2, 3)
    layout = _PYSKL_LAYOUTS[points.shape[2:]]
    score = row.get("keypoint_score")
    confidence = None
    if isinstance(score, np.ndarray) and score.shape == (
        points.shape[1],
        points.shape[0],
        points.shape[2],
    ):
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
