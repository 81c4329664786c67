"""Weights of the evidence and of the zero-shot prior: two numbers fitted by likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlar.fewshot.cross_validation import Problem
from vlar.numeric import softmax
from vlar.types import Float64

# Octaves around the default slope, and weights of the standardised zero-shot scores.
_OCTAVES = np.arange(-3, 3.25, 0.5)
_PRIORS = np.array([0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5])
_ONE_SHOT_PRIOR = 1.0  # weight of the prior at one shot; falls as 1 / shots
_CAUTION = 0.5  # nats for one octave away from the default slope
_PRIOR_CAUTION = 1.0  # nats for one unit away from the default prior weight


@dataclass(frozen=True)
class Weights:
    """Factors on evidence and prior, and what they reach on held-out examples.

    Attributes:
        evidence: Factor on the evidence.
        prior: Factor on the standardised zero-shot scores.
        loss: Mean negative log-likelihood of the held-out examples in nats, caution included.
        accuracy: Share of held-out examples whose label scores best; NaN if none was held out.
        losses: (h,) one a held-out example and fold, to compare heads pair by pair.
    """

    evidence: float
    prior: float
    loss: float
    accuracy: float
    losses: Float64


def default_prior(shots: float) -> float:
    """Weight of the zero-shot scores where nothing can be held out: the more shots, the less."""
    return _ONE_SHOT_PRIOR / max(shots, 1.0)


def fit_weights(default_slope: float, held: Float64, problem: Problem) -> Weights:
    """The pair of weights under which the held-out examples are most likely.

    A mild penalty holds the pair near its default: it decides alone where no example can be held
    out (one shot a label), and hardly counts where there are many.

    Args:
        default_slope: Default factor on the evidence (``ClosedForm.slope``).
        held: (folds, n, C) from ``ClosedForm.hold_out``; NaN where an example was not held out.
        problem: The support set.
    """
    fair = problem.fair
    evidence = held[fair]
    example = np.nonzero(fair)[1]
    target, rows = problem.target[example], np.arange(len(example))
    prior = problem.prior[example] if problem.prior is not None else None
    default = default_prior(problem.shots) if prior is not None else 0.0
    n = max(len(np.unique(example)), 1)  # an example held out in several folds is still one
    best: Weights | None = None
    for octave in sorted(_OCTAVES, key=abs):
        slope = float(default_slope * 2.0**octave)
        for weight in sorted(
            _PRIORS if prior is not None else [0.0], key=lambda w: abs(w - default)
        ):
            scores = slope * evidence if prior is None else slope * evidence + weight * prior
            losses = -np.log(np.maximum(softmax(scores)[rows, target], 1e-12))
            caution = _CAUTION * octave**2 + _PRIOR_CAUTION * (weight - default) ** 2
            loss = float((losses.mean() if len(rows) else 0.0) + caution / n)
            if best is None or loss < best.loss - 1e-12:
                right = scores.argmax(axis=1) == target
                accuracy = float(right.mean()) if len(rows) else float("nan")
                best = Weights(slope, float(weight), loss, accuracy, losses)
    assert best is not None
    return best
