"""What a user asks of an adaptation, for the learner that carries it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vlar.fewshot.support import Support, SupportItem
from vlar.types import JsonDict, ProgressCallback

NO_BALANCE, ADJUST = "none", "adjust"
BALANCES = (NO_BALANCE, ADJUST)
#: What the literature also calls a rejector.
SYNONYMS = {"edl": "evidential"}
#: Names of objectives, or names with their settings.
Objectives = Sequence[str] | Mapping[str, JsonDict]


@dataclass(frozen=True)
class AdaptRequest:
    """One adaptation.

    Attributes:
        support: Where the examples come from, with all labels; None where no clip has a label.
        items: The examples to use.
        method: Registered name of the method.
        seed: Seed of every draw.
        unknown: Registered name of the rejector that decides ``unknown``.
        settings: Settings of the adapter; empty means those of the recipe.
        recipe: Name of the recipe; None means the default of the method.
        objectives: Names of objectives, or names with settings; empty for plain training.
        unlabelled: Clips without labels, for objectives that use them.
        balance: ``adjust`` for a head that does not prefer labels with more examples.
        progress: Called as clips are read and go through training steps; None for none.
    """

    support: Support | None
    items: Sequence[SupportItem]
    method: str
    seed: int = 0
    unknown: str = "familiarity"
    settings: JsonDict = field(default_factory=dict)
    recipe: str | None = None
    objectives: Objectives = ()
    unlabelled: Sequence[SupportItem] = ()
    balance: str = NO_BALANCE
    progress: ProgressCallback | None = None
