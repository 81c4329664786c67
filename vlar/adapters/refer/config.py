"""Settings of the ``refer`` adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting
from vlar.errors import ModelError


@dataclass(frozen=True)
class ReferConfig(Settings):
    """The size of the network, and what it starts from.

    Attributes:
        width: Width of a token; a multiple of ``heads``.
        heads: Heads of the agent attention.
        agents: Agents of a stream.
        tokens: Tokens of each stream.
        people: Most people of a clip, from the left.
    """

    width: int = setting(64, at_least=8, at_most=1024)
    heads: int = setting(4, at_least=1, at_most=16)
    agents: int = setting(4, at_least=1, at_most=16)
    tokens: int = setting(8, at_least=2, at_most=64)
    people: int = setting(10, at_least=2, at_most=32)
    what: ClassVar[str] = "refer setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.width % self.heads:
            raise ModelError(
                f"refer setting width is {self.width}: not a multiple of {self.heads} heads; "
                "correct one of them"
            )
