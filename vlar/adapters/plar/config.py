"""The settings of the prompt experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.registry import unknown_name

PROMPTS = ("flow", "people", "text")
_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class PlarConfig(Settings):
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

    what: ClassVar[str] = "plar setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        for name in self.prompts:
            if name not in PROMPTS:
                raise unknown_name(f"value of {self.what} 'prompts'", name, PROMPTS)
        if len(set(self.prompts)) < len(self.prompts):
            raise bad_setting(self.what, "prompts", list(self.prompts), "each of them once")
        self.require_few(
            "layers",
            self.layers * self.width**2,
            _MOST_WEIGHTS,
            "fewer layers, or less width: layers * width**2",
        )
        self.require_multiple(self.width, self.heads)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The prompts that are drawn into the frames."""
        return tuple(name for name in self.prompts if name != "text")
