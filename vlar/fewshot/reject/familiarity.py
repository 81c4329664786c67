"""Is this clip like any of the examples? The default ``unknown`` of an adapted model.

A clip's familiarity is its largest cosine to an example. The familiarity of known clips is measured
on the support set by leaving each example's group (its recording) out; that of
out-of-distribution clips by leaving its whole label out. A logistic curve between the two gives the
probability of unknown: open-set recognition by nearest examples, with thresholds from the support
set alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from vlar.fewshot.reject.base import Array, HeldOut, Rejector
from vlar.numeric import unit
from vlar.registry import register
from vlar.safety.numbers import number
from vlar.scoring.logistic import fit_logistic, logistic
from vlar.types import Float32, Float64, JsonDict


@register("rejector", "familiarity")
class Familiarity(Rejector):
    """``probability = 1 - 1 / (1 + exp(-slope * (familiarity - centre)))``; slope is positive.

    Attributes:
        examples: (n, S) float32, unit vectors of the support set.
        centre: The cosine at which known and unknown are equally likely.
        slope: Steepness per unit of cosine.
    """

    name = "familiarity"
    examples: Float32
    centre: float
    slope: float

    def fit(
        self,
        signatures: Float32,
        y: Sequence[str],
        groups: Sequence[str] | None = None,
        logits: Float64 | None = None,
    ) -> Self:
        """See ``Rejector``.

        With one example a label no pair of known examples exists; the known end is then half-way
        between what out-of-distribution examples reach and identity.
        """
        group = np.arange(len(y)) if groups is None else np.asarray(groups)
        self.centre, self.slope = 0.0, 1.0
        scores = self.hold_out(signatures, np.asarray(y), group, logits)
        known, unknown = -scores.known, -scores.unknown
        if not len(unknown):
            return self
        if not len(known):
            known = (1.0 + unknown) / 2
        self.centre, self.slope = fit_logistic(known, unknown)
        return self

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        """See ``Rejector``."""
        del logits
        self.examples = unit(signatures)
        cosine = (self.examples @ self.examples.T).astype(np.float64)
        other_group = group[:, None] != group[None, :]
        same_label = label[:, None] == label[None, :]
        outside = _largest(cosine, ~same_label & other_group)
        inside = _largest(cosine, same_label & other_group)
        known = np.maximum(inside, outside)[np.isfinite(inside)]
        return HeldOut(-known, -outside[np.isfinite(outside)])

    def familiarity(self, signatures: Float32) -> Float64:
        """(m,) largest cosine to an example."""
        return (unit(signatures) @ self.examples.T).max(axis=1).astype(np.float64)

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """Minus the familiarity."""
        del logits
        return -self.familiarity(signatures)

    def probability(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """See ``Rejector``."""
        del logits
        return 1.0 - self.known(self.familiarity(signatures))

    def known(self, familiarity: Array) -> Float64:
        """Probability, elementwise, that a known clip reaches this cosine to an example."""
        return logistic(familiarity, self.centre, self.slope)

    def config(self) -> JsonDict:
        """The curve."""
        return {"rejector": self.name, "centre": self.centre, "slope": self.slope}

    def state(self) -> dict[str, Array]:
        """The examples."""
        return {"examples": self.examples}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``Rejector``."""
        self.centre, self.slope = number(config, "centre"), number(config, "slope", above=0)
        self.examples = np.asarray(state["examples"], np.float32)


def _largest(cosine: Float64, allowed: Array) -> Float64:
    return np.where(allowed, cosine, -np.inf).max(axis=1)
