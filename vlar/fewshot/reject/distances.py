"""Rejectors that measure how far a clip is from the examples, in the space of signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlar.fewshot.reject.base import Array, CurveRejector, HeldOut
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, Float64


@register("rejector", "knn")
class NearestExamples(CurveRejector):
    """One minus the cosine to the k-th nearest example (Sun et al., 2022).

    ``familiarity`` is the same with k = 1; k = 3 forgives one odd example.
    """

    name = "knn"
    k = 3
    _examples: Float32

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        """See ``Rejector``."""
        del logits
        self._examples = unit(signatures)
        distance = 1.0 - (self._examples @ self._examples.T).astype(np.float64)
        other_group = group[:, None] != group[None]
        same_label = label[:, None] == label[None]
        shown = (same_label & other_group).any(axis=1)
        known = np.where(other_group, distance, np.inf)[shown]
        unknown = np.where(other_group & ~same_label, distance, np.inf)
        return HeldOut(self._finite(known), self._finite(unknown))

    def _finite(self, distances: Float64) -> Float64:
        """(m,) the k-th smallest of each row, or the largest; rows without any are left out."""
        there = np.isfinite(distances).sum(axis=1)
        rows = np.sort(distances[there > 0], axis=1)
        place = np.minimum(self.k, there[there > 0]) - 1
        return rows[np.arange(len(rows)), place]

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """See ``Rejector``."""
        del logits
        return self._finite(1.0 - (unit(signatures) @ self._examples.T).astype(np.float64))

    def state(self) -> dict[str, Array]:
        """The examples."""
        return {"examples": self._examples}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``Rejector``."""
        super().restore(config, state)
        self._examples = np.asarray(state["examples"], np.float32)


@register("rejector", "prototype")
class NearestPrototype(CurveRejector):
    """One minus the cosine to the nearest mean of a label's examples."""

    name = "prototype"
    _prototypes: Float32

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        """See ``Rejector``."""
        del logits
        rows, member = unit(signatures), label[:, None] == np.unique(label)[None]
        self._prototypes = unit(member.T.astype(np.float32) @ rows)
        known: list[float] = []
        unknown: list[float] = []
        for index, row in enumerate(rows):
            stays = member * (group != group[index])[:, None]
            cosine = unit(stays.T.astype(np.float32) @ rows) @ row
            shown, own = stays.any(axis=0), member[index]
            known += [1.0 - float(cosine[shown].max())] if shown[own].any() else []
            unknown += [1.0 - float(cosine[shown & ~own].max())] if (shown & ~own).any() else []
        return HeldOut(np.array(known), np.array(unknown))

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """See ``Rejector``."""
        del logits
        return 1.0 - (unit(signatures) @ self._prototypes.T).max(axis=1).astype(np.float64)

    def state(self) -> dict[str, Array]:
        """The means."""
        return {"prototypes": self._prototypes}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``Rejector``."""
        super().restore(config, state)
        self._prototypes = np.asarray(state["prototypes"], np.float32)
