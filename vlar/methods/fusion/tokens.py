"""The token form of several sensors, which every block shares: one token a part and row.

Letters: N clips, M parts, T rows of features, R rows of tokens, K inputs of a row, W width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import Settings, setting
from vlar.training.tower_network import WAVES, layers, positions

BLOCKS = ("attention", "rebuild", "mixer", "deformable", "devices", "intervals")
FUSES = ("attention", "sum", "concatenation")


@dataclass(frozen=True)
class FusionConfig(Settings):
    """Settings of the fusion of several sensors.

    Attributes:
        block: What fuses the tokens; one file each in ``vlar/methods/fusion``.
        width: Width of a token.
        heads: Heads of every attention.
        layers: Layers of every transformer.
        components: Principal directions kept of each block of the frame features.
        fold: Rows of features in a token.
        dropout: Dropout of every layer in training, 0 to below 1.
        drop: Chance of a part to be left out of a training clip, 0 to 1.
        contrast: Weight of the contrast of each pair of sensors.
        prototypes: Weight of prototypes of one sensor for queries of another.
        temperature: Temperature of contrast and prototypes.
        hidden: Weight of parts or patches that are predicted (``rebuild``, ``devices``).
        fuse: How ``rebuild`` joins the parts: ``attention``, ``sum`` or ``concatenation``.
        memory: Memory tokens of ``rebuild``, queries of ``mixer``.
        reach: Largest offset of ``deformable``, in rows and places.
        columns: Places of a row of a map of ``deformable``; most layouts list a limb by four.
        grid: Rows and columns of the map of a video's patches (``deformable``); 0 for one place.
        graph: Weight of devices that are predicted from the others (``devices``).
        laid: Most clips that ``intervals`` lays end to end in training.
        labels: The labels it was trained for; their texts may have moved.
    """

    block: str = setting("attention", choices=BLOCKS)
    width: int = setting(64, at_least=2, at_most=2048)
    heads: int = setting(4, at_least=1, at_most=256)
    layers: int = setting(1, at_least=1, at_most=16)
    components: int = setting(32, at_least=1, at_most=1024)
    fold: int = setting(4, at_least=1, at_most=64)
    dropout: float = setting(0.2, at_least=0, below=1)
    drop: float = setting(0.5, at_least=0, at_most=1)
    contrast: float = setting(0.0, at_least=0)
    prototypes: float = setting(0.0, at_least=0)
    temperature: float = setting(0.07, above=0)
    hidden: float = setting(1.0, at_least=0)
    fuse: str = setting("attention", choices=FUSES)
    memory: int = setting(4, at_least=1, at_most=256)
    reach: float = setting(4.0, at_least=0)
    columns: int = setting(4, at_least=1, at_most=64)
    grid: int = setting(0, at_least=0, at_most=16)
    graph: float = setting(1.0, at_least=0)
    laid: int = setting(4, at_least=1, at_most=64)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "fusion setting"

    def check(self) -> None:
        """Refuse a width that heads or halves cannot share."""
        self.require_multiple(self.width, 2 * self.heads)

    @property
    def maps(self) -> bool:
        """Whether places (joints, devices) are read one by one, not along directions."""
        return self.block in ("deformable", "devices")


class InputsOfPart(NamedTuple):
    """Columns of the inputs that belong to a part.

    Attributes:
        sensor: Its modality.
        columns: Columns of the inputs.
        place: Place of its blocks in a vector.
        channels: Numbers of a place where a block has places, else 0.
        places: Places of that block.
        start: Input at which it begins.
        shape: Rows and columns of its map.
    """

    sensor: str
    columns: slice
    place: slice
    channels: int
    places: int
    start: int = 0
    shape: tuple[int, int] = (1, 1)

    @property
    def width(self) -> int:
        """K of the part."""
        return self.columns.stop - self.columns.start

    def map(self, inputs: Tensor) -> Tensor:
        """Inputs (N, T, K) of the part as a map (N, C, T, H): places are H, without any H is 1."""
        if not self.channels:
            return inputs.transpose(1, 2)[..., None]
        points = inputs[..., self.start : self.start + self.channels * self.places]
        return points.unflatten(-1, (self.places, self.channels)).permute(0, 3, 1, 2)


def rows_and_columns(places: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a map of places.

    >>> rows_and_columns(18, 4), rows_and_columns(2, 4), rows_and_columns(1, 4)
    ((5, 4), (1, 2), (1, 1))
    """
    columns = min(columns, places)
    return -(-places // columns), columns


class Seen(NamedTuple):
    """Inputs of a block.

    Attributes:
        rows: (N, M, R, W) tokens; those of a part that is missing hold nothing of a clip.
        there: (N, M) bool, the parts that were recorded.
        kept: (N, M) bool, those that may be used; never none.
        inputs: (N, T, K) of each part.
    """

    rows: Tensor
    there: Tensor
    kept: Tensor
    inputs: Sequence[Tensor]


class Fused(NamedTuple):
    """Result of a block: (N, W), and further losses by name."""

    vectors: Tensor
    losses: dict[str, Tensor]


class FusionBlock(nn.Module):
    """The base of what fuses tokens.

    Attributes:
        timed: Whether tokens hold their place in time; a block without adds it by itself.
        pretraining: Whether patches are hidden (``devices``).
    """

    timed: ClassVar[bool] = True
    pretraining: bool = False

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__()
        self.config, self.parts = config, tuple(parts)

    @abstractmethod
    def forward(self, seen: Seen) -> Fused:
        """Fuse the tokens of the kept parts."""


def folded(inputs: Tensor, fold: int) -> Tensor:
    """(N, T, K) to (N, R, fold K); T that is not a multiple is interpolated to one."""
    count = -(-inputs.shape[1] // fold)
    if inputs.shape[1] % fold:
        inputs = F.interpolate(inputs.transpose(1, 2), count * fold, mode="linear").transpose(1, 2)
    return inputs.reshape(len(inputs), count, -1)


class PartTokens(nn.Module):
    """The tokens of one part: its folded inputs, and who it is and when, if asked."""

    def __init__(self, inputs: int, config: FusionConfig, timed: bool) -> None:
        super().__init__()
        self.fold = config.fold
        self.enter = nn.Linear(inputs * config.fold, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.part = nn.Parameter(0.02 * torch.randn(config.width))
        self.time = nn.Linear(2 * WAVES, config.width, bias=False) if timed else None
        self.drop = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, R, W)."""
        x = self.norm(self.enter(self.drop(folded(inputs, self.fold)))) + self.part
        return x if self.time is None else x + self.time(positions(x))


class TokenAttention(FusionBlock):
    """A token that reads the tokens of all kept parts; others are masked (MMG-Ego4D)."""

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        self.answer = nn.Parameter(0.02 * torch.randn(config.width))
        self.layers = layers(config.width, config.heads, config.layers, config.dropout)

    def forward(self, seen: Seen) -> Fused:
        """Fuse the tokens."""
        return Fused(self.read(seen.rows, seen.kept), {})

    def read(self, rows: Tensor, kept: Tensor) -> Tensor:
        """(N, M, R, W) of the parts kept (N, M) to (N, W)."""
        x = torch.cat([self.answer.expand(len(rows), 1, -1), rows.flatten(1, 2)], dim=1)
        gone = (~kept).repeat_interleave(rows.shape[2], dim=1)
        x = masked(self.layers, x, F.pad(gone, (1, 0)))
        return x[:, 0]


def masked(stack: nn.ModuleList, x: Tensor, gone: Tensor) -> Tensor:
    """(N, S, W) through layers in which the tokens ``gone`` (N, S) are not attended."""
    for layer in stack:
        x = layer(x, src_key_padding_mask=gone)
    return x
