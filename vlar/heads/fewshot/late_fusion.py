"""A head for each sensor of a bundle, fitted apart: their logits averaged over what a clip has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlar.files.reading import number
from vlar.heads.fewshot.base import (
    Array,
    ClosedForm,
    CrossValidationData,
    FewShotHead,
    HeadExamples,
    default_prior,
    make_problem,
)
from vlar.heads.fewshot.mixture import MixtureHead, unjoined
from vlar.heads.signatures import join
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict

_WORDS = 0.5  # of the weight that words have next to one sensor; chosen on subjects that teach


@register("fewshot", "late-fusion")
class LateFusionHead(MixtureHead):
    """The mean of the members' logits, each of one sensor, over the sensors that a clip has.

    One form for all sensors together learns to lean on each of them, and fails where one is
    missing. A member is what the sensor alone would have, so a clip without the others gets the
    answer of a model of that sensor. The mean of logits is a product of the members'
    probabilities, as in ``A+B`` (Hinton 2002, products of experts). Words count once, for all.
    """

    name = "late-fusion"
    _prior_weight = 0.0
    _prior_mean: Float64
    _prior_scale = 1.0

    @classmethod
    def with_words(
        cls,
        members: Sequence[FewShotHead],
        term_widths: Mapping[str, int],
        problem: CrossValidationData,
    ) -> LateFusionHead:
        """The mean of fitted heads, with the zero-shot scores of the examples as prior.

        Args:
            members: One a sensor, fitted without zero-shot scores.
            term_widths: Entries of each term that they read.
            problem: All examples.
        """
        head = cls.of([(1.0, member) for member in members], term_widths)
        head._prior_mean, head._prior_scale = problem.prior_mean, problem.prior_scale
        if problem.prior is not None:
            head._prior_weight = _WORDS * default_prior(problem.shots)
        return head

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """A fitted ``ridge`` as the head of the only sensor, and words."""
        problem = make_problem(examples.y, examples.zero_shot)
        return cls.with_words([ridge], {ridge.kind: examples.width}, problem)

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``; of the prior alone where no sensor is there."""
        terms = unjoined(signatures, self.kind, self.widths)
        total = np.zeros((len(signatures), len(self.labels)))
        counted = np.zeros((len(signatures), 1))
        for weight, head in self.members:
            part_logits = join(terms, head.kind)
            present = part_logits.any(axis=1)
            total[present] += weight * head.logits(part_logits[present])
            counted[present] += weight
        mean_logits = total / np.where(counted > 0, counted, 1.0)
        if zero_shot is None or not self._prior_weight:
            return mean_logits
        prior = (zero_shot.astype(np.float64) - self._prior_mean) / self._prior_scale
        return mean_logits + self._prior_weight * prior

    def closed_forms(self) -> list[tuple[float, ClosedForm]]:
        total = sum(weight for weight, _ in self.members)
        return [(weight / total, form) for weight, form in super().closed_forms()]

    def state(self) -> dict[str, Array]:
        return {**super().state(), "prior_mean": self._prior_mean}

    def config(self) -> JsonDict:
        prior = {"prior_weight": self._prior_weight, "prior_scale": self._prior_scale}
        return {**super().config(), **prior}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        super().restore(config, state)
        self._prior_weight = number(config, "prior_weight", above=-1e-12)
        self._prior_scale = number(config, "prior_scale", above=0)
        self._prior_mean = state["prior_mean"].astype(np.float64)
        if self._prior_mean.shape != (len(self.labels),):
            raise ValueError(f"prior_mean of shape {self._prior_mean.shape}")
