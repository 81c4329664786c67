"""How a transformers processor scales pictures, in the terms of ``vlar.encoders.clip.pixels``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlar.encoders.clip.pixels import Pixels
from vlar.errors import ModelError

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
        raise ModelError(f"{what} resizes by PIL's method {resample}; vlar knows 2 and 3")
    if processor.get("max_num_patches") and processor.get("patch_size"):  # SigLIP 2 NaFlex
        patch, most = int(tower.patch_size), int(processor["max_num_patches"])
        side = int(most**0.5) * patch
        return Pixels(
            side, side, mean, std, "patches", interpolation, patch=patch, max_patches=most
        )  # fmt: skip
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
