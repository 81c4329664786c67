"""Skeleton files that vlar writes: the bodies of a video, and a file for each recording of many."""

from __future__ import annotations

import csv
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError, explained
from vlar.media.readers.skeleton import each_recording, recordings
from vlar.media.signals import evenly
from vlar.media.skeleton.formats.base import Bodies, hide, link
from vlar.pose.track import Tracks
from vlar.types import Clip, Float32


def write(path: Path, bodies: Bodies) -> None:
    """Write a recording into a file of its own.

    Raises:
        OSError: it cannot be written.
    """
    facts = {
        "layout": bodies.layout,
        "unit": bodies.unit,
        "rate_hz": bodies.rate_hz,
        "name": bodies.name,
        "label": bodies.label,
        **({"size": list(bodies.meta["size"])} if "size" in bodies.meta else {}),
    }
    arrays: dict[str, Any] = {
        "facts": np.array(json.dumps(facts)),
        "points": bodies.points.astype(np.float32),
    }
    if bodies.confidence is not None:
        arrays["confidence"] = bodies.confidence.astype(np.float32)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


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
        visible = np.asarray(np.isfinite(linked).all(axis=-1), np.float32)
        confidence = np.asarray(np.where(visible > 0, linked[..., 2], 0).clip(0, 1), np.float32)
        points = hide(linked[..., :2], visible)
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
    with _written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ROWS).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("path", "label"))
            for bodies in each_recording(path):
                name = _UNUSUAL.sub("_", bodies.name).strip("._")[:80] or "recording"
                target = folder / f"{written:06}_{name}.npz"
                _write(target, bodies)
                if bodies.label:
                    table.writerow((target.name, bodies.label))
                written += 1
    return written


def _write(path: Path, bodies: Bodies) -> None:
    with _written(path):
        write(path, bodies)


def _written(path: Path) -> AbstractContextManager[None]:
    return explained(UsageError, f"{path}: cannot be written", "choose another --skeletons")
