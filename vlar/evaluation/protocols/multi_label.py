"""``multi-label``: any number of labels a clip, macro and micro mAP."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.evaluation.multilabel import multilabel_map
from vlar.evaluation.protocols.base import Protocol, Run
from vlar.evaluation.running.figures import Figure, any_figure, spread
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

    def run(self, run: Run) -> list[Figure]:
        """See ``Protocol``."""
        found: list[Figure] = []
        for part in run.plan.parts:
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
        return found + spread(found, "split")

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
