"""The settings of LoRA."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.adapters.settings import read_settings
from vlar.errors import ModelError
from vlar.registry import unknown_name
from vlar.types import JsonDict

TOWERS = ("both", "text", "vision")


@dataclass(frozen=True)
class LoraConfig:
    """Which layers get a low-rank change, and how large a one (arXiv 2106.09685).

    Attributes:
        towers: ``vision``, ``text`` or ``both``.
        rank: Of each change.
        alpha: A change is scaled by ``alpha / rank``.
        dropout: Of what a change reads, 0 to below 1; in training only.
        mlp: Change the MLPs too, not the attention alone.
        n_frames: T the model is trained with; any T works.
    """

    towers: str = "both"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    mlp: bool = False
    n_frames: int = 8

    def __post_init__(self) -> None:
        if self.towers not in TOWERS:
            raise unknown_name("value of LoRA setting 'towers'", str(self.towers), TOWERS)
        for name in ("rank", "n_frames"):
            if getattr(self, name) < 1:
                raise _bad(name, getattr(self, name), "a whole number from 1")
        if not 0 <= self.dropout < 1:
            raise _bad("dropout", self.dropout, "a share from 0 to below 1")

    def trains(self, tower: str) -> bool:
        """Whether ``vision`` or ``text`` is changed."""
        return self.towers in ("both", tower)

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> LoraConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, "LoRA setting")


def _bad(name: str, value: object, wanted: str) -> ModelError:
    return ModelError(f"LoRA setting {name} is {value!r}; use {wanted}")
