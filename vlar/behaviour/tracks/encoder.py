"""The encoder ``tracks``: what points of anything show in a window, and few honest words.

It measures how quick the animals are, how they turn, and how two of them come together or part.
The meaning of a point is not given. So few words are distinguished without examples: still or on
the way, turning, close, coming closer. The rest is learned from annotated minutes (``vlar adapt
--truth``).
"""

from __future__ import annotations

import numpy as np

from vlar.behaviour.tracks.channels import Body, channels_of
from vlar.encoders.attribute_words import AttributeWords, attribute_vector
from vlar.encoders.base import FrameBlock
from vlar.registry import register
from vlar.types import Clip, Float32

_CHANNELS = (
    *("speed", "acceleration", "turning", "forward", "sideways", "mean speed", "area"),
    *("elongation", "present", "wall", "pair apart", "pair front to body", "pair closing"),
    *("pair facing", "pair alike", "pair overlap", "pair approach", "pair relative speed"),
)
_KINDS = ("least", "most")
_NAMES = tuple(f"{name}, {kind}" for name in _CHANNELS for kind in _KINDS)
_MOST = 20.0  # body lengths, or body lengths a second
_VISIBLE = 0.5  # how much of a movement points of unknown meaning show
_BODY_HEIGHTS = 1.0  # a body length counts as a body height
_LEAST_FRAMES = 3


@register("encoder", "tracks")
class TracksEncoder(AttributeWords):
    """Features of 64 moments that depend neither on the layout nor on the number of animals."""

    name = "tracks"
    modality = "tracks"
    n_frames = 256
    fixed_rows = 64
    longest_s = 20.0
    frame_blocks = (FrameBlock("tracks", len(_NAMES), "signal"), FrameBlock("clock", 1, "clock"))

    def features_of(self, clip: Clip) -> Float32:
        """(64, F) channels at even times, and the times."""
        self.require(clip, 4, "points (T, M, V, C)")
        rows = np.zeros((self.feature_rows, self.frame_dim), np.float32)
        times_s = np.asarray(clip.times_s, np.float64)
        points = np.asarray(clip.data, np.float32)
        if len(times_s) < _LEAST_FRAMES or not np.isfinite(points).any():
            return rows
        rate_hz = (len(times_s) - 1) / max(float(times_s[-1] - times_s[0]), 1e-6)
        with np.errstate(all="ignore"):
            body = Body.of(points, rate_hz, keys=())
            names, values = channels_of(points, rate_hz, body)
        times = np.linspace(times_s[0], times_s[-1], self.feature_rows)
        rows[:, -1] = times - times[0]
        for column, name in enumerate(_NAMES):
            channel = name.partition(",")[0]
            column_read = (
                names.index(name)
                if name in names
                else (names.index(channel) if channel in names else None)
            )
            if column_read is None:
                continue
            present = np.isfinite(values[:, column_read])
            if present.any():
                curve = np.interp(times, times_s[present], values[present, column_read])
                rows[:, column] = curve.clip(-_MOST, _MOST)
        return rows

    def motion(self, features: Float32) -> Float32:
        duration_s = float(features[-1, -1])
        if not duration_s > 0 or not features[:, :-1].any():
            return attribute_vector({}, 0.0)
        column = {name: features[:, number].astype(float) for number, name in enumerate(_NAMES)}
        speed = column["speed, most"] * _BODY_HEIGHTS
        moving = min(1.0, float(speed.mean()) / 0.3)
        measured = {
            "energy": (0.5 * float(speed.mean()), 0.7),
            "travel": (float(column["forward, most"].mean()), 0.5),
            "fast": (float(speed.mean()), 0.6),
            "turn": (float(column["turning, most"].mean()) / (2 * np.pi), 0.3 * moving),
        }
        if column["pair apart, most"].any():
            measured |= {
                "two_people": (1.0, 0.5),
                "closing": (float(column["pair closing, most"].mean()), 0.6),
                "near": (-float(column["pair front to body, most"].mean()), 0.5),
            }
        return attribute_vector(measured, _VISIBLE)
