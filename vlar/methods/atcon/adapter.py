"""``local-temporal``: ordered subsets of frames at several scales, weighted by their confidence.

Xu et al., "Source-free video domain adaptation by learning temporal consistency for action
recognition" (ATCoN), ECCV 2022; subsets of frames after TRN, Zhou et al. 2018.

Letters: N clips, T frames, K inputs of a frame, S segments, R scales, W width, C labels, D joint
width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, setting
from vlar.encoders.base import Encoder, FrameBlock
from vlar.registry import register
from vlar.training.frame_inputs import chosen
from vlar.training.tower_network import (
    ResidualNetwork,
    register_directions,
    small_step,
    zero_linear,
)
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TrainingBatch, TrainingOutput
from vlar.types import Float32

_SUBSETS = 9  # of each scale
_CLASSIFIER = ("leave.weight", "leave.bias", "labels")


def confidence(logits: Any, scale: float) -> Tensor:
    """Confidence of each scale, ``1 - H(softmax(scale logits)) / ln C``, over its mean.

    Args:
        logits: (N, R, C), C from 2.
        scale: Sharpness of the softmax.

    Returns:
        (N, R), 1 in the mean over the batch; 0 where no row is surer than chance.
    """
    logs = (scale * torch.as_tensor(logits)).log_softmax(dim=-1)
    sure = 1 + (logs.exp() * logs).sum(dim=-1) / math.log(logs.shape[-1])
    return sure / sure.mean().clamp(min=1e-6)


def subsets(segments: int, size: int) -> list[list[int]]:
    """Ordered subsets of some segments, at most nine, evenly spaced among all of that size."""
    every = list(itertools.combinations(range(segments), size))
    places = np.linspace(0, len(every) - 1, min(_SUBSETS, len(every))).round().astype(int)
    return [list(every[subset]) for subset in places]


@dataclass(frozen=True)
class LocalTemporalConfig(Settings):
    """Settings of a local temporal tower.

    Attributes:
        segments: S, parts of a clip whose mean frames are related; scales have S down to 2 of them.
        width: W.
        components: Principal directions kept of each block of the frame features.
        sharpness: Factor on the logits of a scale before its confidence is read.
        dropout: Share of the bottleneck that training drops.
        blocks: Blocks of the frame features to read; empty means those that describe motion.
        labels: The labels it was trained for; their texts may have moved.
    """

    segments: int = setting(5, at_least=2, at_most=12)
    width: int = setting(64, at_least=1, at_most=4096)
    components: int = setting(32, at_least=1, at_most=4096)
    sharpness: float = setting(3.0, above=0)
    dropout: float = setting(0.3, at_least=0, below=1)
    blocks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "local-temporal setting"


class LocalTemporalNetwork(ResidualNetwork):
    """(N, T, K) inputs to bottleneck features of R scales; what they add is zero at the start."""

    def __init__(
        self, config: LocalTemporalConfig, n_inputs: int, dim: int, sizes: Sequence[int]
    ) -> None:
        super().__init__()
        register_directions(self, sizes, config.components)
        self.segments, width = config.segments, config.width
        counts = range(config.segments, 1, -1)
        self.subsets = [subsets(config.segments, count) for count in counts]
        self.relate = nn.ModuleList(nn.Linear(count * n_inputs, width) for count in counts)
        self.bottleneck = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
        self.drop, self.leave = nn.Dropout(config.dropout), zero_linear(width, dim)
        self.register_labels(len(config.labels), dim)
        self.register_buffer("words", torch.zeros(len(config.labels), dim))

    def scales(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to features (N, R, W) of the scales, from S segments down to pairs."""
        x = F.adaptive_avg_pool1d(inputs.transpose(1, 2), self.segments).transpose(1, 2)
        pairs = zip(self.relate, self.subsets, strict=True)
        rows = [torch.relu(relate(x[:, places].flatten(2))).sum(dim=1) for relate, places in pairs]
        pooled = self.bottleneck(torch.cat(rows)).unflatten(0, (len(rows), len(x)))
        return self.drop(pooled.transpose(0, 1))

    def each(self, scales: Tensor) -> Tensor:
        """Features (N, R, W) to what each scale adds to a vector, (N, R, D)."""
        return small_step(self.leave(scales), self.leave.in_features)

    def now(self) -> Tensor:
        """(C, D) concepts of the trained labels."""
        return F.normalize(self.get_buffer("words") + self.label_residual(), dim=1)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to the mean of the scales, (N, D), without their confidence."""
        return self.each(self.scales(inputs)).mean(dim=1)


@register("adapter", "local-temporal", status="in the spirit")
class LocalTemporal(ResidualTower):
    """Ordered subsets of frames at several scales, each weighted by its confidence.

    Until it is trained the vectors are the encoder's own. The classifier is the last map with the
    texts of the labels; ``source-free`` adapts what comes before it.

    Reference: Xu et al., "Source-free video domain adaptation by learning temporal consistency for
    action recognition", ECCV 2022.
    Example: ``vlar adapt support/ --out mine --method local-temporal``.

    Attributes:
        frozen: Whether a training keeps the classifier and the directions of the inputs.
    """

    method, config_type = "local-temporal", LocalTemporalConfig
    of_labels: ClassVar[tuple[str, ...]] = ("labels", "words")
    network: LocalTemporalNetwork
    config: LocalTemporalConfig
    frozen = False

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        return chosen(encoder.frame_blocks, config.blocks)

    def build(self) -> LocalTemporalNetwork:
        """The network at its start."""
        return LocalTemporalNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        named = super().trainable()
        for name, parameter in named:
            parameter.requires_grad_(not self.frozen or name not in _CLASSIFIER)
        return [pair for pair in named if pair[1].requires_grad]

    def fit_inputs(self, features: Float32) -> None:
        if not self.frozen:
            super().fit_inputs(features)

    def training_classes(self, labels: Sequence[str]) -> Tensor:
        classes = super().training_classes(labels)
        self.network.get_buffer("words").copy_(F.normalize(classes.mean(dim=1), dim=1))
        return classes

    def scale_logits(self, each: Tensor, pooled: Tensor, words: Tensor) -> Tensor:
        """Residuals (N, R, D) and vectors (N, D) to logits (N, R, C)."""
        return self.logit_scale * F.normalize(pooled[:, None] + each, dim=2) @ words.T

    def weighted(self, each: Tensor, logits: Tensor) -> Tensor:
        """Residuals (N, R, D) to their mean (N, D), weighted by the confidence of each scale."""
        if logits.shape[-1] < 2:
            return each.mean(dim=1)
        sure = confidence(logits.detach(), self.config.sharpness)
        return (sure[..., None] * each).mean(dim=1)

    def residual(self, features: Float32) -> Float32:
        network = self.network
        per_scale = network.each(network.scales(torch.from_numpy(self.small(features))))
        logits = self.scale_logits(
            per_scale, torch.from_numpy(self.pooled(features)), network.now()
        )
        return self.weighted(per_scale, logits)[0].numpy()

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines, and losses of the answer and of the mean answer of the scales.

        ``frames`` of the output are the features (N, R, W) of the scales.
        """
        small, pooled = self.split_inputs(batch.inputs)
        scales, pooled_frames = self.network.scales(small), pooled[:, 0]
        per_scale, words = self.network.each(scales), self.network.concepts(classes)
        of_scales = self.scale_logits(per_scale, pooled_frames, words)
        vectors = F.normalize(pooled_frames + self.weighted(per_scale, of_scales), dim=1)
        logits = self.logit_scale * vectors @ words.T
        losses = {"task": batch.loss(logits), "scales": batch.loss(of_scales.mean(dim=1))}
        losses["total"] = losses["task"] + losses["scales"]
        return TrainingOutput(logits, losses, frames=scales, classes=words, vectors=vectors)
