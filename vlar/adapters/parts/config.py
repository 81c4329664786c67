"""The settings of the parts adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.mapped_config import SENTENCES, MappedConfig
from vlar.adapters.settings import setting


@dataclass(frozen=True)
class PartsConfig(MappedConfig):
    """How parts of the body learn their descriptions.

    Attributes:
        text: As in ``MappedConfig``; a sentence encoder tells clauses apart.
        bank: Name or file of a bank with the kinds ``part:head``, ``part:hand``, ``part:hip`` and
            ``part:foot``; empty for clauses of the verb table. A label that the bank lacks gets
            those too.
        components: Entries that each part is read by: principal directions of the training clips.
        steps: Of the training.
        batch: Clips of a step.
        rate: Of Adam.
        decay: Weight decay.
        factor: On the mean of the part losses, next to the cross-entropy of labels.
        whole: Share of the whole body in a score; the parts have the rest, evenly.
        scale: ``exp`` learns the logarithm of the factor from cosine to logit; ``linear`` the
            factor itself, as the published code does.
    """

    text: str = setting(SENTENCES, choices=("own", "sentences", "both"))
    bank: str = ""
    components: int = setting(64, at_least=1, at_most=4096)
    steps: int = setting(400, at_least=1, at_most=1_000_000)
    batch: int = setting(64, at_least=2, at_most=4096)
    rate: float = setting(2e-3, above=0, at_most=1)
    decay: float = setting(1e-2, at_least=0, at_most=1)
    factor: float = setting(0.8, at_least=0)
    whole: float = setting(0.5, at_least=0, at_most=1)
    scale: str = setting("exp", choices=("exp", "linear"))
    what: ClassVar[str] = "parts setting"
