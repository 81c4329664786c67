"""Bodies in space as a camera would record them: the frame features of ``vlar.pose.features``.

Bodies in metres are seen from the front, from far away, by a camera that stands still. Bodies of a
picture stay as they are. Either way the picture is as large as the movement needs, so that nobody
is cut off.
"""

from __future__ import annotations

import numpy as np

from vlar.encoders.skeleton.bodies import People
from vlar.pose.body import HIPS, JOINTS, LEAST_FRAMES, SHOULDERS
from vlar.pose.features import POSE_WIDTH, features_from_tracks
from vlar.pose.track import Tracks
from vlar.types import Float32, Float64

_FILL = 0.7  # share of the picture's height that the movement takes
_ROOM = 0.35  # of its height that stays free on both sides


def pose_rows(people: People | None, rows: int) -> Float32:
    """Frame features (rows, POSE_WIDTH) of the people of a clip.

    They are zeros where nobody is seen, and for fewer than five frames: those show no motion.
    """
    if people is None or people.kind != "body" or people.n_seen < LEAST_FRAMES:
        return np.zeros((rows, POSE_WIDTH), np.float32)
    flat = facing(people)[..., :2] * np.array([1, -1 if people.in_metres else 1])
    core = flat[:, :, list(JOINTS)]
    low, high = core.min(axis=(0, 1, 2)), core.max(axis=(0, 1, 2))
    scale = _FILL / max(float((high - low)[1]), 1e-6)
    wide = float((high - low)[0]) * scale
    points = (flat - low) * scale + np.array([_ROOM, (1 - _FILL) / 2])
    joined = np.concatenate([points, people.visible[..., None]], axis=-1).astype(np.float32)
    joined *= people.there[..., None, None]
    tracks = Tracks(joined, people.there.astype(np.float32))
    return features_from_tracks(tracks, people.times_s, wide + 2 * _ROOM)


def facing(people: People) -> Float64:
    """(M, T, V, C) the points, turned about the vertical so that the first person faces the camera.

    The right of the person is then at the right, as in a mirror. Only bodies in metres are turned.
    """
    if not people.in_metres or people.kind != "body":
        return people.points
    body = people.points[0]
    across = body[:, SHOULDERS[1]] - body[:, SHOULDERS[0]] + body[:, HIPS[1]] - body[:, HIPS[0]]
    x, z = np.median(across[:, [0, 2]], axis=0)
    length = float(np.hypot(x, z))
    if length < 1e-6:
        return people.points
    cos, sin = x / length, z / length
    old_x, y, old_z = np.moveaxis(people.points, -1, 0)
    return np.stack([old_x * cos + old_z * sin, y, old_z * cos - old_x * sin], axis=-1)
