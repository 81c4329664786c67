"""Evidence instead of probabilities: the vacuity of a Dirichlet distribution.

Source: Bao et al., "Evidential deep learning for open set action recognition" (DEAR), 2021. Their
head is trained with the evidential loss. Here the head's logits are fixed, and the loss fits a
factor and an offset to them, on held-out examples: without both, the logits of a closed form carry
no amount of evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize

from vlar.fewshot.reject.base import Array, LogitRejector
from vlar.registry import register
from vlar.safety.numbers import number
from vlar.types import Float64, JsonDict

_LARGEST = 10.0  # of a logit before exp, as in the source
_DOUBT = 0.01  # nats for one unit of the log factor or of the offset, squared, an example


@register("rejector", "evidential")
class Evidential(LogitRejector):
    """Vacuity ``C / S`` of ``alpha = 1 + exp(factor * logit + offset)``, ``S`` the sum of alpha.

    The vacuity depends on the number of labels: scores of models over other labels do not compare.

    Attributes:
        factor: On the logits, positive.
        offset: Added to them.
    """

    name = "evidential"
    factor: float = 1.0
    offset: float = 0.0

    def learn(self, logits: Float64, column: Array) -> None:
        """The factor and offset under which the evidential loss of held-out examples is least."""
        if not len(logits):
            return
        start = np.array([0.0, -float(logits.mean())])
        rows = np.arange(len(logits))

        def loss(free: Float64) -> float:
            alpha = 1.0 + _evidence(np.exp(free[0]) * logits + free[1])
            fit = np.log(alpha.sum(axis=1)) - np.log(alpha[rows, column])
            return float(fit.mean() + _DOUBT * ((free - start) ** 2).sum() / len(rows))

        found = minimize(loss, start, method="Nelder-Mead").x
        self.factor, self.offset = float(np.exp(found[0])), float(found[1])

    def of_logits(self, logits: Float64) -> Float64:
        """See ``LogitRejector``."""
        evidence = _evidence(self.factor * logits + self.offset)
        n_labels = logits.shape[1]
        return n_labels / (evidence.sum(axis=1) + n_labels)

    def config(self) -> JsonDict:
        """The curve, the factor and the offset."""
        return {**super().config(), "factor": self.factor, "offset": self.offset}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``Rejector``."""
        super().restore(config, state)
        self.factor, self.offset = number(config, "factor"), number(config, "offset")


def _evidence(logits: Float64) -> Float64:
    return np.exp(np.clip(logits, -_LARGEST, _LARGEST))
