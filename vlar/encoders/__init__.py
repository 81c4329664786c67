"""Frozen towers: frames to features, texts to vectors, one file an encoder."""

from vlar.encoders.base import Block, BlockMix, Encoder, FrameBlock, Preprocess, load_encoder
from vlar.encoders.sentences import load_text_tower
from vlar.numeric import unit

__all__ = [
    "Block", "BlockMix", "Encoder", "FrameBlock", "Preprocess", "load_encoder", "load_text_tower",
    "unit",
]  # fmt: skip
