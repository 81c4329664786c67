"""``tuned``: a CLIP trained whole on video, behind the encoder contract."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.base import Encoder
from vlar.errors import ModelError
from vlar.methods.full_finetune.blocks import TunedConfig, TunedNetwork, make_mixers
from vlar.numeric import unit
from vlar.registry import register
from vlar.training.clip_adapter import (
    ClassStrings,
    ClipAdapter,
    class_strings,
    shared_class_vectors,
    unit_vectors,
)
from vlar.training.trainable import TextVectors, TrainingBatch, TrainingOutput, fixed_vectors
from vlar.types import Float32, Role

_TEXTS = 64  # classes whose strings are encoded and averaged at a time


@register("adapter", "tuned", status="reproduced")
class Tuned(ClipAdapter):
    """A CLIP whose frames attend to each other, trained with the loss of the task.

    Reference: Weng et al., "Open-VCLIP: transforming CLIP to an open-vocabulary video model via
    interpolated weight optimization", ICML 2023, arXiv 2302.00624.
    Example: ``vlar adapt support/ --model clip --out mine --method tuned``.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "tuned", TunedConfig
    recomputes = True
    network: TunedNetwork
    config: TunedConfig

    def _build(self) -> None:
        towers = self.inner.towers
        vision = towers.vision_view()
        mixers = make_mixers(self.config, vision.blocks, vision.width)
        mixers.to(towers.device, towers.dtype).requires_grad_(False)
        self.network = TunedNetwork(vision, towers.text_view(), mixers, towers.log_scale)

    def _parts(self) -> nn.Module:
        """Module that mixes the frames."""
        return self.network.mixers

    def _log_scale(self) -> Tensor:
        return self.network.log_scale()

    @property
    def module(self) -> nn.Module:
        """Module that mixes the frames; with the towers where they are tuned."""
        towers = {"towers": self.inner.towers.model} if self.config.tune_towers else {}
        return nn.ModuleDict({"mixers": self._parts(), **towers})

    def _frames(self, pixels: Tensor) -> tuple[Tensor, None]:
        return self.network.frames(pixels), None

    def pool(self, features: Float32) -> Float32:
        """Mean of the frame features scaled to length 1, itself scaled to length 1."""
        return unit(unit(features).mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """Class texts, each the mean of its strings: (C, D) float32 of unit length."""
        parts: list[Float32] = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(texts), _TEXTS):
            batch = texts[start : start + _TEXTS]
            strings = [s for text in batch for s in class_strings(text, self.config.prompts)]
            vectors = self.inner.encode_text(strings)
            parts.append(unit(vectors.reshape(len(batch), -1, self.dim).mean(axis=1)))
        return np.concatenate(parts)

    def count_tokens(self, text: str) -> int:
        """Tokens of the longest string a text becomes, before any cut."""
        return self.base.count_tokens(max(class_strings(text, self.config.prompts), key=len))

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
        """Switch gradients on and name the trained parameters.

        Raises:
            ModelError: the towers are frozen and nothing was added to them.
        """
        named = super().trainable()
        if not named:
            raise ModelError(
                f"temporal={self.config.temporal!r} adds no parameter and tune_towers is false, so "
                "nothing is trained; set tune_towers = true, or temporal to 'aim' for example"
            )
        return named

    def training_classes(self, labels: Sequence[str]) -> ClassStrings:
        """The strings of C labels as token ids."""
        return ClassStrings.of(labels, self.config.prompts, self.inner.token_ids)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; each text is one string."""
        if not self.config.tune_towers:
            return fixed_vectors(self.inner.encode_text(texts))
        ids = self.inner.token_ids(list(texts))
        return lambda rows: unit_vectors(self.network.text.features, ids[list(rows)][None])[0]

    def training_step(self, batch: TrainingBatch, classes: ClassStrings) -> TrainingOutput:
        """The loss of the task; of each class the bare text and one drawn string are read."""
        towers = self.inner.towers
        pixels = batch.inputs.to(towers.device, towers.dtype)
        frames = batch.spread(self.network.frames, pixels)
        words = shared_class_vectors(batch, self.network.text.features, classes.drawn().chosen)
        logits = self.network.logits(frames, words)
        loss = batch.loss(logits)
        vectors = F.normalize(F.normalize(frames.float(), dim=-1).mean(dim=1), dim=-1)
        return TrainingOutput(logits, {"total": loss, "ce": loss}, frames, words, vectors)
