"""The temporal adapter behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.adapters.views import require, require_blocks
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.clip.block_view import BlockView
from vlar.encoders.protocols import WithRegions
from vlar.methods.temporal.positions import interpolate_positions
from vlar.methods.temporal.regions import RegionPooling, layer_of
from vlar.registry import register
from vlar.training.frame_inputs import chosen
from vlar.training.tower_network import (
    WAVES,
    ResidualNetwork,
    layers,
    positions,
    register_directions,
    small_step,
    zero_linear,
)
from vlar.training.towers import ResidualTower
from vlar.training.trainable import TextVectors, fixed_vectors
from vlar.types import Float32, JsonDict

RANDOM, BLOCKS = "random", "blocks"
_ADDED = ("regions", "region_heads", "positions", "initial")  # since the first saved models
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
        regions: Parts of a frame along each side that it attends to as well; 0 for whole frames
            alone.
        region_heads: Heads of that attention.
        positions: Frames with learned positions, which are interpolated for other numbers of
            frames; 0 for waves over the window.
        initial: ``random``, or ``blocks``: the layers are copies of the last ones of a frozen ViT,
            with its width and heads.
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
    regions: int = setting(0, at_least=0, at_most=7)
    region_heads: int = setting(2, at_least=1, at_most=16)
    positions: int = setting(0, at_least=0, at_most=1024)
    initial: str = setting(RANDOM, choices=(RANDOM, BLOCKS))

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

    def to_dict(self) -> JsonDict:
        """Settings for the manifest; those that earlier models lack only where they are used."""
        usual = {row.name: row.default for row in dataclasses.fields(self)}
        values = super().to_dict().items()
        return {k: v for k, v in values if k not in _ADDED or v != usual[k]}


class TemporalNetwork(ResidualNetwork):
    """Frame inputs to a residual of the window vector; exactly zero at the start.

    Args:
        config: Sizes.
        n_inputs: K.
        dim: D.
        fitted: Per block the width of its entries; the projections to K are stored here.
        blocks: Blocks of a frozen ViT that the layers are copied from; None for random layers.
    """

    def __init__(
        self,
        config: TemporalConfig,
        n_inputs: int,
        dim: int,
        fitted: Sequence[int],
        blocks: Sequence[BlockView] | None = None,
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
        if blocks is not None:
            self.layers = nn.ModuleList(layer_of(block, config.dropout) for block in blocks)
        if config.positions:
            self.places = nn.Parameter(0.02 * torch.randn(config.positions, width))
        if config.regions:
            self.attend = RegionPooling(dim, config.region_heads)
            self.look = nn.Linear(dim, width, bias=False)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the window vectors, (N, D).

        With regions, parts (R, D) of each frame follow its K inputs.
        """
        moved = self.leave(self.drop(self.norm(self.read(inputs))))
        return small_step(moved, self.leave.in_features)

    def read(self, inputs: Tensor) -> Tensor:
        """Mean reading of the prompts and of the frames: (N, T, K) to (N, 2 width)."""
        count = self.config.regions**2 * self.leave.out_features
        x, parts = inputs.split((inputs.shape[-1] - count, count), dim=-1)
        if self.config.steps:
            later = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
            earlier = torch.cat([x[:, :1], x[:, :-1]], dim=1)
            x = torch.cat([x, later - earlier], dim=-1)
        x = self.enter(self.drop(x)) + self.time(positions(x))
        if self.config.positions:
            x = x + interpolate_positions(self.places, x.shape[1])
        if count:
            x = x + self.look(self.attend(parts.unflatten(-1, (-1, self.leave.out_features))))
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

    Example: ``vlar adapt support/ --out mine --method temporal``.

    Attributes:
        network: The differentiable whole, for training.
        config: The settings.
    """

    method, config_type = "temporal", TemporalConfig
    names_norms: ClassVar[bool] = True
    network: TemporalNetwork
    config: TemporalConfig

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> TemporalConfig:
        """The settings with the width and heads of the tower that layers are copied from.

        Raises:
            ModelError: the encoder lacks the parts or the blocks that are asked for.
        """
        if config.regions:
            require(encoder, ("patch_tokens",), cls.method)
        if config.initial != BLOCKS:
            return config
        view = require_blocks(encoder, cls.method).towers.vision_view()
        if config.layers > len(view.blocks):
            most = f"up to {len(view.blocks)}, the layers of encoder {encoder.name!r}"
            raise bad_setting(config.what, "layers", config.layers, most)
        return dataclasses.replace(config, width=view.width, heads=view.blocks[0].heads)

    @classmethod
    def beside(cls, encoder: Encoder, config: Any) -> Encoder:
        """The encoder, with the parts of frames where they are asked for."""
        return WithRegions(encoder, config.regions, config.regions) if config.regions else encoder

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The blocks of the settings; without any those that describe motion."""
        return chosen(encoder.frame_blocks, config.blocks)

    def prepare(self) -> None:
        """A training may leave out the inputs of one block at a time."""
        self.input_widths = [self.config.components] * len(self._blocks)

    def build(self) -> TemporalNetwork:
        """The transformer at its start."""
        config, blocks = self.config, None
        if config.initial == BLOCKS:
            view = require_blocks(self.encoder, self.method).towers.vision_view()
            blocks = view.blocks[-config.layers :]
        return TemporalNetwork(config, self.n_inputs, self.dim, self.input_sizes, blocks)

    def small(self, features: Float32) -> Float32:
        """(N, T, K) inputs of a clip; with regions the parts of each frame follow them."""
        small_features = super().small(features)
        if not self.config.regions:
            return small_features
        return np.concatenate([small_features, features[..., self.encoder.frame_dim :]], axis=2)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))
