"""What every few-shot head offers: a closed form from a support set to calibrated scores.

A head turns the cosines between signatures into evidence, one number a label. Evidence and the
zero-shot prior are mixed and scaled by two weights, so that a softmax of the scores is a
probability. Both weights, and the head's own parameter, are read off the support set alone, by
holding out one example of every label at a time (``problem.py``); no query is ever seen
(Tip-Adapter's search on test features is the known trap).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.errors import ModelError, SupportError
from vlar.fewshot.cross_validation import Problem, make_problem
from vlar.types import Float32, Float64, JsonDict

Array = npt.NDArray[Any]


class FewShotHead(ABC):
    """What was learnt from a support set: signatures in, calibrated scores out.

    Attributes:
        name: How ``config`` calls this form.
        labels: C labels, in the order of the score columns.
        kind: Signature kind of the vectors it takes.
    """

    name: ClassVar[str]
    labels: tuple[str, ...]
    kind: str = ""

    @abstractmethod
    def scores(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits of clips (m, S); their softmax is a calibrated probability.

        ``zero_shot`` (m, C) may be None: then the evidence alone speaks.
        """

    def probabilities(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) rows that sum to 1."""
        return softmax(self.scores(signatures, zero_shot))

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""

    @abstractmethod
    def config(self) -> JsonDict:
        """The settings to save beside ``state`` (JSON)."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """Take back what ``config`` and ``state`` gave; called by ``from_state``."""

    @staticmethod
    def from_state(config: Mapping[str, Any], state: Mapping[str, Array]) -> FewShotHead:
        """The head that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: a setting or an array is missing or has the wrong shape.
            UnknownNameError: no head has the saved name.
        """
        from vlar.fewshot.heads.mixture import Blend
        from vlar.fewshot.heads.stacking import Joint

        try:
            name = str(config["head"])
            made_of_heads = {Blend.name: Blend, Joint.name: Joint}
            head = (made_of_heads.get(name) or registry.get("fewshot", name))()
            head.kind, head.labels = str(config["kind"]), tuple(map(str, config["labels"]))
            head.restore(config, state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f"the saved few-shot head is incomplete or malformed ({error!r}); adapt again"
            ) from error
        return head


class ClosedForm(FewShotHead):
    """A head with a closed form, registered under the kind ``fewshot``. ``fit`` first.

    Attributes:
        grid: Values of the head's parameter to choose among, the default first.
        slope: Default weight of the evidence, used where nothing can be held out.
        parameter: The chosen value of ``grid``.
        evidence_weight: Factor on the evidence.
        prior_weight: Factor on the standardised zero-shot scores.
    """

    grid: ClassVar[tuple[float, ...]]
    slope: ClassVar[float]
    parameter: float
    evidence_weight: float
    prior_weight: float = 0.0
    _prior_mean: Float64
    _prior_scale: float = 1.0

    def fit(
        self,
        signatures: Float32,
        y: Sequence[str],
        zero_shot: Float32 | None = None,
        *,
        labels: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        parameter: float | None = None,
    ) -> Self:
        """Learn from a support set, and from it alone.

        Args:
            signatures: (n, S) unit vectors.
            y: n labels.
            zero_shot: (n, C) similarities of the same clips to the labels' texts, or None.
            labels: Order of the C columns; default the sorted labels of ``y``.
            groups: n groups (videos); default every example its own.
            parameter: Fixes the head's parameter instead of choosing it.

        Raises:
            SupportError: fewer than two labels, a label without example, or sizes that differ.
        """
        from vlar.fewshot.prior_weighting import Weights, fit_weights

        problem = make_problem(y, zero_shot, labels, groups)
        if len(signatures) != len(y):
            raise SupportError(f"{len(y)} labels for {len(signatures)} signatures")
        gram = signatures.astype(np.float64) @ signatures.T.astype(np.float64)
        found: list[tuple[float, Weights]] = []
        for value in self.grid if parameter is None else (parameter,):
            found.append((value, fit_weights(self, self.hold_out(gram, problem, value), problem)))
        self.parameter, weights = min(found, key=lambda pair: round(pair[1].loss, 9))
        self.labels = problem.labels
        self.evidence_weight, self.prior_weight = weights.evidence, weights.prior
        self._prior_mean, self._prior_scale = problem.prior_mean, problem.prior_scale
        self._solve(signatures.astype(np.float32), gram, problem.member)
        return self

    def scores(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        scores = self.evidence_weight * self.evidence(signatures)
        if zero_shot is not None and self.prior_weight:
            scores = scores + self.prior_weight * (
                (zero_shot.astype(np.float64) - self._prior_mean) / self._prior_scale
            )
        return scores

    @abstractmethod
    def evidence(self, signatures: Float32) -> Float64:
        """(m, C): how much each label's examples speak for each clip."""

    @abstractmethod
    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Evidence (m, C) from dot products alone: the whole method in one closed form.

        Args:
            cross: (m, n) dot products of clips and examples.
            gram: (n, n) dot products of the examples.
            member: (n, C) 1 where the example shows the label; a label may have no example.
            parameter: A value of ``grid``.
        """

    def hold_out(self, gram: Float64, problem: Problem, parameter: float) -> Float64:
        """(folds, n, C) evidence of each example held out in a fold; NaN where it was not."""
        held = np.full((len(problem.folds), *problem.member.shape), np.nan)
        for row, out in zip(held, problem.folds, strict=True):
            cross, kept = gram[np.ix_(out, ~out)], gram[np.ix_(~out, ~out)]
            row[out] = self.evidence_from(cross, kept, problem.member[~out], parameter)
        return held

    @abstractmethod
    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        """Store what ``evidence`` needs, for ``self.parameter``."""

    @abstractmethod
    def _arrays(self) -> dict[str, Array]: ...

    @abstractmethod
    def _restore(self, arrays: Mapping[str, Array]) -> None: ...

    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""
        return {"prior_mean": self._prior_mean, **self._arrays()}

    def config(self) -> JsonDict:
        """The settings to save beside ``state`` (JSON)."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "parameter": self.parameter,
            "evidence_weight": self.evidence_weight,
            "prior_weight": self.prior_weight,
            "prior_scale": self._prior_scale,
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``FewShotHead``."""
        self.parameter = float(config["parameter"])
        self.evidence_weight = float(config["evidence_weight"])
        self.prior_weight = float(config["prior_weight"])
        self._prior_scale = float(config["prior_scale"])
        self._prior_mean = np.asarray(state["prior_mean"], np.float64)
        self._checked(self._prior_mean, 0)
        self._restore(state)

    def _checked(self, array: Array, axis: int) -> Array:
        """The array as float32, if it holds one entry a label along ``axis``."""
        if array.shape[axis] != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels and an array of shape {array.shape}")
        return np.asarray(array, np.float32)


def softmax(scores: Float64) -> Float64:
    """Softmax over the last axis."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
