"""Protocol of clips that may show several labels at once: mean average precision of the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.evaluation.protocols.base import Protocol, Run, RunSplit
from vlar.metrics.classification import multilabel_map
from vlar.metrics.figures import Figure, any_figure
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
        classifier = run.classifier(part.labels, mode="multi")
        scored = run.scores({0: classifier}, part.test.items, run.changes)
        shown = [[label in item.labels for label in part.labels] for item in scored.items]
        truth = np.array(shown, np.bool_)
        order = np.random.default_rng(_SEED).permutation(len(truth))
        clean = scored.by[0, None]
        figures = scored.figures(
            lambda scores: self._rows(
                scores.probability, truth, scored.groups, _DRAWS if scores is clean else 0
            )
        )
        blind = self._rows(clean.probability, truth[order], scored.groups, 0)
        figures += [row.of(under="labels permuted") for row in blind]
        empty = [x for x, shown in zip(part.labels, truth.T, strict=True) if not shown.any()]
        run.tables["labels without a clip"] = empty
        return figures

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
    average = (precision * hits).sum(axis=0)[count > 0] / count[count > 0]
    return float(average.mean()) if len(average) else 0.0
