"""Which frames of a joint encoder's clip belong to a part, and which rows of its features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Clip, Sampling
from vlar.video.sample import sample_times

Rows = npt.NDArray[np.intp]


def rows_of(clip: Clip, part: Sampling, union: Sampling) -> Rows:
    """The frames of a clip that a part would get alone; of a clip with another T, evenly spaced.

    Args:
        clip: Read as ``union`` asks, or with any other frames.
        part: What the part wants.
        union: What all parts want together.
    """
    own, all_times = sample_times(clip.window, part), sample_times(clip.window, union)
    if len(all_times) == len(clip.data):
        return np.searchsorted(all_times, own)
    return evenly(len(clip.data), len(own))


def with_frames(clip: Clip, rows: Rows) -> Clip:
    """A clip of some of its frames."""
    if len(rows) == len(clip.data):
        return clip
    return replace(clip, data=clip.data[rows], times_s=clip.times_s[rows])


def evenly(n_frames: int, wanted: int) -> Rows:
    """The frames nearest to the midpoints of ``wanted`` segments; all where there are no more."""
    count = min(n_frames, wanted)
    return np.floor((np.arange(count) + 0.5) * n_frames / max(count, 1)).astype(np.intp)


def repeated(n_rows: int, wanted: int) -> Rows:
    """Which of ``n_rows`` stands in each of ``wanted`` rows; ``evenly`` finds them again."""
    return np.floor((np.arange(wanted) + 0.5) * n_rows / max(wanted, 1)).astype(np.intp)


def times_only(wanted: Sampling) -> Sampling:
    """What decides on the times of a span; sizes are left out."""
    if wanted.all_samples:
        raise UsageError(
            "an encoder that reads all samples of a window cannot be joined with '+'; use it alone"
        )
    return Sampling(wanted.n_frames, fps=wanted.fps, max_frames=wanted.max_frames)
