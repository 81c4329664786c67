"""Labels in parts: closed forms of verbs and of objects, and a trained similarity of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlar.files.reading import number
from vlar.heads.fewshot.base import Array, FewShotHead, HeadExamples
from vlar.heads.fewshot.mixture import mixed_kind, unjoined
from vlar.heads.signatures import join, parse_kind
from vlar.numeric import log_softmax
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict

Pair = tuple[str, str]
PARTS = ("verb", "object")


@register("fewshot", "components")
class ComponentsHead(FewShotHead):
    """Log probabilities of a verb and of an object, and the trained similarity of the pair.

    The closed forms score verbs and objects, not pairs, so they count for pairs without an example
    too. The similarity comes as ``zero_shot``, from an adapter that scores pairs
    (``vlar.encoders.protocols``).

    Attributes:
        pairs: The verb and the object of each of the C labels.
        closed: Closed forms of verbs and of objects, by part; a part of a single word has none.
        widths: Entries of each term of ``kind``, in order.
        closed_weight: Factor on the log probabilities.
        trained_weight: Factor on the similarities.
    """

    name, composed = "components", True
    standalone = False
    trained = True
    pairs: tuple[Pair, ...]
    closed: Mapping[str, FewShotHead]
    widths: tuple[int, ...]
    closed_weight: float
    trained_weight: float

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        pairs: Sequence[Pair],
        closed: Mapping[str, FewShotHead],
        term_widths: Mapping[str, int],
        *,
        closed_weight: float,
        trained_weight: float,
    ) -> ComponentsHead:
        """Join fitted closed forms with a similarity.

        Args:
            labels: C labels.
            pairs: The verb and the object of each.
            closed: By part; at least one.
            term_widths: Entries of each term the closed forms read.
            closed_weight: Factor on the log probabilities.
            trained_weight: Factor on the similarities.
        """
        head = cls()
        head.labels, head.pairs, head.closed = tuple(labels), tuple(pairs), dict(closed)
        head.kind = mixed_kind([(1 / len(closed), part.kind) for part in closed.values()])
        head.widths = tuple(term_widths[name] for name in parse_kind(head.kind))
        head.closed_weight, head.trained_weight = closed_weight, trained_weight
        return head

    @classmethod
    def alone(
        cls, labels: Sequence[str], pairs: Sequence[Pair], kind: str, trained_weight: float
    ) -> ComponentsHead:
        """The similarity alone; ``kind`` is the signature that ``unknown`` goes by."""
        head = cls()
        head.labels, head.pairs, head.closed = tuple(labels), tuple(pairs), {}
        head.kind, head.widths = kind, ()
        head.closed_weight, head.trained_weight = 0.0, trained_weight
        return head

    @classmethod
    def around(cls, ridge: FewShotHead, examples: HeadExamples) -> FewShotHead:
        """Labels as verbs of one object, and a fitted ``ridge`` of the verbs."""
        pairs = [(label, "thing") for label in ridge.labels]
        widths, verbs = {ridge.kind: examples.width}, {"verb": ridge}
        return cls.of(ridge.labels, pairs, verbs, widths, closed_weight=1.0, trained_weight=0.25)

    def logits(self, signatures: Float32, zero_shot: Float32 | None = None) -> Float64:
        """(m, C) logits, see ``FewShotHead``."""
        shape = (len(signatures), len(self.labels))
        similarity = np.zeros(shape, np.float32) if zero_shot is None else zero_shot
        return self.pair_logits(signatures, similarity, self.pairs)

    def pair_logits(
        self, signatures: Float32, similarity: Float32, pairs: Sequence[Pair]
    ) -> Float64:
        """(m, P) logits of pairs, whether or not they have examples.

        Where one of the words has no example, closed forms cannot compare the pairs: then the
        similarity alone counts.

        Args:
            signatures: (m, S) float32 signatures of ``kind``.
            similarity: (m, P) trained similarities.
            pairs: P pairs.
        """
        total = self.trained_weight * similarity.astype(np.float64)
        if not self.closed_weight or not self.closed or not self._known(pairs):
            return total
        terms = unjoined(signatures, self.kind, self.widths)
        for part, head in self.closed.items():
            columns_of = {word: column for column, word in enumerate(head.labels)}
            columns = [columns_of[pair[PARTS.index(part)]] for pair in pairs]
            logits = head.logits(join(terms, head.kind))
            total += self.closed_weight * log_softmax(logits)[:, columns]
        return total

    def _known(self, pairs: Sequence[Pair]) -> bool:
        words = [{pair[part] for pair in self.pairs} for part in range(len(PARTS))]
        return all(verb in words[0] and noun in words[1] for verb, noun in pairs)

    def state(self) -> dict[str, Array]:
        """The closed forms' arrays, by part."""
        return {
            f"{part}.{name}": array
            for part, head in self.closed.items()
            for name, array in head.state().items()
        }

    def config(self) -> JsonDict:
        """The pairs, the weights and the closed forms' settings."""
        return {
            "head": self.name,
            "kind": self.kind,
            "labels": list(self.labels),
            "pairs": [list(pair) for pair in self.pairs],
            "widths": list(self.widths),
            "closed_weight": self.closed_weight,
            "trained_weight": self.trained_weight,
            "closed": {part: head.config() for part, head in self.closed.items()},
        }

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        self.closed_weight = number(config, "closed_weight")
        self.trained_weight = number(config, "trained_weight")
        self.pairs = tuple(_pair(row) for row in config["pairs"])
        if len(self.pairs) != len(self.labels):
            raise ValueError(f"{len(self.pairs)} pairs for {len(self.labels)} labels")
        self.widths = tuple(int(width) for width in config["widths"])
        if any(width < 1 for width in self.widths):
            raise ValueError(f"widths of {min(self.widths)}")
        closed: dict[str, FewShotHead] = {}
        for part, settings in dict(config["closed"]).items():
            words = sorted({pair[PARTS.index(part)] for pair in self.pairs})
            prefix = f"{part}."
            arrays = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            closed[part] = self.from_state(settings, arrays)
            if sorted(closed[part].labels) != words:
                raise ValueError(f"a closed form of other words than those of the part {part!r}")
        self.closed = closed
        if closed and len(self.widths) != len(parse_kind(self.kind)):
            raise ValueError(f"{len(self.widths)} widths for the kind {self.kind!r}")


def _pair(row: Any) -> Pair:
    verb, noun = row
    if not isinstance(verb, str) or not isinstance(noun, str):
        raise ValueError(f"a pair is not made of two texts: {row!r:.80}")  # noqa: TRY004
    return verb, noun
