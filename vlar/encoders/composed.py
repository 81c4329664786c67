"""Labels in parts: what an encoder offers that scores pairs of a verb and an object by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from vlar.types import Float32

Pair = tuple[str, str]


class ComposedLabels(ABC):
    """A second base of encoders whose ``encode`` gives context tokens that pairs are scored by.

    Attributes:
        verbs: V verbs it was trained on, as the user spells them.
        objects: O objects, likewise.
        pair_scale: Factor from the similarity of a pair to a logit.
    """

    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    pair_scale: float

    @abstractmethod
    def context(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to context tokens (N, k, E) float32."""

    @abstractmethod
    def pair_similarity(self, context: np.ndarray, pairs: Sequence[Pair]) -> Float32:
        """Similarities of pairs to each clip, whether or not training has shown them.

        Args:
            context: (N, k, E) float16 or float32, ``Encoded.context`` of N clips.
            pairs: P pairs ``(verb, object)``; words of others than ``verbs`` and ``objects`` go by
                their text.

        Returns:
            (N, P) float32 from -1 to 1. Times ``pair_scale`` they are logits.
        """
