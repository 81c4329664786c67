"""Base of heads that compare clips as sequences of frames and keep their examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.heads.fewshot.base import Array, ClosedForm, CrossValidationData
from vlar.numeric import unit
from vlar.types import Float32, Float64

#: Values of a matcher's parameter: the mean of the distances to a label's examples, or the distance
#: to the mean of their sequences.
BY_DISTANCE, BY_PROTOTYPE = 0.0, 1.0
_DECIMALS = (
    9  # of evidence; equal sequences in another order then tie instead of differing by noise
)


class Matcher(ClosedForm):
    """A head that keeps its examples and compares every clip with each of them.

    A subclass defines ``similarity`` of clips as sequences of frames. The evidence of a label is
    the mean similarity to its examples, or with ``BY_PROTOTYPE`` in ``grid`` the similarity to the
    mean of their sequences. The choice of weights, the hold-out, saving and loading are those of
    every closed form.

    Attributes:
        centred: Whether the mean frame of the support set is subtracted from every frame, which
            then gets unit length again. Frozen encoders have one large direction in common, and
            without it every distance is flat. The mean needs no labels, so that a held-out example
            may be part of it.
    """

    reads = "features"
    kinds = ("frames:8",)
    slope = 20.0
    centred: ClassVar[bool] = False
    _examples: Float32
    _member: Float64
    _gram: Float64
    _centre: Float32 | None = None

    def gram(self, signatures: Float32) -> Float64:
        """(n, n) similarities of the examples; they are kept, and their mean frame."""
        self._examples, self._centre = signatures.astype(np.float32), None
        if self.centred:
            frames = self._frames(self._examples)
            self._centre = frames.reshape(-1, frames.shape[2]).mean(axis=0)
        return self.compare(signatures, signatures)

    def _frames(self, signatures: Float32) -> Float32:
        """(m, T, F) frames of unit length, without the mean frame where the head subtracts it."""
        frames = super()._frames(signatures)
        if self._centre is None:
            return frames
        return unit(frames - self._centre)

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C), see ``ClosedForm``."""
        if self.parameter == BY_PROTOTYPE:
            return self._to_prototypes(signatures, self._examples, self._member)
        cross = self.compare(signatures, self._examples)
        return self.evidence_from(cross, self._gram, self._member, self.parameter)

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Mean similarity to a label's examples; a label without any gets the lowest."""
        count = member.sum(axis=0)
        mean = cross @ member / np.maximum(count, 1)
        return _with_lowest(mean, count > 0)

    def hold_out(self, gram: Float64, problem: CrossValidationData, parameter: float) -> Float64:
        """Score held-out examples; the prototypes are made of the examples that stay."""
        if parameter != BY_PROTOTYPE:
            return super().hold_out(gram, problem, parameter)
        held = np.full((len(problem.folds), *problem.member.shape), np.nan)
        for row, out in zip(held, problem.folds, strict=True):
            examples, member = self._examples[~out], problem.member[~out]
            row[out] = self._to_prototypes(self._examples[out], examples, member)
        return held

    def _to_prototypes(self, signatures: Float32, examples: Float32, member: Float64) -> Float64:
        """(m, C) similarities to the mean sequence of each label's examples."""
        frames = self._frames(examples).astype(np.float64)
        count = member.sum(axis=0)
        mean = np.tensordot(member.T, frames, axes=1) / np.maximum(count, 1)[:, None, None]
        similarity = self.similarity(self._frames(signatures), mean.astype(np.float32))
        return _with_lowest(similarity, count > 0)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        self._examples, self._gram, self._member = signatures, gram, member

    def _arrays(self) -> dict[str, Array]:
        centre = {} if self._centre is None else {"centre": self._centre}
        return {
            "examples": self._examples,
            "gram": self._gram,
            "member": self._member.astype(np.float32),
            **centre,
        }

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self._examples = np.asarray(arrays["examples"], np.float32)
        self._gram = np.asarray(arrays["gram"], np.float64)
        self._member = self._checked(arrays["member"], 1).astype(np.float64)
        self._centre = np.asarray(arrays["centre"], np.float32) if self.centred else None
        n = len(self._examples)
        if self._gram.shape != (n, n) or len(self._member) != n:
            raise ValueError(
                f"{n} examples, {self._gram.shape} similarities and "
                f"{len(self._member)} rows of labels"
            )


def _with_lowest(evidence: Float64, shown: npt.NDArray[np.bool_]) -> Float64:
    """Rounded evidence; labels without an example get the lowest of the others."""
    lowest = evidence[:, shown].min(axis=1, keepdims=True)
    filled: Float64 = np.where(shown, evidence, lowest).astype(np.float64)
    return filled.round(_DECIMALS)
