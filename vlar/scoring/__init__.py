"""Similarity to probability: one label or several, unknown as an answer, calibration."""

from __future__ import annotations

from vlar.evaluation.calibration import expected_calibration_error
from vlar.scoring.base import UNKNOWN_THRESHOLD, Head, Scores
from vlar.scoring.calibration import Calibration, fit_calibration
from vlar.scoring.content_free import ContentFree
from vlar.scoring.heads import MODES, ConceptHead, ConditionedHead, check_mode, make_scorer
from vlar.scoring.multi_label import EACH_PRIOR, MultiLabelScorer
from vlar.scoring.temperature import fit_temperature
from vlar.scoring.zero_shot import (
    GENERICNESS_WEIGHT,
    MATCH_PRIOR,
    UNKNOWN_PRIOR,
    ZeroShotScorer,
    kept_background,
    log_mean_exp,
    match_probability,
    match_scorer,
    score,
    softmax_with_unknown,
)

__all__ = [
    "EACH_PRIOR",
    "GENERICNESS_WEIGHT",
    "MATCH_PRIOR",
    "MODES",
    "UNKNOWN_PRIOR",
    "UNKNOWN_THRESHOLD",
    "Calibration",
    "ConceptHead",
    "ConditionedHead",
    "ContentFree",
    "Head",
    "MultiLabelScorer",
    "Scores",
    "ZeroShotScorer",
    "check_mode",
    "expected_calibration_error",
    "fit_calibration",
    "fit_temperature",
    "kept_background",
    "log_mean_exp",
    "make_scorer",
    "match_probability",
    "match_scorer",
    "score",
    "softmax_with_unknown",
]
