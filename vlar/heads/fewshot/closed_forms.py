"""Least squares with a penalty, in closed form, every label weighing the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.heads.fewshot.base import Array, ClosedForm
from vlar.registry import register
from vlar.types import Float32, Float64


@register("fewshot", "prototype", status="default")
class PrototypeHead(ClosedForm):
    """Evidence is the cosine to the mean of a label's examples."""

    name = "prototype"
    auto_order = 2
    grid = (0.0,)
    slope = 50.0

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C) cosines."""
        return (signatures @ self._prototypes.T).astype(np.float64)

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Cosine to the mean; 0 for a label without example."""
        length = np.sqrt(np.maximum(((gram @ member) * member).sum(axis=0), 0))
        return cross @ member / np.where(length > 1e-12, length, np.inf)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        sums = member.T.astype(np.float32) @ signatures
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        self._prototypes = (sums / np.where(norms > 0, norms, 1)).astype(np.float32)

    def _arrays(self) -> dict[str, Array]:
        return {"prototypes": self._prototypes}

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self._prototypes = self._checked(arrays["prototypes"], 0)


BIAS = 0.1  # squared length of the constant entry that stands for a bias


@register("fewshot", "ridge", status="default")
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
