"""A base for heads that compare clips as sequences: it keeps the examples and their frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.fewshot.base import Array, ClosedForm
from vlar.types import Float32, Float64


class Matcher(ClosedForm):
    """A head that keeps its examples and compares every clip with each of them.

    A subclass defines ``similarity`` of clips as sequences of frames. ``evidence_from`` is the mean
    over a label's examples unless the subclass has its own. The choice of weights, the hold-out,
    saving and loading are those of every closed form.
    """

    reads = "features"
    kinds = ("frames:8",)
    slope = 20.0
    _examples: Float32
    _member: Float64
    _gram: Float64

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C), see ``ClosedForm``."""
        cross = self.compare(signatures, self._examples)
        return self.evidence_from(cross, self._gram, self._member, self.parameter)

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Mean similarity to a label's examples; a label without any gets the lowest."""
        count = member.sum(axis=0)
        mean = cross @ member / np.maximum(count, 1)
        lowest = mean[:, count > 0].min(axis=1, keepdims=True)
        return np.where(count > 0, mean, lowest)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        self._examples, self._gram, self._member = signatures, gram, member

    def _arrays(self) -> dict[str, Array]:
        return {
            "examples": self._examples,
            "gram": self._gram,
            "member": self._member.astype(np.float32),
        }

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self._examples = np.asarray(arrays["examples"], np.float32)
        self._gram = np.asarray(arrays["gram"], np.float64)
        self._member = self._checked(arrays["member"], 1).astype(np.float64)
        n = len(self._examples)
        if self._gram.shape != (n, n) or len(self._member) != n:
            raise ValueError(
                f"{n} examples, {self._gram.shape} similarities and "
                f"{len(self._member)} rows of labels"
            )
