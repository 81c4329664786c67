"""What a camera does: too few pixels, a tilt."""

from __future__ import annotations

import numpy as np

from vlar.evaluation.corruptions.base import Corruption
from vlar.evaluation.corruptions.blur import warped
from vlar.registry import register
from vlar.types import UInt8


@register("corruption", "resolution")
class Resolution(Corruption):
    """Fewer pixels, enlarged to the old size; ``levels`` are the factor on both sides."""

    family = "camera"
    levels = (1.5, 2.5, 4.0, 6.0, 9.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        from PIL import Image

        del random
        height, width = frames.shape[1:3]
        small = (max(1, round(width / level)), max(1, round(height / level)))
        result = np.empty_like(frames)
        for number, frame in enumerate(frames):
            coarse = Image.fromarray(frame).resize(small, Image.Resampling.BOX)
            result[number] = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
        return result


@register("corruption", "rotation")
class Rotation(Corruption):
    """A camera that hangs askew, to a side that is drawn; ``levels`` are degrees.

    The picture's corners are filled with the nearest pixels.
    """

    family = "camera"
    levels = (5.0, 10.0, 18.0, 28.0, 40.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """See ``Corruption``."""
        angle = np.deg2rad(level if random.random() < 0.5 else -level)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return warped(frames, [turn.astype(np.float32)])
