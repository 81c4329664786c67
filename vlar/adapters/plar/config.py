"""The settings of the prompt experts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.adapters.settings import bad_setting, check_settings, read_settings, setting
from vlar.registry import unknown_name
from vlar.types import JsonDict

WHAT = "plar setting"
PROMPTS = ("flow", "people", "text")
_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class PlarConfig:
    """How the adapter is built.

    Attributes:
        experts: E, prompts that are learned; each clip has a mix of its own.
        tokens: Vectors of an expert.
        width: Width of the transformer.
        layers: Its layers.
        heads: Heads of its attention.
        components: Principal directions kept of each block of the frame features.
        dropout: Dropout of every layer in training, 0 to below 1.
        prompts: What else guides the features: ``flow`` (frames in which what moves is brighter),
            ``people`` (frames in which bodies are brighter), ``text`` (the everyday actions
            nearest to the clip). Each of the first two encodes the frames once more.
        strength: How much brighter, as a share of a pixel's value.
        balance: Weight of the loss that keeps all experts in use.
        blocks: Blocks of the frame features to read; empty means all.
    """

    experts: int = setting(8, at_least=1, at_most=256)
    tokens: int = setting(4, at_least=1, at_most=256)
    width: int = setting(64, at_least=1, at_most=4096)
    layers: int = setting(1, at_least=1, at_most=64)
    heads: int = setting(4, at_least=1, at_most=4096)
    components: int = setting(32, at_least=1, at_most=4096)
    dropout: float = setting(0.3, at_least=0, below=1)
    prompts: tuple[str, ...] = ("flow",)
    strength: float = setting(0.5, above=0, at_most=1)
    balance: float = setting(0.01, at_least=0, at_most=100)
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, WHAT)
        for name in self.prompts:
            if name not in PROMPTS:
                raise unknown_name(f"value of {WHAT} 'prompts'", name, PROMPTS)
        if len(set(self.prompts)) < len(self.prompts):
            raise bad_setting(WHAT, "prompts", list(self.prompts), "each of them once")
        if self.layers * self.width**2 > _MOST_WEIGHTS:
            wanted = f"fewer layers, or less width: layers * width**2 up to {_MOST_WEIGHTS:,}"
            raise bad_setting(WHAT, "layers", self.layers, wanted)
        if self.width % self.heads:
            raise bad_setting(WHAT, "width", self.width, f"a multiple of heads ({self.heads})")

    @property
    def pictures(self) -> tuple[str, ...]:
        """The prompts that are drawn into the frames."""
        return tuple(name for name in self.prompts if name != "text")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return {**asdict(self), "prompts": list(self.prompts), "blocks": list(self.blocks)}

    @classmethod
    def from_dict(cls, values: JsonDict) -> PlarConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, WHAT)
