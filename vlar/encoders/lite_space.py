"""The space in which the frames and the texts of ``lite`` meet: the 1000 objects of ImageNet.

Nothing here was trained on pairs. A clip is the square root of its mean class probabilities. A text
is compared, by MiniLM, with what people do with each object (``text_banks/imagenet_objects.json``);
the objects nearest to it are its vector (after ConSE, Norouzi et al. 2014, and objects2action,
Jain et al. 2015, in the object space instead of the word space).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from vlar import resources
from vlar.encoders.base import unit
from vlar.encoders.lite_cache import cached
from vlar.types import Float32

BANK = "imagenet_objects"
NEAREST = 100  # objects that a text speaks of
SHARPNESS = 5.0  # of the softmax over their cosines

EmbedTexts = Callable[[Sequence[str]], Float32]


class ObjectSpace:
    """Turns class scores and texts into unit vectors over the objects."""

    def __init__(self, embed: EmbedTexts, cache_folder: str) -> None:
        bank = resources.find("text_banks", BANK, ".json")
        self.bank_hash = hashlib.sha256(bank.read_bytes()).hexdigest()

        def make() -> bytes:
            return _anchors(embed).tobytes()

        name = f"anchors-{self.bank_hash[:16]}.bin"
        data = cached(cache_folder, name, make, "the object anchors of 'lite'")
        anchors = np.frombuffer(data, dtype=np.float32).reshape(-1, 384)
        self._mean = anchors.mean(axis=0)
        self._anchors = unit(anchors - self._mean)
        self._embed = embed
        self.width = len(anchors)

    def video(self, logits: Float32) -> Float32:
        """(N, T, 1000) class scores to (N, 1000) unit vectors."""
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=-1, keepdims=True)
        return unit(np.sqrt(probabilities.mean(axis=1)))

    def text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, 1000) unit vectors."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            cosines = self._anchors @ self._embed([text])[0]
            nearest = np.argsort(-cosines, kind="stable")[:NEAREST]
            vectors[row, nearest] = np.exp(SHARPNESS * (cosines[nearest] - cosines[nearest[0]]))
        return unit(vectors)


def _anchors(embed: EmbedTexts) -> Float32:
    from vlar.text.bank import load_bank

    rows: list[Float32] = []
    for entry in load_bank(BANK).entries:
        activities = embed(entry.describe("activity")).mean(axis=0)
        rows.append(embed([entry.text])[0] + activities / np.linalg.norm(activities))
    return unit(np.stack(rows))
