"""The hands block of the vectors of ``lite``, with the hand networks of ``lite-motion``.

Hands take the place that an unseen body leaves: a clip with a whole body has none, and costs what
it did. In a text the block has a last number for what the text leaves unnamed, so that the other
blocks of all texts have one scale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from vlar.encoders.base import FrameBlock
from vlar.language.motion import verb_table
from vlar.language.motion.verb_table import TextMotion, VerbTable
from vlar.numeric import unit
from vlar.pose import networks
from vlar.pose.attributes.base import hand_attributes
from vlar.pose.hand_features import HANDS_WIDTH, SEEN_BODY, VERSION, HandReader, hand_vector
from vlar.types import Float32, Float64, UInt8


class HandBlock:
    """The hands of clips and texts.

    Attributes:
        frame_block: Their part of the frame features.
        text_weight: Length of the hands in a text over that of the rest; chosen on half of the
            clips (``evals/results/hands.json``).
    """

    frame_block = FrameBlock("hands", HANDS_WIDTH, "hands")
    text_weight = 0.5

    def __init__(self) -> None:
        self._reader = HandReader()
        self.table = VerbTable.packaged(None, verb_table.hands())
        self.width = len(hand_attributes()) + 1

    def features(self, frames: UInt8, times_s: Float64, bodies: Float32) -> Float32:
        """(T, H, W, 3) and body features to (T, HANDS_WIDTH); zeros where a body is seen."""
        return self._reader.features(frames, times_s, bodies)

    def rows(self, features: Float32) -> Float32:
        """Frame features (N, T, HANDS_WIDTH) to (N, width); the norm is how well hands are seen."""
        vectors = np.zeros((len(features), self.width), np.float32)
        for row, clip in zip(vectors, features, strict=True):
            if clip[:, 0].any():
                row[:-1] = hand_vector(clip)
        return vectors

    def text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, width) of unit length."""
        rows = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:-1] = unit(self.table.lookup(text).weights[None])[0]
            row[-1] = not row[:-1].any()
        return rows

    def explain(self, text: str) -> TextMotion:
        """The hand attributes that a text describes."""
        return self.table.lookup(text)

    @property
    def clip_fingerprint(self) -> str:
        """Hash of everything that changes the block of a clip, except its weight."""
        scales = [(row.name, row.centre, row.width, row.mean) for row in hand_attributes()]
        settings = [VERSION, networks.hands_digest(), scales, SEEN_BODY]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes the block of a clip or a text."""
        settings = [self.clip_fingerprint, self.table.digest, self.text_weight]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()
