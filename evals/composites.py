"""Composites of real clips: a movement of camera or time x what is shown.

Shared by ``compositions.py``. Split the sources before you compose them:
a clip that a method learned from must not be part of a composite that it is judged by. Nothing that
is made here is kept but frame features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cached import array_of, file_of
from harness import manifest
from PIL import Image

import vlar
from vlar.media.video.decode import read_clip

VERBS = (
    "playing", "reversing", "freezing", "panning left", "panning right", "zooming in",
    "zooming out", "shaking",
)  # fmt: skip
_SHARE = 0.7  # of each side that a crop keeps
_NEAR = 0.5  # of each side at the near end of a zoom
_seen: dict[bytes, object] = {}


@dataclass(frozen=True)
class Composites:
    """n clips, each moved in every way.

    Attributes:
        features: (n, verbs, T, F) float32 frame features.
        objects: n labels of the clips.
        groups: n names of their sources.
        paths: n recordings.
    """

    features: np.ndarray
    objects: np.ndarray
    groups: np.ndarray
    paths: list[Path]


def load(
    videos: Path,
    pool: str,
    model: vlar.Model,
    cache: Path,
    sources: int = 5,
    verbs: tuple[str, ...] = VERBS,
    every: int = 1,
) -> Composites:
    """The composites of a data set's clips, encoded once.

    Args:
        videos: Folder with ``manifest.csv``.
        pool: Data set.
        model: Encodes them.
        cache: Folder for frame features.
        sources: Most clips of a label; no two of one source.
        verbs: Some of ``VERBS``.
        every: Encode every n-th frame alone.
    """
    rows = manifest(videos, pool)
    rows = _few(rows, sources)
    cache.mkdir(parents=True, exist_ok=True)
    features = []
    for number, row in enumerate(rows):
        features.append(_encoded(videos / row["path"], model, cache, verbs, every))
        if number % 10 == 0:
            print(f"{number} of {len(rows)} clips", flush=True)
    return Composites(
        np.stack(features),
        np.array([row["readable_label"] for row in rows]),
        np.array([row["group"] for row in rows]),
        [videos / row["path"] for row in rows],
    )


def _few(rows: list[dict[str, str]], sources: int) -> list[dict[str, str]]:
    """The first clips of each label, no two of one source; label after label in turn."""
    taken: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        taken.setdefault(row["label"], {}).setdefault(row["group"], row)
    listed = [list(groups.values()) for groups in taken.values()]
    return [groups[turn] for turn in range(sources) for groups in listed if turn < len(groups)]


def _encoded(
    path: Path, model: vlar.Model, cache: Path, verbs: tuple[str, ...], every: int
) -> np.ndarray:
    what = f"{path} {model.fingerprint} {verbs}" + (f" {every}" if every > 1 else "")
    file = file_of(cache, what)

    def make() -> np.ndarray:
        clip = read_clip(path, None, model.words.sampling, shorter_side=model.words.shorter_side)
        clip = replace(clip, data=clip.data[::every], times_s=clip.times_s[::every])
        made = [replace(clip, data=moved(clip.data, verb, file.stem)) for verb in verbs]
        return np.stack([model.words.encode([one])[0].features for one in made])

    return array_of(file, make)


def moved(frames: np.ndarray, verb: str, key: str = "") -> np.ndarray:
    """Frames (T, H, W, 3) under a movement, of one size whatever the movement."""
    count = len(frames)
    time = np.linspace(0, 1, count)
    sides = np.full(count, _SHARE)
    x = y = np.full(count, 0.5)
    if verb == "reversing":
        frames = frames[::-1]
    elif verb == "freezing":
        frames = np.repeat(frames[count // 2][None], count, axis=0)
    elif verb.startswith("panning"):
        x = time if verb.endswith("right") else 1 - time
    elif verb.startswith("zooming"):
        sides = 1 - (1 - _NEAR) * (time if verb.endswith("in") else 1 - time)
    elif verb == "shaking":
        random = np.random.default_rng(int.from_bytes(key.encode()[:8], "little"))
        x, y = 0.5 + 0.3 * random.uniform(-1, 1, (2, count))
    rows = zip(frames, sides, x, y, strict=True)
    return np.stack([_crop(frame, side, at_x, at_y) for frame, side, at_x, at_y in rows])


def _crop(frame: np.ndarray, side: float, x: float, y: float) -> np.ndarray:
    """The part ``side`` of a frame (H, W, 3) at ``x`` and ``y`` (0 to 1), of a fixed size."""
    height, width = frame.shape[:2]
    size = round(width * _SHARE), round(height * _SHARE)
    left, top = (1 - side) * width * x, (1 - side) * height * y
    box = left, top, left + side * width, top + side * height
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, box=box))


def pictures() -> vlar.Model:
    """``lite`` without its bodies, as it is without ``lite-motion``."""
    from vlar.encoders.lite.encoder import LiteEncoder

    class Pictures(LiteEncoder):
        bodies = False

        def image(self, frame):
            """A frame that comes again (frozen, reversed) is computed once."""
            key = frame.tobytes()
            if key not in _seen:
                if len(_seen) > 64:
                    _seen.clear()
                _seen[key] = super().image(frame)
            return _seen[key]

    return vlar.Model(Pictures())
