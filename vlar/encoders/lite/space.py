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

import numpy as np

from vlar.encoders.lite.anchors import Anchors, EmbedTexts
from vlar.numeric import unit
from vlar.types import Float32

# Inverse to the spread of the cosines of each kind (0.085, 0.108, 0.093, 0.093 over everyday
# actions), scene and also at half weight; the overall sharpness was chosen on half of the clips.
KIND_WEIGHTS = {"name": 4.0, "activity": 3.0, "scene": 2.0, "also": 2.0}
_TEXTS = 8  # that are compared with the sentences of the objects at a time
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
        embedded = self._embed(distinct)
        found: dict[str, Float32] = {}
        for at in range(0, len(distinct), _TEXTS):
            part = embedded[at : at + _TEXTS]
            # Products round by their shape: a text alone is compared as one of a full group.
            filled = np.concatenate([part, np.repeat(part[-1:], _TEXTS - len(part), axis=0)])
            found |= zip(distinct[at : at + _TEXTS], self._affinities(filled), strict=False)
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = found[text]
        return vectors

    def _affinities(self, embedded: Float32) -> Float32:
        """(8, 384) vectors of texts to (8, 1000) unit vectors."""
        queries = unit(embedded - self._anchors.mean).T
        activity = self._best("activity", queries)
        affinity = np.zeros(activity.shape, dtype=np.float32)
        for kind, weight in KIND_WEIGHTS.items():
            best = activity if kind == "activity" else self._best(kind, queries, activity)
            affinity += weight * best
        return _centred(np.exp(affinity - affinity.max(axis=0)).T)

    def _best(self, kind: str, queries: Float32, without: Float32 | None = None) -> Float32:
        """The best cosine of each object's sentences (1000, 8); without any, that of another kind.

        Args:
            kind: Of sentences.
            queries: (384, 8).
            without: (1000, 8) the cosines that stand in.
        """
        cosines = self._anchors.vectors[kind] @ queries
        present, first = self._rows[kind]
        best = np.maximum.reduceat(cosines, first, axis=0)
        if without is None or len(present) == self.width:
            return best
        filled = without.copy()
        filled[present] = best
        return filled


def _centred(vectors: Float32) -> Float32:
    return unit(vectors - vectors.mean(axis=-1, keepdims=True))
