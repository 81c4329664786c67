"""Attackers: classifiers that read an attribute of a clip from what a model gives away."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.types import Encoded, Float32

ATTACKERS = ("linear", "mlp", "nearest", "over time")
_SPANS, _COMPONENTS = 4, 128


def attack(
    known: Sequence[Encoded], values: npt.NDArray[Any], asked: Sequence[Encoded], seed: int
) -> dict[str, npt.NDArray[Any]]:
    """Answers (m,) of each of ``ATTACKERS`` about m clips, each trained from scratch.

    All read standardised principal components: of the vector and the mean frame, and ``over time``
    also the means of four spans and the deviation.

    Args:
        known: n clips.
        values: (n,) the attribute of each.
        asked: m other clips.
        seed: Of the random weights.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds: list[Any] = [
        LogisticRegression(max_iter=1000),
        MLPClassifier((64,), solver="lbfgs", max_iter=200, random_state=seed),
        KNeighborsClassifier(1),
        LogisticRegression(max_iter=1000),
    ]
    found: dict[str, npt.NDArray[Any]] = {}
    for name, kind in zip(ATTACKERS, kinds, strict=True):
        learned, others = (
            np.stack([_read(row, over_time=name == "over time") for row in rows])
            for rows in (known, asked)
        )
        few = PCA(min(len(learned) - 1, learned.shape[1], _COMPONENTS), svd_solver="full")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted: Any = make_pipeline(StandardScaler(), few, kind).fit(learned, values)
        found[name] = fitted.predict(others)
    return found


def _read(row: Encoded, *, over_time: bool) -> Float32:
    """All that an attacker reads of a clip, as one row."""
    parts = [row.vector, row.features.mean(axis=0)]
    if over_time:
        spans = np.array_split(row.features, min(_SPANS, len(row.features)))
        parts += [row.features.std(axis=0), *(span.mean(axis=0) for span in spans)]
    return np.concatenate(parts)
