"""Least squares with a penalty, in closed form, every label weighing the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.fewshot.base import Array, ClosedForm
from vlar.registry import register
from vlar.types import Float32, Float64

BIAS = 0.1  # squared length of the constant entry that stands for a bias


@register("fewshot", "ridge")
class RidgeHead(ClosedForm):
    """Evidence is a linear map of the signature, fitted to 1 for the label and 0 for the others.

    Solved in the space of the n examples: ``(K + penalty / weight) a = Y`` with the Gram matrix K
    and weights that give every label the same mass (Hastie et al., Elements of Statistical
    Learning, 12.3.7).
    """

    name = "ridge"
    auto_order = 1
    grid = (0.3, 0.1, 1.0, 3.0)
    slope = 20.0

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C) regression values."""
        return (signatures @ self._matrix + self._bias).astype(np.float64)

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Regression values."""
        return (cross + BIAS) @ dual_weights(gram, member, parameter)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        dual = dual_weights(gram, member, self.parameter)
        self._matrix = (signatures.T.astype(np.float64) @ dual).astype(np.float32)
        self._bias = (BIAS * dual.sum(axis=0)).astype(np.float32)

    def _arrays(self) -> dict[str, Array]:
        return {"matrix": self._matrix, "bias": self._bias}

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self._matrix = self._checked(arrays["matrix"], 1)
        self._bias = self._checked(arrays["bias"], 0)


def dual_weights(gram: Float64, member: Float64, penalty: float) -> Float64:
    """(n, C) weights of the examples in the solution."""
    counts = member.sum(axis=0)
    shown = counts > 0
    weight = member @ np.where(shown, counts[shown].mean() / np.maximum(counts, 1), 0)
    solution = np.linalg.solve(gram + BIAS + np.diag(penalty / weight), member)
    return solution.astype(np.float64)
