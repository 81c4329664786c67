"""The person in pictures of distances: what stands out from the background, in metres.

The idea of following a silhouette in depth is that of Li et al., "Action recognition based on a bag
of 3D points", 2010; a grid over it keeps it small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.encoders.attribute_words import AttributeWords, attribute_vector
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.pose import signals
from vlar.registry import register
from vlar.types import Clip, Float32, Float64

ROWS, COLUMNS = 16, 12
FACTS = 5  # middle x, top, bottom, distance (m), and share of the picture
WIDTH = 2 * ROWS * COLUMNS
_NEAR_MM, _FAR_MM = 400, 8000
_STEP_MM = 120.0  # nearer than the background by which something stands out
_CUT_OUT = 0.6  # share of pixels without distance from which the background was removed before
_LEAST_SHARE = 0.002  # of the picture
_BODY_DEPTH_M = 0.6  # from the middle of a body; farther is something else
_FOCAL = 0.9  # focal length over the width of the picture, of Kinect and RealSense nearly
_DEPTH_M = 0.3  # distance from the body's middle that counts as much as a whole cell


@dataclass(frozen=True)
class Silhouette:
    """A person over T pictures.

    Attributes:
        grid: (T, WIDTH) float32: share of each cell that the person fills, then how much nearer
            the person is there than in the middle.
        facts: (T, FACTS) float64.
        seen: (T,) whether somebody stands out.
    """

    grid: Float32
    facts: Float64
    seen: npt.NDArray[np.bool_]


def silhouette(frames: npt.NDArray[np.uint16]) -> Silhouette:
    """The person in frames (T, H, W) of millimetres."""
    masks = _foreground(frames)
    visible = masks.mean(axis=(1, 2)) > _LEAST_SHARE
    facts = np.zeros((len(frames), FACTS))
    grid = np.zeros((len(frames), WIDTH), np.float32)
    if not visible.any():
        return Silhouette(grid, facts, visible)
    for frame in np.flatnonzero(visible):
        masks[frame], facts[frame] = _body(frames[frame], masks[frame])
    box = _box(masks[visible])
    for frame in np.flatnonzero(visible):
        grid[frame] = _cells(frames[frame][box], masks[frame][box], facts[frame, 3])
    return Silhouette(grid, facts, visible)


def _foreground(frames: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    valid = (frames >= _NEAR_MM) & (frames <= _FAR_MM)
    if 1 - valid.mean() > _CUT_OUT or len(frames) < 3:
        return valid
    far = np.where(valid, frames, 0).astype(np.float32)
    background = np.percentile(far, 80, axis=0)
    return valid & (background - far > _STEP_MM)


def _body(
    frame: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], Float64]:
    """The mask without what is far from its middle, and the facts of the person."""
    height, width = frame.shape
    middle_mm = float(np.median(frame[mask]))
    mask = mask & (np.abs(frame - np.float32(middle_mm)) < 1000 * _BODY_DEPTH_M)
    y, x = np.nonzero(mask)
    metres = middle_mm / 1000
    a_pixel = metres / (_FOCAL * width)
    top, bottom = np.percentile(y, [1, 99])
    facts = [
        (float(np.median(x)) - width / 2) * a_pixel,
        (height / 2 - float(top)) * a_pixel,
        (height / 2 - float(bottom)) * a_pixel,
        metres,
        mask.mean(),
    ]
    return mask, np.array(facts)


def _box(masks: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest box that holds the person in all pictures."""
    rows, columns = masks.any(axis=(0, 2)), masks.any(axis=(0, 1))
    y, x = np.flatnonzero(rows), np.flatnonzero(columns)
    return slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)


def _cells(frame: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_], metres: float) -> Float32:
    nearer = np.where(mask, (metres - frame / 1000) / _DEPTH_M, 0)
    y = np.linspace(0, mask.shape[0], ROWS + 1).astype(np.intp)[:-1]
    x = np.linspace(0, mask.shape[1], COLUMNS + 1).astype(np.intp)[:-1]
    y, x = np.minimum(y, mask.shape[0] - 1), np.minimum(x, mask.shape[1] - 1)

    def sums(values: npt.NDArray[np.floating]) -> Float64:
        return np.add.reduceat(np.add.reduceat(values, y, axis=0), x, axis=1)

    size = np.maximum(sums(np.ones(mask.shape)), 1)
    filled = sums(mask.astype(np.float64)) / size
    return np.concatenate([filled.ravel(), (sums(nearer) / size).ravel()]).astype(np.float32)


_VISIBLE = 0.6  # how much of a movement a silhouette shows
_LEAST = 5  # pictures in which somebody is seen
_LEAST_M = 0.3  # height of a person


@register("encoder", "depth")
class DepthEncoder(AttributeWords):
    """A grid of 16 x 12 cells over the person, at 32 moments, and eight attributes.

    The background is what is far most of the time; where it was cut out before, all that is left is
    the person. Distances are millimetres; 0, and what is beyond 0.4 to 8 m, is missing.
    """

    name = "depth"
    modality = "depth"
    n_frames = fixed_rows = 32
    longest_s = 20.0
    frame_blocks = (
        FrameBlock("silhouette", WIDTH, "signal"),
        FrameBlock("person", FACTS + 2, "clock"),
    )

    def features_of(self, clip: Clip) -> Float32:
        """(32, F): the grid; then facts of the person, whether there is one, and the time."""
        self.require(clip, 3, "distances (T, H, W)")
        if clip.data.dtype != np.uint16 or clip.meta.get("unit", "mm") != "mm":
            raise UsageError(
                f"{clip.path}: distances of type {clip.data.dtype} in "
                f"{clip.meta.get('unit')!r}; give uint16 in 'mm'"
            )
        rows = np.zeros((self.feature_rows, self.frame_dim), np.float32)
        shape = silhouette(clip.data)
        frames = np.flatnonzero(shape.seen)
        if not len(frames):
            return rows
        times_s = np.asarray(clip.times_s, np.float64)
        times = np.linspace(times_s[frames[0]], times_s[frames[-1]], self.feature_rows)
        values = np.concatenate([shape.grid, shape.facts], axis=1)[frames]
        for column in range(values.shape[1]):
            rows[:, column] = np.interp(times, times_s[frames], values[:, column])
        rows[:, -2] = float(len(frames) >= _LEAST)
        rows[:, -1] = signals.clock(times - times[0], clip.meta.get("rate_hz"))
        return rows

    def motion(self, features: Float32) -> Float32:
        person = features[:, WIDTH:].astype(np.float64)
        duration_s = float(person[-1, -1])
        x, top, bottom, far = person[:, :4].T
        tall = float(np.percentile(top - bottom, 90))
        if not person[0, -2] or not duration_s > 0 or tall < _LEAST_M:
            return attribute_vector({}, 0.0)
        fps = signals.frame_rate(len(person), duration_s)
        duration_s = (len(person) - 1) / fps
        grid = features[:, :WIDTH].astype(np.float64)
        speed = np.abs(signals.rate(grid, fps)).mean(axis=1)
        across = np.abs(signals.rate(signals.low_pass(x, fps), fps)).mean() / tall
        nearer = -(signals.end(far) - signals.start(far)) / max(float(np.median(far)), 0.1)
        height = signals.low_pass(top - bottom.min(), fps) / tall
        down = float(signals.start(height) - signals.end(height))
        dip = min(float(signals.start(height)), float(signals.end(height))) - float(height.min())
        repeats, rhythm_hz = signals.periodicity(grid, fps)
        return attribute_vector(
            {
                "travel": (float(across), 1.0),
                "fast": (float(across), 1.0),
                "approach": (nearer / duration_s, 1.0),
                "hip_down": (down, 1.0),
                "hip_dip": (max(dip, 0.0), 1.0),
                "periodic": (repeats, 1.0),
                "pose_freq": (rhythm_hz, float(repeats > 0)),
                "burst": (float(np.percentile(speed, 98)) / max(float(speed.mean()), 1e-3), 0.7),
            },
            _VISIBLE,
        )
