"""Open set: known clips are recognised, clips that show none of the labels are rejected.

Scores rise with how unknown a clip is, and the unknown clips are the positives.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import finite, flags_of
from vlar.metrics.classification import average_precision, counts_above
from vlar.types import Float64

Bools = npt.NDArray[np.bool_]
DRAWS = 10  # subsets of unknown classes for each number of them


def auroc(scores: npt.ArrayLike, unknown: npt.ArrayLike) -> float:
    """Chance that an unknown clip scores above a known one; ties count half.

    Scikit-learn takes its arguments the other way round. Either order works here: the flags are
    recognised by their type.

    Args:
        scores: (N,) float, higher is unknown.
        unknown: (N,) bool or int.

    Raises:
        MetricError: only one kind of clip, NaN, or sizes that differ.
    """
    false, true = (np.append(0, side) for side in counts_above(*_both_kinds(scores, unknown)))
    area = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    return float(area / (false[-1] * true[-1]))


def aupr(scores: npt.ArrayLike, unknown: npt.ArrayLike) -> float:
    """Average precision with the unknown clips as what is looked for; arguments as ``auroc``."""
    return average_precision(*_both_kinds(scores, unknown))


def fpr_at(scores: npt.ArrayLike, unknown: npt.ArrayLike, tpr: float = 0.95) -> float:
    """Share of known clips that are rejected where a share of the unknown ones is.

    Args:
        scores: As ``auroc``.
        unknown: As ``auroc``.
        tpr: The least share of unknown clips to reject, above 0 and up to 1.

    Raises:
        MetricError: only one kind of clip, NaN, sizes that differ, or a share outside 0..1.
    """
    if not 0 < tpr <= 1:
        raise MetricError(f"{tpr:g} is not a share of clips; give one above 0, up to 1")
    false, true = counts_above(*_both_kinds(scores, unknown))
    return float(false[true / true[-1] >= tpr - 1e-12].min() / false[-1])


def oscr(scores: npt.ArrayLike, unknown: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Area under the curve of known clips recognised over unknown clips let through.

    For each threshold: the share of known clips that are kept and named rightly, over the share of
    unknown clips that are kept. Source: Dhamija et al., "Reducing network agnostophobia", 2018.

    Args:
        scores: (N,) float, higher is unknown.
        unknown: (N,) bool.
        right: (N,) bool, whether the label answered is the right one; ignored for unknown clips.

    Returns:
        0..1; at most the accuracy on known clips.

    Raises:
        MetricError: only one kind of clip, NaN, or sizes that differ.
    """
    values, flags = _both_kinds(scores, unknown)
    named = flags_of(right, values.shape, "the right answers") & ~flags
    thresholds = np.unique(values)
    accepted = values[None] <= thresholds[:, None]
    recognised = np.r_[0.0, (accepted & named).sum(axis=1) / (~flags).sum()]
    through = np.r_[0.0, (accepted & flags).sum(axis=1) / flags.sum()]
    return float(np.sum(np.diff(through) * (recognised[1:] + recognised[:-1]) / 2))


def openness(known: int, unknown: int) -> float:
    """``1 - sqrt(2K / (2K + U))`` of K known and U unknown classes.

    Source: Scheirer et al., "Toward open set recognition", 2013, in the form that Bao et al. use
    ("Evidential deep learning for open set action recognition", 2021).

    >>> round(openness(14, 7), 6)
    0.105573
    """
    if known < 1 or unknown < 0:
        raise MetricError(
            f"{known} known and {unknown} unknown classes: give at least 1 known and 0 unknown"
        )
    return 1.0 - math.sqrt(2 * known / (2 * known + unknown))


def open_f1(
    truth: Sequence[Hashable],
    answers: Sequence[Hashable | None],
    *,
    known: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> float:
    """Macro-F1 over K labels and "unknown", weighted by openness.

    For n = 1..U unknown classes, ``draws`` random subsets of n classes join the known clips; their
    macro-F1 over K + 1 classes is averaged, and the mean over n is weighted by ``openness(K, n)``.
    Source: Bao et al., 2021, equation 11.

    Args:
        truth: N classes that the clips show, known or not.
        answers: N labels, None where the clip is rejected.
        known: The K labels; None for all that are answered.
        draws: Subsets for each n.
        seed: Seed of the subsets.

    Returns:
        0..1; without unknown clips the macro-F1 over the known labels.

    Raises:
        MetricError: no clip, no known label, or sizes that differ.
    """
    if len(truth) != len(answers) or not len(truth):
        raise MetricError(f"{len(truth)} clips and {len(answers)} answers; give one answer a clip")
    labels = list(dict.fromkeys(a for a in answers if a is not None) if known is None else known)
    if not labels:
        raise MetricError("no label is known, so nothing can be recognised; give the known labels")
    number = {label: column for column, label in enumerate(labels)}
    shown = np.array([number.get(name, len(labels)) for name in truth])
    predicted = np.array([number.get(name, len(labels)) for name in answers])
    others = sorted({name for name in truth if name not in number}, key=str)
    if not others:
        return _macro_f1(shown, predicted, range(len(labels)))
    which = np.array([others.index(name) if name not in number else -1 for name in truth])
    random = np.random.default_rng(seed)
    weights, means = [], []
    for n in range(1, len(others) + 1):
        scores = [
            _macro_f1(shown[rows], predicted[rows], range(len(labels) + 1))
            for rows in _with_some(which, len(others), n, draws, random)
        ]
        weights.append(openness(len(labels), n))
        means.append(float(np.mean(scores)))
    return float(np.average(means, weights=weights))


def _with_some(
    which: npt.NDArray[np.int64], total: int, n: int, draws: int, random: np.random.Generator
) -> list[Bools]:
    """The known clips (-1) with those of n of the unknown classes, several times."""
    if n == total:
        return [np.ones(len(which), np.bool_)]  # every draw would be the same
    return [
        (which < 0) | np.isin(which, random.choice(total, n, replace=False)) for _ in range(draws)
    ]


def _macro_f1(truth: Any, answers: Any, labels: range) -> float:
    from sklearn.metrics import f1_score

    nothing: Any = 0  # a label that is neither shown nor answered has no share in the rest
    return float(
        f1_score(truth, answers, labels=list(labels), average="macro", zero_division=nothing)
    )


def _both_kinds(scores: npt.ArrayLike, unknown: npt.ArrayLike) -> tuple[Float64, Bools]:
    first, second = np.asarray(scores), np.asarray(unknown)
    if first.dtype.kind in "biu" and second.dtype.kind == "f":
        first, second = second, first
    values = finite(first, "the scores", 1)
    flags = flags_of(second, values.shape, "the unknown clips")
    if flags.all() or not flags.any():
        kind = "unknown" if flags.all() else "known"
        raise MetricError(f"all {len(flags)} clips are {kind}; open-set figures need both kinds")
    return values, flags
