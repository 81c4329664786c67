"""Joints as a path: positions over time in lengths of the trunk, for methods that learn.

Positions are relative to the middle of the hips, turned to face the camera where they are in
metres, and divided by the length of the trunk. The way of the hips from their first place follows.
A hand is relative to the base of its middle finger, and divided by the length of its palm.
"""

from __future__ import annotations

import numpy as np

from vlar.encoders.skeleton.bodies import BODY, HAND, People
from vlar.encoders.skeleton.pose_rows import facing
from vlar.sensors.layouts import layout
from vlar.types import Float32, Float64

_BODY_JOINTS = (
    "nose",
    *(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle",
                                    "toe") for side in ("left", "right")),
)  # fmt: skip
_HAND_JOINTS = layout(HAND).joints
_INDEX = {name: at for at, name in enumerate(layout(BODY).joints)}
_HAND_INDEX = {name: at for at, name in enumerate(_HAND_JOINTS)}
BODY_WIDTH = 3 * (len(_BODY_JOINTS) + 1)
HAND_WIDTH = 3 * (len(_HAND_JOINTS) + 1)
PATH_WIDTH = BODY_WIDTH + HAND_WIDTH
_MOST = 10.0  # lengths of the trunk; farther is a fault of the recording


def path_rows(people: People | None, rows: int) -> Float32:
    """(rows, PATH_WIDTH) the path of the person who moves most; zeros where nobody is seen.

    A body fills the first columns and a hand the last ones. The third coordinate of joints in a
    picture is 0.
    """
    found = np.zeros((rows, PATH_WIDTH), np.float32)
    if people is None:
        return found
    points = facing(people)[0]
    points = np.concatenate([points, np.zeros((*points.shape[:2], 3 - points.shape[2]))], axis=2)
    if people.kind == "body":
        found[:, :BODY_WIDTH] = _body(points)
    else:
        found[:, BODY_WIDTH:] = _hand(points)
    return found


def _body(points: Float64) -> Float64:
    hips = points[:, [_INDEX["left_hip"], _INDEX["right_hip"]]].mean(axis=1)
    chest = points[:, [_INDEX["left_shoulder"], _INDEX["right_shoulder"]]].mean(axis=1)
    chosen = points[:, [_INDEX[name] for name in _BODY_JOINTS]]
    return _scaled(chosen, hips, chest)


def _hand(points: Float64) -> Float64:
    base, wrist = points[:, _HAND_INDEX["middle_base"]], points[:, _HAND_INDEX["wrist"]]
    tip = points[:, _HAND_INDEX["middle_knuckle"]]
    far = np.where(np.abs(base - wrist).sum(axis=1, keepdims=True) > 1e-9, wrist, tip)
    return _scaled(points, base, far)


def _scaled(points: Float64, centre: Float64, end: Float64) -> Float64:
    """(T, V, 3) relative to a centre (T, 3), and its way, over the usual distance to an end."""
    length = max(float(np.median(np.linalg.norm(end - centre, axis=1))), 1e-6)
    away = (points - centre[:, None]) / length
    way = (centre - centre[0]) / length
    rows = np.concatenate([away, way[:, None]], axis=1).reshape(len(points), -1)
    return np.clip(rows, -_MOST, _MOST)
