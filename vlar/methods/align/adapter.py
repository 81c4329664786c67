"""``align``: clips of a network without texts are mapped to the vectors of sentences.

Letters: N clips, T rows of features, F their width, S width of a sentence vector, D width of the
shared space, C labels, P prompts a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.sentence_tower import SENTENCE_WIDTH, sentence_vectors
from vlar.errors import ModelError, UsageError
from vlar.registry import register
from vlar.training.tower_network import zero_linear
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32

LABELS, CAPTIONS = "labels", "captions"
_SENTENCE = "sentence"  # name of the block that clips leave empty


@dataclass(frozen=True)
class AlignConfig(Settings):
    """Settings of the map.

    Attributes:
        hidden: Width of its hidden layer.
        dropout: In training, 0 to below 1.
        by: Target: ``labels``, or ``captions``: the column ``text`` of the support set, and the
            label of a clip without one.
        temperature: Temperature of the contrast with captions, above 0.
        labels: The labels it was trained for.
    """

    hidden: int = setting(256, at_least=1, at_most=4096)
    dropout: float = setting(0.3, at_least=0, below=1)
    by: str = setting(LABELS, choices=(LABELS, CAPTIONS))
    temperature: float = setting(0.1, above=0)
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "align setting"


class AlignNetwork(nn.Module):
    """``z = W2 gelu(W1 LN(x))`` of the mean features, zero at the start and no longer than 1.

    Args:
        config: Sizes.
        width: F.
        dim: D; the last S entries are the block of sentences.
    """

    def __init__(self, config: AlignConfig, width: int, dim: int) -> None:
        super().__init__()
        self.before = dim - SENTENCE_WIDTH
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, config.hidden)
        self.drop = nn.Dropout(config.dropout)
        self.leave = zero_linear(config.hidden, SENTENCE_WIDTH)

    def sentences(self, inputs: Tensor) -> Tensor:
        """(N, T, F) to (N, S)."""
        hidden = F.gelu(self.enter(self.norm(inputs.mean(dim=1))))
        z = self.leave(self.drop(hidden))
        return z / z.norm(dim=-1, keepdim=True).clamp(min=1)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, F) to what is added to the vectors, (N, D): the block of sentences."""
        return F.pad(self.sentences(inputs), (self.before, 0))

    def vectors(self, inputs: Tensor, pooled: Tensor) -> Tensor:
        """Clip vectors (N, D) of unit length from the encoder's own ones (N, D)."""
        return F.normalize(pooled + self.residual(inputs), dim=-1)

    def concepts(self, texts: Tensor) -> Tensor:
        """Texts (C, P, D) of labels to (C, D) of unit length; they are not trained."""
        return F.normalize(texts.mean(dim=1), dim=-1)


def caption_loss(z: Tensor, captions: Tensor, temperature: float | Tensor) -> Tensor:
    """Symmetric contrast of clips and captions; equal captions count as one target.

    Args:
        z: (N, S) of clips.
        captions: (N, S), of unit length.
        temperature: Above 0.
    """
    logits = F.normalize(z, dim=-1) @ captions.T / temperature
    same = (captions @ captions.T > 1 - 1e-5).float()
    same = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


@register("adapter", "align", status="in the spirit")
class Align(ResidualTower):
    """A small map from the features of a network without texts to the vectors of sentences.

    It fills the block ``sentence`` that clips of such a network leave empty, so words are answered,
    also of labels without examples. Texts stay as they are. Until it is trained the vectors are the
    encoder's own. Objectives train it on unlabelled clips too: with ``distill`` it learns what an
    image tower answers about them.

    Reference: the text side of the TikTok study of VideoMAE V2, and "VideoMAE V2", Wang et al.,
    CVPR 2023; the map is ours.
    Example: ``vlar adapt support/ --out mine --method align``.

    Attributes:
        network: The map.
        config: The settings.
    """

    method, config_type = "align", AlignConfig
    needs: ClassVar[tuple[str, ...]] = ("pool", "fixed_text")
    open_vocabulary: ClassVar[bool] = True
    contract_base: ClassVar[str | None] = None
    network: AlignNetwork
    config: AlignConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> AlignConfig:
        """The settings as they are.

        Raises:
            ModelError: the encoder has texts of its own.
        """
        last = encoder.blocks[-1]
        if (last.name, last.width) != (_SENTENCE, SENTENCE_WIDTH):
            raise ModelError(
                f"adapter 'align' fills the block of sentences of a network without texts, and "
                f"encoder {encoder.name!r} has none; use for example torchvision:r2plus1d_18, or "
                "the method 'aligned'"
            )
        return config

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """Empty: features are read as they are."""
        return []

    def prepare(self) -> None:
        """Set what texts of captions were."""
        self._captions: dict[str, Tensor] = {}

    def build(self) -> AlignNetwork:
        """The map at its start."""
        return AlignNetwork(self.config, self.encoder.frame_dim, self.dim)

    def fit_inputs(self, features: Float32) -> None:
        del features

    def small(self, features: Float32) -> Float32:
        """(N, T, F) to their mean, (N, 1, F)."""
        return features.mean(axis=1, keepdims=True, dtype=np.float32)

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines, and the loss of the task or of the captions.

        Raises:
            UsageError: captions are asked for, and no clip has one.
        """
        output = super().training_step(batch, classes)
        if self.config.by != CAPTIONS or not len(batch.rows):
            return output
        texts = [facts.get("text", "") for facts in batch.facts]
        rows = [row for row, text in enumerate(texts) if text]
        if not rows:
            raise UsageError(
                "align by captions needs the column text in the support set, and no clip of a "
                "batch has one; add it, or set by='labels'"
            )
        small, _ = self.split_inputs(batch.inputs)
        sentences = self.network.sentences(small[rows])
        captions = torch.stack([self._caption(texts[row]) for row in rows]).to(sentences.device)
        told = caption_loss(sentences, captions, self.config.temperature)
        without = [row for row in range(len(texts)) if row not in rows]
        losses = {"captions": told, "total": told}
        if without:
            share = len(without) / len(texts)
            loss = batch.loss(output.logits)
            losses = {"captions": told, "total": (1 - share) * told + share * loss}
        return TrainingOutput(output.logits, losses, classes=output.classes, vectors=output.vectors)

    def _caption(self, text: str) -> Tensor:
        if text not in self._captions:
            self._captions[text] = torch.from_numpy(sentence_vectors([text])[0])
        return self._captions[text]
