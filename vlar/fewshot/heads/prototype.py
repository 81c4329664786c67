"""Nearest class mean (Snell et al., "Prototypical networks", 2017; no training here)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.fewshot.base import Array, ClosedForm
from vlar.registry import register
from vlar.types import Float32, Float64


@register("fewshot", "prototype")
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
