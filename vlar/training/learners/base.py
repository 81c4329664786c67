"""The contract of learners: how the parameters of a method are found from examples."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vlar.fewshot.request import AdaptRequest
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore


class Learner(ABC):
    """A way of learning: by training, by a closed solution, without the source's data, ...

    An adapter names its learner (``Adapter.learner``); ``Model.adapt`` looks it up by that name.
    """

    @abstractmethod
    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """Learn a method from examples.

        Args:
            core: Its encoder is wrapped; it is not changed.
            request: The method, the examples and what else the user asks for.

        Returns:
            A core and a head that answers with the labels of the support set.

        Raises:
            SupportError: a label is left without any clip that can be read.
            UsageError: the learner has no use for a part of the request.
        """
