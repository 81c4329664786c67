"""The contract of learners: how the parameters of a method are found from examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

from vlar.adapters.settings import check_settings, read_settings
from vlar.fewshot.request import AdaptRequest
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore


class Learner(ABC):
    """A way of learning: by training, by a closed solution, without the source's data, ...

    An adapter names its learner (``Adapter.learner``), and a user may name another one
    (``AdaptRequest.learner``). The fields of a learner that is a dataclass are settings of its own,
    such as the rounds of a federated training; it is made for each adaptation.

    Attributes:
        without_examples: Whether it starts from the given model alone: ``AdaptRequest.support`` is
            None, and there may be no unlabelled clips either.
        facts: Columns of a support set that it reads next to ``vlar.fewshot.support.FACTS``.
    """

    without_examples: ClassVar[bool] = False
    facts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, request: AdaptRequest) -> tuple[Learner, AdaptRequest]:
        """The learner with those of the request's settings that are its own, and the rest.

        Raises:
            ModelError: a setting has another type or is out of range.
        """
        if not is_dataclass(cls):
            return cls(), request
        part: Any = cls
        names = [row.name for row in fields(part) if row.init]
        own = {name: value for name, value in request.settings.items() if name in names}
        rest = {name: value for name, value in request.settings.items() if name not in own}
        learner = read_settings(part, own, "learner setting")
        check_settings(learner, "learner setting")
        return learner, replace(request, settings=rest)

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
