"""Rejectors that read nothing but the logits of the head."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from vlar.fewshot.reject.base import LogitRejector
from vlar.numeric import softmax
from vlar.registry import register
from vlar.types import Float64


@register("rejector", "max-softmax")
class MaxSoftmax(LogitRejector):
    """Minus the largest probability (Hendrycks and Gimpel, "A baseline for detecting", 2017)."""

    name = "max-softmax"

    def of_logits(self, logits: Float64) -> Float64:
        """See ``LogitRejector``."""
        return -softmax(logits).max(axis=1)


@register("rejector", "max-logit")
class MaxLogit(LogitRejector):
    """Minus the largest logit (Hendrycks et al., "Scaling out-of-distribution detection", 2022)."""

    name = "max-logit"

    def of_logits(self, logits: Float64) -> Float64:
        """See ``LogitRejector``."""
        return -logits.max(axis=1)


@register("rejector", "energy")
class Energy(LogitRejector):
    """Free energy, ``-logsumexp`` (Liu et al., "Energy-based out-of-distribution", 2020, eq. 4)."""

    name = "energy"

    def of_logits(self, logits: Float64) -> Float64:
        """See ``LogitRejector``."""
        return -np.asarray(logsumexp(logits, axis=1), np.float64)
