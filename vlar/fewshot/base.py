"""What every few-shot head offers: from a support set to calibrated logits.

A closed form turns the similarities between clips into evidence, one number a label. Evidence and
the zero-shot prior are mixed and scaled by two weights, so that a softmax of the logits is a
probability. Both weights, and the head's own parameter, are fitted on the support set alone, by
holding out one example of every label at a time (``cross_validation.py``). No query ever reaches a
fit: Tip-Adapter's search on test features is the known trap.
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
from vlar.fewshot.prior_weighting import Weights, fit_weights
from vlar.fewshot.temporal_features import sequence_length
from vlar.numeric import softmax
from vlar.safety.numbers import number
from vlar.types import Float32, Float64, JsonDict

Array = npt.NDArray[Any]
_LONGEST_KIND = 1000


class FewShotHead(ABC):
    """A part of kind ``fewshot``: signatures of clips in, calibrated logits out.

    Attributes:
        name: Registered name; ``config`` holds it.
        reads: ``vector`` for one vector a clip (a sum of signature terms), ``features`` for a
            sequence of frames (a signature kind such as ``frames:8``).
        standalone: Whether ``vlar adapt --method NAME`` fits it; False for a head that is made of
            other heads.
        trained: Whether ``zero_shot`` holds the cosines of a training, which text that depends on
            the clip changes too, instead of a frozen encoder's.
        auto_order: Place among the heads that ``--method auto`` tries; the first is the default
            where nothing can be held out. None keeps it out of ``auto``.
        kinds: Signature kinds to choose among; empty for those that the encoder's features fill.
        labels: C labels, in the order of the logit columns.
        kind: Signature kind of the vectors it takes.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "vector"
    standalone: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    auto_order: ClassVar[float | None] = None
    kinds: ClassVar[tuple[str, ...]] = ()
    labels: tuple[str, ...]
    kind: str = ""

    @abstractmethod
    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits of clips (m, S); their softmax is a calibrated probability.

        Args:
            signatures: (m, S) float32 signatures of ``kind``.
            zero_shot: (m, C) similarities of the clips to the labels' texts; None uses the
                evidence alone.
        """

    def probabilities(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) rows that sum to 1; see ``logits``."""
        return softmax(self.logits(signatures, zero_shot))

    def adjusted(self, logits: Float64) -> Float64:
        """(m, C) what the head makes of the weighted sum of its closed forms' logits."""
        return logits

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """The closed forms it is made of and their weights; none for a head without any."""
        return []

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""

    @abstractmethod
    def config(self) -> JsonDict:
        """The settings to save with ``state`` (JSON)."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """Set what ``config`` and ``state`` hold; called by ``from_state``."""

    @staticmethod
    def from_state(config: Mapping[str, Any], state: Mapping[str, Array]) -> FewShotHead:
        """The head that ``config`` and ``state`` were saved from, found by its registered name.

        Raises:
            ModelError: a setting or an array is missing or has the wrong shape.
            UnknownNameError: no head has the saved name.
        """
        try:
            head: FewShotHead = registry.get("fewshot", str(config["head"]))()
            head.kind, head.labels = checked_kind(config["kind"]), tuple(map(str, config["labels"]))
            head.restore(config, state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f"the saved few-shot head is incomplete or malformed ({error!r}); adapt again"
            ) from error
        return head


def checked_kind(kind: Any) -> str:
    """A saved signature kind, of a length that a kind may have.

    Raises:
        ValueError: it is not a text, or longer.
    """
    if not isinstance(kind, str) or len(kind) > _LONGEST_KIND:
        raise ValueError(f"the kind is not a text of up to {_LONGEST_KIND} characters")
    return kind


class ClosedForm(FewShotHead):
    """A head whose fit is a closed form of similarities. ``fit`` first.

    Attributes:
        grid: Values of the head's parameter to choose among, the default first.
        slope: Default weight of the evidence, used where nothing can be held out.
        parameter: The chosen value of ``grid``.
        evidence_weight: Factor on the evidence.
        prior_weight: Factor on the standardised zero-shot scores.
    """

    grid: ClassVar[tuple[float, ...]] = (0.0,)
    slope: ClassVar[float]
    parameter: float
    evidence_weight: float
    prior_weight: float = 0.0
    _prior_mean: Float64
    _prior_scale: float = 1.0

    def similarity(self, a: Float32, b: Float32) -> Float64:
        """How alike clips are; the dot product of their signatures unless a head has its own.

        Args:
            a: (m, S) float32 signatures; (m, T, F) frames of unit length where the head reads
                ``features``.
            b: (n, S) or (n, T, F) float32.

        Returns:
            (m, n) float64; larger is more alike.
        """
        return a.astype(np.float64) @ b.T.astype(np.float64)

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        """Itself."""
        return [(1.0, self)]

    @property
    def compares_by_dot_product(self) -> bool:
        """Whether ``similarity`` is the one of this class, so that dot products of terms add up."""
        return type(self).similarity is ClosedForm.similarity

    def compare(self, a: Float32, b: Float32) -> Float64:
        """``similarity`` (m, n) of two sets of signatures (m, S) and (n, S)."""
        if self.reads == "features":
            return self.similarity(self._frames(a), self._frames(b))
        return self.similarity(a, b)

    def gram(self, signatures: Float32) -> Float64:
        """(n, n) similarities of the examples (n, S) that the head is about to learn from."""
        return self.compare(signatures, signatures)

    def _frames(self, signatures: Float32) -> Float32:
        """The frames (m, T, F) of unit length that signatures (m, T * F) hold."""
        length = sequence_length(self.kind or self.kinds[0])
        return signatures.reshape(len(signatures), length, -1) * np.float32(np.sqrt(length))

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
            signatures: (n, S) float32 unit vectors.
            y: n labels.
            zero_shot: (n, C) similarities of the same clips to the labels' texts, or None.
            labels: Order of the C columns; default the sorted labels of ``y``.
            groups: n groups (recordings); default every example its own.
            parameter: Fixes the head's parameter instead of choosing it.

        Raises:
            SupportError: fewer than two labels, a label without example, or sizes that differ.
        """
        problem = make_problem(y, zero_shot, labels, groups)
        if len(signatures) != len(y):
            raise SupportError(f"{len(y)} labels for {len(signatures)} signatures")
        gram = self.gram(signatures)
        found: list[tuple[float, Weights]] = []
        for value in self.grid if parameter is None else (parameter,):
            held = self.hold_out(gram, problem, value)
            found.append((value, fit_weights(self.slope, held, problem)))
        self.parameter, weights = min(found, key=lambda pair: round(pair[1].loss, 9))
        self.labels = problem.labels
        self.evidence_weight, self.prior_weight = weights.evidence, weights.prior
        self._prior_mean, self._prior_scale = problem.prior_mean, problem.prior_scale
        self._solve(signatures.astype(np.float32), gram, problem.member)
        return self

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        return self.weighed(self.evidence(signatures), zero_shot)

    def weighed(self, evidence: Float64, zero_shot: Float32 | None) -> Float64:
        """Logits (m, C) of evidence (m, C) and zero-shot similarities (m, C)."""
        logits = self.evidence_weight * evidence
        if zero_shot is not None and self.prior_weight:
            logits = logits + self.prior_weight * (
                (zero_shot.astype(np.float64) - self._prior_mean) / self._prior_scale
            )
        return logits

    @abstractmethod
    def evidence(self, signatures: Float32) -> Float64:
        """(m, C): how much each label's examples support each clip."""

    @abstractmethod
    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Evidence (m, C) from similarities alone: the whole method in one closed form.

        Args:
            cross: (m, n) similarities of clips and examples.
            gram: (n, n) similarities of the examples.
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
        """The settings to save with ``state`` (JSON)."""
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
        self.parameter = number(config, "parameter")
        self.evidence_weight = number(config, "evidence_weight")
        self.prior_weight = number(config, "prior_weight")
        self._prior_scale = number(config, "prior_scale", above=0)
        self._prior_mean = np.asarray(state["prior_mean"], np.float64)
        self._checked(self._prior_mean, 0)
        self._restore(state)

    def _checked(self, array: Array, axis: int) -> Array:
        """The array as float32, if it holds one entry a label along ``axis``."""
        if array.shape[axis] != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels and an array of shape {array.shape}")
        return np.asarray(array, np.float32)
