"""Draws bodies and hands on their frames."""

from __future__ import annotations

import numpy as np

from vlar.pose.hand_networks import HandTracks
from vlar.pose.skeletons import BLAZEPOSE_33, HAND_21, Skeleton
from vlar.pose.track import Tracks
from vlar.types import UInt8

_COLOURS = ((255, 176, 0), (100, 143, 255), (220, 38, 127))  # distinct for colour-blind people too
_HANDS = ((255, 255, 255), (254, 97, 0))
_VISIBLE = 0.5
Colours = tuple[tuple[int, int, int], ...]


def draw_tracks(frames: UInt8, tracks: Tracks) -> UInt8:
    """Copy the frames (T, H, W, 3) uint8 with the people's bones drawn, one colour per person.

    Bones with a joint that is probably hidden are not drawn.
    """
    width = max(2, frames.shape[1] // 120)
    return _drawn(frames, tracks, BLAZEPOSE_33, _COLOURS, width, _VISIBLE)


def draw_hands(frames: UInt8, tracks: HandTracks) -> UInt8:
    """Copy the frames (T, H, W, 3) uint8 with the bones of the hands drawn, one colour per hand."""
    width = max(1, frames.shape[1] // 180)
    return _drawn(frames, tracks, HAND_21, _HANDS, width, -np.inf)


def _drawn(
    frames: UInt8,
    tracks: Tracks | HandTracks,
    layout: Skeleton,
    colours: Colours,
    width: int,
    least: float,
) -> UInt8:
    """The frames with the bones whose third coordinates are at least ``least``."""
    from PIL import Image, ImageDraw

    drawn = np.empty_like(frames)
    height, bones = frames.shape[1], layout.bone_indices
    for now, frame in enumerate(frames):
        image = Image.fromarray(frame)
        pen = ImageDraw.Draw(image)
        for points, score, colour in zip(tracks.points, tracks.score, colours, strict=False):
            for a, b in bones if score[now] > 0 else ():
                if min(points[now, a, 2], points[now, b, 2]) >= least:
                    ends = [tuple(float(v) for v in points[now, p, :2] * height) for p in (a, b)]
                    pen.line(ends, fill=colour, width=width)
        drawn[now] = np.asarray(image)
    return drawn
