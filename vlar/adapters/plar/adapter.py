"""Prompt experts behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vlar.adapters.plar.config import PlarConfig
from vlar.adapters.plar.frames import PromptedFrames
from vlar.adapters.towers import ResidualTower
from vlar.adapters.trainable import TrainingBatch, TrainingOutput
from vlar.encoders.base import Encoder
from vlar.encoders.vector_cache import cached_vectors
from vlar.numeric import softmax
from vlar.registry import register
from vlar.text.bank import load_bank
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.adapters.plar.network import PlarNetwork

_BANK = "everyday_actions"  # what the text prompt is made of


@register("adapter", "plar")
class Plar(ResidualTower):
    """Learned prompts mixed for each clip, with prompts of motion, people and text.

    In the spirit of Wang et al., "SCP: soft conditional prompt learning for aerial video action
    recognition" (first "PLAR"), 2023, of which no code is public. A pool of experts is learned; a
    router mixes them for each clip. A small causal transformer reads the mix, then the frames. The
    frames are moved, as far as a learned gate lets them, towards the same frames with what moves
    made brighter. Until it is trained the vectors are the encoder's own.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
        prompted: ``source``; encodes clips with the drawn prompts.
    """

    method, config_type = "plar", PlarConfig
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks", "descriptions"})
    network: PlarNetwork
    config: PlarConfig
    prompted: PromptedFrames

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder with the drawn prompts.

        Raises:
            ModelError: a prompt cannot be made for the encoder.
        """
        return PromptedFrames(encoder, config)

    def prepare(self) -> None:
        """Nothing of the text prompt is known yet."""
        assert isinstance(self.source, PromptedFrames)
        self.prompted = self.source
        self._text_bank: Float32 | None = None

    def build(self) -> PlarNetwork:
        """The experts, their router and the transformer at their start."""
        from vlar.adapters.plar.network import PlarNetwork

        return PlarNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def residual(self, features: Float32) -> Float32:
        """(D,) that is added for one clip (1, T, F), whose frames the prompts move."""
        import torch

        frames, away, _, text = self._split(torch.from_numpy(self.training_inputs(features)))
        return self.network.residual(frames, away, text)[0].numpy()

    def expert_shares(self, features: Float32) -> Float32:
        """(N, E) how the experts are mixed for each clip (N, T, F); rows sum to 1."""
        import torch

        with torch.inference_mode():
            frames = torch.from_numpy(self.small(features[..., : self.encoder.frame_dim]))
            return self.network.route(frames).numpy()

    # Training

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Concepts of the labels, (C, D) of unit length, as the encoder has them."""
        import torch

        return torch.from_numpy(self.label_vectors(labels))

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + P K + D (+ D)): the small inputs, what each of P prompts changes
        in them, and in every frame the encoder's vector and that of the text prompt.
        """
        count, length = features.shape[:2]
        own = features[..., : self.encoder.frame_dim]
        small, pooled = self.small(own), self.pooled(features)
        parts, columns = [small], self.prompted.columns
        for number in range(len(self.config.pictures)):
            start = self.encoder.frame_dim + number * len(columns)
            drawn = own.copy()
            drawn[..., columns] = features[..., start : start + len(columns)]
            parts.append(self.small(drawn) - small)
        vectors = [pooled, *([self._text_prompt(pooled)] if "text" in self.config.prompts else [])]
        parts += [np.repeat(rows[:, None], length, axis=1) for rows in vectors]
        shape = (count, length, sum(part.shape[2] for part in parts))
        return np.concatenate(parts, axis=2, dtype=np.float32).reshape(shape)

    def training_step(self, batch: TrainingBatch, classes: Tensor) -> TrainingOutput:
        """Scaled cosines, the loss of the task, and that of the balance of the experts.

        Args:
            batch: Inputs of ``training_inputs``, or frame features (N, T, F).
            classes: From ``training_classes``.
        """
        from vlar.adapters.plar.network import balance_loss

        frames, away, pooled, text = self._split(self.inputs_of(batch.inputs))
        given = [frames, away, pooled, *([] if text is None else [text])]
        vectors = batch.spread(self.network.vectors, *given)
        logits = self.logit_scale * vectors @ classes.T
        task, balance = batch.loss(logits), balance_loss(self.network.route(frames))
        losses = {"total": task + self.config.balance * balance, "task": task, "balance": balance}
        return TrainingOutput(logits, losses, classes=classes, vectors=vectors)

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """``training_inputs`` to frames (N, T, K), prompts (N, P, T, K), vectors, texts (N, D)."""
        size, prompts = self.n_inputs, len(self.config.pictures)
        frames, away = inputs[..., :size], inputs[..., size : size * (1 + prompts)]
        away = away.unflatten(-1, (prompts, size)) if prompts else away[..., None, :0]
        away = (
            away.movedim(2, 1) if prompts else inputs.new_zeros(len(inputs), 0, *frames.shape[1:])
        )
        start = size * (1 + prompts)
        pooled = inputs[:, 0, start : start + self.dim]
        text = inputs[:, 0, start + self.dim :] if "text" in self.config.prompts else None
        return frames, away, pooled, text

    def _text_prompt(self, vectors: Float32) -> Float32:
        """(N, D): the mean of everyday actions, each as it fits a clip's vector (N, D)."""
        if self._text_bank is None:
            texts = list(load_bank(_BANK).texts)
            shape = (len(texts), self.dim)
            key = json.dumps(["plar", _BANK, texts])
            reference = self.encoder.reference
            self._text_bank = cached_vectors(
                reference, key, shape, lambda: reference.encode_text(texts)
            )
        weights = softmax(self.logit_scale * vectors @ self._text_bank.T)
        return (weights @ self._text_bank).astype(np.float32)
