"""Faults of a pose network or a depth camera: joints that shake, go missing or change sides."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vlar.errors import UsageError
from vlar.evaluation.corruptions.base import Corruption
from vlar.media.skeleton.layouts import layout, symmetry
from vlar.registry import register
from vlar.types import Float32

_SPANS = 8  # of a clip; a fault lasts for one of them


class JointCorruption(Corruption):
    """A corruption of joints (T, M, V, C) float32, NaN where a joint is not seen."""

    modality: ClassVar[str] = "skeleton"
    family: ClassVar[str] = "joints"

    @classmethod
    def check(cls, samples: Any) -> None:
        shape, kind = getattr(samples, "shape", None), getattr(samples, "dtype", None)
        if shape is None or len(shape) != 4 or shape[-1] not in (2, 3) or 0 in shape:
            raise UsageError(
                f"joints to corrupt must have the shape (T, M, V, 2 or 3), got {shape}"
            )
        if not np.issubdtype(kind, np.floating):
            raise UsageError(f"joints to corrupt must be floats, got {kind}")


@register("corruption", "jitter")
class Jitter(JointCorruption):
    """Normal noise, drawn again for every frame; ``levels`` are deviations as a share of the body.

    The size of the body is the median distance of its joints from their middle.
    """

    levels = (0.02, 0.05, 0.1, 0.2, 0.4)

    def apply(self, frames: Float32, level: float, random: np.random.Generator) -> Float32:
        measured = np.isfinite(frames).all(axis=-1, keepdims=True)
        count = np.maximum(measured.sum(axis=2, keepdims=True), 1)
        middle = np.where(measured, frames, 0).sum(axis=2, keepdims=True) / count
        size = np.nanmedian(np.linalg.norm(frames - middle, axis=-1)) if measured.any() else 0.0
        noise = random.standard_normal(frames.shape, dtype=np.float32)
        return (frames + level * size * noise).astype(frames.dtype)


@register("corruption", "joint-dropout")
class JointDropout(JointCorruption):
    """Joints that are not seen for an eighth of the clip; ``levels`` are the share of them."""

    levels = (0.05, 0.1, 0.2, 0.35, 0.5)

    def apply(self, frames: Float32, level: float, random: np.random.Generator) -> Float32:
        lost = random.random((_SPANS, *frames.shape[1:3]))[_span(len(frames))] < level
        return np.where(lost[..., None], np.nan, frames).astype(frames.dtype)


@register("corruption", "left-right-swap")
class LeftRightSwap(JointCorruption):
    """Left and right joints of a person change places for an eighth of the clip.

    ``levels`` are the share of such spans. The layout is the clip's (``meta``).
    """

    levels = (0.05, 0.1, 0.2, 0.35, 0.5)

    def apply(self, frames: Float32, level: float, random: np.random.Generator) -> Float32:
        name = self.meta.get("layout")
        if not name or len(layout(str(name)).joints) != frames.shape[2]:
            raise UsageError(
                f"left-right-swap reads the layout of {frames.shape[2]} joints from the clip's "
                f"meta['layout'], which is {name!r}; pass meta=clip.meta"
            )
        swapped = random.random((_SPANS, frames.shape[1]))[_span(len(frames))] < level
        return np.where(swapped[..., None, None], frames[:, :, symmetry(str(name))], frames)


def _span(frames: int) -> np.ndarray:
    """(T,) the span that each frame is in."""
    return np.arange(frames) * _SPANS // frames
