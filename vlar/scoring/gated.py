"""Labels with examples and labels without in one list, told apart by a gate for each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError
from vlar.numeric import sigmoid
from vlar.scoring.base import Array, Head, Scores
from vlar.scoring.heads import ConceptHead
from vlar.types import Encoded, Float32, Float64, JsonDict


class ClipGate(Protocol):
    """A gate bound to a list of C labels; ``vlar.adapters.gate.ListGate`` is one."""

    @property
    def has_examples(self) -> npt.NDArray[np.bool_]:
        """(C,)."""
        ...

    def answer(self, features: Float32, cosines: Float32) -> tuple[Float64, Float64]:
        """Log odds (n,) of a label with examples, and probabilities (n, A) of these if it is one.

        Args:
            features: (n, T, F) frame features.
            cosines: (n, C).
        """
        ...


class GatedHead(Head):
    """Labels as fixed vectors, of which a gate and a classifier know some better.

    The probability that none of the labels fits is that of the vectors. What is left goes to the
    best label with examples by the classifier, and to the best other label by its vector, in the
    ratio that the gate gives; the other labels of each side follow in proportion.

    Args:
        concepts: The C labels as vectors.
        texts: C texts of the labels, by which the gate is bound again when a head is loaded.
        gate: Bound to the labels.
    """

    name = "gated-concepts"
    reads = "features"

    def __init__(self, concepts: ConceptHead, texts: Sequence[str], gate: ClipGate) -> None:
        self.concepts, self.texts, self.gate = concepts, tuple(texts), gate
        self.labels = concepts.labels

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; a clip scores the same alone and in company."""
        return Scores.join((self._score(each) for each in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        found = self.concepts.scores([encoded])
        has = self.gate.has_examples
        odds, seen = self.gate.answer(encoded.features[None], found.similarity)
        total = found.probability.sum(axis=1, keepdims=True)
        others = _shares(found.probability[:, ~has])
        best = np.log(seen.max(axis=1)) - np.log(others.max(axis=1))
        of_seen = sigmoid(odds - best)[:, None]
        probability = np.zeros_like(found.probability)
        probability[:, has] = total * of_seen * seen
        probability[:, ~has] = total * (1.0 - of_seen) * others
        return replace(found, probability=probability)

    def config(self) -> JsonDict:
        """Those of the labels as vectors, and the texts."""
        return {**self.concepts.config(), "head": self.name, "texts": list(self.texts)}

    def state(self) -> dict[str, Array]:
        """The labels as vectors; the gate is saved with the adapter."""
        return self.concepts.state()

    @staticmethod
    def restore(
        config: Mapping[str, Any], state: Mapping[str, Array], gate: ClipGate | None
    ) -> GatedHead:
        """The head that ``config`` and ``state`` were saved from.

        Raises:
            ModelError: the adapter has no gate for these labels, or something is malformed.
        """
        concepts = ConceptHead.restore(config, state)
        if gate is None or len(gate.has_examples) != len(concepts.labels):
            raise ModelError(
                f"the saved labels {', '.join(concepts.labels)[:80]!r} need a gate that this model "
                "does not have; make the classifier again"
            )
        return GatedHead(concepts, [str(text) for text in config["texts"]], gate)


def _shares(probability: Float64) -> Float64:
    """Rows (n, A) that sum to 1; even ones where all are 0."""
    total = probability.sum(axis=1, keepdims=True)
    even = np.full_like(probability, 1.0 / probability.shape[1])
    return np.divide(probability, total, out=even, where=total > 0)
