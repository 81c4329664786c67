"""Prompt experts behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from vlar.adapters.base import Adapter
from vlar.adapters.frame_inputs import (
    along_directions,
    block_width,
    check_names,
    fit_directions,
    placed,
    read_blocks,
)
from vlar.adapters.plar.config import PlarConfig
from vlar.adapters.plar.frames import PromptedFrames
from vlar.adapters.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.adapters.views import require
from vlar.encoders.base import Encoder
from vlar.encoders.session import Session
from vlar.encoders.vector_cache import cached_vectors
from vlar.numeric import softmax, unit
from vlar.registry import register
from vlar.text.bank import load_bank
from vlar.text.clean import clean_label
from vlar.text.prompts import fill, load_templates
from vlar.types import Clip, Encoded, Float32, JsonDict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlar.adapters.plar.network import PlarNetwork

_BANK = "everyday_actions"  # what the text prompt is made of


@register("adapter", "plar")
class Plar(Adapter, Trainable):
    """Learned prompts mixed for each clip, with prompts of motion, people and text.

    In the spirit of Wang et al., "SCP: soft conditional prompt learning for aerial video action
    recognition" (first "PLAR"), 2023, of which no code is public. A pool of experts is learned; a
    router mixes them for each clip. A small causal transformer reads the mix, then the frames. The
    frames are moved, as far as a learned gate lets them, towards the same frames with what moves
    made brighter. Until it is trained the vectors are the encoder's own.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
        prompted: Encodes clips with the drawn prompts.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames", "pool", "fixed_text")
    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks", "descriptions"})
    reads: Literal["pixels", "features"] = "features"
    network: PlarNetwork
    config: PlarConfig

    def __init__(self, encoder: Encoder, config: PlarConfig) -> None:
        """Use ``attach``."""
        self._wrap(encoder, "plar")
        self.config, self.prompted = config, PromptedFrames(encoder, config)
        self.frame_dim, self.frame_blocks = self.prompted.frame_dim, self.prompted.frame_blocks
        self._blocks = [
            (start, block)
            for start, block in placed(encoder.frame_blocks)
            if not config.blocks or block.name in config.blocks
        ]
        self._text_bank: Float32 | None = None
        self._build()

    @classmethod
    def attach(cls, encoder: Encoder, settings: JsonDict | None = None) -> Plar:
        """The adapter at its start, which changes nothing.

        Raises:
            ModelError: the encoder has no frame features, its text depends on the video, or a
                prompt cannot be made for it.
            UnknownNameError: a setting, a prompt or a block does not exist.
        """
        require(encoder, cls.needs, "plar")
        config = PlarConfig.from_dict(settings or {})
        check_names(encoder, config.blocks)
        return cls(encoder, config)

    @classmethod
    def check_settings(cls, settings: JsonDict) -> None:
        """See ``Adapter``."""
        PlarConfig.from_dict(settings)

    @classmethod
    def reading(cls, encoder: Encoder, settings: JsonDict) -> Encoder:
        """The encoder with the drawn prompts."""
        return PromptedFrames(encoder, PlarConfig.from_dict(settings))

    @property
    def settings(self) -> JsonDict:
        """The configuration."""
        return self.config.to_dict()

    @property
    def module(self) -> nn.Module:
        """The experts, their router, the transformer, and the directions its inputs lie along."""
        return self.network

    def refresh(self) -> None:
        """Compute the fingerprint from the parameters."""
        self.fingerprint = self.content_hash(self.prompted, self.settings)

    # The encoder contract

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Features with those of the prompted frames, and vectors that the network has moved."""
        return self._moved_rows(self.prompted.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        """The wrapped encoder's session; its frame features are moved window by window."""
        del features
        return self.prompted.session().then(self._moved_rows)

    def _moved_rows(self, rows: Sequence[Encoded]) -> list[Encoded]:
        return [Encoded(row.features, self.pool(row.features[None])[0]) for row in rows]

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to clip vectors (N, D) of unit length."""
        import torch

        pooled = self.prompted.pool(features)
        with torch.inference_mode():
            # One by one, so that a clip is bit for bit the same alone and in company.
            rows = [self._residual(clip[None]) for clip in features]
        moved = [
            unit(old + row) if row.any() else old for old, row in zip(pooled, rows, strict=True)
        ]
        return np.stack(moved) if moved else pooled

    def _residual(self, features: Float32) -> Float32:
        import torch

        frames, away, _, text = self._split(torch.from_numpy(self.training_inputs(features)))
        return self.network.residual(frames, away, text)[0].numpy()

    def expert_shares(self, features: Float32) -> Float32:
        """(N, E) how the experts are mixed for each clip (N, T, F); rows sum to 1."""
        import torch

        with torch.inference_mode():
            frames = torch.from_numpy(self._small(features[..., : self.encoder.frame_dim]))
            return self.network.route(frames).numpy()

    # Training

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Switch gradients on and name what is trained; ``training_classes`` comes before."""
        self.network.requires_grad_(True)
        return list(self.network.named_parameters())

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        """Concepts of the labels, (C, D) of unit length, as the encoder has them."""
        import torch

        prompts = fill(load_templates(self.templates), [clean_label(label) for label in labels])
        flat = self.encoder.encode_text([text for texts in prompts for text in texts])
        return torch.from_numpy(unit(flat.reshape(len(labels), -1, self.dim).mean(axis=1)))

    def fit_inputs(self, features: Float32) -> None:
        """Find the directions in which the frames (N, T, F) of the training set differ."""
        parts = read_blocks(features, self._blocks)
        fit_directions(self.network, parts, self.config.components)
        self.refresh()

    def training_inputs(self, features: Float32) -> Float32:
        """(N, T, F) to (N, T, K + P K + D (+ D)): the small inputs, what each of P prompts changes
        in them, and in every frame the encoder's vector and that of the text prompt.
        """
        count, length = features.shape[:2]
        own = features[..., : self.encoder.frame_dim]
        small, pooled = self._small(own), self.prompted.pool(features)
        parts, columns = [small], self.prompted.columns
        for number in range(len(self.config.pictures)):
            start = self.encoder.frame_dim + number * len(columns)
            drawn = own.copy()
            drawn[..., columns] = features[..., start : start + len(columns)]
            parts.append(self._small(drawn) - small)
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
        import torch

        from vlar.adapters.plar.network import balance_loss

        inputs = batch.inputs
        if inputs.shape[-1] == self.frame_dim:
            inputs = torch.from_numpy(self.training_inputs(inputs.detach().numpy()))
        frames, away, pooled, text = self._split(inputs)
        given = [frames, away, pooled, *([] if text is None else [text])]
        vectors = batch.spread(self.network.vectors, *given)
        logits = self.logit_scale * vectors @ classes.T
        task, balance = batch.loss(logits), balance_loss(self.network.route(frames))
        losses = {"total": task + self.config.balance * balance, "task": task, "balance": balance}
        return TrainingOutput(logits, losses, classes=classes, vectors=vectors)

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """``training_inputs`` to frames (N, T, K), prompts (N, P, T, K), vectors, texts (N, D)."""
        size, prompts = self._n_inputs, len(self.config.pictures)
        frames, away = inputs[..., :size], inputs[..., size : size * (1 + prompts)]
        away = away.unflatten(-1, (prompts, size)) if prompts else away[..., None, :0]
        away = (
            away.movedim(2, 1) if prompts else inputs.new_zeros(len(inputs), 0, *frames.shape[1:])
        )
        start = size * (1 + prompts)
        pooled = inputs[:, 0, start : start + self.dim]
        text = inputs[:, 0, start + self.dim :] if "text" in self.config.prompts else None
        return frames, away, pooled, text

    @property
    def _n_inputs(self) -> int:
        return len(self._blocks) * self.config.components

    def _build(self) -> None:
        import torch

        from vlar.adapters.plar.network import PlarNetwork

        widths = [block_width(block) for _, block in self._blocks]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # two adapters of the same settings start the same
            self.network = PlarNetwork(self.config, self._n_inputs, self.dim, widths)
        self.network.eval().requires_grad_(False)
        self.refresh()

    def _small(self, features: Float32) -> Float32:
        """The encoder's frame features (N, T, F) to (N, T, K)."""
        return along_directions(self.network, read_blocks(features, self._blocks))

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
