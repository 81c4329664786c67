"""Cache of results on a composite, keyed by their inputs.

Shared by scripts of this folder; not a script itself. Boxes are kept by the frames and the name of
the detector, vectors by the frames and the fingerprint of the model, so that scripts and settings
share what is the same for them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import vlar
from vlar.people.base import PERSON, Boxes, Detector
from vlar.types import Clip

_PARTS = ("rows", "scores", "tracks", "joints")


class KeptDetector(Detector):
    """A detector whose boxes are kept.

    Args:
        detector: Detector of people.
        folder: Where they are kept; None to find them each time.
    """

    def __init__(self, detector: Detector, folder: Path | None) -> None:
        self._detector, self._folder = detector, folder
        self.name, self.finds, self.rate_hz = detector.name, detector.finds, detector.rate_hz
        self.seconds = 0.0  # of CPU time, of the last clip, whenever that was

    def detect(self, frames, times_s, prompt: str = PERSON) -> Boxes:
        file = self._folder and self._folder / f"boxes-{self.name}-{_key(frames)}.npz"
        if file and file.exists():
            with np.load(file) as held:
                self.seconds = float(held["seconds"])
                return Boxes(*(held[name] if name in held.files else None for name in _PARTS))
        begin = time.process_time()
        found = self._detector.detect(frames, times_s, prompt)
        self.seconds = time.process_time() - begin
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            parts = {name: getattr(found, name) for name in _PARTS}
            held = {name: part for name, part in parts.items() if part is not None}
            np.savez(file, seconds=self.seconds, **held)
        return found

    def confirms(self, frames, times_s, boxes) -> bool:
        """Confirm by the wrapped detector; not kept."""
        return self._detector.confirms(frames, times_s, boxes)


@dataclass
class KeptVectors:
    """Vectors of clips that are kept.

    Attributes:
        model: Encodes.
        folder: Where they are kept; None to keep them while the script runs.
        seconds: CPU time of each clip that was encoded now.
    """

    model: vlar.Model
    folder: Path | None
    seconds: list[float] = field(default_factory=list)
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    def of(self, clips: Sequence[Clip]) -> np.ndarray:
        """(n, D) vectors of n clips."""
        return np.stack([self._one(clip) for clip in clips])

    def _one(self, clip: Clip) -> np.ndarray:
        key = f"{_key(clip.data)}-{self.model.fingerprint[:12]}"
        file = self.folder and self.folder / f"vector-{key}.npy"
        if key not in self._known and file and file.exists():
            self._known[key] = np.load(file)
        if key not in self._known:
            begin = time.process_time()
            self._known[key] = self.model.encode([clip])[0].vector
            self.seconds.append(time.process_time() - begin)
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, self._known[key])
        return self._known[key]


def _key(frames: np.ndarray) -> str:
    facts = f"{frames.shape} {frames.dtype}".encode()
    return hashlib.sha256(facts + np.ascontiguousarray(frames).tobytes()).hexdigest()[:20]
