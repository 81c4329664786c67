"""Prompts drawn into the frames: what moves, or people, brighter than the rest.

Letters: T frames, h w pixels of a small map.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlar.pose.camera_motion import people_share
from vlar.pose.optical_flow import (
    box_mean,
    camera_design,
    camera_flow,
    optical_flow,
    small_grey,
)
from vlar.pose.track import Tracks
from vlar.types import Float32, Float64, UInt8

LONGEST_STEP_S = 0.5  # between frames; what moved in between is not found again
_TOP = 95  # percentile of the speeds that counts as 1
_STILL = 0.35  # pixels per step of the small frame; slower is noise
_SMOOTH = 1  # pixels around


def flow_maps(frames: UInt8, times_s: Float64) -> Float32:
    """How much each place moves in each frame, less the camera's own motion; (T, h, w), 0 to 1.

    Zero where nothing moves, where there is a single frame, and where frames are more than half a
    second apart.

    Args:
        frames: (T, H, W, 3) uint8, in time order.
        times_s: (T,) seconds.
    """
    grey = small_grey(frames)
    if len(frames) < 2 or np.median(np.diff(times_s)) > LONGEST_STEP_S:
        return np.zeros_like(grey)
    u, v = optical_flow(grey[:-1], grey[1:])
    design = camera_design(u.shape)
    camera = np.moveaxis(design @ camera_flow(grey[:-1], u, v), 2, 0).reshape(2, *u.shape)
    speed = np.hypot(u - camera[0], v - camera[1])
    speed = box_mean(np.maximum(speed - _STILL, 0).astype(np.float32), _SMOOTH)
    top = np.percentile(speed, _TOP, axis=(1, 2), keepdims=True)
    maps = np.clip(speed / np.maximum(top, _STILL), 0, 1)
    return np.concatenate([maps, maps[-1:]]).astype(np.float32)


def people_maps(frames: UInt8, tracks: Tracks) -> Float32:
    """Where people are, (T, h, w), 0 to 1; zero without people.

    Args:
        frames: (T, H, W, 3) uint8.
        tracks: Of the same frames.
    """
    shape = small_grey(frames[:1]).shape[1:]
    if not len(tracks.score):
        return np.zeros((len(frames), *shape), np.float32)
    return (1 - people_share(tracks, *shape)).astype(np.float32)


def drawn(frames: UInt8, maps: Float32, strength: float) -> UInt8:
    """Frames whose pixels are ``1 + strength * (map - mean of the map)`` as bright.

    Args:
        frames: (T, H, W, 3) uint8.
        maps: (T, h, w), 0 to 1.
        strength: 0 to 1.

    Returns:
        (T, H, W, 3) uint8; the same where a map is even.
    """
    found = np.empty_like(frames)
    size = frames.shape[2], frames.shape[1]
    for row, frame, one in zip(found, frames, maps, strict=True):
        if not one.any():
            row[:] = frame
            continue
        large = Image.fromarray(one - one.mean()).resize(size, Image.Resampling.BILINEAR)
        factor = 1 + strength * np.asarray(large, np.float32)[..., None]
        row[:] = np.clip(np.rint(frame * factor), 0, 255)
    return found
