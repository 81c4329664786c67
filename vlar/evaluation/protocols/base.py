"""Interface of a protocol: a check before anything is computed, and figures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import ProtocolError
from vlar.evaluation.cards import DataCard, LoadedCard
from vlar.evaluation.datasets.base import TRAIN, DatasetSplit, Subset
from vlar.evaluation.features import ONE_FRAME, Change, FeatureStore
from vlar.evaluation.learning import NONE, FitSet, Fitted, Guard, LearningMethod, encoded, fit
from vlar.evaluation.report import lines
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.base import Scores
from vlar.heads.support import SupportItem
from vlar.language.labels import LabelSet, parse_labels
from vlar.metrics.calibration import expected_calibration_error
from vlar.metrics.classification import ranks
from vlar.metrics.figures import Figure, class_figures, with_means
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.label_heads import LabelClassifier, make_classifier
from vlar.types import Failure, Float64, JsonDict

#: What a model that uses the order of frames must not survive unharmed.
CONTROLS = (Change(ONE_FRAME), Change("shuffle"), Change("reverse"))


@dataclass(frozen=True)
class RunSplit:
    """One split of the data of a run.

    Attributes:
        name: ``1``, ``2``, ...; empty where there is one split.
        card: Which data.
        data: What the folder holds.
        labels: C labels that are asked about, as the data set spells them.
        subset: Name of the subset that is scored.
    """

    name: str
    card: DataCard
    data: DatasetSplit
    labels: tuple[str, ...]
    subset: str

    @property
    def test(self) -> Subset:
        """The clips that are scored: those of the subset that show an asked label."""
        return self.data.subset(self.subset).of(self.labels)

    @property
    def train(self) -> Subset:
        """The clips of the labels that may be learned from."""
        return self.data.subset(TRAIN).of(self.labels)


@dataclass
class Plan:
    """Plan of a protocol, made before anything is computed.

    Attributes:
        card: The protocol file.
        parts: The splits.
        source: Clips of another data set that a model is fitted to.
        settings: Settings of the protocol: its defaults with what the card replaces.
        notes: Remarks for a reader, one sentence each.
        counts: Counts that a dry run prints.
    """

    card: LoadedCard
    parts: Sequence[RunSplit]
    source: RunSplit | None
    settings: JsonDict
    notes: list[str] = field(default_factory=list[str])
    counts: JsonDict = field(default_factory=dict[str, Any])

    @property
    def learner(self) -> LearningMethod:
        """Learner of the settings."""
        s: JsonDict = {"method": NONE, **self.settings}
        chosen = {k: s[k] for k in ("method", "unknown", "recipe", "settings") if k in s}
        return LearningMethod(**chosen, objectives=tuple(s.get("objectives", ())))


@dataclass
class Run:
    """A plan with the model that carries it out.

    Attributes:
        plan: What to do.
        core: The model's encoder and words.
        store: Rows of clips.
        controls: Whether every figure is taken again under ``CONTROLS``.
        failed: Clips that could not be read, by path.
        tables: Further results, for the run's file.
        label_texts: The texts of each list of labels that was scored.
    """

    plan: Plan
    core: ModelCore
    store: FeatureStore
    controls: bool = True
    failed: dict[str, Failure] = field(default_factory=dict[str, Failure])
    tables: JsonDict = field(default_factory=dict[str, Any])
    label_texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @property
    def settings(self) -> JsonDict:
        """The settings of the protocol."""
        return self.plan.settings

    @property
    def changes(self) -> list[Change | None]:
        """The clips as they are, and under the controls."""
        return [None, *(CONTROLS if self.controls else ())]

    def classifier(
        self,
        labels: Sequence[str],
        *,
        core: ModelCore | None = None,
        head: AdaptedHead | None = None,
        mode: str = "one",
    ) -> LabelClassifier:
        """Classifier of clips over labels, in their order.

        Args:
            labels: C labels.
            core: Another core than the run's, after a training.
            head: Learned head of the labels; None uses their texts.
            mode: ``one`` or ``multi``.
        """
        card, core = self.plan.card.card, core or self.core
        listed = parse_labels(list(labels))
        if head is not None:
            return make_classifier(core, LabelSet(listed, mode), adapted=head)
        self.label_texts[f"{len(listed)} labels {listed.sha256[:8]}"] = list(listed.texts)
        return make_classifier(core, LabelSet(listed, mode, card.descriptions))

    def fit(self, fit_set: FitSet, seed: int, learner: LearningMethod | None = None) -> Fitted:
        """Learn from clips that a guard has checked."""
        fitted = fit(self.core, self.store, learner or self.plan.learner, fit_set, seed)
        self.failed.update((str(row.path), row) for row in fitted.failed)
        return fitted

    def learned(self, part: RunSplit, labels: Sequence[str], seed: int) -> Fitted:
        """Fit on the training clips of some labels; the core of the run alone without a method."""
        if self.plan.learner.method == NONE:
            return Fitted(self.core, None, ())
        items = part.data.subset(TRAIN).of(labels).items
        return self.fit(self.guard(part.test).fit_set(items), seed)

    def encoded(self, core: ModelCore, items: Sequence[SupportItem]) -> EncodedExamples:
        """Clips that can be read, in one view each."""
        examples = encoded(core, self.store, items)
        self.failed.update((str(row.path), row) for row in examples.failed)
        return examples

    def guard(self, *subsets: Subset) -> Guard:
        """A guard of the clips of subsets."""
        guard = Guard(self.store.content)
        for subset in subsets:
            guard.protect(subset.items)
        return guard

    def scores(
        self,
        scorers: Mapping[Hashable, LabelClassifier],
        items: Sequence[SupportItem],
        changes: Sequence[Change | None] = (None,),
        core: ModelCore | None = None,
        one_view: bool = False,
    ) -> Scored:
        """Scores of clips by several classifiers under several changes; one pass over the clips.

        Features are dropped once they are scored, so memory does not grow with them.
        """
        core = core or self.core
        sampler = core.view_sampler.one_view if one_view else core.view_sampler
        scores: dict[tuple[Hashable, Change | None], list[Scores]] = {
            (key, change): [] for key in scorers for change in changes
        }
        good: dict[int, int] = {}
        waiting: list[tuple[int, Change | None, Any]] = []
        for n, change, row in self.store.rows(core, items, changes, sampler):
            waiting.append((n, change, row))
            if len(waiting) < len(changes):
                continue
            bad = next((r for _, _, r in waiting if isinstance(r, Failure)), None)
            if bad is not None:
                self.failed[str(bad.path)] = bad
            else:
                good[n] = len(good)
                for key, classifier in scorers.items():
                    for _, under, encoded in waiting:
                        scores[key, under].append(classifier.scores([encoded]))
            waiting.clear()
        width = {key: len(classifier.labels) for key, classifier in scorers.items()}
        joined = {(k, c): Scores.join(rows, width[k]) for (k, c), rows in scores.items()}
        return Scored([items[n] for n in good], joined)


@dataclass(frozen=True)
class Scored:
    """Scores of the clips that could be read.

    Attributes:
        items: N clips.
        by: Scores (N, C) of a classifier under a change.
    """

    items: Sequence[SupportItem]
    by: Mapping[tuple[Hashable, Change | None], Scores]

    @property
    def groups(self) -> list[str]:
        """N groups."""
        return [item.group for item in self.items]

    def under(self, key: Hashable = 0) -> Iterator[tuple[str | None, Scores]]:
        """The scores of a classifier under each change, by its name; None for the clips as is."""
        for (scorer, change), scores in self.by.items():
            if scorer == key:
                yield change.key if change else None, scores

    def figures(self, measure: Callable[[Scores], list[Figure]]) -> list[Figure]:
        """Figures of the only classifier under each change."""
        return [row.of(under=under) for under, one in self.under() for row in measure(one)]

    def truth(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """(N,) column of each clip's label."""
        column = {label: number for number, label in enumerate(labels)}
        return np.array([column[item.label] for item in self.items], np.int64)


class Protocol:
    """One way to judge a model. Registered as ``@register("protocol", NAME)``.

    Attributes:
        name: As registered.
        defaults: Settings with their defaults; others are refused.
        needs: Subsets besides the scored one: ``train``; or ``source`` for another data set.
    """

    name: ClassVar[str]
    defaults: ClassVar[JsonDict] = {}
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, plan: Plan) -> None:
        """Refuse a plan that cannot give an honest figure; add counts and notes to it.

        Raises:
            ProtocolError: the plan is not honest; the message names the fault.
        """

    def run(self, run: Run) -> list[Figure]:
        """The figures of all splits, with their means over seeds and splits."""
        figures = [
            replace(row, where={"split": part.name, **row.where}) if part.name else row
            for part in run.plan.parts
            for row in self.of_split(run, part)
        ]
        return with_means(figures)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        """The figures of one split, which ``run`` names; unless a protocol has its own ``run``."""
        raise NotImplementedError

    def lines(self, figures: Sequence[Figure], tables: JsonDict) -> list[str]:
        """Printed lines of a run; the tables are for the run's file."""
        return lines(figures)


def check_counts(settings: JsonDict, *names: str) -> None:
    """Refuse settings that are not whole numbers from 1 on.

    Raises:
        ProtocolError: the message names the first.
    """
    for name in names:
        number = settings[name]
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ProtocolError(f"{name} is {number!r}; give a whole number from 1 on")


def accuracies(scored: Scored, key: Hashable, labels: Sequence[str], **where: Any) -> list[Figure]:
    """``class_figures`` of a classifier under every change, by what it answers with.

    Without a change also the calibration error of the probability of the answer.
    """
    truth = scored.truth(labels)
    figures: list[Figure] = []
    for under, scores in scored.under(key):
        rows = class_figures(closed(scores), truth, scored.groups)
        if under is None:
            right = ranks(closed(scores), truth) < 1
            error = expected_calibration_error(scores.probability.max(axis=1), right)
            rows.append(Figure("calibration error", error, n=len(truth)))
        figures += [row.of(**where, under=under) for row in rows]
    return figures


def closed(scores: Scores) -> Float64:
    """(N, C) what ranks the labels of a closed list: probabilities, where unknown leaves some.

    A clip that is unknown for certain has the probability 0 for every label; similarity ranks them.
    """
    is_zero = scores.probability.max(axis=1, keepdims=True) <= 0
    return np.where(is_zero, scores.similarity.astype(np.float64), scores.probability)


def chance(truth: npt.NDArray[np.int64], n_labels: int, n: int) -> list[Figure]:
    """Figures of blind answers: any label, and always the most frequent one."""
    most = float(np.bincount(truth, minlength=n_labels).max() / max(len(truth), 1))
    return [Figure("chance", 1 / n_labels, None, None, n), Figure("majority", most, None, None, n)]
