"""Protocols without an example of a label: words alone, seen next to unseen labels, slices."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.features import check_overlap, spelled_as
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance, closed
from vlar.heads.base import Scores
from vlar.metrics.classification import generalised_zero_shot, ranks
from vlar.metrics.figures import FEWEST, Figure, mean_figure, slices
from vlar.registry import register
from vlar.types import JsonDict


@register("protocol", "zero-shot")
class ZeroShot(Protocol):
    """Top-1, top-5 and macro accuracy over a list of labels that nothing was learned about.

    Settings: ``trained_on`` (labels, or a file of them, that the model's training has shown; an
    overlap with the asked ones is refused), ``overlap`` (``refuse`` or ``report``).
    """

    name = "zero-shot"
    defaults: ClassVar[JsonDict] = {"trained_on": None, "overlap": "refuse"}

    def check(self, plan: Plan) -> None:
        trained = plan.card.labels(plan.settings["trained_on"])
        for part in plan.parts if trained else ():
            shared = check_overlap(
                trained or (), part.labels, "the training and the test", plan.settings
            )
            plan.notes.append(f"{len(shared)} of {len(part.labels)} labels were trained on")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        labels = part.labels
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        truth = scored.truth(labels)
        plain = ranks(scored.by[0, None].similarity, truth) < 1
        figures = accuracies(scored, 0, labels)
        figures.append(mean_figure("top1 by similarity", plain, scored.groups))
        figures += chance(truth, len(labels), len(truth))
        if part.test.missing:
            right = ranks(closed(scored.by[0, None]), truth) < 1
            share = float(right.sum()) / len(part.test)
            figures.append(Figure("top1, missing as wrong", share, n=len(part.test)))
        return figures


@register("protocol", "generalised-zero-shot")
class GeneralisedZeroShot(Protocol):
    """Seen and unseen labels in one list: mean accuracy on each side and their harmonic mean.

    Settings: ``seen`` (labels, or a file of them, that training has shown).
    """

    name = "generalised-zero-shot"
    defaults: ClassVar[JsonDict] = {"seen": None}

    def check(self, plan: Plan) -> None:
        train_labels = self._seen(plan)
        if not train_labels:
            raise ProtocolError("generalised-zero-shot needs the setting 'seen': a list of labels")
        for part in plan.parts:
            trained = [label for label in part.labels if label in set(train_labels)]
            if not trained or len(trained) == len(part.labels):
                raise ProtocolError(
                    f"{len(trained)} of {len(part.labels)} labels are seen; give some, and leave "
                    "some"
                )
            plan.counts["seen labels"] = len(trained)

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        train_labels = set(self._seen(run.plan))
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        truth = scored.truth(part.labels)
        flags = np.array([label in train_labels for label in part.labels])

        def measure(scores: Scores) -> list[Figure]:
            both = generalised_zero_shot(closed(scores), truth, flags)
            values = {"seen": both.seen, "unseen": both.unseen, "hm": both.harmonic_mean}
            return [Figure(name, value, n=len(truth)) for name, value in values.items()]

        return scored.figures(measure)

    def _seen(self, plan: Plan) -> tuple[str, ...]:
        return spelled_as(plan.card.labels(plan.settings["seen"]) or (), plan.parts[0].data.labels)


@register("protocol", "slices")
class Slices(Protocol):
    """Top-1 of the clips of each value of some columns, next to that of all clips.

    Settings: ``by`` (names of columns; a layout gives the cells of its clips as facts).
    """

    name = "slices"
    defaults: ClassVar[JsonDict] = {"by": []}

    def check(self, plan: Plan) -> None:
        by: list[str] = plan.settings["by"]
        if not by:
            raise ProtocolError("slices needs the setting 'by': names of columns")
        for part in plan.parts:
            columns = {name for item in part.test.items for name in item.facts}
            strange = [name for name in by if name not in columns]
            if strange:
                raise ProtocolError(
                    f"the clips have no column {strange[0]!r}; there are "
                    f"{', '.join(sorted(columns)) or 'none'}"
                )
            for name in by:
                cells = [item.facts.get(name, "") for item in part.test.items]
                few = [value for value in dict.fromkeys(cells) if cells.count(value) < FEWEST]
                if few:
                    plan.notes.append(f"{name}: fewer than {FEWEST} clips of {', '.join(few)}")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        by, truth = run.settings["by"], scored.truth(part.labels)
        cells = [{name: item.facts.get(name, "") for name in by} for item in scored.items]
        return accuracies(scored, 0, part.labels) + scored.figures(
            lambda scores: slices(ranks(closed(scores), truth) < 1, cells, scored.groups)
        )
