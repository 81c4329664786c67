"""Composites of real clips with a known truth: people side by side.

Shared by scripts of this folder and by tests; not a script itself. No composite is stored, only the
recipe: clips are drawn by seed, and groups (source videos, persons) are split into halves before.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from vlar.media.video.decode import read_clip
from vlar.types import Clip, Window

N_FRAMES, HEIGHT = 32, 240
HALVES = ("choose", "report")
PEOPLE = Path(__file__).parent / "lists" / "people.csv"
Frames = np.ndarray


@dataclass(frozen=True)
class Source:
    """A clip of one person.

    Attributes:
        path: Of the clip.
        label: What the person does.
        dataset: Name of its data set.
        group: Source video or person.
        clothes: Colour of the upper clothes by sight; empty where it is not clear.
    """

    path: Path
    label: str
    dataset: str
    group: str
    clothes: str


@dataclass(frozen=True)
class Composite:
    """A made clip.

    Attributes:
        frames: (T, H, W, 3) uint8.
        times_s: (T,) seconds.
        sources: What it is made of, from the left.
        boxes: (K, T, 4) where each source is: x1, y1, x2, y2 in pixels.
    """

    frames: Frames
    times_s: np.ndarray
    sources: tuple[Source, ...]
    boxes: np.ndarray

    @property
    def clip(self) -> Clip:
        """Clip in the form of a reader."""
        window = Window(0.0, float(self.times_s[-1]) * N_FRAMES / (N_FRAMES - 1))
        return Clip(Path("composite"), window, "video", self.frames, self.times_s)

    @property
    def fps(self) -> float:
        """Frames a second."""
        return (len(self.times_s) - 1) / float(self.times_s[-1])


def sources(
    videos: Path, half: str, sets: Sequence[str] = ("jhmdb", "weizmann", "utd-mhad")
) -> list[Source]:
    """The clips of one person of a half of the groups.

    Args:
        videos: Folder with ``manifest.csv``.
        half: ``choose`` or ``report``: every second group of each data set.
        sets: Data sets.
    """
    seen = {row["path"]: row for row in _table(PEOPLE)}
    rows = [row for row in _table(videos / "manifest.csv") if row["dataset"] in sets]
    groups = {name: sorted({r["group"] for r in rows if r["dataset"] == name}) for name in sets}
    found = []
    for row in rows:
        facts = seen.get(row["path"])
        number = groups[row["dataset"]].index(row["group"])
        if facts and facts["people"] == "one" and HALVES[number % 2] == half:
            found.append(
                Source(
                    videos / row["path"], row["readable_label"], row["dataset"], row["group"],
                    facts["clothes"],
                )
            )  # fmt: skip
    return found


def side_by_side(chosen: Sequence[Source], height: int = HEIGHT) -> Composite:
    """Clips next to each other, from the left, all over the same time."""
    tiles = [read_tile(source.path, height) for source in chosen]
    edges = np.cumsum([0, *(frames.shape[2] for frames, _ in tiles)])
    frames = np.concatenate([frames for frames, _ in tiles], axis=2)
    boxes = [[(left, 0, right, height)] * N_FRAMES for left, right in pairwise(edges)]
    length_s = float(np.mean([seconds for _, seconds in tiles]))
    times_s = np.linspace(0.0, length_s, N_FRAMES)
    return Composite(frames, times_s, tuple(chosen), np.array(boxes, np.float32))


def rows_of_people(
    pool: Sequence[Source], count: int, seed: int, colours: bool = False
) -> Iterator[Composite]:
    """Composites of two or three people who do different things, in turn.

    Args:
        pool: Clips to draw from; data sets are drawn with equal chance, groups are different.
        count: Number of composites.
        seed: Of the draws.
        colours: Only clips whose clothes have a known colour, two of them, of different colours.
    """
    random = np.random.default_rng(seed)
    pool = [source for source in pool if source.clothes or not colours]
    sets = sorted({source.dataset for source in pool})
    for number in range(count):
        wanted = 2 if colours or number % 2 == 0 else 3
        chosen: list[Source] = []
        while len(chosen) < wanted:
            name = sets[random.integers(len(sets))]
            here = [source for source in pool if source.dataset == name]
            one = here[random.integers(len(here))]
            same = any(
                one.label == o.label or one.group == o.group
                or (colours and one.clothes == o.clothes)
                for o in chosen
            )  # fmt: skip
            if not same:
                chosen.append(one)
        yield side_by_side(chosen)


@lru_cache(maxsize=512)
def read_tile(path: Path, height: int) -> tuple[Frames, float]:
    """32 frames of a clip at some height (T, height, W, 3), and its length in seconds."""
    clip = read_clip(path, None, N_FRAMES)
    width = round(clip.data.shape[2] * height / clip.data.shape[1])
    resized = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
        for frame in clip.data
    ]
    return np.stack(resized), max(float(clip.times_s[-1] - clip.times_s[0]), 0.2)


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
