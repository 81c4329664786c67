"""Tracks: the boxes of one person or thing over time.

Boxes without numbers are linked by a constant-velocity Kalman filter and an optimal assignment
(SORT, Bewley et al. 2016). Between detections boxes are interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vlar.people.base import Boxes
from vlar.types import Float32, Float64

LEAST_BOXES = 3  # of a track
_LEAST_OVERLAP = 0.15  # intersection over union of a box and where the track should be
_LONGEST_GAP_S = 1.5  # seconds without a box after which a track ends
_POSITION_NOISE, _SPEED_NOISE = 0.05, 0.5  # of the box's size, and per second
_REACH = 1.0  # box sizes: small boxes that move fast do not overlap from frame to frame


@dataclass(frozen=True)
class Track:
    """One person or thing over time.

    Attributes:
        boxes: (n, 5) float32 by time: time_s, x1, y1, x2, y2 in pixels.
        scores: (n,) float32 from 0 to 1.
        joints: (n, 33, 3) float32 as in ``Boxes``, or None.
    """

    boxes: Float32
    scores: Float32
    joints: Float32 | None = None

    @property
    def centres(self) -> Float32:
        """(n, 2) middles in pixels."""
        return (0.5 * (self.boxes[:, 1:3] + self.boxes[:, 3:5])).astype(np.float32)

    @property
    def extent(self) -> float:
        """Size in pixels: the 75th percentile of the longer side."""
        sides = self.boxes[:, 3:5] - self.boxes[:, 1:3]
        return float(np.percentile(sides.max(axis=1), 75))

    @property
    def presence(self) -> float:
        """Boxes times the root of their area: the large ones that stay come first."""
        sides = np.maximum(self.boxes[:, 3:5] - self.boxes[:, 1:3], 0)
        return float(np.sqrt(sides.prod(axis=1)).sum())

    def at(self, times_s: Float64) -> Float32:
        """Boxes (T, 5) at some times: interpolated between detections, held before and after."""
        track_times = self.boxes[:, 0].astype(np.float64)
        columns = [np.interp(times_s, track_times, self.boxes[:, number]) for number in range(1, 5)]
        return np.stack([times_s, *columns], axis=1).astype(np.float32)


def link(boxes: Boxes, least_boxes: int = LEAST_BOXES) -> list[Track]:
    """Boxes to tracks, the largest and longest first."""
    numbers = _assigned(boxes) if boxes.tracks is None else boxes.tracks
    tracks: list[Track] = []
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        if len(rows) < least_boxes:
            continue
        rows = rows[np.argsort(boxes.rows[rows, 0], kind="stable")]
        joints = None if boxes.joints is None else boxes.joints[rows]
        tracks.append(Track(boxes.rows[rows], boxes.scores[rows], joints))
    return sorted(tracks, key=lambda track: -track.presence)


def overlap(a: Float32, b: Float32) -> Float64:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4) of x1, y1, x2, y2.

    >>> float(overlap(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]]))[0, 0])
    0.3333333333333333
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2]).astype(np.float64)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area_a = np.clip(a[:, 2:] - a[:, :2], 0, None).astype(np.float64).prod(axis=1)
    area_b = np.clip(b[:, 2:] - b[:, :2], 0, None).astype(np.float64).prod(axis=1)
    return common / np.maximum(area_a[:, None] + area_b[None] - common, 1e-9)


@dataclass
class _Follower:
    """A track that is being followed.

    Attributes:
        state: (2, 4): middle, width and height in pixels; and their change per second.
        spread: (2, 2) covariance of a value and its change, in box sizes, shared by all four.
        time_s: Time of the state.
    """

    number: int
    state: Float64
    time_s: float
    spread: npt.NDArray[np.float64] = field(default_factory=lambda: np.diag([0.01, 1.0]))

    def ahead(self, time_s: float) -> Float64:
        """(4,) middle and size where it should be at a time."""
        return self.state[0] + (time_s - self.time_s) * self.state[1]

    def update(self, measured: Float64, time_s: float) -> None:
        """Take a box that was found (constant velocity, one gain for all four values)."""
        step = np.array([[1.0, time_s - self.time_s], [0.0, 1.0]])
        drift = (time_s - self.time_s) * np.diag([0.0, _SPEED_NOISE**2])
        self.state, self.spread = step @ self.state, step @ self.spread @ step.T + drift
        gain = self.spread[:, 0] / (self.spread[0, 0] + _POSITION_NOISE**2)
        self.state = self.state + gain[:, None] * (measured - self.state[0])
        self.spread = self.spread - np.outer(gain, self.spread[0])
        self.time_s = time_s


def _assigned(boxes: Boxes) -> npt.NDArray[np.int64]:
    """(n,) the number of the track of each box."""
    numbers = np.zeros(len(boxes), np.int64)
    live: list[_Follower] = []
    count = 0
    for time_s in np.unique(boxes.rows[:, 0]).tolist():
        rows_now = np.flatnonzero(boxes.rows[:, 0] == np.float32(time_s))
        live = [track for track in live if time_s - track.time_s <= _LONGEST_GAP_S]
        measured = _middles(boxes.rows[rows_now, 1:].astype(np.float64))
        free = set(range(len(rows_now)))
        for follower, row in _pairs(live, measured, time_s):
            live[follower].update(measured[row], time_s)
            numbers[rows_now[row]] = live[follower].number
            free.discard(row)
        for row in sorted(free):
            count += 1
            state = np.stack([measured[row], np.zeros(4)])
            live.append(_Follower(count, state, time_s))
            numbers[rows_now[row]] = count
    return numbers


def _pairs(live: Sequence[_Follower], measured: Float64, time_s: float) -> list[tuple[int, int]]:
    """Pairs of follower and box."""
    if not live or not len(measured):
        return []
    ahead = np.stack([track.ahead(time_s) for track in live])
    shared = overlap(_corners(ahead).astype(np.float32), _corners(measured).astype(np.float32))
    apart = np.linalg.norm(ahead[:, None, :2] - measured[None, :, :2], axis=2)
    size = np.maximum(ahead[:, None, 2:].max(axis=2), measured[None, :, 2:].max(axis=2))
    near = np.clip(1 - apart / np.maximum(_REACH * size, 1e-6), 0, 1)
    return best_pairs(shared + 0.5 * near, _LEAST_OVERLAP)


def best_pairs(likeness: Float64, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of an (n, m) likeness with the greatest total; each is above ``least``.

    >>> best_pairs(np.array([[0.9, 0.8], [0.7, 0.1]]), 0.2)
    [(0, 1), (1, 0)]
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-likeness)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [pair for pair in pairs if likeness[pair] > least]


def _middles(corners: Float64) -> Float64:
    """Boxes (n, 4) of corners to middle, width and height."""
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _corners(middles: Float64) -> Float64:
    half = np.maximum(middles[:, 2:], 1.0) / 2
    return np.concatenate([middles[:, :2] - half, middles[:, :2] + half], axis=1)
