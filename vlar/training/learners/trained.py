"""``trained``: gradient descent by a recipe, weighed against a closed form on held-out examples."""

from __future__ import annotations

from vlar.fewshot.request import AdaptRequest
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.registry import register
from vlar.training.fit import FitOptions, fit
from vlar.training.learners.base import Learner
from vlar.training.task import TrainingTask


@register("learner", "trained")
class TrainedLearner(Learner):
    """Train the method's adapter; see ``vlar.training.fit``."""

    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """See ``Learner``."""
        task = TrainingTask.by_recipe(
            core.encoder,
            request.method,
            recipe=request.recipe,
            settings=request.settings,
            seed=request.seed,
            objectives=request.objectives,
            unlabelled=request.unlabelled,
        )
        options = FitOptions(
            unknown=request.unknown,
            balance=request.balance,
            reading=request.progress,
            clips=request.progress,
        )
        return fit(task, core, request.support, request.items, options)
