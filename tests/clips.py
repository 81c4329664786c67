"""Arrays of frames as clips, and what an encoder gives for them as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.types import Clip, Window

FPS = 10.0


def clips_of(frames: npt.NDArray[Any], times_s: npt.NDArray[Any] | None = None) -> list[Clip]:
    """(N, T, H, W, 3) as N clips at 10 frames a second, unless ``times_s`` (T,) are given."""
    n_frames = frames.shape[1]
    times_s = np.arange(n_frames) / FPS if times_s is None else times_s
    window = Window(0.0, n_frames / FPS)
    return [Clip(Path("clip"), window, "video", each, times_s) for each in frames]


def features_of(encoder: Any, frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(N, T, H, W, 3) to frame features (N, T, F)."""
    return np.stack([each.features for each in encoder.encode(clips_of(frames))])


def vectors_of(encoder: Any, frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(N, T, H, W, 3) to clip vectors (N, D)."""
    return np.stack([each.vector for each in encoder.encode(clips_of(frames))])


def contexts_of(encoder: Any, frames: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(N, T, H, W, 3) to context tokens (N, k, E)."""
    return np.stack([each.context for each in encoder.encode(clips_of(frames))])
