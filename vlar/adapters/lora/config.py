"""The settings of LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting

TOWERS = ("both", "text", "vision")


@dataclass(frozen=True)
class LoraConfig(Settings):
    """Which layers get a low-rank change, and how large it is (arXiv 2106.09685).

    Attributes:
        towers: ``vision``, ``text`` or ``both``.
        rank: Rank of each change.
        alpha: A change is scaled by ``alpha / rank``.
        dropout: Dropout on the input of a change, 0 to below 1; in training only.
        mlp: Change the MLPs too, not the attention alone.
        n_frames: T the model is trained with; any T works.
    """

    towers: str = setting("both", choices=TOWERS)
    rank: int = setting(8, at_least=1, at_most=1024)
    alpha: float = 16.0
    dropout: float = setting(0.0, at_least=0, below=1)
    mlp: bool = False
    n_frames: int = setting(8, at_least=1, at_most=1024)

    what: ClassVar[str] = "LoRA setting"

    def trains(self, tower: str) -> bool:
        """Whether ``vision`` or ``text`` is changed."""
        return self.towers in ("both", tower)
