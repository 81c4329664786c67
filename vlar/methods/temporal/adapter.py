"""The temporal adapter behind the encoder contract: attached to any encoder, then trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.adapters.views import VIEWS, require, require_blocks
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.clip.block_view import BlockView
from vlar.encoders.protocols import WithRegions
from vlar.errors import ModelError
from vlar.language.bank import load_bank
from vlar.methods.semantic_units import Unit, units_of_bank
from vlar.methods.temporal.drawn import PromptedFrames
from vlar.methods.temporal.positions import interpolate_positions
from vlar.methods.temporal.regions import RegionPooling, layer_of
from vlar.methods.temporal.told import (
    ACTIONS,
    BODY,
    UNITS,
    TextTokens,
    action_vectors,
    label_units,
    unit_vectors,
)
from vlar.registry import register, unknown_name
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
from vlar.training.trainable import TextVectors, TrainingBatch, TrainingOutput, fixed_vectors
from vlar.types import Float32, JsonDict

RANDOM, BLOCKS = "random", "blocks"
_DRAWN = ("flow", "people")
_ADDED = (  # since the first saved models
    *("regions", "region_heads", "positions", "initial", "experts", "balance", "causal", "drawn"),
    *("strength", "texts", "selected", "temperature", "units", "unit_bank"),
)
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
            alone, -1 for 2 where the encoder distinguishes parts, else 0.
        region_heads: Heads of that attention.
        positions: Frames with learned positions, which are interpolated for other numbers of
            frames; 0 for waves over the window.
        initial: ``random``, or ``blocks``: the layers are copies of the last ones of a frozen ViT,
            with its width and heads.
        experts: Sets of prompts, of which each clip has a mix of its own; 0 for one set, the same
            for all clips. Experts read all blocks where none is named.
        balance: Weight of the loss that keeps all experts in use.
        causal: Frames attend to prompts and to earlier frames; the last frame and the mean of all
            answer.
        drawn: Prompts that are drawn into frames, each at the cost of one more encoding: ``flow``
            (what moves is brighter), ``people`` (bodies are brighter).
        strength: Increase of brightness, as a share of a pixel's value.
        texts: Texts that are read too: ``units`` that the clip shows, or the mean of everyday
            ``actions`` like it; empty for none.
        selected: Units that become tokens.
        temperature: Temperature of the choice of units.
        units: ``GROUP: WORD`` of each unit. Empty: those that the banks' descriptions of the
            trained labels name; until then body parts alone.
        unit_bank: Bank of units (``write_units``) that fills ``units``; empty for none.
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
    regions: int = setting(0, at_least=-1, at_most=7)
    region_heads: int = setting(2, at_least=1, at_most=16)
    positions: int = setting(0, at_least=0, at_most=1024)
    initial: str = setting(RANDOM, choices=(RANDOM, BLOCKS))
    experts: int = setting(0, at_least=0, at_most=256)
    balance: float = setting(0.01, at_least=0, at_most=100)
    causal: bool = False
    drawn: tuple[str, ...] = ()
    strength: float = setting(0.5, above=0, at_most=1)
    texts: str = setting("", choices=("", UNITS, ACTIONS))
    selected: int = setting(32, at_least=1, at_most=4096)
    temperature: float = setting(0.5, above=0, at_most=10)
    units: tuple[str, ...] = ()
    unit_bank: str = ""

    what: ClassVar[str] = "temporal setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        for name in self.drawn:
            if name not in _DRAWN:
                raise unknown_name(f"value of {self.what} 'drawn'", name, _DRAWN)
        if len(set(self.drawn)) < len(self.drawn):
            raise bad_setting(self.what, "drawn", list(self.drawn), "each of them once")
        for text in self.units:
            Unit.parse(text)
        self.require_few(
            "layers",
            self.layers * self.width**2,
            _MOST_WEIGHTS,
            "fewer layers, or less width: layers * width**2",
        )
        self.require_multiple(self.width, self.heads)

    def to_dict(self) -> JsonDict:
        """Settings for the manifest; those that earlier models lack only where they are used."""
        usual = Settings.to_dict(TemporalConfig())
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
        told: Tokens of texts; None without any.
    """

    def __init__(
        self,
        config: TemporalConfig,
        n_inputs: int,
        dim: int,
        fitted: Sequence[int],
        blocks: Sequence[BlockView] | None = None,
        told: TextTokens | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.n_inputs = n_inputs
        register_directions(self, fitted, config.components)
        width = config.width
        self.enter = nn.Linear(n_inputs * (2 if config.steps else 1), width)
        self.time = nn.Linear(2 * WAVES, width, bias=False)
        if config.experts:
            sets = config.experts, config.n_prompts, width
            self.experts = nn.Parameter(0.02 * torch.randn(sets))
            self.route_norm = nn.LayerNorm(n_inputs)
            self.router = nn.Linear(n_inputs, config.experts, bias=False)
            nn.init.normal_(self.router.weight, std=0.01)
        else:
            self.prompts = nn.Parameter(0.02 * torch.randn(config.n_prompts, width))
        if config.drawn:  # how far each prompt moves the frames
            self.gates = nn.Parameter(torch.zeros(len(config.drawn)))
        self.told = told
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

    def parted(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs to frames (N, T, K), what prompts change in them (N, T, P, K), parts (N, T, R, D)
        and the clip's vector in every frame (N, T, 1 or 0, D).
        """
        count, dim = self.config.regions**2, self.leave.out_features
        drawn = self.n_inputs * len(self.config.drawn)
        sizes = (self.n_inputs, drawn, count * dim, dim * (self.told is not None))
        frames, away, parts, vectors = inputs.split(sizes, dim=-1)
        shape = inputs.shape[:2]
        return (
            frames,
            away.reshape(*shape, -1, self.n_inputs),
            parts.reshape(*shape, -1, dim),
            vectors.reshape(*shape, -1, dim),
        )

    def route(self, frames: Tensor) -> Tensor:
        """Frames (N, T, K) to the share (N, E) of each expert; rows sum to 1."""
        return self.router(self.route_norm(frames.mean(dim=1))).softmax(dim=-1)

    def before(self, frames: Tensor, parts: Tensor, vectors: Tensor) -> Tensor:
        """Tokens before the frames (N, prompts, width), of ``parted`` inputs."""
        if self.config.experts:
            prompts = torch.einsum("ne,etw->ntw", self.route(frames), self.experts)
        else:
            prompts = self.prompts.expand(len(frames), -1, -1)
        if self.told is None:
            return prompts
        return torch.cat([prompts, self.told(parts if parts.shape[2] else vectors)], dim=1)

    def read(self, inputs: Tensor) -> Tensor:
        """Mean reading of the prompts and of the frames: (N, T, K) to (N, 2 width).

        Where frames do not look ahead the last one takes the place of the prompts.
        """
        x, away, parts, vectors = self.parted(inputs)
        prompts = self.before(x, parts, vectors)
        if self.config.drawn:
            x = x + torch.einsum("p,ntpk->ntk", self.gates, away)
        if self.config.steps:
            later = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
            earlier = torch.cat([x[:, :1], x[:, :-1]], dim=1)
            x = torch.cat([x, later - earlier], dim=-1)
        x = self.enter(self.drop(x)) + self.time(positions(x))
        if self.config.positions:
            x = x + interpolate_positions(self.places, x.shape[1])
        if self.config.regions:
            x = x + self.look(self.attend(parts))
        count = prompts.shape[1]
        mask = causal(count, x.shape[1]).to(x.device) if self.config.causal else None
        x = torch.cat([prompts, x], dim=1)
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        prompts, frames = x[:, :count], x[:, count:]
        first = frames[:, -1] if self.config.causal else prompts.mean(dim=1)
        return torch.cat([first, frames.mean(dim=1)], dim=-1)


def causal(n_prompts: int, n_frames: int) -> Tensor:
    """(n_prompts + n_frames)² bool, True where a token must not look: prompts at frames, and frames
    at later ones.
    """
    count = n_prompts + n_frames
    mask = torch.ones(count, count, dtype=torch.bool).triu(1)
    mask[:n_prompts, :n_prompts] = False
    return mask


def balance_loss(shares: Tensor) -> Tensor:
    """0 where all experts are used alike on average, up to E - 1 where one takes all.

    Args:
        shares: (N, E), rows that sum to 1.
    """
    return shares.shape[1] * shares.mean(dim=0).square().sum() - 1


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
    settings_before: ClassVar[Mapping[str, str]] = {"tokens": "n_prompts", "grid": "regions"}
    # Of ``plar`` with a folder of its own.
    arrays_before: ClassVar[Mapping[str, str]] = {"look": "route_norm", "words": "told.words"}
    network: TemporalNetwork
    config: TemporalConfig

    @classmethod
    def read_config(cls, settings: JsonDict) -> TemporalConfig:
        """The checked settings; ``prompts`` of earlier versions is two of today.

        Raises:
            ModelError: they are of ``asu`` with a decoder, or a value is out of range.
        """
        settings = dict(settings)
        if "feed" in settings:
            raise ModelError(
                "a model of asu with a decoder of its own cannot be read since asu is a preset of "
                "temporal; learn it again: vlar adapt SUPPORT --out MODEL --method asu"
            )
        if "prompts" in settings:
            prompts = list(settings.pop("prompts"))
            settings["drawn"] = [name for name in prompts if name != "text"]
            settings["texts"] = ACTIONS if "text" in prompts else ""
        return super().read_config(settings)

    @classmethod
    def resolved(cls, config: Any, encoder: Encoder) -> TemporalConfig:
        """The settings with units, and the width and heads of a tower that layers are copied from.

        Raises:
            ModelError: the encoder lacks the parts or the blocks that are asked for.
            LabelError: the bank of units cannot be read, or holds other entries.
        """
        if config.regions < 0:
            regions = 2 * VIEWS["patch_tokens"].offered(encoder)
            config = dataclasses.replace(config, regions=regions)
        if config.unit_bank:
            units = config.units or tuple(map(str, units_of_bank(load_bank(config.unit_bank))))
            config = dataclasses.replace(config, units=units, unit_bank="")
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
        """The encoder, with the parts of frames and the drawn prompts where they are asked for.

        Raises:
            ModelError: a prompt cannot be made for the encoder.
        """
        if config.regions:
            encoder = WithRegions(encoder, config.regions, config.regions)
        return PromptedFrames(encoder, config.drawn, config.strength) if config.drawn else encoder

    @classmethod
    def chosen_blocks(cls, encoder: Encoder, config: Any) -> list[tuple[int, FrameBlock]]:
        """The blocks of the settings; without any those that describe motion."""
        if config.experts:
            return super().chosen_blocks(encoder, config)
        return chosen(encoder.frame_blocks, config.blocks)

    @property
    def settings(self) -> JsonDict:
        """The settings; those of a preset too where a user gives them the usual value."""
        whole = Settings.to_dict(self.config)
        return {**super().settings, **{name: whole[name] for name in self.preset_settings}}

    def prepare(self) -> None:
        """A training may leave out the inputs of one block at a time."""
        self.input_widths = [self.config.components] * len(self._blocks)

    def build(self) -> TemporalNetwork:
        """The transformer at its start."""
        config, blocks = self.config, None
        if config.initial == BLOCKS:
            view = require_blocks(self.encoder, self.method).towers.vision_view()
            blocks = view.blocks[-config.layers :]
        told = None
        if config.texts == UNITS:
            units = [Unit.parse(text) for text in config.units] or BODY
            bank = torch.from_numpy(unit_vectors(self.encoder, units))
            told = TextTokens(bank, config.width, config.selected, 1 / config.temperature)
        elif config.texts:
            bank = torch.from_numpy(action_vectors(self.encoder))
            told = TextTokens(bank, config.width, 0, self.logit_scale)
        return TemporalNetwork(config, self.n_inputs, self.dim, self.input_sizes, blocks, told)

    def relabel(self, labels: Sequence[str]) -> None:
        """Build the network for other labels, and units of theirs where none were given."""
        config = self.config
        if config.texts == UNITS and (config.labels or not config.units):
            self.config = dataclasses.replace(config, units=label_units(labels, self.encoder))
        super().relabel(labels)

    def small(self, features: Float32) -> Float32:
        """(N, T, K) inputs of a clip; changes by drawn prompts, parts and the vector follow."""
        small, source = super().small, self.source
        parts = [small(features)]
        if isinstance(source, PromptedFrames):
            parts += [small(shown) - parts[0] for shown in source.shown(features)]
            features, source = source.split(features)[0], source.encoder
        if isinstance(source, WithRegions):
            parts.append(features[..., source.encoder.frame_dim :])
        if self.config.texts:
            vectors = source.pool(features)[:, None]
            parts.append(np.repeat(vectors, features.shape[1], axis=1))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        """Scaled cosines, the loss of the task, and that of the balance of the experts."""
        output = super().training_step(batch, classes)
        if not self.config.experts:
            return output
        frames = self.inputs_of(batch.inputs)[..., : self.network.n_inputs]
        balance, task = balance_loss(self.network.route(frames)), output.losses["total"]
        total = task + self.config.balance * balance
        losses = {"total": total, "task": task, "balance": balance}
        return dataclasses.replace(output, losses=losses)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Encode texts for training; only the texts of labels are trained."""
        return fixed_vectors(self.encoder.encode_text(texts))
