"""The base of adapters that work inside the towers of a CLIP.

Letters: N clips, T frames, H W pixels, D joint width, C texts.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from vlar.adapters.base import Adapter
from vlar.adapters.trainable import Trainable
from vlar.adapters.views import require, require_blocks
from vlar.encoders.base import Encoder
from vlar.encoders.torch_encoder import TorchEncoder, encode_batches
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn


class ClipAdapter(Adapter, Trainable):
    """An adapter whose image and text towers are those of a CLIP, changed.

    A method gives its settings (with ``n_frames``), builds its network
    in ``_build`` and reads clips in ``_frames``. Everything else is shared: a copy of the towers
    where ``tune_towers`` is set, the fingerprint, batches, vectors, token counts.

    Attributes:
        base: The wrapped CLIP, which never changes; ``encoder`` with its type.
        inner: The encoder whose towers the network runs on: a copy where the towers are tuned.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    changes = frozenset({"n_frames", "templates", "max_tokens", "logit_scale"})
    base: TorchEncoder
    inner: TorchEncoder

    def __init__(self, encoder: TorchEncoder, config: Any, name: str | None = None) -> None:
        """Use ``attach`` or ``from_spec``; this takes an encoder that shows its blocks."""
        self._wrap(encoder, name or self.method)
        self.base, self.config = encoder, config
        self.inner = encoder.twin() if self._tunes_towers else encoder
        self.n_frames, self.templates = config.n_frames, "plain"
        self._build()
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Self:
        """The adapter at its start.

        Raises:
            ModelError: the encoder is not a CLIP with a plain ViT and a causal text tower.
            UnknownNameError: a setting does not exist.
        """
        require(encoder, cls.needs, cls.method)
        blocks = require_blocks(encoder, cls.method)
        return cls(blocks, cls.read_config(settings or {}))

    @abstractmethod
    def _build(self) -> None:
        """Build the network on ``inner.towers``, at the method's start."""

    @abstractmethod
    def _parts(self) -> nn.Module:
        """The parameters the method adds to the towers."""

    @abstractmethod
    def _log_scale(self) -> Tensor:
        """The log of the factor from cosine to logit."""

    @abstractmethod
    def _frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pixels of clips to their features, and to context where text depends on the video.

        Args:
            pixels: (n, T, 3, height, width), normalised, on the device.

        Returns:
            (n, T, D), not normalised, and (n, k, E) or None.
        """

    @property
    def _tunes_towers(self) -> bool:
        return bool(getattr(self.config, "tune_towers", False))

    @property
    def module(self) -> nn.Module:
        """The added parameters, and the towers where they are tuned."""
        from torch import nn

        if not self._tunes_towers:
            return self._parts()
        return nn.ModuleDict({"parts": self._parts(), "towers": self.inner.towers.model})

    def refresh(self) -> None:
        """Compute scale and fingerprint from the parameters."""
        from vlar.encoders.clip.towers import weights_hash

        self.logit_scale = float(self._log_scale().detach().exp())
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; call ``refresh`` after the training."""
        named = list(self.module.named_parameters())
        for _, parameter in named:
            parameter.requires_grad_(True)
        return named

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features, vectors and, where text depends on the video, context.

        On a CPU clips run one by one, so a clip is bit for bit the same alone and in company.
        """
        return encode_batches(self.inner.pixel_batches(clips), self._frames, self.pool)

    def pool(self, features: Float32) -> Float32:
        """Mean of the raw frame features (N, T, D), scaled to length 1."""
        import numpy as np

        return unit(features.mean(axis=1, dtype=np.float32))

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens included, before any cut."""
        return self.base.count_tokens(text)
