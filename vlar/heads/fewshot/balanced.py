"""A head that does not prefer the labels with most examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.files.reading import number
from vlar.heads.fewshot.base import Array, ClosedForm, FewShotHead, HeadExamples
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict


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


@register("fewshot", "balanced")
class BalancedHead(FewShotHead):
    """Another head's logits less ``tau`` times the log share of each label's examples.

    ``vlar.heads.fewshot.balanced``: logit adjustment, Menon et al. 2021, equation 7.

    Attributes:
        head: The head that is adjusted.
        counts: (C,) float64 examples of each label.
        tau: Strength.
    """

    name, composed = "balanced", True
    standalone = False
    head: FewShotHead
    counts: Float64
    tau: float

    @classmethod
    def of(cls, head: FewShotHead, y: Sequence[str], tau: float = 1.0) -> BalancedHead:
        """Adjust a fitted head.

        Args:
            head: Fitted.
            y: Labels of the examples that it learned from.
            tau: Strength.
        """
        balanced = cls()
        balanced.head = head
        balanced.labels = head.labels
        balanced.kind = head.kind
        balanced.tau = tau
        counts = Counter(y)
        balanced.counts = np.array([float(counts[label]) for label in head.labels])
        return balanced

    @property
    def reads(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Input of the adjusted head."""
        return self.head.reads

    @property
    def trained(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the adjusted head is trained."""
        return self.head.trained

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """A fitted ``ridge``, adjusted."""
        return cls.of(ridge, examples.y)

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) adjusted logits, see ``FewShotHead``."""
        return self.adjusted(self.head.logits(signatures, zero_shot))

    def adjusted(self, logits: Float64) -> Float64:
        """(m, C) logits of the inner head, adjusted."""
        return logit_adjust(self.head.adjusted(logits), self.counts, tau=self.tau)

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """Closed forms of the adjusted head."""
        return self.head.closed_forms()

    def state(self) -> dict[str, Array]:
        """The arrays of the head that is adjusted, and the counts."""
        return {**self.head.state(), "counts": self.counts}

    def config(self) -> JsonDict:
        """The strength and the settings of the head that is adjusted."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "tau": self.tau,
            "adjusted": self.head.config(),
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        inner = {name: array for name, array in state.items() if name != "counts"}
        self.head = FewShotHead.from_state(config["adjusted"], inner)
        self.tau = number(config, "tau")
        self.counts = np.asarray(state["counts"], np.float64)
        whole = self.counts.shape == (len(self.labels),) and (self.counts >= 1).all()
        if not whole or self.head.labels != self.labels or not np.isfinite(self.counts).all():
            raise ValueError(f"{len(self.labels)} labels and counts {self.counts.shape}")
