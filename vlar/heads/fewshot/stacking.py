"""A closed form and a trained similarity as one head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlar.files.reading import number
from vlar.heads.fewshot.base import Array, ClosedForm, FewShotHead, HeadExamples
from vlar.numeric import softmax
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict

# Factors on the closed form's scores, and on the scaled cosines of the trained vectors.
_CLOSED = (1.0, 0.75, 0.5, 0.25, 0.0)
_TRAINED = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_CAUTION = 1.0  # nats for one unit away from the defaults
_DEFAULT = (1.0, 0.25)  # a training on few examples starts with a small weight


@register("fewshot", "stacking")
class StackingHead(FewShotHead):
    """Weighted sum of a closed form's scores and of cosines to the labels' trained concepts.

    The cosines come as ``zero_shot``: those of the adapted encoder's vectors and texts. The closed
    form is used without a prior, for they are the prior.

    Attributes:
        closed: The closed form; None means the cosines alone.
        closed_weight: Factor on its scores.
        trained_weight: Factor on the cosines.
    """

    name, composed = "stacking", True
    standalone = False
    trained = True
    closed: FewShotHead | None
    closed_weight: float
    trained_weight: float

    @classmethod
    def of(cls, closed: FewShotHead, closed_weight: float, trained_weight: float) -> StackingHead:
        """Join a fitted closed form with cosines."""
        head = cls()
        head.closed, head.labels, head.kind = closed, closed.labels, closed.kind
        head.closed_weight, head.trained_weight = closed_weight, trained_weight
        return head

    @classmethod
    def alone(cls, labels: tuple[str, ...], kind: str, trained_weight: float) -> StackingHead:
        """The cosines alone; ``kind`` is the signature that ``unknown`` goes by."""
        head = cls()
        head.closed, head.labels, head.kind = None, labels, kind
        head.closed_weight, head.trained_weight = 0.0, trained_weight
        return head

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """A fitted ``ridge``, and cosines."""
        return cls.of(ridge, 1.0, 0.25)

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        total = np.zeros((len(signatures), len(self.labels)))
        if self.closed is not None and self.closed_weight:
            total += self.closed_weight * self.closed.logits(signatures)
        if zero_shot is not None:
            total += self.trained_weight * zero_shot.astype(np.float64)
        return total

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """Closed forms of its closed form, with their weights."""
        closed = [] if self.closed is None else self.closed.closed_forms()
        return [(self.closed_weight * weight, part) for weight, part in closed]

    def state(self) -> dict[str, Array]:
        """The closed form's arrays."""
        return {} if self.closed is None else self.closed.state()

    def config(self) -> JsonDict:
        """The weights and the closed form's settings."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "closed_weight": self.closed_weight,
            "trained_weight": self.trained_weight,
            "closed": None if self.closed is None else self.closed.config(),
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        self.closed_weight = number(config, "closed_weight")
        self.trained_weight = number(config, "trained_weight")
        closed = config["closed"]
        self.closed = None if closed is None else self.from_state(closed, state)
        if self.closed is not None and self.closed.labels != self.labels:
            raise ValueError("a closed form of other labels")


@dataclass(frozen=True)
class StackingWeights:
    """Factors, and what they reach on held-out examples.

    Attributes:
        closed: Factor on the closed form's scores.
        trained: Factor on the scaled cosines.
        loss: Mean negative log-likelihood in nats, caution included.
        accuracy: Share of held-out examples recognised.
    """

    closed: float
    trained: float
    loss: float
    accuracy: float


def fit_stacking(closed: Float64, trained: Float64, target: Array) -> StackingWeights:
    """The factors under which held-out examples are most likely, regularised to the default.

    Args:
        closed: (h, C) logits of a closed form that was not fitted on them.
        trained: (h, C) scaled cosines of a training that did not use them.
        target: (h,) columns of their labels; with none the defaults are taken.
    """
    if not len(target):
        return StackingWeights(*_DEFAULT, float("nan"), float("nan"))
    rows = np.arange(len(target))
    best: StackingWeights | None = None
    for a in _CLOSED:
        for b in _TRAINED:
            scores = a * closed + b * trained
            losses = -np.log(np.maximum(softmax(scores)[rows, target], 1e-12))
            away = (a - _DEFAULT[0]) ** 2 + (b - _DEFAULT[1]) ** 2
            loss = float(losses.mean()) + _CAUTION * away / len(target)
            if best is None or loss < best.loss - 1e-12:
                accuracy = float((scores.argmax(axis=1) == target).mean())
                best = StackingWeights(a, b, loss, accuracy)
    assert best is not None
    return best
