"""Calibration of probabilities on clips whose labels are known.

Four curves, none of which changes the order of a clip's labels (Platt 1999; Guo et al. 2017):

* the labels' shares of what is not unknown: a power, ``share ** slope``, by the likelihood of the
  right labels (temperature scaling);
* the best label's share, which is the one that is read: a logistic curve of its log odds, held near
  to what the temperature gives, since calibration sets are small. The other shares follow by a
  power of all;
* the probability of unknown: a logistic curve of its log odds. Clips with their labels stand for
  what is known; the same clips without their own label on the list, for what is not;
* each label's own probability (several labels at once): a logistic curve of its log odds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError, UsageError
from vlar.files.reading import number
from vlar.heads.logistic import fit_logistic, fit_temperature, logistic, logit, refit_logistic
from vlar.heads.zero_shot import UNKNOWN_PRIOR
from vlar.types import Float64, JsonDict

#: Begins a remark on a model that nothing was fitted to.
BY_RULE = "the percentages of {model} follow a general rule and were never compared with clips"
_SMALLEST = 1e-12
_DOUBT = 4.0  # precision of the prior; evals/README.md compares values on five sets
_FLATTEST, _STEEPEST = -12.0, 12.0  # log of a power on shares
_HALVINGS = 40


@dataclass(frozen=True)
class Calibration:
    """Curves over probabilities; as made without arguments it changes nothing.

    Attributes:
        slope: Power on the labels' shares.
        unknown_centre: Log odds of unknown that become one half.
        unknown_slope: Factor on log odds of unknown.
        each_centre: As ``unknown_centre``, of a label among several at once.
        each_slope: As ``unknown_slope``, of a label among several at once.
        best_centre: As ``unknown_centre``, of the best label's share.
        best_slope: As ``unknown_slope``, of the best label's share.
    """

    slope: float = 1.0
    unknown_centre: float = 0.0
    unknown_slope: float = 1.0
    each_centre: float = 0.0
    each_slope: float = 1.0
    best_centre: float = 0.0
    best_slope: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.slope, self.unknown_slope, self.each_slope, self.best_slope) > 0:
            raise UsageError(f"a calibration's slopes must be above 0, got {self.to_dict()}")

    def one(self, probability: Float64, unknown: Float64) -> tuple[Float64, Float64]:
        """Labels that exclude each other: (N, C) and (N,), which together sum to 1 a row."""
        shares = _powers(probability, self.slope)
        best = logistic(logit(shares.max(axis=1)), self.best_centre, self.best_slope)
        shares = _with_best(shares, best)
        nothing_fits = logistic(logit(unknown), self.unknown_centre, self.unknown_slope)
        return shares * (1.0 - nothing_fits)[:, None], nothing_fits

    def each(self, probability: Float64) -> tuple[Float64, Float64]:
        """Several labels at once: (N, C), and (N,) that none of them fits."""
        curved = logistic(logit(probability), self.each_centre, self.each_slope)
        return curved, 1.0 - curved.max(axis=1)

    def to_dict(self) -> JsonDict:
        """The settings of the manifest."""
        return asdict(self)

    @staticmethod
    def restore(settings: Mapping[str, Any]) -> Calibration:
        """The calibration that ``settings`` were saved from.

        Raises:
            ModelError: a setting is missing, unknown or not a number.
        """
        try:
            names = Calibration().to_dict().keys()
            if unknown := sorted(settings.keys() - names):
                raise ValueError(f"{unknown[0][:40]!r} is not one of {', '.join(names)}")  # noqa: TRY301
            return Calibration(**{name: number(settings, name) for name in settings})
        except (TypeError, ValueError, UsageError) as error:
            raise ModelError(
                f"the saved calibration is malformed ({error}); calibrate again"
            ) from error


def fit_calibration(
    probability: Float64,
    answers: npt.NDArray[np.integer],
    *,
    unknown: Float64 | None = None,
    outside: Float64 | None = None,
    each: Float64 | None = None,
    unknown_share: float = UNKNOWN_PRIOR,
) -> Calibration:
    """Fit the curves on clips whose labels are known.

    Args:
        probability: (n, C) float64 as the model gives them.
        answers: (n,) column of the right label.
        unknown: (n,) probability of unknown of the same clips.
        outside: (m,) probability of unknown of clips that show none of the labels asked; without
            it, or without ``unknown``, that curve stays as it is.
        each: (n, C) each label's own probability; without it that curve stays as it is.
        unknown_share: Share of clips that show none of the labels, where the model will be used.

    Raises:
        UsageError: no clip, shapes that do not agree, or a share outside 0..1.
    """
    if not 0.0 < unknown_share < 1.0:
        raise UsageError(f"the share of unknown is {unknown_share}; it must lie between 0 and 1")
    shares = np.log(np.maximum(_powers(probability, 1.0), _SMALLEST))
    constants = {"slope": fit_temperature(shares, answers, lowest=0.05, highest=20.0)}
    tempered = _powers(probability, constants["slope"])
    right = tempered.argmax(axis=1) == answers
    centre, slope = refit_logistic(logit(tempered.max(axis=1)), right, doubt=_DOUBT)
    constants |= {"best_centre": centre, "best_slope": slope}
    if unknown is not None and outside is not None and len(outside):
        centre, slope = fit_logistic(logit(outside), logit(unknown), share=unknown_share)
        constants |= {"unknown_centre": centre, "unknown_slope": slope}
    if each is not None and each.shape[1] > 1:
        right = np.arange(each.shape[1])[None] == answers[:, None]
        odds = logit(each)
        centre, slope = fit_logistic(odds[right], odds[~right], share=float(right.mean()))
        constants |= {"each_centre": centre, "each_slope": slope}
    return Calibration(**constants)


def _powers(probability: Float64, slope: float) -> Float64:
    logits = slope * np.log(np.maximum(probability, 1e-300))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _with_best(shares: Float64, best: Float64) -> Float64:
    """Shares (N, C) raised to the power that makes the largest of each row ``best`` (N,).

    The largest grows with the power from 1 / C on, so halving finds it; an unreachable ``best`` (a
    tie, or below 1 / C) gives the nearest.
    """
    low, high = np.full(len(shares), _FLATTEST), np.full(len(shares), _STEEPEST)
    logs = np.log(np.maximum(shares, 1e-300))
    logs -= logs.max(axis=1, keepdims=True)
    powers = np.ones_like(shares)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        powers = np.exp(np.exp(middle)[:, None] * logs)
        powers /= powers.sum(axis=1, keepdims=True)
        over = powers.max(axis=1) > best
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return powers
