"""A key-value cache of the examples (the training-free half of Tip-Adapter, Zhang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.fewshot.base import Array, ClosedForm
from vlar.registry import register
from vlar.types import Float32, Float64


@register("fewshot", "cache")
class CacheHead(ClosedForm):
    """Evidence is the mean over a label's examples of ``exp(-sharpness * (1 - cosine))``, as a log.

    The log makes evidence a kernel density estimate's log-likelihood, comparable over sharpness;
    the order of labels is the one of the original sum.
    """

    name = "cache"
    grid = (10.0, 5.0, 20.0, 40.0)
    slope = 5.0

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C) log densities."""
        cosine = signatures.astype(np.float64) @ self._keys.T.astype(np.float64)
        return _density(self.parameter * (cosine - 1), self._values.astype(np.float64))

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Log densities; labels without an example get the lowest."""
        return _density(parameter * (cross - 1), member)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        self._keys, self._values = signatures, member.astype(np.float32)

    def _arrays(self) -> dict[str, Array]:
        return {"keys": self._keys, "values": self._values}

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self._keys = np.asarray(arrays["keys"], np.float32)
        self._values = self._checked(arrays["values"], 1)
        if len(self._keys) != len(self._values):
            raise ValueError(f"{len(self._keys)} keys for {len(self._values)} values")


def _density(exponents: Float64, member: Float64) -> Float64:
    """Log of the mean of exp over each label's examples; labels without one get the lowest."""
    count = member.sum(axis=0)
    sums = np.exp(exponents) @ member / np.maximum(count, 1)
    logs = np.log(np.maximum(sums, 1e-30))
    lowest = logs[:, count > 0].min(axis=1, keepdims=True)
    return np.where(count > 0, logs, lowest)
