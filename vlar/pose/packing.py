"""Bodies and class probabilities of a window in few bytes, from which blocks are computed again.

Joints are rounded to 1/4096 of the picture's height, visibility and scores to 1/255; changes from
frame to frame are compressed.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.pose.features import CAMERA_WIDTH, POSE_WIDTH, features_from_tracks, tracks_from_features
from vlar.pose.networks import N_POINTS
from vlar.pose.track import MAX_PEOPLE, Tracks
from vlar.types import Float32

MOST_FRAMES = 256
KEPT_SCORES = "scores"  # key of a clip's facts: who made class scores, and the scores
_LEVELS, _MOST_CLASSES = 16, 1 << 15  # levels of a factor e
_STEP = 4096  # parts of the picture's height
_LONGEST_S = 86_400
_HEAD = struct.Struct("<BHf")  # people, frames, aspect
_CAMERA = slice(-CAMERA_WIDTH - 2, -2)
_TIME, _ASPECT = POSE_WIDTH - 2, POSE_WIDTH - 1


def pack_bodies(features: Float32) -> bytes:
    """Bodies (T, POSE_WIDTH) as bytes; empty of no frames, or of more than ``MOST_FRAMES``."""
    n_frames = len(features)
    if not 0 < n_frames <= MOST_FRAMES:
        return b""
    tracks = tracks_from_features(features)
    joints = np.clip(np.rint(tracks.points[..., :2] * _STEP), -(1 << 15), (1 << 15) - 1)
    moves = np.diff(joints.astype(np.int16), axis=1, prepend=np.int16(0)).view(np.uint8)
    seen = np.concatenate([tracks.points[..., 2], tracks.score[..., None]], axis=2)
    parts = (
        _HEAD.pack(len(joints), n_frames, float(features[0, _ASPECT])),
        features[:, _TIME].astype("<f4").tobytes(),
        features[:, _CAMERA].astype("<f2").tobytes(),
        _turned(np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8)),
        _turned(np.ascontiguousarray(moves[..., ::2])),
        _turned(np.ascontiguousarray(moves[..., 1::2])),
    )
    return zlib.compress(b"".join(parts), 9)


def unpack_bodies(data: bytes) -> Float32 | None:
    """Bodies (T, POSE_WIDTH) of bytes; None where they are not such, as in a file of anybody."""
    most = _HEAD.size + MOST_FRAMES * (4 + 2 * CAMERA_WIDTH + MAX_PEOPLE * (5 * N_POINTS + 1))
    try:
        plain = zlib.decompressobj().decompress(data, most)
        people, n_frames, aspect = _HEAD.unpack_from(plain)
    except (zlib.error, struct.error):
        return None
    sizes = 4 * n_frames, 2 * n_frames * CAMERA_WIDTH, people * n_frames * (N_POINTS + 1)
    moves = 2 * people * n_frames * N_POINTS
    ends = np.cumsum([_HEAD.size, *sizes, moves, moves]).tolist()
    is_small = people <= MAX_PEOPLE and 0 < n_frames <= MOST_FRAMES
    if not is_small or len(plain) != ends[-1] or not 0 <= aspect < 100:
        return None
    times, camera, seen, low, high = (
        np.frombuffer(plain[start:end], kind)
        for start, end, kind in zip(ends, ends[1:], ("<f4", "<f2", "u1", "u1", "u1"), strict=False)
    )
    is_sound = times[0] == 0 and (np.diff(times) >= 0).all() and times[-1] < _LONGEST_S
    if not is_sound or not np.isfinite(camera).all():
        return None
    if aspect == 0:  # a photo, which is not read for bodies
        return np.zeros((n_frames, POSE_WIDTH), np.float32)
    visible = _back(seen, people, n_frames, N_POINTS + 1)
    pairs = [_back(part, people, n_frames, 2 * N_POINTS) for part in (low, high)]
    moved = np.stack(pairs, axis=-1).view("<i2")[..., 0]
    joints = np.cumsum(moved, axis=1, dtype=np.int16).reshape(people, n_frames, N_POINTS, 2)
    points = np.empty((people, n_frames, N_POINTS, 3), np.float32)
    points[..., :2] = joints / np.float32(_STEP)
    points[..., 2] = visible[..., :-1] / np.float32(255)
    score = np.divide(visible[..., -1], 255, dtype=np.float32)
    features = features_from_tracks(Tracks(points, score), times.astype(np.float64), aspect)
    features[:, _CAMERA] = camera.reshape(n_frames, CAMERA_WIDTH)
    return features


def pack_scores(logits: Float32, made_by: str) -> bytes:
    """The class probabilities of a window, the mean over its frames, on a scale of logarithms.

    Args:
        logits: (T, K) class scores of frames.
        made_by: Hash of what makes them.
    """
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    mean = np.log((powers / powers.sum(axis=1, keepdims=True)).mean(axis=0))
    levels = np.clip(np.rint((mean.max() - mean) * _LEVELS), 0, 255).astype(np.uint8)
    return bytes.fromhex(made_by[:16]) + zlib.compress(levels.tobytes(), 9)


def unpack_scores(data: bytes) -> tuple[str, Float32] | None:
    """Hash of what made scores, and (K,) such with these probabilities; None of other bytes."""
    try:
        plain = zlib.decompressobj().decompress(data[8:], _MOST_CLASSES)
    except zlib.error:
        return None
    levels = np.frombuffer(plain, np.uint8)
    scores = -np.divide(levels, _LEVELS, dtype=np.float32)
    return (data[:8].hex(), scores) if len(levels) else None


def _turned(values: npt.NDArray[Any]) -> bytes:
    """Values (people, T, ...) with time last, which compresses better."""
    flat = values.reshape(*values.shape[:2], math.prod(values.shape[2:]))
    return np.ascontiguousarray(flat.swapaxes(1, 2)).tobytes()


def _back(values: npt.NDArray[Any], people: int, n_frames: int, width: int) -> npt.NDArray[Any]:
    """(people, T, width) of such bytes."""
    return np.ascontiguousarray(values.reshape(people, width, n_frames).swapaxes(1, 2))
