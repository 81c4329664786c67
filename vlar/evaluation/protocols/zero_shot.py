"""``zero-shot``: labels as text, no example. ``generalised-zero-shot``: seen labels compete too."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import ProtocolError
from vlar.evaluation.features import check_overlap, spelled_as
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance, closed
from vlar.evaluation.scores import Figure, any_figure, mean_figure
from vlar.metrics.classification import generalised_zero_shot, ranks
from vlar.metrics.ranking import multilabel_map, retrieval_both_ways
from vlar.registry import register
from vlar.types import Float64, JsonDict

Bools = npt.NDArray[np.bool_]
_SEED = 0
_DRAWS = 200


@register("protocol", "multi-label")
class MultiLabel(Protocol):
    """Macro mAP with its interval, micro mAP; the control permutes the clips' labels."""

    name = "multi-label"
    defaults: ClassVar[JsonDict] = {}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        found: list[Figure] = []
        classifier = run.classifier(part.labels, mode="multi")
        scored = run.scores({0: classifier}, part.test.items, run.changes)
        shown = [[label in item.labels for label in part.labels] for item in scored.items]
        truth = np.array(shown, np.bool_)
        order = np.random.default_rng(_SEED).permutation(len(truth))
        clean = scored.by[0, None].probability
        for (_, change), scores in scored.by.items():
            draws = 0 if change else _DRAWS
            rows = self._rows(scores.probability, truth, scored.groups, draws)
            under = change.key if change else None
            found += [row.of(split=part.name or None, under=under) for row in rows]
        blind = self._rows(clean, truth[order], scored.groups, 0)
        found += [row.of(split=part.name or None, under="labels permuted") for row in blind]
        there = {label for item in scored.items for label in item.labels}
        empty = [label for label in part.labels if label not in there]
        run.tables["labels without a clip"] = empty
        return found

    def _rows(self, scores: Float64, truth: Bools, groups: list[str], draws: int) -> list[Figure]:
        exact = multilabel_map(scores, truth)
        ends = any_figure(
            "macro mAP", lambda rows: _macro(scores[rows], truth[rows]), groups, draws=draws
        )
        macro = replace(ends, value=exact.macro)
        return [macro, Figure("micro mAP", exact.micro, n=len(truth))]


def _macro(scores: Float64, truth: Bools) -> float:
    """Macro mAP without ties, all labels in one sort: for the many draws of an interval."""
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(truth, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    count = hits.sum(axis=0)
    each = (precision * hits).sum(axis=0)[count > 0] / count[count > 0]
    return float(each.mean()) if len(each) else 0.0


@register("protocol", "retrieval")
class Retrieval(Protocol):
    """R@k, mAP and median rank both ways, by similarity.

    Only labels that a clip shows are queries. The control gives the clips each other's labels at
    random. Settings: ``ks``.
    """

    name = "retrieval"
    defaults: ClassVar[JsonDict] = {"ks": [1, 5, 10]}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        found: list[Figure] = []
        there = {label for item in part.test.items for label in item.labels}
        labels = [label for label in part.labels if label in there]
        run.tables["labels without a clip"] = [x for x in part.labels if x not in there]
        scored = run.scores({0: run.classifier(labels)}, part.test.items, run.changes)
        shown = [[label in item.labels for item in scored.items] for label in labels]
        relevant = np.array(shown, np.bool_)
        kept = relevant.any(axis=1)
        for (_, change), scores in scored.by.items():
            similar = scores.similarity.T[kept]
            rows = self._rows(similar, relevant[kept], run.settings["ks"])
            under = change.key if change else None
            found += [row.of(split=part.name or None, under=under) for row in rows]
        order = np.random.default_rng(_SEED).permutation(len(scored.items))
        similar = scored.by[0, None].similarity.T[kept]
        blind = self._rows(similar, relevant[kept][:, order], run.settings["ks"])
        found += [row.of(split=part.name or None, under="labels permuted") for row in blind]
        # One float32 vector a clip: what a flat index of this collection takes.
        run.tables["index_bytes"] = len(scored.items) * run.core.dim * 4
        return found

    def _rows(self, scores: np.ndarray, relevant: np.ndarray, ks: list[int]) -> list[Figure]:
        both = retrieval_both_ways(scores, relevant, ks=ks)
        n = {"text_to_video": scores.shape[0], "video_to_text": scores.shape[1]}
        return [
            Figure(name, value, n=n[way]).of(way=way.replace("_", " "))
            for way, values in both.items()
            for name, value in values.items()
        ]


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

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        seen = set(self._seen(run.plan))
        found: list[Figure] = []
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        truth = scored.truth(part.labels)
        flags = np.array([label in seen for label in part.labels])
        for (_, change), scores in scored.by.items():
            both = generalised_zero_shot(closed(scores), truth, flags)
            where = {"split": part.name or None, "under": change.key if change else None}
            values = {"seen": both.seen, "unseen": both.unseen, "hm": both.harmonic_mean}
            found += [Figure(k, v, n=len(truth)).of(**where) for k, v in values.items()]
        return found

    def _seen(self, plan: Plan) -> tuple[str, ...]:
        return spelled_as(plan.card.labels(plan.settings["seen"]) or (), plan.parts[0].data.labels)
