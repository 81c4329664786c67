"""Text that depends on the video: what an encoder offers whose prompts look at the frames.

Such text cannot be indexed. A library searches with ``encode_text`` (unconditioned) and re-ranks
the best rows with ``conditioned_text``; ``classify`` uses ``conditioned_text`` for every window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlar.types import Float32, UInt8


@dataclass(frozen=True)
class EncodedWindows:
    """N windows with what conditioned text needs.

    Attributes:
        features: (N, T, F) float32, what ``encode_frames`` gives.
        context: (N, k, E) float32 context tokens. They may be kept as float16 (``compact``).
    """

    features: Float32
    context: Float32

    def compact(self) -> np.ndarray:
        """The context as float16, half the bytes of a stored row."""
        return self.context.astype(np.float16)


class ConditionedText(ABC):
    """Beside ``Encoder``: one pass over the frames, then text per window from the context."""

    @abstractmethod
    def encode_windows(self, frames: UInt8) -> EncodedWindows:
        """(N, T, H, W, 3) uint8 RGB to frame features and context tokens, in one pass."""

    @abstractmethod
    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts as each window sees them.

        Args:
            texts: C texts; the part that no video changes is computed once per list and kept.
            context: (N, k, E) float16 or float32, from ``encode_windows``.

        Returns:
            (N, C, D) float32 of unit length.
        """
