"""Protocol of clips whose label is not in the list, which a model should answer by unknown."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import ProtocolError
from vlar.evaluation.features import spelled_as
from vlar.evaluation.learning import LEARNER, NONE
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, closed
from vlar.heads.base import Scores
from vlar.metrics.figures import Figure, any_figure
from vlar.metrics.openset import aupr, auroc, fpr_at, open_f1, openness, oscr
from vlar.registry import register
from vlar.types import JsonDict


@register("protocol", "open-set")
class OpenSet(Protocol):
    """AUROC, AUPR, FPR95, OSCR, open F1 and openness; unknown clips are the positives.

    Labels are drawn by seed: ``known`` of them are given. Settings: ``known`` (share, or a list or
    file of labels), ``seeds``, ``method`` (``none`` goes by texts; a closed form learns from the
    training clips of the known labels), ``unknown`` (the rejector), ``recipe``. The control gives
    the scores to clips at random.
    """

    name = "open-set"
    defaults: ClassVar[JsonDict] = {
        "known": 0.5,
        "seeds": [0, 1, 2],
        "method": NONE,
        **LEARNER,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        for part in plan.parts:
            for seed in plan.settings["seeds"]:
                known_labels = _known(plan, part, seed)
                shown = {item.label for item in part.test.items}
                if not shown - set(known_labels) or not shown & set(known_labels):
                    raise ProtocolError(
                        "open-set needs clips of known and of unknown labels; seed "
                        f"{seed} leaves one side empty"
                    )
                if plan.learner.method != NONE:
                    part.data.subset("train")
                plan.counts["known labels"] = len(known_labels)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        return [row for s in run.settings["seeds"] for row in self._seed(run, part, s)]

    def _seed(self, run: Run, part: RunSplit, seed: int) -> list[Figure]:
        known_labels = _known(run.plan, part, seed)
        fitted = run.learned(part, known_labels, seed)
        core, head = fitted.core, fitted.head
        classifier = run.classifier(known_labels, core=core, head=head)
        one_view = head is not None
        scored = run.scores({0: classifier}, part.test.items, run.changes, core, one_view)
        truth = [item.label for item in scored.items]

        def measure(scores: Scores) -> list[Figure]:
            rows = _figures(scores, truth, known_labels, scored.groups)
            return [row.of(seed=seed) for row in rows]

        order = np.random.default_rng(seed).permutation(len(truth))
        clean = scored.by[0, None]
        mixed = Scores(clean.similarity[order], clean.probability[order], clean.unknown[order])
        blind = [row.of(under="scores permuted") for row in measure(mixed)]
        return scored.figures(measure) + blind


def _known(plan: Plan, part: RunSplit, seed: int) -> tuple[str, ...]:
    share = plan.settings["known"]
    if isinstance(share, (list, str)):
        listed = set(spelled_as(plan.card.labels(share) or (), part.labels))
        return tuple(label for label in part.labels if label in listed)
    if not 0 < float(share) < 1:
        raise ProtocolError(f"known = {share} is not a share between 0 and 1")
    n = max(2, round(float(share) * len(part.labels)))
    chosen = np.random.default_rng(seed).permutation(len(part.labels))[:n]
    return tuple(part.labels[i] for i in sorted(chosen))


def _figures(
    scores: Scores, truth: list[str], known: tuple[str, ...], groups: list[str]
) -> list[Figure]:
    column = {label: number for number, label in enumerate(known)}
    is_unknown = np.array([label not in column for label in truth])
    best = closed(scores).argmax(axis=1)
    right = np.array([column.get(t, -1) == b for t, b in zip(truth, best, strict=True)])
    answers = [None if no else known[b] for no, b in zip(scores.is_unknown, best, strict=True)]

    def area(rows: npt.NDArray[np.int64]) -> float:
        # A draw of groups may hold clips of one kind only, which rank by chance.
        flags = is_unknown[rows]
        return auroc(scores.unknown[rows], flags) if 0 < flags.sum() < len(flags) else 0.5

    n, n_unknown = len(truth), len({t for t in truth if t not in column})
    values = {
        "aupr": aupr(scores.unknown, is_unknown),
        "fpr95": fpr_at(scores.unknown, is_unknown),
        "oscr": oscr(scores.unknown, is_unknown, right),
        "open f1": open_f1(truth, answers, known=list(known)),
        "openness": openness(len(known), n_unknown),
    }
    rows = [Figure(name, value, n=n) for name, value in values.items()]
    return [any_figure("auroc", area, groups), *rows]
