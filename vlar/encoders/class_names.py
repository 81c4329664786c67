"""A video classifier as a space of words: its classes have names, and names can be compared.

A clip is the square root of the posterior over the classes, centred; a text is the softmax of its
cosines to the names of the classes, centred. This is what ``lite`` does with the objects of
ImageNet (``vlar/encoders/lite/space.py``; after ConSE, Norouzi et al. 2014, and objects2action,
Jain et al. 2015), with classes that are actions already. A label that is a class is recognised as
well as the classifier recognises it; another label goes by the classes that are near in meaning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlar.encoders.base import Block, FrameBlock
from vlar.encoders.lite.anchors import KINDS, Anchors
from vlar.encoders.lite.space import KIND_WEIGHTS, SOFTMAX_SCALE, ObjectSpace
from vlar.encoders.sentences import count_word_pieces, sentence_vectors, tower_hash
from vlar.encoders.whole_clips import WholeClipEncoder
from vlar.numeric import unit
from vlar.types import Float32, Role

if TYPE_CHECKING:
    from vlar.encoders.clip.towers import Towers

LOGIT_SCALE = 10.0  # that of the objects of ``lite``, whose rule this is


class ClassNamesEncoder(WholeClipEncoder):
    """VideoMAE, TimeSformer, ViViT, V-JEPA 2 and VideoPrism with a classifier of named classes.

    Features are (1, C + P): the class scores, and the P numbers that the classifier reads, which
    few-shot methods use.

    Attributes:
        names: C names, cleaned.
    """

    templates = "plain"

    def __init__(self, towers: Towers, name: str, names: Sequence[str], *, n_frames: int) -> None:
        """Take over a loaded classifier.

        Args:
            towers: ``image`` gives the scores of C classes and the P numbers before them.
            name: The spec that loads this encoder again.
            names: C names of the classes.
            n_frames: T, fixed.
        """
        super().__init__(towers, name, n_frames=n_frames, frames_fixed=True)
        self.names = tuple(names)
        classes = len(self.names)
        self.dim, self.frame_dim = classes, towers.dim
        self.blocks = (Block("classes", classes, 1.0, has_text=True),)
        self.frame_blocks = (
            FrameBlock("classes", classes, "logits"),
            FrameBlock("pooled", towers.dim - classes, "clip"),
        )
        self._space = ObjectSpace(sentence_vectors, _anchors(self.names))
        told = [self.fingerprint, self.names, tower_hash(), KIND_WEIGHTS, SOFTMAX_SCALE]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def pool(self, features: Float32) -> Float32:
        """(N, 1, C + P) to (N, C) float32 of unit length."""
        return self._space.video(features[..., : self.dim])

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Texts to (C, classes) float32 of unit length: how near each is to the class names."""
        del role
        return self._space.text(texts)

    def count_tokens(self, text: str) -> int:
        """Word pieces of the text encoder that compares texts with class names."""
        return count_word_pieces(text)


def _anchors(names: Sequence[str]) -> Anchors:
    """Each class by its name alone, in the place of the four kinds of sentences of an object."""
    raw = sentence_vectors(names)
    mean = raw.mean(axis=0)
    vectors, numbers = unit(raw - mean), np.arange(len(names))
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()
    return Anchors(dict.fromkeys(KINDS, vectors), dict.fromkeys(KINDS, numbers), mean, digest)
