"""The settings of MSQNet's open form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting

_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class MsqConfig(Settings):
    """How the queries and the decoder are built.

    Attributes:
        width: Width of the decoder, at most that of the encoder; None for 256, or the encoder's.
        layers: Layers of the decoder.
        heads: Heads of its attention.
        feed: Width of a feed-forward layer, in widths of the decoder.
        dropout: Dropout in training, 0 to below 1.
        moments: Equal spans of a clip that the decoder reads.
        grid: Parts of a frame along each side that it reads too; 0 for whole frames alone.
        focus_shown: Of the loss of several labels: how much less an easy shown label counts.
        focus_absent: The same of an absent label; 2 where few of many labels are shown.
        labels: The labels it was trained for; it answers about any others too.
    """

    width: int | None = setting(None, at_least=1, at_most=4096)
    layers: int = setting(2, at_least=1, at_most=64)
    heads: int = setting(8, at_least=1, at_most=4096)
    feed: int = setting(2, at_least=1, at_most=16)
    dropout: float = setting(0.1, at_least=0, below=1)
    moments: int = setting(8, at_least=1, at_most=1024)
    grid: int = setting(0, at_least=0, at_most=7)
    focus_shown: float = setting(0.0, at_least=0, at_most=16)
    focus_absent: float = setting(0.0, at_least=0, at_most=16)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "msq setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        self.require_multiple(self.width, self.heads)
        self.require_few(
            "layers",
            self.layers * (self.width or 256) ** 2 * self.feed,
            _MOST_WEIGHTS,
            "less: layers * width**2 * feed",
        )
