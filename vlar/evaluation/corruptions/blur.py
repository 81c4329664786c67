"""Blur of a lens that is out of focus, of a camera that shakes, of one that zooms.

Sizes are shares of the shorter side, at least a given number of pixels, so that a severity looks
the same in pictures of all sizes. The shake has one direction a clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlar.evaluation.corruptions.base import Corruption, FrameCorruption
from vlar.registry import register
from vlar.types import Float32, UInt8

if TYPE_CHECKING:
    from torch import Tensor

_ZOOMS = 9  # pictures that are averaged


@register("corruption", "defocus-blur")
class DefocusBlur(Corruption):
    """A disk as kernel; ``levels`` are its radius as a share of the shorter side."""

    family = "blur"
    levels = (0.008, 0.014, 0.022, 0.032, 0.045)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        step = self.levels.index(level)
        radius = max(1.0 + 0.6 * step, level * min(frames.shape[1:3]))
        return _convolved(frames, _disk(radius))


@register("corruption", "motion-blur")
class MotionBlur(Corruption):
    """A line as kernel; ``levels`` are its length as a share of the shorter side."""

    family = "blur"
    levels = (0.025, 0.045, 0.07, 0.1, 0.14)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        step = self.levels.index(level)
        length = max(3.0 + 2 * step, level * min(frames.shape[1:3]))
        return _convolved(frames, _line(length, random.uniform(0, np.pi)))


@register("corruption", "zoom-blur")
class ZoomBlur(Corruption):
    """The mean of growing pictures; ``levels`` are how much the largest one is enlarged."""

    family = "blur"
    levels = (0.04, 0.08, 0.13, 0.19, 0.26)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        zooms = 1 + level * np.arange(_ZOOMS) / (_ZOOMS - 1)
        return warped(frames, [np.eye(2, dtype=np.float32) / zoom for zoom in zooms])


def warped(frames: UInt8, maps: list[Float32]) -> UInt8:
    """The mean of pictures whose point p shows what was at ``map @ p``.

    Args:
        frames: (T, H, W, 3) uint8.
        maps: (2, 2) float32 on coordinates with the centre at 0 and pixels as the unit; what lies
            outside is filled with the nearest pixel of the border.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    height, width = frames.shape[1:3]
    to_pixels = np.diag([width / 2, height / 2]).astype(np.float32)
    grids: list[Tensor] = []
    for matrix in maps:
        matrix_px = np.linalg.inv(to_pixels) @ matrix @ to_pixels
        theta = torch.from_numpy(
            np.concatenate([matrix_px, np.zeros((2, 1))], axis=1).astype(np.float32)
        )
        grids.append(affine_grid(theta[None], [1, 3, height, width], align_corners=False))
    result = np.empty_like(frames)
    for number, frame in enumerate(frames):
        picture = _tensor(frame[None])
        total = sum(
            grid_sample(picture, grid, padding_mode="border", align_corners=False) for grid in grids
        )
        result[number] = _bytes(total / len(grids))[0]  # type: ignore[operator]
    return result


def _disk(radius: float) -> Float32:
    half = int(np.ceil(radius))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    # The rim counts by the share of the pixel inside, so that every radius is another kernel.
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _line(length: float, angle: float) -> Float32:
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 3, 2 * half + 3))
    for t in np.linspace(-length / 2, length / 2, 8 * half + 1):
        x, y = half + 1 + t * np.cos(angle), half + 1 + t * np.sin(angle)
        x_px, top = int(x), int(y)
        for row, across in ((top, 1 - (y - top)), (top + 1, y - top)):
            kernel[row, x_px] += across * (1 - (x - x_px))
            kernel[row, x_px + 1] += across * (x - x_px)
    return (kernel / kernel.sum()).astype(np.float32)


def _convolved(frames: UInt8, kernel: Float32) -> UInt8:
    import torch
    from torch.nn.functional import conv2d, pad

    half = kernel.shape[0] // 2
    weight = torch.from_numpy(kernel).expand(3, 1, *kernel.shape)
    result = np.empty_like(frames)
    for number, frame in enumerate(frames):
        picture = pad(_tensor(frame[None]), (half, half, half, half), mode="replicate")
        result[number] = _bytes(conv2d(picture, weight, groups=3))[0]
    return result


def _tensor(frames: UInt8) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def _bytes(pictures: Tensor) -> UInt8:
    return pictures.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@register("corruption", "resolution")
class Resolution(FrameCorruption):
    """Fewer pixels, enlarged to the old size; ``levels`` are the factor on both sides."""

    family = "camera"
    levels = (1.5, 2.5, 4.0, 6.0, 9.0)

    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        from PIL import Image

        height, width = frame.shape[:2]
        small = (max(1, round(width / level)), max(1, round(height / level)))
        coarse = Image.fromarray(frame).resize(small, Image.Resampling.BOX)
        return np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))


@register("corruption", "rotation")
class Rotation(Corruption):
    """A camera that hangs askew, to a side that is drawn; ``levels`` are degrees.

    The picture's corners are filled with the nearest pixels.
    """

    family = "camera"
    levels = (5.0, 10.0, 18.0, 28.0, 40.0)

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        angle = np.deg2rad(level if random.random() < 0.5 else -level)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return warped(frames, [turn.astype(np.float32)])
