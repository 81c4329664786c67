"""A method, resolved once from the name that a user gives, and the task that a learner gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vlar import registry
from vlar.errors import UsageError
from vlar.heads.model_selection import AUTO, methods
from vlar.heads.reject import Familiarity
from vlar.heads.support import Support, SupportItem
from vlar.model.requests import NO_BALANCE, Objectives
from vlar.types import JsonDict, ProgressCallback

if TYPE_CHECKING:
    from vlar.adapters.base import Adapter
    from vlar.heads.adapted_head import AdaptedHead


@dataclass(frozen=True)
class Method:
    """A way to learn: a closed form, or an adapter that a learner finds the parameters of.

    Attributes:
        name: Registered name of the closed form or of the adapter; ``auto`` for the closed form
            that suits.
        adapter: Class of the adapter; None for a closed form.
        learner: Registered name of the learner; empty for a closed form.
        settings: Settings of the adapter, hyperparameters and settings of the learner that replace
            those of the recipe.
        recipe: Name of the recipe; None for the default of the adapter.
        objectives: Names of objectives, or names with their settings.
        facts: Columns of examples that the parts read next to ``vlar.heads.support.FACTS``.
    """

    name: str = AUTO
    adapter: type[Adapter] | None = None
    learner: str = ""
    settings: JsonDict = field(default_factory=dict)
    recipe: str | None = None
    objectives: Objectives = ()
    facts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(
        cls,
        name: str,
        *,
        settings: JsonDict | None = None,
        learner: str | None = None,
        recipe: str | None = None,
        objectives: Objectives = (),
    ) -> Method:
        """The method of a name.

        Args:
            name: A closed form, ``auto``, or an adapter to train.
            settings: As for ``Model.adapt``.
            learner: As for ``Model.adapt``; None for the adapter's own.
            recipe: Name of the recipe; None for the default of the adapter.
            objectives: As for ``Model.adapt``.

        Raises:
            UnknownNameError: no method, learner or objective has the name.
            UsageError: a closed form is given settings, a learner or objectives.
        """
        closed, trained = registry.names("fewshot"), registry.names("adapter")
        if name in (AUTO, *closed):
            _check_closed(name, bool(objectives), learner, settings or {})
            return cls(name)
        if name not in trained:
            raise registry.unknown_name("method", name, (AUTO, *methods(), *trained))
        adapter = registry.get("adapter", name)
        learner = str(learner or adapter.learner)
        parts: list[Any] = [registry.get("objective", objective) for objective in objectives]
        parts += [adapter, registry.get("learner", learner)]
        facts = dict.fromkeys(fact for part in parts for fact in getattr(part, "facts", ()))
        return cls(name, adapter, learner, dict(settings or {}), recipe, objectives, tuple(facts))

    @property
    def is_trained(self) -> bool:
        """Whether it puts an adapter around the encoder, rather than fit a closed form."""
        return self.adapter is not None

    @property
    def starts_alone(self) -> bool:
        """Whether its learner starts from a model, without any clip."""
        return self.is_trained and registry.get("learner", self.learner).without_examples

    def require_labels_alone(self, *, unlabelled: bool) -> None:
        """Refuse clips without labels for a closed form.

        Raises:
            UsageError: some are given.
        """
        if unlabelled and not self.is_trained:
            _check_closed(self.name, unlabelled, None, {})


@dataclass(frozen=True)
class AdaptTask:
    """Input of a learner: a resolved method, and examples that were found and drawn.

    Attributes:
        method: How to learn.
        support: Where the examples come from, with all labels; None where no clip has a label.
        items: The examples to use.
        unlabelled: Clips without labels, for objectives that use them.
        seed: Seed of all that a training draws.
        unknown: Registered name of the rejector.
        balance: ``adjust``: labels with more examples are not preferred.
        progress: Called as clips are read and go through training steps; None for none.
        start: A released file that the method's network starts from; None for none.
        before: Head of the model that adapts; None where it has none.
    """

    method: Method
    support: Support | None = None
    items: Sequence[SupportItem] = ()
    unlabelled: Sequence[SupportItem] = ()
    seed: int = 0
    unknown: str = Familiarity.name
    balance: str = NO_BALANCE
    progress: ProgressCallback | None = None
    start: str | None = None
    before: AdaptedHead | None = None

    @property
    def adapter(self) -> type[Adapter]:
        """Class of the adapter, which every method with a learner has.

        Raises:
            UsageError: the method is a closed form.
        """
        if self.method.adapter is None:
            raise UsageError(f"method {self.method.name!r} is a closed form, which nothing trains")
        return self.method.adapter

    @property
    def settings(self) -> JsonDict:
        """The settings of the method."""
        return self.method.settings

    @property
    def objectives(self) -> Objectives:
        """The objectives of the method."""
        return self.method.objectives

    def with_settings(self, settings: JsonDict) -> AdaptTask:
        """The same with other settings."""
        return replace(self, method=replace(self.method, settings=settings))


def _check_closed(name: str, extra: bool, learner: str | None, settings: JsonDict) -> None:
    """Refuse what only a training reads.

    Raises:
        UsageError: something of it is given.
    """
    if extra:
        raise UsageError(
            f"method {name!r} is a closed form, which has no objectives and uses no "
            "unlabelled clips; name an adapter to train, for example temporal"
        )
    if settings or learner:
        raise UsageError(
            f"method {name!r} is a closed form, which has no settings and no learner "
            f"({learner or next(iter(settings))!r} is given); name an adapter to train, for "
            "example temporal"
        )
