"""``zero-shot``: labels as text, no example. ``generalised-zero-shot``: seen labels compete too."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.classification import generalised_zero_shot, ranks
from vlar.evaluation.protocols.base import Part, Plan, Protocol, Run, accuracies, chance, closed
from vlar.evaluation.running.clips import check_overlap, spelled_as
from vlar.evaluation.running.figures import Figure, mean_figure, spread
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
        """See ``Protocol``."""
        trained = plan.card.labels(plan.settings["trained_on"])
        for part in plan.parts if trained else ():
            shared = check_overlap(
                trained or (), part.labels, "the training and the test", plan.settings
            )
            plan.notes.append(f"{len(shared)} of {len(part.labels)} labels were trained on")

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        found = [row for part in run.plan.parts for row in self._part(run, part)]
        return found + spread(found, "split")

    def _part(self, run: Run, part: Part) -> list[Figure]:
        labels, where = part.labels, {"split": part.name or None}
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        truth = scored.truth(labels)
        found = accuracies(scored, 0, labels, **where)
        plain = ranks(scored.by[0, None].similarity, truth) < 1
        found.append(mean_figure("top1 by similarity", plain, scored.groups).of(**where))
        found += [row.of(**where) for row in chance(truth, len(labels), len(truth))]
        if part.test.missing:
            right = ranks(closed(scored.by[0, None]), truth) < 1
            share = float(right.sum()) / len(part.test)
            found.append(Figure("top1, missing as wrong", share, n=len(part.test)).of(**where))
        return found


@register("protocol", "generalised-zero-shot")
class GeneralisedZeroShot(Protocol):
    """Seen and unseen labels in one list: mean accuracy on each side and their harmonic mean.

    Settings: ``seen`` (labels, or a file of them, that training has shown).
    """

    name = "generalised-zero-shot"
    defaults: ClassVar[JsonDict] = {"seen": None}

    def check(self, plan: Plan) -> None:
        """See ``Protocol``."""
        seen = self._seen(plan)
        if not seen:
            raise ProtocolError("generalised-zero-shot needs the setting 'seen': a list of labels")
        for part in plan.parts:
            known = [label for label in part.labels if label in set(seen)]
            if not known or len(known) == len(part.labels):
                raise ProtocolError(
                    f"{len(known)} of {len(part.labels)} labels are seen; give some, and leave some"
                )
            plan.counts["seen labels"] = len(known)

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        seen = set(self._seen(run.plan))
        found: list[Figure] = []
        for part in run.plan.parts:
            scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
            truth = scored.truth(part.labels)
            flags = np.array([label in seen for label in part.labels])
            for (_, change), scores in scored.by.items():
                both = generalised_zero_shot(closed(scores), truth, flags)
                where = {"split": part.name or None, "under": change.key if change else None}
                values = {"seen": both.seen, "unseen": both.unseen, "hm": both.harmonic_mean}
                found += [Figure(k, v, n=len(truth)).of(**where) for k, v in values.items()]
        return found + spread(found, "split")

    def _seen(self, plan: Plan) -> tuple[str, ...]:
        return spelled_as(plan.card.labels(plan.settings["seen"]) or (), plan.parts[0].data.labels)
