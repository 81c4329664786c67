"""Two real clips in one: side by side, one after the other, or one pasted small onto the other.

Frames in, frames out; what is made is never written. Split the sources before you compose them: a
clip that a method learned from must not be part of a composite that it is judged by.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two clips (T, H, W, 3) next to each other, both at the height of the lower one."""
    height = min(left.shape[1], right.shape[1])
    frames = [_to_height(clip, height) for clip in same_length(left, right)]
    return np.concatenate(frames, axis=2)


def one_after_other(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The first half of one clip (T, H, W, 3), then the last half of the other, at its size."""
    first, second = same_length(first, second)
    half = len(first) // 2
    size = first.shape[2], first.shape[1]
    rest = [np.asarray(Image.fromarray(frame).resize(size)) for frame in second[half:]]
    return np.concatenate([first[:half], np.stack(rest)])


def pasted(
    small: np.ndarray, background: np.ndarray, share: float, random: np.random.Generator
) -> np.ndarray:
    """A clip at ``share`` of the background's height, at a random place on a moving background."""
    small, background = same_length(small, background)
    part = _to_height(small, max(8, round(share * background.shape[1])))
    part = part[:, :, : background.shape[2]]
    top = int(random.integers(0, background.shape[1] - part.shape[1] + 1))
    left = int(random.integers(0, background.shape[2] - part.shape[2] + 1))
    made = background.copy()
    made[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return made


def same_length(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the frames of the longer one, evenly repeated."""
    count = max(len(one), len(other))
    return tuple(
        clip[np.floor((np.arange(count) + 0.5) * len(clip) / count).astype(int)]
        for clip in (one, other)
    )


def _to_height(clip: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(clip.shape[2] * height / clip.shape[1]))
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in clip])
