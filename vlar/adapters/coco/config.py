"""The settings of CoCo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, setting


@dataclass(frozen=True)
class CocoConfig(Settings):
    """How descriptions are read and aligned.

    Attributes:
        rank: Of the residual maps of label texts and of descriptions.
        hidden: Width of the residual map of clips.
        components: Principal directions kept of each block of the frame features.
        names: Share of the label's text in its vector, 0 to 1; the rest is its descriptions. With 0
            the descriptions alone answer, where a label has any.
        pooling: ``mean`` of the descriptions, or ``attention``, which learns what to weigh.
        centre: Subtract from the descriptions what those of all trained labels have in common.
        keep: Share of a label's descriptions that are kept: those nearest to its text.
        most: Descriptions a label at most, so that frequent labels are not sharper.
        drawn: Descriptions a label that a training step reads.
        temperature: Of both alignments.
        instances: Factor on the alignment with single descriptions.
        cycle: Factor on the cycle over seen and unseen labels; it needs ``unseen``.
        cycle_temperature: Of the cycle.
        bank: Where the descriptions are: a bank's name, a file of descriptions, or empty for all
            packaged banks.
        unseen: Labels without examples whose names the training may read.
        labels: The labels it was trained for; a training sets it.
        bank_sha256: Hash of the descriptions it was trained with; a training sets it.
    """

    rank: int = setting(128, at_least=1, at_most=4096)
    hidden: int = setting(64, at_least=1, at_most=4096)
    components: int = setting(32, at_least=1, at_most=4096)
    names: float = setting(0.5, at_least=0, at_most=1)
    pooling: str = setting("mean", choices=("mean", "attention"))
    centre: bool = True
    keep: float = setting(1.0, above=0, at_most=1)
    most: int = setting(64, at_least=1, at_most=10_000)
    drawn: int = setting(8, at_least=1, at_most=1024)
    temperature: float = setting(0.07, above=0, at_most=100)
    instances: float = setting(1.0, at_least=0)
    cycle: float = setting(0.1, at_least=0)
    cycle_temperature: float = setting(0.1, at_least=0.05, at_most=100)
    bank: str = ""
    unseen: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    bank_sha256: str = ""

    what: ClassVar[str] = "CoCo setting"
