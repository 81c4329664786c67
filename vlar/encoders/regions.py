"""Patch tokens: what an encoder offers that can tell the parts of a frame apart.

``PatchTokens`` is a second base of encoders. ``WithRegions`` wraps one: the vectors of the parts of
every frame follow its frame features, so that they are computed and cached with them.

Letters: N clips, T frames, R parts of a frame (rows times columns), F width of a frame's features,
D width of the shared space.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from vlar.encoders.base import Encoder, FrameBlock
from vlar.errors import UsageError
from vlar.types import Clip, Encoded, Float32, Role, UInt8

REGIONS = "regions"  # name and kind of the block that holds them


class PatchTokens(ABC):
    """A second base of encoders whose picture tower keeps the places of what it finds."""

    @abstractmethod
    def encode_regions(self, frames: UInt8, rows: int, columns: int) -> Float32:
        """Parts of frames in the shared space.

        Args:
            frames: (T, H, W, 3) uint8 RGB.
            rows: Parts from top to bottom.
            columns: Parts from left to right.

        Returns:
            (T, R, D) float32 of unit length, row by row. Blocks of the space that a part of a
            picture says nothing about (such as body motion) are zero.
        """


class WithRegions(Encoder):
    """An encoder whose frame features end with the vectors of the frame's parts.

    Its vectors and texts are those of the wrapped encoder.

    Args:
        encoder: Offers ``PatchTokens``.
        rows: Parts from top to bottom.
        columns: Parts from left to right.

    Raises:
        UsageError: the encoder has no patch tokens.
    """

    def __init__(self, encoder: Encoder, rows: int, columns: int) -> None:
        if not isinstance(encoder, PatchTokens):
            raise UsageError(
                f"encoder {encoder.name!r} has no patch tokens, so it cannot tell the parts of a "
                "frame apart; use lite or a CLIP with a plain ViT"
            )
        self.encoder, self.rows, self.columns = encoder, rows, columns
        self._patches: PatchTokens = encoder
        self.name, self.modality = encoder.name, encoder.modality
        self.dim, self.n_frames, self.fps = encoder.dim, encoder.n_frames, encoder.fps
        self.frames_fixed, self.max_frames = encoder.frames_fixed, encoder.max_frames
        self.longest_s, self.logit_scale = encoder.longest_s, encoder.logit_scale
        self.max_tokens, self.preprocess = encoder.max_tokens, encoder.preprocess
        self.blocks, self.templates = encoder.blocks, encoder.templates
        self.two_roles, self.descriptions = encoder.two_roles, encoder.descriptions
        self.licence = encoder.licence
        block = FrameBlock(REGIONS, rows * columns * encoder.dim, REGIONS)
        self.frame_blocks = (*encoder.frame_blocks, block)
        self.frame_dim = encoder.frame_dim + block.width
        text = f"{encoder.fingerprint} regions {rows} {columns}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips to the features (T, F + R D) and the vectors of the wrapped encoder."""
        rows = self.encoder.encode(clips)
        return [self._joined(clip, row) for clip, row in zip(clips, rows, strict=True)]

    def _joined(self, clip: Clip, row: Encoded) -> Encoded:
        regions = self._patches.encode_regions(clip.data, self.rows, self.columns)
        features = np.concatenate([row.features, regions.reshape(len(regions), -1)], axis=1)
        return Encoded(features, row.vector)

    def split(self, features: Float32) -> tuple[Float32, Float32]:
        """Features (N, T, F + R D) to those of the wrapped encoder and to regions (N, T, R, D)."""
        own, regions = np.split(features, [self.encoder.frame_dim], axis=2)
        return own, regions.reshape(*regions.shape[:2], self.rows * self.columns, self.dim)

    def pool(self, features: Float32) -> Float32:
        """As the wrapped encoder, whose features come first."""
        return self.encoder.pool(features[..., : self.encoder.frame_dim])

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """As the wrapped encoder."""
        return self.encoder.encode_in_role(texts, role)

    def count_tokens(self, text: str) -> int:
        """As the wrapped encoder."""
        return self.encoder.count_tokens(text)
