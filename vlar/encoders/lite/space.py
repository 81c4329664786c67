"""The common space of frames and texts in ``lite``: the 1000 objects of ImageNet.

No pair of video and text was used for training. A clip is the square root of its mean class
probabilities. MiniLM compares a text with the name of each object, what people do with it, where it
is found and what else the classifier assigns to it. The softmax of the weighted cosines represents
the text over the objects. Both are centred over the objects, so that an unspecific clip favours no
text (after ConSE, Norouzi et al. 2014, and objects2action, Jain et al. 2015; evals/README.md lists
the alternatives).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vlar.encoders.lite.anchors import Anchors, EmbedTexts
from vlar.numeric import unit
from vlar.types import Float32

# Inverse to the spread of the cosines of each kind (0.085, 0.108, 0.093, 0.093 over everyday
# actions), scene and also at half weight; the overall sharpness was chosen on half of the clips.
KIND_WEIGHTS = {"name": 4.0, "activity": 3.0, "scene": 2.0, "also": 2.0}
_MANY_TEXTS = 64  # number of texts from which threads are faster
SOFTMAX_SCALE = 0.85  # on class scores, before the softmax


class ObjectSpace:
    """Maps class scores and texts to unit vectors over the objects."""

    def __init__(self, embed: EmbedTexts, anchors: Anchors) -> None:
        self._embed = embed
        self._anchors = anchors
        self.width = len(anchors.vectors["name"])
        self._rows = {
            kind: np.unique(objects, return_index=True) for kind, objects in anchors.objects.items()
        }

    def video(self, logits: Float32) -> Float32:
        """(N, T, 1000) class scores to (N, 1000) unit vectors."""
        shifted = SOFTMAX_SCALE * (logits - logits.max(axis=-1, keepdims=True))
        probabilities = np.exp(shifted)
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        return _centred(np.sqrt(probabilities.mean(axis=1)))

    def text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, 1000) unit vectors; equal texts are computed once."""
        distinct = list(dict.fromkeys(texts))
        if len(distinct) < _MANY_TEXTS:
            embedded = [self._embedded(text) for text in distinct]
        else:  # one text per call in both cases, so the vectors are equal
            with ThreadPoolExecutor() as pool:
                embedded = list(pool.map(self._embedded, distinct))
        # Not in the pool: matrix products with threads of their own slow each other down there.
        pairs = zip(distinct, embedded, strict=True)
        found = {text: self._one(vector) for text, vector in pairs}
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = found[text]
        return vectors

    def _embedded(self, text: str) -> Float32:
        return self._embed([text])[0]

    def _one(self, embedded: Float32) -> Float32:
        query = unit(embedded - self._anchors.mean)
        affinity = np.zeros(self.width, dtype=np.float32)
        for kind, weight in KIND_WEIGHTS.items():
            affinity += weight * self._best(kind, query)
        return _centred(np.exp(affinity - affinity.max()))

    def _best(self, kind: str, query: Float32) -> Float32:
        """The best cosine of each object's sentences; without any, the one of its activities."""
        cosines = self._anchors.vectors[kind] @ query
        present, first = self._rows[kind]
        best = np.maximum.reduceat(cosines, first)
        if len(present) == self.width:
            return best
        filled = self._best("activity", query)
        filled[present] = best
        return filled


def _centred(vectors: Float32) -> Float32:
    return unit(vectors - vectors.mean(axis=-1, keepdims=True))
