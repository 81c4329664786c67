"""The head of an adapted model that is asked about some of its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from vlar.fewshot.adapted import AdaptedHead
from vlar.scoring.base import Head, Scores
from vlar.scoring.content_free import ContentFree
from vlar.types import Encoded, Float32, JsonDict


class KnownLabels(Head):
    """Some of the labels of an adapted head; a clip that shows nothing is unknown.

    Args:
        adapted: The head.
        columns: The labels asked for.
        mode: ``one`` or ``multi``.
        content_free: Recognises clips that show nothing.
        concepts_for: A clip to the concepts (C, D) of all labels, where the text depends on it;
            None where it does not.
    """

    name = "known-labels"
    reads = "features"

    def __init__(
        self,
        adapted: AdaptedHead,
        columns: Sequence[int],
        mode: str,
        content_free: ContentFree,
        concepts_for: Callable[[Encoded], Float32 | None] | None,
    ) -> None:
        self.adapted, self.columns, self.mode = adapted, list(columns), mode
        self.labels = tuple(adapted.labels[column] for column in columns)
        self._content_free, self._concepts_for = content_free, concepts_for

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """See ``Head``."""
        return Scores.join((self._score(each) for each in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        blank = self._content_free.probability(encoded.vector[None])
        if self.mode == "multi":
            found = self.adapted.score_clip_each(encoded, self.columns)
            each = found.probability * (1.0 - blank[0])
            return Scores(found.similarity, each, 1.0 - each.max(axis=1))
        concepts = None if self._concepts_for is None else self._concepts_for(encoded)
        found = self.adapted.score_clip(encoded, self.columns, concepts)
        known = found.probability * (1.0 - blank[0])
        return Scores(found.similarity, known, blank + (1.0 - blank) * found.unknown)

    def config(self) -> JsonDict:
        """The labels and the mode; the adapted head is saved with the model."""
        return {"head": self.name, "labels": list(self.labels), "mode": self.mode}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """No arrays."""
        return {}
