"""What a user asks of an adaptation, from the command line, HTTP or Python to the learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlar.fewshot.support import Support, SupportItem
from vlar.text.tree import Tree
from vlar.types import JsonDict, ProgressCallback

NO_BALANCE, ADJUST = "none", "adjust"
BALANCES = (NO_BALANCE, ADJUST)
#: What the literature also calls a rejector.
SYNONYMS = {"edl": "evidential"}
#: Names of objectives, or names with their settings.
Objectives = Sequence[str] | Mapping[str, JsonDict]


@dataclass(frozen=True)
class AdaptRequest:
    """One adaptation, made where a user asks and passed whole to the learner.

    ``source``, ``free``, ``shots`` and ``tree`` are what the user gives; ``vlar.model.adapt`` reads
    them, and fills ``support``, ``items`` and ``unlabelled`` for the learner.

    Attributes:
        support: Where the examples come from, with all labels; None where no clip has a label.
        items: The examples to use.
        method: Registered name of the method.
        seed: Seed of every draw.
        unknown: Registered name of the rejector that decides ``unknown``.
        settings: Settings of the adapter, of the recipe (its hyperparameters) and of the learner;
            those that are not given come from the recipe.
        recipe: Name of the recipe; None means the default of the method.
        objectives: Names of objectives, or names with settings; empty for plain training.
        unlabelled: Clips without labels, for objectives that use them.
        balance: ``adjust`` for a head that does not prefer labels with more examples.
        progress: Called as clips are read and go through training steps; None for none.
        source: The support set as the user gives it: a path, or one that is read; None for none.
        free: Folder or CSV of the unlabelled clips; None for none.
        shots: Most examples of each label; None for all.
        tree: A label tree, its file, ``bank:NAME`` or ``text``; None for none.
        learner: Registered name of the learner; None means that of the adapter.
        learned: Content hashes of the recordings that the model to adapt has learned from.
    """

    support: Support | None = None
    items: Sequence[SupportItem] = ()
    method: str = "auto"
    seed: int = 0
    unknown: str = "familiarity"
    settings: JsonDict = field(default_factory=dict)
    recipe: str | None = None
    objectives: Objectives = ()
    unlabelled: Sequence[SupportItem] = ()
    balance: str = NO_BALANCE
    progress: ProgressCallback | None = None
    source: str | Path | Support | None = None
    free: str | Path | None = None
    shots: int | None = None
    tree: Tree | str | Path | None = None
    learner: str | None = None
    learned: Sequence[str] = ()
