"""``trained``: gradient descent by a recipe, weighed against a closed form on held-out examples."""

from __future__ import annotations

from dataclasses import replace

from vlar.fewshot.request import AdaptRequest
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.registry import register
from vlar.training.fit import fit
from vlar.training.fit_options import FitOptions
from vlar.training.learners.base import Learner
from vlar.training.task import TrainingTask
from vlar.training.without_labels import fit_without_labels


@register("learner", "trained")
class TrainedLearner(Learner):
    """Train the method's adapter; see ``vlar.training.fit``."""

    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """See ``Learner``; without a support set it trains on the unlabelled clips alone."""
        task = TrainingTask.of_request(core.encoder, request)
        options = FitOptions(
            unknown=request.unknown,
            balance=request.balance,
            reading=request.progress,
            clips=request.progress,
        )
        if request.support is None:
            task = replace(task, unlabelled=())
            return fit_without_labels(task, core, request.unlabelled, options)
        return fit(task, core, request.support, request.items, options)
