"""Logits without the habit of answering the label that had most examples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Float64


def logit_adjust(logits: npt.ArrayLike, counts: npt.ArrayLike, *, tau: float = 1.0) -> Float64:
    """Subtract ``tau`` times the log share of each label's examples.

    Source: Menon et al., "Long-tail learning via logit adjustment", 2021, equation 7. Equal counts
    change neither the softmax nor the answer.

    Args:
        logits: (N, C) of a head that learned from unbalanced examples.
        counts: (C,) examples of each label, above 0.
        tau: Strength; 1 gives the posterior for equally frequent labels.

    Raises:
        UsageError: a label without an example, or another number of labels.
    """
    values, number = np.asarray(logits, np.float64), np.asarray(counts, np.float64)
    if number.shape != values.shape[-1:] or not (number > 0).all():
        raise UsageError(
            f"logits of {values.shape[-1]} labels and the counts {number.tolist()}; give each "
            "label the number of its examples, above 0"
        )
    return values - tau * np.log(number / number.sum())
