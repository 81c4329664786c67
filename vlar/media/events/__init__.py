"""``events``: changes of brightness of single pixels, from event cameras.

Events are a structured array (L,) of ``EVENT``: ``x``, ``y`` in pixels from the upper left corner,
``t`` in microseconds, ``p`` True where it became brighter. ``size`` is (H, W) everywhere.
"""

from vlar.media.events.representations import (
    EVENT,
    farthest,
    frames,
    hot_pixels,
    points,
    refractory,
    surface,
    voxel,
)

__all__ = ["EVENT", "farthest", "frames", "hot_pixels", "points", "refractory", "surface", "voxel"]
