"""Made people: squares that move, tracks along lines, a detector that finds what it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlar.people.base import PERSON, Boxes, Detector
from vlar.people.tracks import Track
from vlar.types import Clip, Window

T, FPS = 16, 8.0
TIMES_S = np.arange(T) / FPS


def track(x: float, y: float = 60.0, wide: float = 20.0, tall: float = 40.0, step: float = 0.0):
    """A track of T boxes around (x + step t, y)."""
    middle = x + step * np.arange(T)
    rows = np.stack(
        [TIMES_S, middle - wide / 2, np.full(T, y - tall / 2), middle + wide / 2,
         np.full(T, y + tall / 2)], axis=1,
    )  # fmt: skip
    return Track(rows.astype(np.float32), np.ones(T, np.float32))


def clip(frames: np.ndarray) -> Clip:
    """Frames as a clip."""
    times_s = np.arange(len(frames)) / FPS
    return Clip(Path("made"), Window(0.0, len(frames) / FPS), "video", frames, times_s)


def scene(
    places: list[tuple[float, float]], height: int = 96, width: int = 160, count: int = T
) -> np.ndarray:
    """(T, H, W, 3): a still ground, and a bright square for each start and step."""
    random = np.random.default_rng(0)
    ground = random.integers(70, 80, (height, width, 3), np.uint8)
    frames = np.repeat(ground[None], count, axis=0)
    for number, (start, step) in enumerate(places):
        colour = ((230, 40, 40), (30, 30, 250), (40, 200, 60))[number % 3]
        shade = random.uniform(0.3, 1.0, (24, 14, 1)).repeat(4, axis=0)[:24]
        for now in range(count):
            left = int(start + step * now)
            frames[now, 40:64, left : left + 14] = (shade * colour).astype(np.uint8)
    return frames


class Given(Detector):
    """Finds the tracks it was given."""

    name = "given"

    def __init__(self, *tracks: Track) -> None:
        self.tracks = tracks
        self.calls = 0

    def detect(self, frames: np.ndarray, times_s: np.ndarray, prompt: str = PERSON) -> Boxes:
        self.calls += 1
        if not self.tracks:
            return Boxes.none()
        numbers = np.concatenate([np.full(len(t.boxes), n) for n, t in enumerate(self.tracks)])
        return Boxes(
            np.concatenate([t.boxes for t in self.tracks]),
            np.concatenate([t.scores for t in self.tracks]),
            numbers.astype(np.int64),
        )
