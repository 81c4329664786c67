"""Similarity to probability: one label or several, unknown as an answer, calibration."""

from __future__ import annotations

from vlar.scoring.calibration import Calibration, fit_calibration
from vlar.scoring.content_free import ContentFree
from vlar.scoring.multi_label import EACH_PRIOR, EachScorer
from vlar.scoring.temperature import expected_calibration_error, fit_temperature
from vlar.scoring.zero_shot import (
    GENERICNESS_WEIGHT,
    MATCH_PRIOR,
    UNKNOWN_PRIOR,
    UNKNOWN_THRESHOLD,
    Scorer,
    Scores,
    kept_background,
    log_mean_exp,
    match_probability,
    score,
    softmax_with_unknown,
)

__all__ = [
    "EACH_PRIOR",
    "GENERICNESS_WEIGHT",
    "MATCH_PRIOR",
    "UNKNOWN_PRIOR",
    "UNKNOWN_THRESHOLD",
    "Calibration",
    "ContentFree",
    "EachScorer",
    "Scorer",
    "Scores",
    "expected_calibration_error",
    "fit_calibration",
    "fit_temperature",
    "kept_background",
    "log_mean_exp",
    "match_probability",
    "score",
    "softmax_with_unknown",
]
