"""Skeleton files that vlar writes: the bodies of a video, and a file for each recording of many."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError
from vlar.files.arrays import read_npz
from vlar.files.reading import number, parse_json, require_memory
from vlar.media.readers.skeleton import each_recording, recordings
from vlar.media.signals import FileHead, evenly
from vlar.media.skeleton.formats.base import (
    BYTES_EACH,
    Bodies,
    SkeletonFormat,
    caption,
    hide,
    link,
    skeleton_format,
)
from vlar.pose.track import Tracks
from vlar.types import Clip, Float32

_UNITS = ("m", "px", "picture")


@skeleton_format("npz")
class OwnFile(SkeletonFormat):
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
        known: Any = parse_json(str(facts))
        if not isinstance(known, dict) or known.get("unit") not in _UNITS:
            raise ValueError("its facts have no unit m, px or picture")
        confidence = arrays.get("confidence")
        if confidence is not None and (
            confidence.shape != points.shape[:3] or confidence.dtype.kind != "f"
        ):
            raise ValueError("its confidence is not of the shape of its points")
        size = known.get("size")
        meta: dict[str, Any] = {}
        if isinstance(size, list) and len(size) == 2:
            sides: dict[str, Any] = dict(zip(("width", "height"), size, strict=True))
            meta["size"] = [number(sides, side, above=0, at_most=1e5) for side in sides]
        yield Bodies(
            points.astype(np.float32),
            str(known.get("layout")),
            known["unit"],
            number(known, "rate_hz", above=0, at_most=10_000),
            None if confidence is None else confidence.astype(np.float32),
            caption(known.get("name", "")),
            caption(known.get("label", "")),
            meta,
        )


def write(path: Path, bodies: Bodies) -> None:
    """Write a recording into a file of its own.

    Raises:
        OSError: it cannot be written.
    """
    facts = {
        "layout": bodies.layout, "unit": bodies.unit, "rate_hz": bodies.rate_hz,
        "name": bodies.name, "label": bodies.label,
        **({"size": list(bodies.meta["size"])} if "size" in bodies.meta else {}),
    }  # fmt: skip
    arrays = {"facts": np.array(json.dumps(facts)), "points": bodies.points.astype(np.float32)}
    if bodies.confidence is not None:
        arrays["confidence"] = bodies.confidence.astype(np.float32)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # pyright: ignore[reportArgumentType]


_UNUSUAL = re.compile(r"[^\w.-]+")
ROWS = "rows.csv"


class TrackedBodies:
    """Collects the bodies of a video's windows, in order, as one recording."""

    def __init__(self) -> None:
        self._frames: list[Float32] = []
        self._times_s: list[float] = []
        self._size = (0.0, 0.0)

    def add(self, tracks: Tracks, clip: Clip) -> None:
        """The people of the next window; frames of the one before are left out."""
        height, width = clip.data.shape[1:3]
        self._size = (float(width), float(height))
        points = tracks.points * np.array([height, height, 1], np.float32)
        for frame, time_s in enumerate(clip.times_s.tolist()):
            if not self._times_s or time_s > self._times_s[-1]:
                self._frames.append(points[tracks.score[:, frame] > 0, frame])
                self._times_s.append(time_s)

    def write(self, path: Path) -> bool:
        """Write the file; False where the video shows nobody.

        Raises:
            UsageError: it cannot be written.
        """
        linked = link(self._frames, is_file=False)
        if not linked.shape[1] or len(self._times_s) < 2:
            return False
        linked, rate_hz = evenly(np.array(self._times_s), linked)
        seen = np.asarray(np.isfinite(linked).all(axis=-1), np.float32)
        confidence = np.asarray(np.where(seen > 0, linked[..., 2], 0).clip(0, 1), np.float32)
        points = hide(linked[..., :2], seen)
        meta = {"size": list(self._size)}
        _write(path, Bodies(points, "mediapipe33", "px", rate_hz, confidence, path.stem, meta=meta))
        return True


def unpack(path: Path, folder: Path) -> int:
    """Write each recording of a file into a file of its own, and the table ``path,label``.

    Args:
        path: A file with many recordings, such as a pickle of pyskl.
        folder: A folder; it is made.

    Returns:
        The number of recordings.

    Raises:
        DecodeError: the file cannot be read.
        UsageError: the folder cannot be written.
    """
    recordings(path, 1)  # a file that cannot be read leaves no folder
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ROWS).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("path", "label"))
            for bodies in each_recording(path):
                name = _UNUSUAL.sub("_", bodies.name).strip("._")[:80] or "recording"
                place = folder / f"{written:06}_{name}.npz"
                _write(place, bodies)
                if bodies.label:
                    table.writerow((place.name, bodies.label))
                written += 1
    except OSError as error:
        raise _unwritable(folder, error) from error
    return written


def _write(path: Path, bodies: Bodies) -> None:
    try:
        write(path, bodies)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written ({error.strerror}); choose another --skeletons")
