"""The temporal adapter behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlar.adapters.frame_inputs import chosen
from vlar.adapters.settings import Settings, setting
from vlar.adapters.tower_network import (
    WAVES,
    ResidualNetwork,
    layers,
    positions,
    register_directions,
    small_step,
    zero_linear,
)
from vlar.adapters.towers import ResidualTower
from vlar.adapters.trainable import TextVectors, fixed_vectors
from vlar.encoders.base import Encoder, FrameBlock
from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, decay_matrices

_MOST_WEIGHTS = 1 << 24  # eight times as many parameters: half a gigabyte


@dataclass(frozen=True)
class TemporalConfig(Settings):
    """Settings of a temporal adapter.

    Attributes:
        width: Width of the transformer.
        layers: Layers of the transformer.
        heads: Heads of its attention.
        n_prompts: Learned vectors that read the frames, in addition to the frames themselves.
        components: Principal directions kept of each block of the frame features.
        dropout: Dropout of every layer in training, 0 to below 1.
        blocks: Blocks of the frame features to read; empty means those that describe motion, or
            all where an encoder has none of them.
        steps: Also read the step from frame to frame; without it time enters by position alone.
        labels: The labels it was trained for; their texts may have moved.
    """

    width: int = setting(64, at_least=1, at_most=4096)
    layers: int = setting(1, at_least=1, at_most=64)
    heads: int = setting(4, at_least=1, at_most=4096)
    n_prompts: int = setting(4, at_least=1, at_most=1024)
    components: int = setting(32, at_least=1, at_most=4096)
    dropout: float = setting(0.3, at_least=0, below=1)
    blocks: tuple[str, ...] = ()
    steps: bool = True
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "temporal setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        self.require_few(
            "layers",
            self.layers * self.width**2,
            _MOST_WEIGHTS,
            "fewer layers, or less width: layers * width**2",
        )
        self.require_multiple(self.width, self.heads)


class TemporalNetwork(ResidualNetwork):
    """Frame inputs to a residual of the window vector; exactly zero at the start.

    Args:
        config: Sizes.
        n_inputs: K.
        dim: D.
        fitted: Per block the width of its entries; the projections to K are stored here.
    """

    def __init__(
        self, config: TemporalConfig, n_inputs: int, dim: int, fitted: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = config
        register_directions(self, fitted, config.components)
        width = config.width
        self.enter = nn.Linear(n_inputs * (2 if config.steps else 1), width)
        self.time = nn.Linear(2 * WAVES, width, bias=False)
        self.prompts = nn.Parameter(0.02 * torch.randn(config.n_prompts, width))
        self.layers = layers(width, config.heads, config.layers, config.dropout)
        self.norm = nn.LayerNorm(2 * width)
        self.drop = nn.Dropout(config.dropout)
        self.leave = zero_linear(2 * width, dim)
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the window vectors, (N, D)."""
        moved = self.leave(self.drop(self.norm(self.read(inputs))))
        return small_step(moved, self.leave.in_features)

    def read(self, inputs: Tensor) -> Tensor:
        """Mean reading of the prompts and of the frames: (N, T, K) to (N, 2 width)."""
        x = inputs
        if self.config.steps:
            later = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
            earlier = torch.cat([x[:, :1], x[:, :-1]], dim=1)
            x = torch.cat([x, later - earlier], dim=-1)
        x = self.enter(self.drop(x)) + self.time(positions(x))
        x = torch.cat([self.prompts.expand(len(x), -1, -1), x], dim=1)
        for layer in self.layers:
            x = layer(x)
        prompts, frames = x.split((len(self.prompts), inputs.shape[1]), dim=1)
        return torch.cat([prompts.mean(dim=1), frames.mean(dim=1)], dim=-1)


@register("adapter", "temporal", status="in the spirit")
class Temporal(ResidualTower):
    """A small transformer over T frame vectors, whose answer is added to the window vector.

    It reads the frame features alone, so it works on every encoder, and they can be computed once.
    Learned prompts and the frames themselves read the frames; a time position distinguishes first
    from last. Until it is trained the window vectors are the encoder's own. Texts stay as they are,
    except those of the labels it was trained for.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "temporal", TemporalConfig
    network: TemporalNetwork
    config: TemporalConfig

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The blocks of the settings; without any those that describe motion."""
        return chosen(encoder.frame_blocks, config.blocks)

    def prepare(self) -> None:
        """A training may leave out the inputs of one block at a time."""
        self.input_widths = [self.config.components] * len(self._blocks)

    def build(self) -> TemporalNetwork:
        """The transformer at its start."""
        return TemporalNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))


@register("recipe", "temporal")
def temporal() -> dict[str, Hyperparameters]:
    """One protocol."""
    few = Hyperparameters(
        epochs=120,
        batch=64,
        learning_rate=2e-3,
        warmup_epochs=12,
        weight_decay=0.3,
        groups=decay_matrices,
        label_smoothing=0.1,
        mixup=0.4,
        average="ema",
        ema_decay=0.95,
        block_dropout=0.2,
    )
    return {"adapt": few}
