"""What every corruption offers: frames in, frames of the same shape out, worse by degrees.

The corruptions are those of studies of robustness: Hendrycks and Dietterich, "Benchmarking neural
network robustness to common corruptions and perturbations", 2019, for single pictures, and Schiappa
et al., "A large-scale robustness analysis of video action recognition models", 2023, for videos.
The code here is written from their definitions.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import UsageError
from vlar.types import UInt8

SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(ABC):
    """One way in which a video gets worse. Registered as ``@register("corruption", NAME)``.

    Attributes:
        family: Corruptions of one family are averaged together: ``noise``, ``blur``, ``weather``,
            ``codec``, ``time``, ``camera``.
        levels: What each severity means, mildest first; the unit is in the class's documentation.
        graded: False where all severities are the same.
    """

    family: ClassVar[str]
    levels: ClassVar[tuple[float, float, float, float, float]]
    graded: ClassVar[bool] = True

    @abstractmethod
    def apply(self, frames: UInt8, level: float, random: np.random.Generator) -> UInt8:
        """Corrupt a clip.

        Args:
            frames: (T, H, W, 3) uint8 RGB; not to be changed.
            level: One of ``levels``.
            random: The only source of chance. It starts equal at every severity, so that a larger
                severity adds to a smaller one.

        Returns:
            (T, H, W, 3) uint8.
        """


def corrupt(frames: npt.NDArray[Any], name: str, severity: int, *, seed: int) -> UInt8:
    """Corrupt the frames of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, at least one frame.
        name: Registered name: ``gaussian-noise``, ``h264``, ``shuffle``, ...
        severity: 0 (unchanged) to 5.
        seed: Of everything that is drawn; the same seed gives the same bytes.

    Returns:
        (T, H, W, 3) uint8, a new array.

    Raises:
        UnknownNameError: no corruption has this name.
        UsageError: frames of another type or shape, or a severity outside 0..5.

    >>> still = np.zeros((2, 8, 8, 3), np.uint8)
    >>> bool((corrupt(still, "jpeg", 0, seed=0) == still).all())
    True
    """
    part: type[Corruption] = registry.get("corruption", name)
    _check(frames, severity)
    if severity == 0:
        return frames.copy()
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.ascontiguousarray(part().apply(frames, part.levels[severity - 1], random))


def _check(frames: npt.NDArray[Any], severity: int) -> None:
    shape = getattr(frames, "shape", None)
    if shape is None or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise UsageError(f"frames to corrupt must have the shape (T, H, W, 3), got {shape}")
    if frames.dtype != np.uint8:
        raise UsageError(f"frames to corrupt must be uint8 (0 to 255), got {frames.dtype}")
    if isinstance(severity, bool) or severity not in (0, *SEVERITIES):
        raise UsageError(f"severity {severity!r} is not a whole number from 0 to 5")
