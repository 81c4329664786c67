"""The colour of clothes: which of eleven colours the pixels of a body's clothes have.

The eleven names are the basic colour terms of English (Berlin and Kay 1969). A pixel belongs to the
names by its distance to examples of each in CIELAB, so that a shade between two counts for both.
"""

from __future__ import annotations

import numpy as np

from vlar.detecting.tracks import Track
from vlar.pose.body import HIPS, KNEES, SHOULDERS
from vlar.text.referring import COLOURS
from vlar.types import Float32, Float64, UInt8

_MOST_FRAMES = 8  # of a track
_GRID = 9  # places along each side of a region
_SPREAD = 13.0  # CIELAB units at which a pixel belongs to an example by 60 %
_VISIBLE = 0.3
_LEAST_WIDTH = 0.22  # of the trunk's length: a body seen from the side is that wide
_LEGS = 0.35  # weight of the legs' clothes, against 1 of the trunk's
# L, a, b of what people call by each name, in light and in shade.
_EXAMPLES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "black": ((6, 0, 0), (16, 0, 0), (20, 2, -5)),
    "white": ((95, 0, 0), (85, 0, -2)),
    "grey": ((36, 0, 0), (50, 0, 0), (64, 0, 0)),
    "red": ((46, 62, 42), (36, 50, 30), (26, 38, 20), (52, 55, 28)),
    "orange": ((65, 42, 62), (58, 45, 50)),
    "yellow": ((85, 0, 75), (80, 2, 48), (88, -8, 40)),
    "green": ((46, -42, 36), (62, -45, 40), (34, -20, 14), (52, -22, 18), (45, -28, 2)),
    "blue": ((36, 15, -50), (50, -5, -35), (26, 8, -30), (66, -12, -28), (42, -2, -20)),
    "purple": ((36, 40, -42), (54, 30, -30), (28, 25, -22)),
    "pink": ((70, 40, 0), (78, 26, 6), (60, 56, -8)),
    "brown": ((34, 16, 26), (50, 13, 28), (24, 10, 14), (66, 9, 22)),
}


def shares(frames: UInt8, times_s: Float64, track: Track) -> Float32:
    """How much of the clothes of one person has each colour.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        times_s: (T,) of the frames.
        track: The person.

    Returns:
        (11,) float32 in the order of ``COLOURS``; they add up to 1.
    """
    chosen = np.linspace(0, len(track.boxes) - 1, min(_MOST_FRAMES, len(track.boxes)))
    found = np.zeros(len(COLOURS))
    for row in np.unique(np.rint(chosen).astype(int)):
        frame = frames[int(np.abs(times_s - track.boxes[row, 0]).argmin())]
        joints = None if track.joints is None else track.joints[row]
        for places, weight in _regions(track.boxes[row], joints):
            found += weight * named(_pixels(frame, places)).mean(axis=0)
    return (found / max(found.sum(), 1e-9)).astype(np.float32)


def named(pixels: UInt8) -> Float64:
    """(n, 3) uint8 RGB pixels to the share (n, 11) of each of ``COLOURS``."""
    lab = to_lab(pixels)
    likeness = np.stack(
        [
            np.max([np.exp(-_squared(lab, example)) for example in _EXAMPLES[colour]], axis=0)
            for colour in COLOURS
        ],
        axis=1,
    )
    return likeness / np.maximum(likeness.sum(axis=1, keepdims=True), 1e-12)


def to_lab(pixels: UInt8) -> Float64:
    """(n, 3) sRGB uint8 to CIELAB (D65)."""
    values = pixels.astype(np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def _squared(lab: Float64, example: tuple[float, float, float]) -> Float64:
    # Light and shade change L more than they change the name.
    away = (lab - np.array(example)) * np.array([0.6, 1.0, 1.0])
    return (away * away).sum(axis=1) / (2 * _SPREAD**2)


def _regions(box: Float32, joints: Float32 | None) -> list[tuple[Float64, float]]:
    """Places (n, 2) on the clothes, with their weight: the trunk, and the upper legs."""
    if joints is None:
        x1, y1, x2, y2 = (float(v) for v in box[1:])
        middle, quarter = (x1 + x2) / 2, (x2 - x1) / 5
        top, bottom = y1 + 0.22 * (y2 - y1), y1 + 0.52 * (y2 - y1)
        corners = np.array([[middle - quarter, top], [middle + quarter, top]])
        return [(_grid(corners, corners + [[0, bottom - top]] * 2), 1.0)]
    found: list[tuple[Float64, float]] = []
    for upper, lower, weight in ((SHOULDERS, HIPS, 1.0), (HIPS, KNEES, _LEGS)):
        if joints[[*upper, *lower], 2].min() >= _VISIBLE or weight == 1.0:
            top = joints[list(upper), :2].astype(np.float64)
            bottom = joints[list(lower), :2].astype(np.float64)
            found.append((_grid(*_wide(top, bottom)), weight))
    return found


def _wide(top: Float64, bottom: Float64) -> tuple[Float64, Float64]:
    """Both pairs of corners, at least as far apart as a body seen from the side is wide."""
    length = float(np.linalg.norm(bottom.mean(axis=0) - top.mean(axis=0)))
    least = _LEAST_WIDTH * length
    pairs: list[Float64] = []
    for pair in (top, bottom):
        middle = pair.mean(axis=0)
        half = max(abs(float(pair[0, 0] - pair[1, 0])) / 2, least / 2)
        pairs.append(np.array([[middle[0] - half, middle[1]], [middle[0] + half, middle[1]]]))
    return pairs[0], pairs[1]


def _grid(top: Float64, bottom: Float64) -> Float64:
    """Places between two pairs of corners, away from the edges."""
    u, v = np.meshgrid(np.linspace(0.2, 0.8, _GRID), np.linspace(0.12, 0.88, _GRID))
    u, v = u.ravel()[:, None], v.ravel()[:, None]
    return (1 - v) * ((1 - u) * top[0] + u * top[1]) + v * ((1 - u) * bottom[0] + u * bottom[1])


def _pixels(frame: UInt8, places: Float64) -> UInt8:
    height, width = frame.shape[:2]
    x = np.rint(places[:, 0]).astype(int).clip(0, width - 1)
    y = np.rint(places[:, 1]).astype(int).clip(0, height - 1)
    return frame[y, x]
