"""Accuracy where a clip may show several labels: macro and micro mAP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.evaluation.checks import finite, flags_of
from vlar.evaluation.classification import average_precision
from vlar.types import JsonDict


@dataclass(frozen=True)
class MultiLabelScores:
    """Average precision over labels and over pairs of clip and label.

    Attributes:
        macro: Mean of the average precision of the labels that a clip shows, 0..1.
        micro: Average precision of all pairs of clip and label in one ranking.
        per_label: C values; None for a label that no clip shows.
    """

    macro: float
    micro: float
    per_label: tuple[float | None, ...]

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {"macro": self.macro, "micro": self.micro, "per_label": list(self.per_label)}


def multilabel_map(scores: npt.ArrayLike, truth: npt.ArrayLike) -> MultiLabelScores:
    """Macro and micro mAP (``sklearn.metrics.average_precision_score``).

    Labels that no clip shows are left out of the macro mean, and stand as None.

    Args:
        scores: (N, C) float, higher is better.
        truth: (N, C) bool, whether the clip shows the label.

    Raises:
        MetricError: no clip shows any label, NaN, or sizes that differ.
    """
    values = finite(scores, "the scores", 2)
    flags = flags_of(truth, values.shape, "the right labels")
    if not flags.any():
        raise MetricError("no clip shows any of the labels; average precision is not defined")
    each = [
        average_precision(values[:, c], flags[:, c]) if flags[:, c].any() else None
        for c in range(values.shape[1])
    ]
    macro = float(np.mean([value for value in each if value is not None]))
    return MultiLabelScores(macro, average_precision(values.ravel(), flags.ravel()), tuple(each))
