"""Text that depends on the video: what an encoder offers whose prompts attend to the frames.

Such text cannot be indexed. A library searches with ``encode_text`` (unconditioned) and re-ranks
the best rows with ``conditioned_text``; ``classify`` uses ``conditioned_text`` for every clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from vlar.types import Float32


class ConditionedText(ABC):
    """A second base of encoders whose ``encode`` gives context tokens, which change the texts."""

    @abstractmethod
    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        """Texts given the context of each clip.

        Args:
            texts: C texts; the part that no clip changes is computed once per list and cached.
            context: (N, k, E) float16 or float32, ``Encoded.context`` of N clips.

        Returns:
            (N, C, D) float32 of unit length.
        """
