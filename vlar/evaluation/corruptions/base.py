"""Contract of corruptions: samples in, samples of the same shape out, worse by degrees.

The corruptions are those of studies of robustness: Hendrycks and Dietterich, "Benchmarking neural
network robustness to common corruptions and perturbations", 2019, for single pictures, and Schiappa
et al., "A large-scale robustness analysis of video action recognition models", 2023, for videos.
The code here is written from their definitions.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import UsageError
from vlar.types import UInt8

SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(ABC):
    """One way in which clips get worse. Registered as ``@register("corruption", NAME)``.

    Attributes:
        modality: Name of the sensor whose clips it changes. Those of the family ``time`` that are
            written for pictures reorder the samples of any sensor.
        family: Corruptions of one family are averaged together: ``noise``, ``blur``, ``weather``,
            ``codec``, ``time``, ``camera``, ``joints``.
        levels: What each severity means, mildest first; the unit is in the class's documentation.
        graded: False where all severities are the same.
        meta: Facts of the clip, such as the ``layout`` of its joints (``Clip.meta``).
    """

    modality: ClassVar[str] = "video"
    family: ClassVar[str]
    levels: ClassVar[tuple[float, float, float, float, float]]
    graded: ClassVar[bool] = True
    meta: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def apply(self, frames: Any, level: float, random: np.random.Generator) -> Any:
        """Corrupt a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB of a video, else the samples of the sensor
                (``Clip.data``); not to be changed.
            level: One of ``levels``.
            random: The only source of chance. It starts equal at every severity, so that a larger
                severity adds to a smaller one.

        Returns:
            The same shape and type; of a sensor whose samples have times of their own there may be
            fewer.
        """

    @classmethod
    def check(cls, samples: Any) -> None:
        """Refuse samples that are not of the sensor; pictures by default.

        Raises:
            UsageError: they have another type or shape.
        """
        shape = getattr(samples, "shape", None)
        if shape is None or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise UsageError(f"frames to corrupt must have the shape (T, H, W, 3), got {shape}")
        if samples.dtype != np.uint8:
            raise UsageError(f"frames to corrupt must be uint8 (0 to 255), got {samples.dtype}")


class FrameCorruption(Corruption):
    """A corruption of each frame by itself, so that memory stays that of one frame."""

    @abstractmethod
    def change(self, frame: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """Corrupt a frame, (H, W, 3)."""

    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        result = np.empty_like(frames)
        for number, frame in enumerate(frames):
            result[number] = self.change(frame, level, random)
        return result


def names_for(modality: str) -> list[str]:
    """Names of the corruptions of a sensor, sorted; of pictures those that reorder any samples."""
    corruptions: dict[str, type[Corruption]] = registry.parts("corruption")
    return [name for name, part in corruptions.items() if suits(part, modality)]


def suits(part: type[Corruption], modality: str) -> bool:
    """Return whether a corruption can change the clips of a sensor."""
    return part.modality == modality or (part.modality == "video" and part.family == "time")


def corrupt(
    frames: npt.NDArray[Any],
    name: str,
    severity: int,
    *,
    seed: int,
    meta: Mapping[str, Any] | None = None,
) -> Any:
    """Corrupt the samples of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, at least one frame; of another sensor its ``Clip.data``.
        name: Registered name: ``gaussian-noise``, ``h264``, ``shuffle``, ...
        severity: 0 (unchanged) to 5.
        seed: Seed of everything that is drawn; the same seed gives the same bytes.
        meta: ``Clip.meta``, for corruptions that read it.

    Returns:
        A new array, (T, H, W, 3) uint8 of a video.

    Raises:
        UnknownNameError: no corruption has this name.
        UsageError: frames of another type or shape, or a severity outside 0..5.

    >>> still = np.zeros((2, 8, 8, 3), np.uint8)
    >>> bool((corrupt(still, "jpeg", 0, seed=0) == still).all())
    True
    """
    part: type[Corruption] = registry.get("corruption", name)
    part.check(frames)
    if isinstance(severity, bool) or severity not in (0, *SEVERITIES):
        raise UsageError(f"severity {severity!r} is not a whole number from 0 to 5")
    if severity == 0:
        return frames.copy()
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    corruption = part()
    corruption.meta = meta or {}
    return np.ascontiguousarray(corruption.apply(frames, part.levels[severity - 1], random))
