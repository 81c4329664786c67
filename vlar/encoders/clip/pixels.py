"""Frames to normalised pixels, in batches on uint8.

torchvision's bicubic kernel with antialiasing works on uint8 directly: within 2 grey levels of
PIL's and 3 to 5 times cheaper. Its kernel for accelerators computes in float and differs by up to
4 grey levels, so frames are resized on the CPU for all devices, and small uint8 pixels are copied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from vlar.errors import ModelError
from vlar.types import JsonDict, UInt8


@dataclass(frozen=True)
class Pixels:
    """Size, scale, fit and interpolation of the pixels of a model.

    Attributes:
        height: Pixels.
        width: Pixels.
        mean: Per RGB channel, for values scaled to 0..1.
        std: Per RGB channel.
        fit: ``crop`` resizes until the frame covers the size and takes the centre; ``squash``
            ignores the aspect ratio (and takes the centre where ``shorter`` is larger); ``patches``
            keeps it and takes the largest size of at most ``max_patches`` patches (height and width
            then only bound that size).
        interpolation: ``bicubic`` or ``bilinear``.
        shorter: Resize the shorter side (``squash``: both) to this before the cut; 0 means the
            size.
        patch: For ``patches``: pixels of a patch's side.
        max_patches: For ``patches``.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = "crop"
    interpolation: str = "bicubic"
    shorter: int = 0
    patch: int = 0
    max_patches: int = 0

    def to_dict(self) -> JsonDict:
        """Settings for the fingerprint."""
        return asdict(self)


def to_pixels(
    frames: UInt8, wanted: Pixels, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Resize, cut and normalise.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        wanted: Size and scaling.
        device: Device of the result.
        dtype: Number type of the result.

    Returns:
        (N, 3, height, width).
    """
    return normalised(resized(frames, wanted), wanted, device, dtype)


def resized(frames: UInt8, wanted: Pixels) -> Tensor:
    """Frames (N, H, W, 3) to uint8 pixels (N, 3, height, width) on the CPU; any thread may call."""
    # torch takes no negative strides, and warns about arrays that it may not write to.
    if not frames.flags.writeable or min(frames.strides) < 0:
        frames = np.array(frames, order="C")
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if wanted.fit == "crop":
        images = _without_far_ends(images, wanted)
    images = transform.resize(
        images,
        list(_resized(images.shape[-2], images.shape[-1], wanted)),
        interpolation=InterpolationMode(wanted.interpolation),
        antialias=True,
    )
    if wanted.fit == "crop" or (wanted.fit == "squash" and wanted.shorter):
        images = transform.center_crop(images, [wanted.height, wanted.width])
    return images


def normalised(images: Tensor, wanted: Pixels, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Pixels (N, 3, height, width) of the CPU on a device, in one copy; uint8 are scaled there."""
    if device.type == "cuda":  # from locked memory a copy runs next to the kernels
        images = images.contiguous().pin_memory()
    pixels = images.to(device, non_blocking=True)
    if images.dtype == torch.uint8:
        scale, shift = _scaling_on(device, wanted.mean, wanted.std)
        pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        pixels.mul_(scale).add_(shift)
    return pixels.to(dtype)


@lru_cache(maxsize=64)
def _scaling_on(
    device: torch.device, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Factor and offset (3, 1, 1) of grey levels, kept on the device."""
    rows = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    scale, shift = torch.tensor(rows).view(2, 3, 1, 1).to(device)
    return scale, shift


def _without_far_ends(images: Tensor, wanted: Pixels) -> Tensor:
    """Cut off very long frames what the centre crop drops anyway, before it is enlarged."""
    height, width = images.shape[-2:]
    most = 32 * max(wanted.height / wanted.width, wanted.width / wanted.height)
    rows = min(height, math.ceil(width * most))
    columns = min(width, math.ceil(height * most))
    return images[..., (height - rows) // 2 :, (width - columns) // 2 :][..., :rows, :columns]


def _resized(height: int, width: int, wanted: Pixels) -> tuple[int, int]:
    if wanted.fit == "squash":
        return (wanted.shorter or wanted.height), (wanted.shorter or wanted.width)
    if wanted.fit == "patches":
        return patch_size_fit(height, width, wanted.patch, wanted.max_patches)
    low, wide = (wanted.shorter or wanted.height), (wanted.shorter or wanted.width)
    if height * wide >= width * low:  # too tall: the width decides
        return max(low, int(height * wide / width)), wide
    return low, max(wide, int(width * low / height))


def patch_size_fit(height: int, width: int, patch: int, max_patches: int) -> tuple[int, int]:
    """The largest size in whole patches that keeps the aspect ratio: SigLIP 2 NaFlex's rule.

    >>> patch_size_fit(480, 640, 16, 256)
    (224, 288)
    """

    def sides(scale: float) -> tuple[int, int]:
        rows = max(1, math.ceil(height * scale / patch))
        return rows, max(1, math.ceil(width * scale / patch))

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        rows, columns = sides(middle)
        low, high = (middle, high) if rows * columns <= max_patches else (low, middle)
    rows, columns = sides(low)
    return rows * patch, columns * patch


_RESAMPLES = {2: "bilinear", 3: "bicubic"}  # PIL's numbers
_GREY_LEVELS = 255


def read_pixels(processor: Mapping[str, Any], tower: Any, what: str) -> Pixels:
    """The pixels that an image or video processor makes.

    Args:
        processor: Its settings (``to_dict``).
        tower: The part of the model's configuration that states the size of pictures.
        what: Names the model in the error.

    Raises:
        ModelError: it resizes by a method that vlar does not have.
    """
    mean, std = _scaling(processor)
    resample = int(processor.get("resample") or 3)
    interpolation = _RESAMPLES.get(resample)
    if interpolation is None:
        raise ModelError(f"{what} resizes by PIL's method {resample}; vlar supports 2 and 3")
    if processor.get("max_num_patches") and processor.get("patch_size"):  # SigLIP 2 NaFlex
        patch, most = int(tower.patch_size), int(processor["max_num_patches"])
        side = int(most**0.5) * patch
        return Pixels(
            side, side, mean, std, "patches", interpolation, patch=patch, max_patches=most
        )
    size, cut = processor.get("size") or {}, processor.get("crop_size") or {}
    if processor.get("do_center_crop", False) and cut:
        height, width = int(cut["height"]), int(cut["width"])
        if not size.get("height"):
            shorter = int(size.get("shortest_edge") or height)
            return Pixels(height, width, mean, std, "crop", interpolation, shorter)
        whole = int(size["height"])
        shorter = whole if (whole, int(size["width"])) != (height, width) else 0
        return Pixels(height, width, mean, std, "squash", interpolation, shorter)
    side = getattr(tower, "image_size", None) or size.get("height") or size["shortest_edge"]
    sides = (side, side) if isinstance(side, int) else tuple(side)
    height, width = int(size.get("height") or sides[0]), int(size.get("width") or sides[1])
    return Pixels(height, width, mean, std, "squash", interpolation)


def _scaling(
    processor: Mapping[str, Any],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std for values of 0..1.

    A processor multiplies grey levels by a factor, may subtract 1 (EfficientNet, ViViT), and may
    normalise.
    """
    mean, std = (0.0,) * 3, (1.0,) * 3
    if processor.get("do_normalize", True):
        mean, std = tuple(processor["image_mean"]), tuple(processor["image_std"])
    factor = 1.0
    if processor.get("do_rescale", True):
        factor = float(processor.get("rescale_factor", 1 / _GREY_LEVELS))
    moved = float(bool(processor.get("rescale_offset") or processor.get("offset")))
    if processor.get("include_top"):  # EfficientNet divides once more
        std = tuple(s * float(again) for s, again in zip(std, processor["image_std"], strict=True))
    scale = _GREY_LEVELS * factor
    if abs(scale - 1) > 1e-6 or moved:
        mean, std = tuple((m + moved) / scale for m in mean), tuple(s / scale for s in std)
    return mean, std  # type: ignore[return-value]
