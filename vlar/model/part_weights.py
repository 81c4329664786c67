"""Weights of the parts of a joint encoder, fitted to clips whose labels are known.

A joint encoder adds the logits of its parts (``vlar.encoders.joint``). Here the factor of each part
is chosen by the likelihood of the right labels, with the best temperature for each choice, so that
only the parts' ratio counts. The weights that the encoder has stay unless others are better by more
than the clips' own scatter: two standard errors, which shuffled labels do not reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlar.encoders.joint import JointEncoder
from vlar.scoring.temperature import fit_temperature
from vlar.types import Float32, Float64

# On the factor that a part has; rounded, since the factor stands in the model's name.
_STEPS = [float(f"{2.0**half:.3g}") for half in np.arange(-4, 4.5, 0.5)]
_ROUNDS = 2
_ERRORS = 2.0  # standard errors that a gain must exceed; evals/joined.py shuffles labels


def fit_factors(
    encoder: JointEncoder, vectors: Float32, concepts: Float32, answers: npt.NDArray[np.integer]
) -> tuple[float, ...]:
    """The factors of the parts under which labelled clips are most likely.

    Args:
        encoder: The joint encoder, with the factors to start from.
        vectors: (n, D) float32 unit vectors of the clips.
        concepts: (C, D) float32 unit vectors of the labels.
        answers: (n,) number of the right label.

    Returns:
        One factor a part; the encoder's own where no other choice is better by more than two
        standard errors.
    """
    start = encoder.factors
    first = _losses(encoder, start, vectors, concepts, answers)
    best, loss = start, first
    for _ in range(_ROUNDS):
        for part in range(1, len(start)):
            for step in _STEPS:
                changed = (*best[:part], start[part] * step, *best[part + 1 :])
                found = _losses(encoder, changed, vectors, concepts, answers)
                if found.mean() < loss.mean():
                    best, loss = changed, found
    gain = first - loss
    error = gain.std() / np.sqrt(len(gain))
    return best if gain.mean() > _ERRORS * error else start


def _losses(
    encoder: JointEncoder,
    factors: Sequence[float],
    vectors: Float32,
    concepts: Float32,
    answers: npt.NDArray[np.integer],
) -> Float64:
    """(n,) minus log of the right label's share, at the temperature that fits best."""
    other = encoder.weighted(factors)
    cosines = encoder.reweighted(vectors, other) @ encoder.reweighted(concepts, other).T
    logits = fit_temperature(cosines, answers) * cosines.astype(np.float64)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return log_sum - logits[np.arange(len(answers)), answers]
