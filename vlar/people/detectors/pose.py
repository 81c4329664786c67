"""``pose``: people by their bodies, with the tracker of ``lite-motion``.

Next to the whole frame, squares that cover it are searched, and smaller ones for people who are
small in it. Bodies of about 60 pixels and more are found.
"""

from __future__ import annotations

import math

import numpy as np

from vlar.people.base import PERSON, Boxes, Detector
from vlar.pose import networks
from vlar.pose.track import PoseTracker, Square, Tracks
from vlar.registry import register
from vlar.types import Float32, Float64, UInt8

MOST_PEOPLE = 10
_VISIBLE = 0.3  # probability of a joint that counts for the box
_LEAST_JOINTS = 4
_HEAD, _MARGIN = 0.10, 0.06  # of a body's height: from the eyes to the top of the head, and around
_LOOKS, _CONFIRMED = 9, 1 / 3  # frames that are asked for a body, and the share that must show it
_SURE = 0.5  # probability of a body
_REGION = 1.6  # side of where a body is looked for over the size of what moves
_SHARED = 1.25  # how much squares in a row reach over each other
_FINE = 0.6  # side of the smaller squares over the shorter side of the frame
_LEAST_FINE = 120  # pixels; a smaller square shows no more than the frame


@register("detector", "pose")
class PoseDetector(Detector):
    """People with their joints, at most ten of a clip; whom it loses it finds again."""

    name = "pose"
    rate_hz = 8.0

    def __init__(self) -> None:
        """The networks of ``lite-motion``.

        Raises:
            ModelError: they were never fetched, or a file changed.
        """
        self._networks = (
            networks.PersonDetector(networks.network(networks.DETECTOR)),
            networks.Landmarks(networks.network(networks.LANDMARKS)),
        )

    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        if not len(frames):
            return Boxes.none()
        tracker = PoseTracker(*self._networks, MOST_PEOPLE, squares)
        tracker.extend(frames, 0)
        height, width = frames.shape[1:3]
        return boxes_of(tracker.window(0, len(frames), height), times_s, (height, width))

    def confirms(self, frames: UInt8, times_s: Float64, boxes: Float32) -> bool:
        looks = np.unique(np.linspace(0, len(boxes) - 1, _LOOKS).round().astype(int))
        count = 0
        for time_s, x1, y1, x2, y2 in boxes[looks].tolist():
            now = int(np.abs(times_s - time_s).argmin())
            side = _REGION * max(x2 - x1, y2 - y1)
            region = networks.Crop((x1 + x2) / 2, (y1 + y2) / 2, side, 0.0)
            body = self._networks[1](networks.to_image(frames[now]), region)
            count += body.score >= _SURE
        return count >= _CONFIRMED * len(looks)


def squares(width: int, height: int) -> list[Square]:
    """Squares that cover a frame along its longer side, and four or more smaller ones.

    >>> [square[0] for square in squares(320, 100)]
    [0.0, 73.33333333333333, 146.66666666666666, 220.0]
    """
    short = float(min(width, height))
    windows = _grid(width, height, short)
    fine = _FINE * short
    if fine >= _LEAST_FINE:
        windows += _grid(width, height, fine)
    return windows if len(windows) > 1 else []


def _grid(width: int, height: int, side: float) -> list[Square]:
    across, down = (
        math.ceil((length / side - 1) * _SHARED - 1e-9) + 1 for length in (width, height)
    )
    return [
        (float(x), float(top), side)
        for top in np.linspace(0, height - side, down).tolist()
        for x in np.linspace(0, width - side, across).tolist()
    ]


def boxes_of(tracks: Tracks, times_s: Float64, size: tuple[int, int]) -> Boxes:
    """Boxes around the visible joints of tracked bodies.

    Args:
        tracks: K people over T frames.
        times_s: (T,) of the frames.
        size: (H, W) of the frames, pixels.
    """
    height, width = size
    rows: list[Float32] = []
    joints: list[Float32] = []
    scores: list[float] = []
    numbers: list[int] = []
    for number, (points, score) in enumerate(zip(tracks.points, tracks.score, strict=True)):
        for now in np.flatnonzero(score > 0).tolist():
            body = points[now] * np.array([height, height, 1], np.float32)
            box = _box(body, width, height)
            if box is None:
                continue
            rows.append(np.array([times_s[now], *box], np.float32))
            joints.append(body)
            scores.append(float(score[now]))
            numbers.append(number)
    if not rows:
        return Boxes.none()
    return Boxes(
        np.stack(rows), np.array(scores, np.float32), np.array(numbers, np.int64), np.stack(joints)
    )


def _box(body: Float32, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Corners x1, y1, x2, y2 around a body (33, 3) in pixels; None where little of it shows."""
    visible = body[body[:, 2] >= _VISIBLE, :2]
    if len(visible) < _LEAST_JOINTS:
        return None
    (x1, y1), (x2, y2) = visible.min(axis=0), visible.max(axis=0)
    tall = float(max(y2 - y1, x2 - x1))
    around = _MARGIN * tall
    corners = (x1 - around, y1 - around - _HEAD * tall, x2 + around, y2 + around)
    limits = (width, height, width, height)
    clipped = [float(np.clip(v, 0, most)) for v, most in zip(corners, limits, strict=True)]
    if clipped[2] - clipped[0] < 2 or clipped[3] - clipped[1] < 2:
        return None
    return clipped[0], clipped[1], clipped[2], clipped[3]
