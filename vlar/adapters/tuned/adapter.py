"""``tuned``: a CLIP trained whole on video, behind the encoder contract."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.adapters.base import Adapter, Trainable, TrainingBatch, TrainingOutput, require_blocks
from vlar.adapters.class_text import ClassStrings, class_strings
from vlar.adapters.tuned.config import TunedConfig
from vlar.encoders.base import Encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, JsonDict, UInt8

if TYPE_CHECKING:
    from torch import nn

    from vlar.adapters.tuned.network import TunedNetwork

_TEXTS = 64  # classes whose strings are encoded and averaged at a time


@register("adapter", "tuned")
class Tuned(Adapter, Trainable):
    """A CLIP whose frames see each other, trained with cross entropy.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    needs: ClassVar[tuple[str, ...]] = ("vit_blocks",)
    network: TunedNetwork
    config: TunedConfig

    def __init__(self, encoder: TorchEncoder, config: TunedConfig, name: str = "tuned") -> None:
        """Use ``attach``; this takes an encoder that shows its blocks."""
        from vlar.adapters.tuned.blocks import make_mixers
        from vlar.adapters.tuned.network import TunedNetwork

        self.encoder, self.config, self.name = encoder, config, name
        self._inner = encoder.twin() if config.tune_towers else encoder
        towers = self._inner.towers
        vision = towers.vision_view()
        mixers = make_mixers(config, vision.blocks, vision.width)
        mixers.to(towers.device, towers.dtype).requires_grad_(False)
        self.network = TunedNetwork(vision, towers.text_view(), mixers, towers.log_scale)
        self._take_over(encoder, config.n_frames)
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Tuned:
        """The CLIP as it was trained, with frames that see each other.

        Raises:
            ModelError: the encoder is no CLIP with a plain ViT and a causal text tower.
        """
        return cls(require_blocks(encoder, "tuned"), TunedConfig.from_dict(settings or {}))

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """What mixes the frames; the towers where they are tuned."""
        from torch import nn

        modules: dict[str, nn.Module] = {"mixers": self.network.mixers}
        if self.config.tune_towers:
            modules["towers"] = self._inner.towers.model
        return nn.ModuleDict(modules)

    def refresh(self) -> None:
        """Take scale and fingerprint anew."""
        from vlar.encoders.clip.towers import weights_hash

        self.logit_scale = float(self.network.log_scale().detach().exp())
        settings = json.dumps(self.settings, sort_keys=True)
        self.fingerprint = weights_hash(self.module, self.encoder.fingerprint + settings)

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, D) float32, not normalised; any T."""
        import torch

        self._inner.check_frames(frames)
        if frames.shape[1] == 0:
            raise UsageError(f"no frames to encode: {frames.shape} (N, T, H, W, 3)")
        parts: list[Float32] = [np.zeros((0, frames.shape[1], self.dim), np.float32)]
        with torch.inference_mode():
            for pixels in self._inner.windows(frames):
                parts.append(self.network.frames(pixels).float().cpu().numpy())
        return np.concatenate(parts)

    def pool(self, features: Float32) -> Float32:
        """Mean of the frame features scaled to length 1, itself scaled to length 1."""
        return unit(unit(features).mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Class texts, each the mean of its strings: (C, D) float32 of unit length."""
        parts: list[Float32] = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(texts), _TEXTS):
            some = texts[start : start + _TEXTS]
            strings = [s for text in some for s in class_strings(text, self.config.prompts)]
            vectors = self._inner.encode_text(strings)
            parts.append(unit(vectors.reshape(len(some), -1, self.dim).mean(axis=1)))
        return np.concatenate(parts)

    def count_tokens(self, text: str) -> int:
        """Tokens of the longest string a text becomes, before any cut."""
        return self.encoder.count_tokens(max(class_strings(text, self.config.prompts), key=len))

    @property
    def reference(self) -> Encoder:
        """The same towers with one string a class, the text alone."""
        config = dataclasses.replace(self.config, prompts="plain")
        if config == self.config:
            return self
        other = copy.copy(self)
        other.config = config
        other.fingerprint = hashlib.sha256(f"reference {self.fingerprint}".encode()).hexdigest()
        return other

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """See ``Trainable``.

        Raises:
            ModelError: the towers stay as they are and nothing was added to them.
        """
        named = list(self.module.named_parameters())
        if not named:
            raise ModelError(
                f"temporal={self.config.temporal!r} adds no parameter and tune_towers is false, so "
                "nothing is trained; set tune_towers = true, or temporal to 'aim' for example"
            )
        for _, parameter in named:
            parameter.requires_grad_(True)
        return named

    def training_classes(self, labels: Sequence[str]) -> ClassStrings:
        """The strings of C labels as token ids."""
        return ClassStrings.of(labels, self.config.prompts, self._inner.token_ids)

    def training_step(self, batch: TrainingBatch, classes: ClassStrings) -> TrainingOutput:
        """Cross entropy; one string of each class is drawn beside the bare text."""
        from torch.nn import functional as F  # noqa: N812 - the name everybody uses

        towers = self._inner.towers
        frames = self.network.frames(batch.inputs.to(towers.device, towers.dtype))
        vectors = self.network.classes(classes.drawn().chosen)
        logits = self.network.logits(frames, vectors)
        loss = F.cross_entropy(logits, batch.targets.to(logits))
        return TrainingOutput(logits, {"total": loss, "ce": loss}, frames, vectors)
