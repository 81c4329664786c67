"""The common space of a classifier's named classes and texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vlar.encoders.lite.space import KINDS, Anchors, ObjectSpace, centred
from vlar.encoders.sentence_tower import sentence_vectors
from vlar.language.clean import clean_label
from vlar.numeric import unit
from vlar.types import Float32


class ClassSpace(ObjectSpace):
    """The space over the named classes of a classifier; the name of a class is that class alone.

    Args:
        names: C names, in the order of the scores.
    """

    def __init__(self, names: Sequence[str]) -> None:
        raw = sentence_vectors(names)
        mean = raw.mean(axis=0)
        vectors, numbers = unit(raw - mean), np.arange(len(names), dtype=np.int64)
        digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()
        super().__init__(
            sentence_vectors,
            Anchors(
                {str(kind): vectors for kind in KINDS},
                {str(kind): numbers for kind in KINDS},
                mean,
                digest,
            ),
        )
        self._own = {name: number for number, name in enumerate(names)}
        self._own |= {clean_label(name): number for name, number in self._own.items()}

    def text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, classes) unit vectors; the name of a class answers by its score alone."""
        vectors = super().text(texts)
        for row, text in enumerate(texts):
            if text in self._own:
                vectors[row] = centred(np.eye(self.width, dtype=np.float32)[[self._own[text]]])[0]
        return vectors
