"""Kinect v1 in MATLAB files: UTD-MHAD (one recording) and UT-Kinect (all of them in one array)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.safety.matlab_files import is_matlab, read_matlab
from vlar.safety.numpy_files import names_in, read_npz
from vlar.sensors.signals import Head
from vlar.sensors.skeleton.formats.base import (
    KINECT_HZ,
    Bodies,
    SkeletonFormat,
    skeleton_format,
)
from vlar.types import Float32

_UTD, _UT, _LENGTHS = "d_skel", "complete_skeleton", "action_length"
_JOINTS = 20
_UT_HZ = 15.0  # the array holds every second frame of 30 a second, as its authors recorded them
_UT_LABELS = (
    "walk", "sit down", "stand up", "pick up", "carry", "throw", "push", "pull", "wave hands",
    "clap hands",
)  # fmt: skip


@skeleton_format("kinect-mat")
class KinectMat(SkeletonFormat):
    """``d_skel`` (20, 3, T); or ``complete_skeleton`` and ``action_length``. Metres.

    UTD-MHAD begins with the head; UT-Kinect has the order of the development kit.
    """

    order = 20
    endings = frozenset({".mat", ".npz"})

    def matches(self, head: Head) -> bool:
        """By the names of its variables."""
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
    from vlar.safety.matlab_files import shapes_in

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
    for place in np.ndindex(*lengths.shape):
        stated = float(lengths[place])
        if not 1 <= stated <= array.shape[3]:  # also where it is not finite
            continue
        length = int(stated)
        subject, repetition, action = place
        points = _seen(array[place][:length].astype(np.float32))
        label = _UT_LABELS[action] if action < len(_UT_LABELS) else str(action + 1)
        name = f"s{subject + 1:02}_e{repetition + 1:02}_a{action + 1:02}"
        yield Bodies(points[:, None], "kinect20", "m", _UT_HZ, None, name, label)


def _seen(points: Float32) -> Float32:
    points = points.copy()
    points[(points == 0).all(axis=-1)] = np.nan
    return points
