"""How ``vlar.training.fit`` works, apart from what is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlar.fewshot.request import NO_BALANCE
from vlar.fewshot.support import SupportItem
from vlar.model.adapt import FAMILIARITY
from vlar.model.core import ModelCore
from vlar.model.examples import FeatureCache
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.processes import ALONE, Processes
from vlar.training.results import EpochCallback
from vlar.training.shared_reading import fill_cache
from vlar.types import ProgressCallback


@dataclass(frozen=True)
class FitOptions:
    """How ``fit`` works, apart from what is trained.

    Attributes:
        unknown: Registered name of the rejector that decides ``unknown``.
        balance: ``adjust`` for a head that does not prefer labels with more examples.
        stack: Weigh the training against a closed form on held-out examples; else the trained
            similarity alone answers.
        checkpoints: Where checkpoints are written; None writes none.
        cache: Frame features that were computed before; None for none.
        reading: Called as examples are read.
        clips: Called with the clips of each training step.
        on_epoch: Called after each epoch of the final training.
        processes: Who trains together; each makes the same model.
        trained_cache: Given the trained core, where its features are kept while several processes
            compute them; None for none.
    """

    unknown: str = FAMILIARITY
    balance: str = NO_BALANCE
    stack: bool = True
    checkpoints: CheckpointConfig | None = None
    cache: FeatureCache | None = None
    reading: ProgressCallback | None = None
    clips: ProgressCallback | None = None
    on_epoch: EpochCallback | None = None
    processes: Processes = ALONE
    trained_cache: Callable[[ModelCore], FeatureCache] | None = None

    def fill(self, core: ModelCore, items: Sequence[SupportItem]) -> None:
        """Let several processes encode recordings into ``cache``; nothing where one works alone."""
        fill_cache(self.processes, core, items, self.cache, self.reading)

    def filled_cache(self, core: ModelCore, items: Sequence[SupportItem]) -> FeatureCache | None:
        """Features of the trained core, where several processes compute them; else None.

        Args:
            core: Of the trained adapter.
            items: The recordings that it will encode.
        """
        if self.processes.alone or self.trained_cache is None:
            return None
        cache = self.trained_cache(core)
        fill_cache(self.processes, core, items, cache, self.reading)
        return cache
