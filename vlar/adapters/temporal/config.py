"""The settings of the temporal adapter."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.adapters.settings import bad_setting, check_settings, read_settings, setting
from vlar.types import JsonDict

WHAT = "temporal setting"
_MOST_WEIGHTS = 1 << 24  # eight times as many parameters: half a gigabyte


@dataclass(frozen=True)
class TemporalConfig:
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

    def __post_init__(self) -> None:
        check_settings(self, WHAT)
        if self.layers * self.width**2 > _MOST_WEIGHTS:
            wanted = f"fewer layers, or less width: layers * width**2 up to {_MOST_WEIGHTS:,}"
            raise bad_setting(WHAT, "layers", self.layers, wanted)
        if self.width % self.heads:
            raise bad_setting(WHAT, "width", self.width, f"a multiple of heads ({self.heads})")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        values = asdict(self)
        return {**values, "blocks": list(self.blocks), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: JsonDict) -> TemporalConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, WHAT)
