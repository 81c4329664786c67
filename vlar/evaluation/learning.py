"""Model learned from permitted clips: closed forms on shared features, or training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vlar import registry
from vlar.errors import ProtocolError, SupportError, VlarError
from vlar.evaluation.features import FeatureStore
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.model_selection import AUTO
from vlar.heads.support import Support, SupportItem
from vlar.media.video.files import content_hash
from vlar.model.adapt import Adapted, fit_examples, learn
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.method import AdaptTask, Method
from vlar.training.hyperparameters import load_recipe
from vlar.types import Encoded, Failure, JsonDict, Window

_SEAL = object()
_NAMED = 3


@dataclass(frozen=True)
class FitSet:
    """Clips that a model may learn from; made by ``Guard.fit_set`` alone."""

    labels: tuple[str, ...]
    items: tuple[SupportItem, ...]
    seal: object = None

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise ProtocolError(
                "clips to learn from must come from Guard.fit_set, which checks them"
            )


class ContentIds:
    """The content of recordings, read once each."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], str] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a recording; its path where it cannot be read, which reading will report."""
        try:
            status = path.stat()
            key = (path, status.st_size, status.st_mtime_ns)
            if key not in self._known:
                self._known[key] = content_hash(path)
            return self._known[key]
        except (OSError, VlarError):
            return str(path)


class Guard:
    """Register of the test clips of a run."""

    def __init__(self, content: Callable[[Path], str]) -> None:
        self._content = content
        self._test: dict[str, list[Window | None]] = {}

    def protect(self, items: Iterable[SupportItem]) -> None:
        """Register clips as test clips."""
        for item in items:
            self._test.setdefault(self._content(item.path), []).append(item.window)

    def fit_set(self, items: Sequence[SupportItem]) -> FitSet:
        """Clips that may be learned from.

        Raises:
            ProtocolError: one of them is a test clip, or a label stands alone.
        """
        leaked = [item for item in items if self._is_test(item)]
        if leaked:
            named = ", ".join(str(item.path) for item in leaked[:_NAMED])
            raise ProtocolError(
                f"{len(leaked)} of {len(items)} clips to learn from are test clips ({named}); fit "
                "on the training clips alone"
            )
        labels = tuple(sorted({label for item in items for label in item.labels}))
        if len(labels) < 2:
            raise ProtocolError(
                f"the clips to learn from show {len(labels)} label: {', '.join(labels) or 'none'}; "
                "at least two are needed"
            )
        return FitSet(labels, tuple(items), _SEAL)

    def _is_test(self, item: SupportItem) -> bool:
        spans = self._test.get(self._content(item.path), ())
        return any(_overlap(item.window, span) for span in spans)


def _overlap(a: Window | None, b: Window | None) -> bool:
    return a is None or b is None or (a.start_s < b.end_s and b.start_s < a.end_s)


NONE = "none"
#: Settings of a protocol that learns, next to its ``method``.
LEARNER: JsonDict = {"unknown": "familiarity", "recipe": None}


@dataclass(frozen=True)
class LearningMethod:
    """Learning method of a protocol.

    Attributes:
        method: A closed form, ``auto``, or an adapter to train; ``none`` learns nothing.
        unknown: Registered name of the rejector.
        recipe: Recipe of a training; None for the method's own.
        settings: Of a training, as ``vlar adapt --set`` takes them.
        objectives: Names of objectives that are added to a training.
    """

    method: str = AUTO
    unknown: str = "familiarity"
    recipe: str | None = None
    settings: JsonDict = field(default_factory=dict[str, Any])
    objectives: tuple[str, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether it trains an adapter, so that clips and labels get other vectors."""
        return self.method in registry.names("adapter")

    def check(self) -> None:
        """Refuse a method that does not exist.

        Raises:
            UnknownNameError: neither a closed form nor an adapter is called so, or no recipe.
        """
        methods = [NONE, AUTO, *registry.names("fewshot"), *registry.names("adapter")]
        if self.method not in methods:
            raise registry.unknown_name("method", self.method, methods)
        if self.recipe is not None:
            load_recipe(self.recipe)
        if self.is_trained or self.settings or self.objectives:
            self.of_training()

    def of_training(self) -> Method:
        """The method of a training, with its settings.

        Raises:
            UnknownNameError: no method or objective has the name.
            UsageError: the method takes no such setting.
        """
        return Method.of(
            self.method, settings=self.settings, recipe=self.recipe, objectives=self.objectives
        )


@dataclass(frozen=True)
class Fitted:
    """Result of a learning.

    Attributes:
        core: Encodes clips from now on; the one given, unless an adapter was trained.
        head: Answers with the labels of the fit set; None where nothing was learned.
        failed: Clips that could not be read.
    """

    core: ModelCore
    head: AdaptedHead | None
    failed: tuple[Failure, ...]


def fit(
    core: ModelCore, store: FeatureStore, learner: LearningMethod, fit_set: FitSet, seed: int
) -> Fitted:
    """Learn from clips.

    Raises:
        ProtocolError: ``fit_set`` is not a ``FitSet``, or a label has no clip that can be read.
    """
    if not isinstance(cast("object", fit_set), FitSet):
        raise ProtocolError(
            f"fit takes a FitSet, which a guard has checked, not {type(fit_set).__name__}"
        )
    if learner.is_trained:
        return _trained(core, learner, fit_set, seed)
    examples = encoded(core, store, fit_set.items)
    labels = {item.label for item in examples.items}
    lost = [label for label in fit_set.labels if label not in labels]
    if lost:
        raise ProtocolError(
            f"no clip of {lost[0]!r} to learn from can be read ({examples.failed[0].message})"
        )
    try:
        fitted = fit_examples(core, fit_set.labels, examples, learner.method, learner.unknown)
    except SupportError as error:
        raise ProtocolError(f"method {learner.method!r}: {error.message}") from error
    return _fitted(fitted, learner.method, examples.failed)


def _trained(core: ModelCore, learner: LearningMethod, fit_set: FitSet, seed: int) -> Fitted:
    support = Support(fit_set.labels, fit_set.items, Path("the clips to learn from"))
    task = AdaptTask(
        learner.of_training(),
        support,
        fit_set.items,
        seed=seed,
        unknown=learner.unknown,
    )
    adapted = learn(core, task)
    return _fitted(adapted, learner.method, adapted.report.failed)


def _fitted(made: Adapted, method: str, failed: tuple[Failure, ...]) -> Fitted:
    if made.head is None:
        raise ProtocolError(
            f"method {method!r} has no head of its own labels here; choose one that has, or 'auto'"
        )
    return Fitted(made.core, made.head, failed)


def encoded(core: ModelCore, store: FeatureStore, items: Sequence[SupportItem]) -> EncodedExamples:
    """Clips that can be read, in one view each; the store keeps their features."""
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
