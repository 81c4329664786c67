"""The settings of the temporal adapter."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.adapters.settings import read_settings
from vlar.errors import ModelError
from vlar.types import JsonDict


@dataclass(frozen=True)
class TemporalConfig:
    """How a temporal adapter is built.

    Attributes:
        width: Of the transformer.
        layers: Of the transformer.
        heads: Of its attention.
        n_prompts: Learned vectors that read the frames, beside the frames themselves.
        components: Principal directions kept of each block of the frame features.
        dropout: Of every layer, while it is trained.
        blocks: Blocks of the frame features to read; empty means those that tell how things move,
            or all where an encoder has none of them.
        steps: Also read the step from frame to frame; without it the transformer sees time by
            position alone.
        labels: The labels it was trained for; their texts may have moved.
    """

    width: int = 64
    layers: int = 1
    heads: int = 4
    n_prompts: int = 4
    components: int = 32
    dropout: float = 0.3
    blocks: tuple[str, ...] = ()
    steps: bool = True
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "n_prompts", "components"):
            if getattr(self, name) < 1:
                raise _bad(name, getattr(self, name), "a whole number from 1")
        if self.width % self.heads:
            raise _bad("width", self.width, f"a multiple of heads ({self.heads})")
        if not 0 <= self.dropout < 1:
            raise _bad("dropout", self.dropout, "a share from 0 and below 1")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        values = asdict(self)
        return {**values, "blocks": list(self.blocks), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: JsonDict) -> TemporalConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, "temporal setting")


def _bad(name: str, value: object, wanted: str) -> ModelError:
    return ModelError(f"temporal setting {name} is {value!r}; use {wanted}")
