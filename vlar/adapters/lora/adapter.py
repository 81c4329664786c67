"""``lora``: low-rank changes of the towers, behind the encoder contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from vlar.adapters.base import Adapter, Trainable, TrainingBatch, TrainingOutput, require_blocks
from vlar.adapters.class_text import ClassStrings, class_vectors, mean_vector, unit_vectors
from vlar.adapters.lora.config import LoraConfig
from vlar.encoders.base import Encoder
from vlar.encoders.conditioned import ConditionedText
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.registry import register
from vlar.types import Float32, JsonDict, UInt8

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.lora.towers import LoraTowers


@register("adapter", "lora")
class Lora(Adapter, Trainable):
    """Frozen towers with low-rank changes; frames apart, as the encoder.

    Encoding uses a copy of the model with the changes merged, so it costs what the encoder costs.

    Attributes:
        changed: The towers with their changes, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    changed: LoraTowers
    config: LoraConfig

    def __init__(self, encoder: TorchEncoder, config: LoraConfig, name: str = "lora") -> None:
        """Use ``attach``; this takes an encoder with towers of torch."""
        from vlar.adapters.lora.towers import LoraTowers

        self.encoder, self.config, self.name = encoder, config, name
        self._base = encoder
        self.changed = LoraTowers(encoder.towers, config)
        self._take_over(encoder, config.n_frames)
        self.logit_scale, self.templates = encoder.logit_scale, encoder.templates
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Lora:
        """The encoder as it is: the changes start with effect 0.

        Raises:
            ModelError: the encoder has no towers of torch, or its text depends on the video.
        """
        config = LoraConfig.from_dict(settings or {})
        towers = require_blocks(encoder, "lora")
        if isinstance(towers, ConditionedText):
            raise ModelError(
                f"LoRA needs an encoder whose text does not depend on the video, and that of "
                f"{encoder.name!r} does; use for example openclip:ViT-B-16-quickgelu/openai"
            )
        return cls(towers, config)

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """The low-rank changes."""
        return self.changed.own

    def refresh(self) -> None:
        """Forget the merged copy and take the fingerprint anew."""
        from vlar.encoders.clip.towers import weights_hash

        self._merged: TorchEncoder | None = None
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    @property
    def merged(self) -> TorchEncoder:
        """The encoder on a copy of its model with the changes added to the weights."""
        if self._merged is None:
            self._merged = TorchEncoder(self.changed.merged(), self.name, n_frames=self.n_frames)
        return self._merged

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, D) float32, not normalised; any T."""
        return self.merged.encode_frames(frames)

    def pool(self, features: Float32) -> Float32:
        """As the encoder."""
        return self.encoder.pool(features)

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Texts to (C, D) float32 of unit length."""
        return self.merged.encode_text(texts)

    def count_tokens(self, text: str) -> int:
        """As the encoder."""
        return self.encoder.count_tokens(text)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """``A`` and ``B`` of every changed layer."""
        self.module.requires_grad_(True)
        return list(self.module.named_parameters())

    def training_classes(self, labels: Sequence[str]) -> ClassStrings:
        """The labels in the encoder's templates; as vectors where the text tower stays frozen."""
        import torch

        strings = ClassStrings.of(labels, self.templates, self._base.token_ids)
        if self.config.trains("text"):
            return strings
        with torch.no_grad():
            return replace(strings, vectors=unit_vectors(self._base.towers.text, strings.ids))

    def training_step(self, batch: TrainingBatch, classes: ClassStrings) -> TrainingOutput:
        """Cross entropy on scaled cosines; a text tower that is trained reads one template."""
        import torch
        from torch.nn import functional as F  # noqa: N812 - the name everybody uses

        self.changed.train(torch.is_grad_enabled())
        towers = self._base.towers
        pixels = batch.inputs.to(towers.device, towers.dtype)
        frames = self.changed.image(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        vectors = self._vectors(classes)
        with torch.autocast(frames.device.type, enabled=False):
            video = F.normalize(frames.float().mean(dim=1), dim=-1)
            logits = towers.log_scale().float().exp() * video @ vectors.t()
        loss = F.cross_entropy(logits, batch.targets.to(logits))
        return TrainingOutput(logits, {"total": loss, "ce": loss}, frames, vectors)

    def _vectors(self, classes: ClassStrings) -> Tensor:
        if classes.vectors is None:
            return class_vectors(self.changed.text, classes.drawn().chosen)
        kept = classes.vectors
        return mean_vector(kept if classes.rows is None else kept[list(classes.rows)])
