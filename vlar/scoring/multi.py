"""Several labels at once: each label's own probability, whatever other labels are asked.

A label is compared with the background alone, by the rule of :mod:`vlar.scoring.rule` for a list of
one: ``p = sigmoid(logit - log mean exp(background logits) + log prior odds)``. The probabilities do
not share a sum. That none of the labels fits has the probability ``1 - max p``, an upper bound that
holds however the labels hang together; so the answer is unknown exactly where no label reaches 0.5.
"""

from __future__ import annotations

import numpy as np

from vlar.scoring.content_free import ContentFree
from vlar.scoring.logistic import logistic
from vlar.scoring.rule import Genericness, Scores, check_scorer, kept_for_each, log_odds
from vlar.types import Float32

EACH_PRIOR = 0.05


class EachScorer:
    """Scores rows against labels that do not exclude each other.

    Args:
        concepts: (C, D) unit vectors of the labels.
        background: (B, D) unit vectors of the background bank; without it every label is as likely
            as the prior.
        logit_scale: Factor from cosine to logit (the encoder's).
        content_free: (M, D) unit vectors of content-free clips; None for none.
        prior: Probability, before looking, that a label fits.

    Raises:
        UsageError: no label, widths that differ, or a prior outside 0..1.
    """

    def __init__(
        self,
        concepts: Float32,
        background: Float32,
        *,
        logit_scale: float,
        content_free: Float32 | None = None,
        prior: float = EACH_PRIOR,
    ) -> None:
        check_scorer(concepts, background, logit_scale, prior)
        self._concepts, self._background = concepts, background
        self._kept = kept_for_each(concepts, background).astype(np.float64)
        self._generic = Genericness(concepts, background)
        self._scale, self._log_odds = logit_scale, log_odds(prior)
        self._content_free = ContentFree(concepts[:0] if content_free is None else content_free)

    def score(self, video: Float32) -> Scores:
        """Scores of (N, D) unit rows; the labels' probabilities are independent of each other."""
        similarity = (video @ self._concepts.T).astype(np.float32)
        to_background = (video @ self._background.T).astype(np.float64)
        of_labels, of_background = self._generic.shares(to_background)
        logits = self._scale * (similarity.astype(np.float64) - of_labels)
        if len(self._background):
            background = self._scale * (to_background - of_background)
            top = background.max(axis=1, keepdims=True)
            kept = np.exp(background - top) @ self._kept.T / self._kept.sum(axis=1)
            logits = logits - top - np.log(kept)
        else:
            logits = np.zeros_like(logits)
        nothing = self._content_free.probability(video)[:, None]
        probability = logistic(logits + self._log_odds, 0.0, 1.0) * (1.0 - nothing)
        return Scores(similarity, probability, 1.0 - probability.max(axis=1))
