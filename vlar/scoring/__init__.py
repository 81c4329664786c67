"""Similarity to probability: one label or several, unknown as an answer, calibration."""

from __future__ import annotations

from vlar.scoring.calibration import expected_calibration_error, fit_temperature
from vlar.scoring.content_free import ContentFree, content_free_clips
from vlar.scoring.fitted import Calibration, fit_calibration
from vlar.scoring.multi import EACH_PRIOR, EachScorer
from vlar.scoring.rule import (
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
    "content_free_clips",
    "expected_calibration_error",
    "fit_calibration",
    "fit_temperature",
    "kept_background",
    "log_mean_exp",
    "match_probability",
    "score",
    "softmax_with_unknown",
]
