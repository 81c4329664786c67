"""Adapters that read the moments of a clip, and the parts of its frames, in the shared space.

Letters: N clips, T frames, K moments (equal spans of a clip), R parts of a frame, D width of the
shared space, F width of a frame's features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from typing_extensions import Self

from vlar.adapters.base import Adapter
from vlar.adapters.trainable import Trainable
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.regions import WithRegions
from vlar.encoders.session import Session
from vlar.numeric import unit
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor


class MomentAdapter(Adapter, Trainable):
    """An adapter on vectors of moments and of parts of frames, which a frozen encoder computes.

    A method gives its configuration (with ``grid``, ``moments`` and ``labels``), builds its network
    in ``_build`` and says what a row is in ``_row``. Features, inputs, fingerprint and texts are
    shared.

    Attributes:
        source: The encoder whose features it reads: the wrapped one, or that with regions.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    reads: Literal["pixels", "features"] = "features"
    changes = frozenset({"frame_dim", "frame_blocks", "trained_labels"})
    method: ClassVar[str]
    read_config: ClassVar[Callable[[JsonDict], Any]]
    source: Encoder
    config: Any

    def __init__(self, encoder: Encoder, config: Any) -> None:
        """Use ``attach``."""
        self._wrap(encoder, self.method)
        self.source = with_grid(encoder, config.grid)
        self.frame_blocks, self.frame_dim = self.source.frame_blocks, self.source.frame_dim
        self._build(config)

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Self:
        """The adapter at its start, which answers as the encoder.

        Raises:
            ModelError: the encoder has no frame features, no parts of frames where ``grid`` asks
                for them, or is narrower than the method.
            UnknownNameError: a setting does not exist.
        """
        require(encoder, cls.needs, cls.method)
        config = cls.read_config(settings or {})
        if config.grid:
            require(encoder, ("patch_tokens",), cls.method)
        return cls(encoder, config)

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """See ``Adapter``."""
        cls.read_config(settings)

    @classmethod
    def reading(cls, encoder: Encoder, settings: JsonDict) -> Encoder:
        """See ``Trainable``: the encoder, with the parts of its frames where ``grid`` is set."""
        return with_grid(encoder, cls.read_config(settings).grid)

    @abstractmethod
    def _build(self, config: Any) -> None:
        """Set ``config`` and build the network at its start."""

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters, and the labels from the settings."""
        self.trained_labels = self.config.labels
        self.fingerprint = self.content_hash(self.source, self.settings)

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """The features of ``source``, and the rows that the method makes of them."""
        return self._rows(self.source.encode(clips))

    def _rows(self, rows: Sequence[Encoded]) -> list[Encoded]:
        return [self._row(row.features) for row in rows]

    @abstractmethod
    def _row(self, features: Float32) -> Encoded:
        """One clip's features (T, F) to its row."""

    def session(self, *, features: bool = True) -> Session:
        """The session of ``source``; the method works window by window."""
        del features
        return self.source.session().then(self._rows)

    # Training

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, (2 + R) D): moment, its parts, and the clip's vector in each row."""
        tokens = self.tokens(features)
        pooled = np.repeat(self.source.pool(features)[:, None], tokens.shape[1], axis=1)
        return np.concatenate([tokens.reshape(*tokens.shape[:2], -1), pooled], axis=2)

    def split_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of a step to tokens (N, K, 1 + R, D) and vectors of clips (N, D), of unit length.

        Args:
            inputs: (N, K, (2 + R) D) of ``training_inputs``, or frame features (N, T, F).
        """
        import torch
        from torch.nn import functional as F  # noqa: N812 - the usual name

        if inputs.shape[-1] == self.frame_dim:
            inputs = torch.from_numpy(self.training_inputs(inputs.detach().numpy()))
        parts = inputs.unflatten(-1, (-1, self.dim))
        # Mixed clips are means of unit vectors.
        return parts[:, :, :-1], F.normalize(parts[:, :, -1].mean(dim=1), dim=-1)

    def tokens(self, features: Float32) -> Float32:
        """(N, T, F) to (N, K, 1 + R, D): the vector of each moment, then those of its parts."""
        own, regions = features, None
        if isinstance(self.source, WithRegions):
            own, regions = self.source.split(features)
        count = min(self.config.moments, features.shape[1])
        places = np.array_split(np.arange(features.shape[1]), count)
        # One clip at a time: products round by the number of their rows.
        rows = [[self.encoder.pool(clip[None, place])[0] for place in places] for clip in own]
        moments = np.array(rows, np.float32).reshape(len(own), count, 1, self.dim)
        if regions is None:
            return moments
        parts = np.stack([unit(regions[:, place].mean(axis=1)) for place in places], axis=1)
        return np.concatenate([moments, parts], axis=2)

    def label_vectors(self, labels: Sequence[str]) -> Float32:
        """Labels in the encoder's templates to (C, D) float32 of unit length."""
        prompts = fill(load_templates(self.templates), [clean_label(label) for label in labels])
        vectors = self.encoder.encode_text([text for texts in prompts for text in texts])
        vectors = vectors.reshape(len(labels), -1, self.dim)
        return vectors[:, 0] if vectors.shape[1] == 1 else unit(vectors.mean(axis=1))


def with_grid(encoder: Encoder, grid: int) -> Encoder:
    """The encoder with the vectors of ``grid`` times ``grid`` parts of every frame; 0 for none."""
    return WithRegions(encoder, grid, grid) if grid else encoder
