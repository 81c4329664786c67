"""Adapters that read the moments of a clip, and the parts of its frames, in the shared space.

Letters: N clips, T frames, K moments (equal spans of a clip), R parts of a frame, D width of the
shared space, F width of a frame's features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.protocols import WithRegions
from vlar.numeric import unit
from vlar.training.towers import ResidualTower
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import Tensor


class MomentAdapter(ResidualTower):
    """An adapter on vectors of moments and of parts of frames, which a frozen encoder computes.

    Settings have ``grid``, ``moments`` and ``labels``.

    Attributes:
        source: The encoder whose features it reads: the wrapped one, or that with regions.
        config: The settings.
    """

    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks", "trained_labels"})

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> Any:
        if config.grid:
            require(encoder, ("patch_tokens",), cls.method)
        return config

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        return with_grid(encoder, config.grid)

    def refresh(self) -> None:
        self.trained_labels = self.config.labels
        super().refresh()

    def name_labels(self, labels: Sequence[str]) -> None:
        """Keep the labels of a training in the settings; the network is the same for all labels."""
        if tuple(labels) != self.config.labels:
            self.config = dataclasses.replace(self.config, labels=tuple(labels))
            self.refresh()

    # Training

    def fit_inputs(self, features: Float32) -> None:
        del features

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, (1 + R) D): each moment and its parts."""
        tokens = self.tokens(features)
        return tokens.reshape(*tokens.shape[:2], -1)

    def split_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of a step to tokens (N, K, 1 + R, D) and vectors of clips (N, D), of unit length.

        Args:
            inputs: (N, K, (2 + R) D) of ``training_inputs``, or frame features (N, T, F).
        """
        from torch.nn import functional as F  # noqa: N812 - the usual name

        parts = self.inputs_of(inputs).unflatten(-1, (-1, self.dim))
        # Mixed clips are means of unit vectors.
        return parts[:, :, :-1], F.normalize(parts[:, :, -1].mean(dim=1), dim=-1)

    def tokens(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, 1 + R, D): the vector of each moment, then those of its parts."""
        frame_rows, regions = features, None
        if isinstance(self.source, WithRegions):
            frame_rows, regions = self.source.split(features)
        count = min(self.config.moments, features.shape[1])
        places = np.array_split(np.arange(features.shape[1]), count)
        # One clip at a time: products round by the number of their rows.
        rows = [
            [self.encoder.pool(clip[None, layer])[0] for layer in places] for clip in frame_rows
        ]
        moments = np.array(rows, np.float32).reshape(len(frame_rows), count, 1, self.dim)
        if regions is None:
            return moments
        parts = np.stack([unit(regions[:, layer].mean(axis=1)) for layer in places], axis=1)
        return np.concatenate([moments, parts], axis=2)

    def label_vectors(self, labels: Sequence[str]) -> Float32:
        vectors = self.prompt_vectors(labels)
        return vectors[:, 0] if vectors.shape[1] == 1 else unit(vectors.mean(axis=1))


def with_grid(encoder: Encoder, grid: int) -> Encoder:
    """The encoder with the vectors of ``grid`` times ``grid`` parts of every frame; 0 for none."""
    return WithRegions(encoder, grid, grid) if grid else encoder
