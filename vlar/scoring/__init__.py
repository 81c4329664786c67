"""Similarity to probability: unknown as an answer, and calibration (:mod:`vlar.scoring.rule`)."""

from __future__ import annotations

from vlar.scoring.calibration import expected_calibration_error, fit_temperature
from vlar.scoring.content_free import ContentFree, content_free_clips
from vlar.scoring.rule import (
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
    "MATCH_PRIOR",
    "UNKNOWN_PRIOR",
    "UNKNOWN_THRESHOLD",
    "ContentFree",
    "Scorer",
    "Scores",
    "content_free_clips",
    "expected_calibration_error",
    "fit_temperature",
    "kept_background",
    "log_mean_exp",
    "match_probability",
    "score",
    "softmax_with_unknown",
]
