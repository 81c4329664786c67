"""The settings of the temporal adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting

_MOST_WEIGHTS = 1 << 24  # eight times as many parameters: half a gigabyte


@dataclass(frozen=True)
class TemporalConfig(Settings):
    """How a temporal adapter is built.

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
