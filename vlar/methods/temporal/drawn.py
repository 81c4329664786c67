"""Frames with prompts drawn into them: what moves, or people, made brighter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import ModelError
from vlar.pose.features import tracks_from_features
from vlar.pose.optical_flow import (
    box_mean,
    camera_design,
    camera_flow,
    optical_flow,
    people_share,
    small_grey,
)
from vlar.pose.track import Tracks
from vlar.training.frame_inputs import placed
from vlar.types import Clip, Float32, Float64, UInt8

LONGEST_STEP_S = 0.5  # between frames; what moved in between is not found again
_TOP = 95  # percentile of the speeds that counts as 1
_STILL = 0.35  # pixels per step of the small frame; slower is noise
_SMOOTH = 1  # pixels around
_PICTURES = ("appearance", "logits")  # kinds of features that a brighter place can change
_VERSION = 1  # of what is drawn; increase it with every change


def flow_maps(frames: UInt8, times_s: Float64) -> Float32:
    """Motion of each place in each frame, less the camera's own motion; (T, h, w), 0 to 1.

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
    """Maps of people, (T, h, w), 0 to 1; zero without people.

    Args:
        frames: (T, H, W, 3) uint8.
        tracks: Tracks of the same frames.
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
    drawn_frames = np.empty_like(frames)
    size = frames.shape[2], frames.shape[1]
    for row, frame, one in zip(drawn_frames, frames, maps, strict=True):
        if not one.any():
            row[:] = frame
            continue
        large = Image.fromarray(one - one.mean()).resize(size, Image.Resampling.BILINEAR)
        factor = 1 + strength * np.asarray(large, np.float32)[..., None]
        row[:] = np.clip(np.rint(frame * factor), 0, 255)
    return drawn_frames


class PromptedFrames(Beside):
    """An encoder that also encodes frames with prompts drawn into them.

    Features are those of the encoder, then for each prompt what of them it may change.

    Args:
        encoder: Encodes the frames, once more for each prompt.
        prompts: ``flow`` and ``people``, in order.
        strength: Increase of brightness, as a share of a pixel's value.

    Attributes:
        columns: Those of the encoder's features that are encoded with prompts too.

    Raises:
        ModelError: frames are not pictures, or a prompt needs bodies and the encoder has none.
    """

    def __init__(self, encoder: Encoder, prompts: Sequence[str], strength: float) -> None:
        self.prompts, self.strength = prompts, strength
        blocks = placed(encoder.frame_blocks)
        if encoder.modality != "video":
            raise ModelError(
                f"prompts are drawn into pictures, and encoder {encoder.name!r} reads "
                f"{encoder.modality!r}; set drawn to []"
            )
        self._pose = next((slice(s, s + b.width) for s, b in blocks if b.kind == "pose"), None)
        if "people" in prompts and self._pose is None:
            raise ModelError(
                f"the prompt 'people' needs bodies, and encoder {encoder.name!r} finds none; use "
                "lite with lite-motion (vlar models get lite-motion), or leave it out"
            )
        read = [(s, b) for s, b in blocks if b.kind in _PICTURES]
        self.columns = np.concatenate(
            [np.arange(s, s + b.width) for s, b in read] or [np.arange(0)]
        )
        added = [
            FrameBlock(f"{block.name} with {name}", block.width, "prompted")
            for name in prompts
            for _, block in read
        ]
        super().__init__(encoder, added, json.dumps([list(prompts), strength, _VERSION]))

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """Columns of the frames that each prompt is drawn into, (T, P K)."""
        parts: list[Float32] = []
        for name in self.prompts:
            if name == "flow":
                maps = flow_maps(clip.data, clip.times_s)
            else:
                maps = people_maps(clip.data, tracks_from_features(features[:, self._pose]))
            frames = features
            if maps.any():
                shown = replace(clip, data=drawn(clip.data, maps, self.strength))
                frames = self.encoder.encode([shown])[0].features
            parts.append(frames[:, self.columns])
        return np.concatenate(parts, axis=1)

    def shown(self, features: Float32) -> list[Float32]:
        """Features (N, T, F + P K) to those of the encoder with each prompt, P of (N, T, F)."""
        own_features, prompted = self.split(features)
        shown = [own_features.copy() for _ in self.prompts]
        for rows, columns in zip(shown, np.split(prompted, len(shown), axis=2), strict=True):
            rows[..., self.columns] = columns
        return shown
