"""The settings of attentive semantic units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting
from vlar.text.units import Unit

_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class AsuConfig(Settings):
    """How units are chosen and what they steer.

    Attributes:
        units: ``GROUP: WORD`` of each unit. Empty: those that the banks' descriptions of the
            trained labels name; until then body parts alone.
        unit_bank: Bank of units (``vlar describe --units``) that fills ``units``; empty for none.
        selected: k, units that steer the decoder.
        temperature: Of the choice, on standardised similarities; trained from there.
        grid: Parts of a frame along each side; 0 for whole frames alone. None: 2 where the encoder
            can tell parts apart, else 0.
        region_blocks: Last blocks of a ViT in which parts have tokens of their own.
        moments: Equal spans of a clip that the decoder reads.
        width: Width of the decoder, at most that of the encoder; None for 64, or the encoder's.
        layers: Layers of the decoder; 0 for none, which leaves the encoder's vectors.
        heads: Heads of its attention.
        feed: Width of a feed-forward layer, in widths of the decoder.
        dropout: Dropout in training, 0 to below 1.
        ground: Weight of the loss that ties chosen units to the descriptions of the label.
        labels: The labels it was trained for.
    """

    units: tuple[str, ...] = ()
    unit_bank: str = ""
    selected: int = setting(32, at_least=1, at_most=4096)
    temperature: float = setting(0.5, above=0, at_most=10)
    grid: int | None = setting(None, at_least=0, at_most=7)
    region_blocks: int = setting(4, at_least=1, at_most=64)
    moments: int = setting(8, at_least=1, at_most=1024)
    width: int | None = setting(None, at_least=1, at_most=4096)
    layers: int = setting(2, at_least=0, at_most=64)
    heads: int = setting(8, at_least=1, at_most=4096)
    feed: int = setting(2, at_least=1, at_most=16)
    dropout: float = setting(0.1, at_least=0, below=1)
    ground: float = setting(0.0, at_least=0, at_most=100)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "asu setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        for unit in self.units:
            Unit.parse(unit)
        self.require_multiple(self.width, self.heads)
        self.require_few(
            "layers",
            self.layers * (self.width or 64) ** 2 * self.feed,
            _MOST_WEIGHTS,
            "less: layers * width**2 * feed",
        )
