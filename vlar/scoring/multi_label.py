"""Several labels at once: each label has its own probability, whatever other labels are asked.

A label is compared with the background alone, by the rule of :mod:`vlar.scoring.zero_shot` for a
list of one: ``p = sigmoid(logit - log mean exp(background logits) + log prior odds)``. The
probabilities do not share a sum. The probability that none of the labels fits is ``1 - max p``, an
upper bound however the labels depend on each other. So the answer is unknown exactly where no label
reaches 0.5.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from vlar.scoring.base import Scores
from vlar.scoring.logistic import logistic
from vlar.scoring.zero_shot import LabelScorer, kept_for_each
from vlar.types import Float32, Float64

EACH_PRIOR = 0.05


class MultiLabelScorer(LabelScorer):
    """Labels that do not exclude each other; ``prior`` is that of each.

    Without a bank every label is as likely as that.
    """

    prior = EACH_PRIOR

    @cached_property
    def _kept(self) -> Float64:
        return kept_for_each(self._concepts, self._background).astype(np.float64)

    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) unit rows; the labels' probabilities are independent of each other."""
        similarity, logits, background = self._logits(video)
        if len(self._background):
            top = background.max(axis=1, keepdims=True)
            kept = np.exp(background - top) @ self._kept.T / self._kept.sum(axis=1)
            logits = logits - top - np.log(kept)
        else:
            logits = np.zeros_like(logits)
        nothing = self._content_free.probability(video)[:, None]
        probability = logistic(logits + self._log_odds, 0.0, 1.0) * (1.0 - nothing)
        return Scores(similarity, probability, 1.0 - probability.max(axis=1))
