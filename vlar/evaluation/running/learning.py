"""From clips that may be learned from to a model: closed forms on shared features, or training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlar import registry
from vlar.errors import ProtocolError, SupportError
from vlar.evaluation.running.features import FeatureStore
from vlar.evaluation.running.guard import FitSet
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.model_selection import AUTO
from vlar.fewshot.request import AdaptRequest
from vlar.fewshot.support import Support, SupportItem
from vlar.model.adapt import Adapted, fit_examples, learn
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.training.hyperparameters import load_recipe
from vlar.types import Encoded, Failure

NONE = "none"


@dataclass(frozen=True)
class Learner:
    """How a protocol learns.

    Attributes:
        method: A closed form, ``auto``, or an adapter to train; ``none`` learns nothing.
        unknown: Registered name of the rejector.
        recipe: Of a training; None for the method's own.
    """

    method: str = AUTO
    unknown: str = "familiarity"
    recipe: str | None = None

    @property
    def is_trained(self) -> bool:
        """Whether it trains an adapter, so that clips and labels get other vectors."""
        return self.method in registry.names("adapter")

    def check(self) -> None:
        """Refuse a method that does not exist.

        Raises:
            UnknownNameError: neither a closed form nor an adapter is called so, or no recipe.
        """
        known = [NONE, AUTO, *registry.names("fewshot"), *registry.names("adapter")]
        if self.method not in known:
            raise registry.unknown_name("method", self.method, known)
        if self.recipe is not None:
            load_recipe(self.recipe)


@dataclass(frozen=True)
class Fitted:
    """What was learned.

    Attributes:
        core: Encodes clips from now on; the one given, unless an adapter was trained.
        head: Answers with the labels of the fit set.
        failed: Clips that could not be read.
    """

    core: ModelCore
    head: AdaptedHead
    failed: tuple[Failure, ...]


def fit(
    core: ModelCore, store: FeatureStore, learner: Learner, fit_set: FitSet, seed: int
) -> Fitted:
    """Learn from clips.

    Raises:
        ProtocolError: ``fit_set`` is not a ``FitSet``, or a label has no clip that can be read.
    """
    if not isinstance(fit_set, FitSet):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProtocolError(
            f"fit takes a FitSet, which a guard has checked, not {type(fit_set).__name__}"
        )
    if learner.is_trained:
        return _trained(core, learner, fit_set, seed)
    examples = _encoded(core, store, fit_set.items)
    there = {item.label for item in examples.items}
    lost = [label for label in fit_set.labels if label not in there]
    if lost:
        raise ProtocolError(
            f"no clip of {lost[0]!r} to learn from can be read ({examples.failed[0].message})"
        )
    try:
        made = fit_examples(core, fit_set.labels, examples, learner.method, learner.unknown)
    except SupportError as error:
        raise ProtocolError(f"method {learner.method!r}: {error.message}") from error
    return _fitted(made, learner.method, examples.failed)


def _trained(core: ModelCore, learner: Learner, fit_set: FitSet, seed: int) -> Fitted:
    support = Support(fit_set.labels, fit_set.items, Path("the clips to learn from"))
    request = AdaptRequest(
        support, fit_set.items, learner.method, seed, learner.unknown, recipe=learner.recipe
    )
    made = learn(core, request)
    return _fitted(made, learner.method, made.report.failed)


def _fitted(made: Adapted, method: str, failed: tuple[Failure, ...]) -> Fitted:
    if made.head is None:
        raise ProtocolError(
            f"method {method!r} has no head of its own labels here; choose one that has, or 'auto'"
        )
    return Fitted(made.core, made.head, failed)


def _encoded(
    core: ModelCore, store: FeatureStore, items: tuple[SupportItem, ...]
) -> EncodedExamples:
    used: list[SupportItem] = []
    rows: list[Encoded] = []
    failed: list[Failure] = []
    for n, _, row in store.rows(core, items, sampler=core.view_sampler.one_view):
        if isinstance(row, Failure):
            failed.append(row)
        else:
            used.append(items[n])
            rows.append(row)
    return EncodedExamples(used, rows, tuple(failed))
