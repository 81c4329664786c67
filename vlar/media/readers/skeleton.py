"""The reader ``skeleton``: recognises the file format, and gives joints with times."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from vlar.errors import DecodeError, UsageError
from vlar.files.workers import single
from vlar.media.signals import Recorded, SignalReader, errors_of, head_of
from vlar.media.skeleton.formats.base import FORMATS, Bodies, require_few_people
from vlar.media.skeleton.formats.estimators import json_files
from vlar.media.skeleton.layouts import layout, names
from vlar.media.video.files import is_folder
from vlar.registry import register

_LARGEST = 1e6  # metres or pixels; more is a fault of the file
_EXAMPLE_HZ = 30.0


@register("reader", "skeleton")
class SkeletonReader(SignalReader):
    """Clips of (T, M, V, C) float32 joints, NaN where a joint is not seen.

    ``Clip.meta`` has ``layout``, ``unit`` (``m``, ``px`` or ``picture``), ``rate_hz``, and, where
    the file has it, ``confidence`` (T, M, V). ``vlar.media.skeleton.formats`` has the formats.
    """

    modality = "skeleton"

    @property
    def endings(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The endings of all formats."""
        return FORMATS.endings()

    def claims(self, path: Path) -> bool:
        """A file by its content; a folder by the OpenPose files in it."""
        if is_folder(path):
            return bool(json_files(path))
        if path.suffix.lower() not in self.endings:
            return False
        head = head_of(path)
        return head is not None and FORMATS.recognised(head) is not None

    def load(self, path: Path) -> Recorded:
        """The one recording of a file.

        Raises:
            DecodeError: it cannot be read, or the file holds several.
        """
        bodies = recordings(path, 2)
        if len(bodies) > 1:
            raise DecodeError(
                f"{path}: it holds several recordings; write each into a file of its own first: "
                f"vlar pose {path} --skeletons FOLDER"
            )
        return _recorded(path, bodies[0])

    def example(self, folder: Path) -> Path:
        """Three seconds of a body that waves, in the order of NW-UCLA."""
        import json

        frames = np.repeat(standing()[None], round(3 * _EXAMPLE_HZ), axis=0)
        time = np.arange(len(frames)) / _EXAMPLE_HZ
        raised = [9, 10, 11]  # the right elbow, wrist and hand
        frames[:, raised, 1] = [0.6, 0.8, 0.9]
        frames[:, raised, 0] += 0.2 * np.sin(2 * np.pi * time)[:, None] * np.array([0.3, 1, 1.2])
        path = folder / "example.json"
        record = {"file_name": "example", "skeletons": np.round(frames, 4).tolist(), "label": 1}
        path.write_text(json.dumps(record))
        return path


def recordings(path: Path, most: int | None = None) -> list[Bodies]:
    """The recordings of a file of skeletons, all or the first ones.

    Args:
        path: A file, or a folder of OpenPose files.
        most: How many to read; None for all.

    Raises:
        DecodeError: it cannot be read; the message is one line.
    """
    recordings = list(islice(each_recording(path), most))
    if not recordings:
        raise DecodeError(f"{path}: it holds no skeleton; record it again")
    return recordings


def each_recording(path: Path) -> Iterator[Bodies]:
    """The recordings of a file, one after the other, from a worker; as ``recordings``."""
    return single.items(path, _each, path)


def _each(path: Path) -> Iterator[Bodies]:
    with errors_of(path):
        try:
            yield from map(_checked, _read(path))
        except (OSError, ValueError, UsageError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DecodeError(
                f"{path}: not a readable skeleton file: {reason}; see docs/sensors.md for the "
                "formats"
            ) from error


def _read(path: Path) -> Iterator[Bodies]:
    if is_folder(path):
        from vlar.media.skeleton.formats.estimators import read_folder

        yield read_folder(path)
        return
    head = head_of(path)
    if head is None:
        raise ValueError("it is not a file that can be opened")
    part = FORMATS.recognised(head)
    if part is None:
        endings = ", ".join(sorted(FORMATS.endings()))
        raise ValueError(f"no known format begins so (endings: {endings})")
    yield from part.read(path)


def standing() -> np.ndarray:
    """(20, 3) float32 a body that stands upright, in the layout ``kinect20``."""
    side = [(0.2, 0.4), (0.3, 0.15), (0.33, -0.1), (0.34, -0.18)]
    leg = [(0.1, -0.05), (0.12, -0.45), (0.13, -0.85), (0.15, -0.92)]
    middle = [(0.0, 0.0), (0.0, 0.1), (0.0, 0.45), (0.0, 0.65)]
    places = [*middle, *((-x, y) for x, y in side), *side, *((-x, y) for x, y in leg), *leg]
    return np.array([(x, y, 3.0) for x, y in places], np.float32)


def _checked(bodies: Bodies) -> Bodies:
    rows = layout(bodies.layout)
    points = bodies.points
    if points.ndim != 4 or points.shape[2] != len(rows.joints) or points.shape[3] not in (2, 3):
        joints = points.shape[2] if points.ndim == 4 else 0
        like = [name for name in names() if len(layout(name).joints) == joints]
        raise ValueError(
            f"layout {rows.name!r} has {len(rows.joints)} joints and the file {joints}"
            + (f": name the layout {' or '.join(like)}, and convert it with remap" if like else "")
        )
    if not len(points):
        raise ValueError("it has no frame")
    require_few_people(points.shape[1])
    if not np.nanmax(np.abs(points), initial=0.0) < _LARGEST:
        raise ValueError(f"a joint lies beyond {_LARGEST:g} {bodies.unit}")
    if not np.isfinite(points).any():
        raise ValueError("no joint is seen in any frame")
    return bodies


def _recorded(path: Path, bodies: Bodies) -> Recorded:
    meta = {"layout": layout(bodies.layout).name, "unit": bodies.unit, **bodies.meta}
    along = {} if bodies.confidence is None else {"confidence": bodies.confidence}
    return Recorded(bodies.points, bodies.rate_hz, meta, along)
