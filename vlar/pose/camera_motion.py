"""Camera motion of a clip, so that it can be subtracted from a body's motion."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.optical_flow import camera_flow
from vlar.pose.track import Tracks
from vlar.types import Float32

CAMERA_WIDTH = 4
_ON_PEOPLE = 0.02  # weight of a pixel on a person
_BORDER = 0.12  # margin around a person's box, as a share of its size
_CUT = 0.5  # frame heights; a larger step is a scene cut or a wrong match


def steps_of_flow(
    first: npt.NDArray[np.floating[Any]],
    u: npt.NDArray[np.floating[Any]],
    v: npt.NDArray[np.floating[Any]],
    share: npt.NDArray[np.floating[Any]],
) -> Float32:
    """Motion of the background in each flow field.

    Args:
        first: (N, h, w) grey frames at the start of each flow.
        u: (N, h, w) flow in pixels to the right.
        v: (N, h, w) flow in pixels down.
        share: (N, h, w) weights, small where people are (``people_share``).

    Returns:
        (N, 4) float32: shift to the right and down in frame heights at the middle of the frame,
        log of the scale, rotation in radians (clockwise).
    """
    _, height, width = first.shape
    fit = camera_flow(first, u, v, share)
    (shift_x, shift_y) = (fit[:, 0, 0] / height, fit[:, 0, 1] / height)
    grow = (fit[:, 1, 0] / width + fit[:, 2, 1] / height) / 2
    turn = (fit[:, 1, 1] / width - fit[:, 2, 0] / height) / 2
    found = np.stack([shift_x, shift_y, np.log1p(np.clip(grow, -0.3, 0.3)), turn], axis=1)
    found[np.hypot(shift_x, shift_y) > _CUT] = 0
    return found.astype(np.float32)


def people_share(tracks: Tracks, height: int, width: int) -> npt.NDArray[np.float32]:
    """(T, height, width) weights of the pixels of small frames: small on people, else 1."""
    share = np.ones((tracks.score.shape[1], height, width), np.float32)
    for points, scores in zip(tracks.points, tracks.score, strict=True):
        for now in np.flatnonzero(scores > 0):
            low, high = points[now, :, :2].min(axis=0), points[now, :, :2].max(axis=0)
            margin = _BORDER * (high - low)
            (left, top), (right, bottom) = (low - margin) * height, (high + margin) * height
            rows = slice(max(int(top), 0), max(int(bottom) + 1, 0))
            share[now, rows, max(int(left), 0) : max(int(right) + 1, 0)] = _ON_PEOPLE
    return share


def stabilise(
    points: npt.NDArray[np.floating[Any]], steps: Float32, aspect: float
) -> npt.NDArray[np.floating[Any]]:
    """Points as a camera that stays where it was in the first frame would record them.

    Args:
        points: (T, P, 2) in frame heights.
        steps: (T, 4) float32 from ``camera_steps``.
        aspect: Width over height of the frame.
    """
    middle = np.array([aspect / 2, 0.5])
    matrix, shift = np.eye(2), np.zeros(2)
    still = np.empty(points.shape, np.float64)
    for now, place in enumerate(points):
        still[now] = (place - middle - shift) @ np.linalg.inv(matrix).T + middle
        right, down, log_scale, turn = (float(value) for value in steps[now])
        scale, cosine, sine = np.exp(log_scale), np.cos(turn), np.sin(turn)
        step = scale * np.array([[cosine, -sine], [sine, cosine]])
        matrix, shift = step @ matrix, step @ shift + (right, down)
    return still
