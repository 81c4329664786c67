"""Draws bodies and hands on their frames."""

from __future__ import annotations

import numpy as np

from vlar.pose.hand_networks import HandTracks
from vlar.pose.skeletons import BLAZEPOSE_33, HAND_21
from vlar.pose.track import Tracks
from vlar.types import UInt8

_COLOURS = ((255, 176, 0), (100, 143, 255), (220, 38, 127))  # distinct for colour-blind people too
_HANDS = ((255, 255, 255), (254, 97, 0))
_VISIBLE = 0.5


def draw_tracks(frames: UInt8, tracks: Tracks) -> UInt8:
    """Copy the frames (T, H, W, 3) uint8 with the people's bones drawn, one colour per person.

    Bones with a joint that is probably hidden are not drawn.
    """
    from PIL import Image, ImageDraw

    drawn = np.empty_like(frames)
    height, bones = frames.shape[1], BLAZEPOSE_33.bone_indices
    width = max(2, height // 120)
    for now, frame in enumerate(frames):
        image = Image.fromarray(frame)
        pen = ImageDraw.Draw(image)
        for points, score, colour in zip(tracks.points, tracks.score, _COLOURS, strict=False):
            if score[now] <= 0:
                continue
            for a, b in bones:
                if min(points[now, a, 2], points[now, b, 2]) < _VISIBLE:
                    continue
                ends = [tuple(float(v) for v in points[now, p, :2] * height) for p in (a, b)]
                pen.line(ends, fill=colour, width=width)
        drawn[now] = np.asarray(image)
    return drawn


def draw_hands(frames: UInt8, tracks: HandTracks) -> UInt8:
    """Copy the frames (T, H, W, 3) uint8 with the bones of the hands drawn, one colour per hand."""
    from PIL import Image, ImageDraw

    drawn = np.empty_like(frames)
    height = frames.shape[1]
    for now, frame in enumerate(frames):
        image = Image.fromarray(frame)
        pen = ImageDraw.Draw(image)
        for points, score, colour in zip(tracks.points, tracks.score, _HANDS, strict=False):
            places = points[now, :, :2] * height
            for a, b in HAND_21.bone_indices if score[now] > 0 else ():
                ends = [tuple(float(v) for v in places[p]) for p in (a, b)]
                pen.line(ends, fill=colour, width=max(1, height // 180))
        drawn[now] = np.asarray(image)
    return drawn
