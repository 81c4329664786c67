"""Is this clip like any of the examples? The ``unknown`` of an adapted model.

A clip's familiarity is its largest cosine to an example. What a known clip reaches is read off the
support set by leaving each example's group (its video) out; what an unknown clip reaches, by
leaving its whole label out. A logistic curve between the two gives the probability of unknown:
open-set recognition by nearest examples, with thresholds from the support set alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlar.scoring.logistic import fit_logistic, logistic
from vlar.types import Float32, Float64


@dataclass(frozen=True)
class Novelty:
    """``probability = 1 / (1 + exp(slope * (familiarity - centre)))``; slope is positive.

    Attributes:
        examples: (n, S) float32, unit vectors of the support set.
        centre: The cosine at which known and unknown are equally likely.
        slope: Steepness per cosine.
    """

    examples: Float32
    centre: float
    slope: float

    def probability(self, signatures: Float32) -> Float64:
        """Probability (m,) that clips with these signatures (m, S) show no label of the support."""
        familiarity = (_unit(signatures) @ self.examples.T).max(axis=1).astype(np.float64)
        return 1.0 - self.known(familiarity)

    def known(self, familiarity: np.ndarray) -> Float64:
        """Probability that a cosine to an example is one that a known clip reaches."""
        return logistic(familiarity, self.centre, self.slope)


def fit_novelty(signatures: Float32, labels: Sequence[str], groups: Sequence[str]) -> Novelty:
    """Fit the curve on a support set.

    Args:
        signatures: (n, S) float32, one row an example.
        labels: n labels, at least two different ones.
        groups: n groups; examples of one group (one video) never vouch for each other.

    Returns:
        The fitted curve. With one example a label no known pair exists; the known end is then set
        half-way between what strangers reach and identity.
    """
    examples = _unit(signatures)
    cosine = (examples @ examples.T).astype(np.float64)
    label, group = np.asarray(labels), np.asarray(groups)
    other_group = group[:, None] != group[None, :]
    same_label = label[:, None] == label[None, :]
    stranger = _largest(cosine, ~same_label & other_group)
    kin = _largest(cosine, same_label & other_group)
    strangers = stranger[np.isfinite(stranger)]
    if not len(strangers):
        return Novelty(examples, 0.0, 1.0)
    known = np.maximum(kin, stranger)[np.isfinite(kin)]
    if not len(known):
        known = (1.0 + strangers) / 2
    centre, slope = fit_logistic(known, strangers)
    return Novelty(examples, centre, slope)


def _largest(cosine: Float64, allowed: np.ndarray) -> Float64:
    return np.where(allowed, cosine, -np.inf).max(axis=1)


def _unit(vectors: Float32) -> Float32:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norm > 0, norm, 1)).astype(np.float32)
