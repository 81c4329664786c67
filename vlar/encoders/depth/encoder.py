"""The encoder ``depth``: the silhouette of a person over time, and what it shows of a movement.

A silhouette shows where a person goes, how tall the person is at each moment, how much moves, and
in what rhythm. It does not show single limbs. So few words are told apart without examples: come
nearer, go away, sit down, stand up, walk across, jump, stand still.
"""

from __future__ import annotations

import numpy as np

from vlar.encoders.attribute_words import AttributeWords, attribute_vector
from vlar.encoders.base import FrameBlock
from vlar.encoders.depth.person import FACTS, WIDTH, silhouette
from vlar.errors import UsageError
from vlar.pose import signals
from vlar.registry import register
from vlar.types import Clip, Float32

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
        found = silhouette(clip.data)
        at = np.flatnonzero(found.seen)
        if not len(at):
            return rows
        times_s = np.asarray(clip.times_s, np.float64)
        wanted = np.linspace(times_s[at[0]], times_s[at[-1]], self.feature_rows)
        values = np.concatenate([found.grid, found.facts], axis=1)[at]
        for column in range(values.shape[1]):
            rows[:, column] = np.interp(wanted, times_s[at], values[:, column])
        rows[:, -2] = float(len(at) >= _LEAST)
        rows[:, -1] = wanted - wanted[0]
        return rows

    def motion(self, features: Float32) -> Float32:
        """(32, F) features to the attributes (A,) that a silhouette shows."""
        person = features[:, WIDTH:].astype(np.float64)
        duration_s = float(person[-1, -1])
        x, top, bottom, far = person[:, :4].T
        tall = float(np.percentile(top - bottom, 90))
        if not person[0, -2] or not duration_s > 0 or tall < _LEAST_M:
            return attribute_vector({}, 0.0)
        fps = (len(person) - 1) / duration_s
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
