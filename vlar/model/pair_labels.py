"""Pairs of verb and object, whether or not the model has examples of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.protocols import ComposedLabels, Pair
from vlar.errors import UsageError
from vlar.heads.base import Head, Scores
from vlar.heads.zero_shot import ContentFree
from vlar.language.clean import label_key
from vlar.language.labels import PARTS, LabelList
from vlar.language.pairs import pair_label
from vlar.model.core import ModelCore
from vlar.numeric import softmax
from vlar.types import Encoded, Float32, Float64, JsonDict

if TYPE_CHECKING:
    from vlar.heads.adapted_head import AdaptedHead
    from vlar.heads.fewshot.components import ComponentsHead

MOST_PAIRS = 4096  # that a model offers of itself; of more words, only the pairs with examples


@dataclass(frozen=True)
class Composition:
    """The parts of a model that learned verbs and objects, so that it answers for their pairs.

    Attributes:
        core: The model's core.
        adapted: Its head; the labels are the pairs with examples.
        encoder: The encoder of ``core``, which scores pairs by a clip's context.
        head: The head of ``adapted``, whose closed forms know verbs and objects.
    """

    core: ModelCore
    adapted: AdaptedHead
    encoder: ComposedLabels
    head: ComponentsHead

    @staticmethod
    def of(core: ModelCore, adapted: AdaptedHead | None) -> Composition | None:
        """The parts; None where the model did not learn verbs and objects."""
        if adapted is None:
            return None
        from vlar.heads.fewshot.components import ComponentsHead

        if not isinstance(adapted.head, ComponentsHead):
            return None
        if not isinstance(core.encoder, ComposedLabels):
            return None
        return Composition(core, adapted, core.encoder, adapted.head)

    def offered(self) -> dict[str, Pair]:
        """The pairs that a model answers with of itself, by label: every verb with every object.

        Of more than 4,096 only those with examples. A pair with examples has the label of these.
        """
        named = dict(zip(self.head.pairs, self.adapted.labels, strict=True))
        if len(self.encoder.verbs) * len(self.encoder.objects) > MOST_PAIRS:
            return {label: pair for pair, label in named.items()}
        every = itertools.product(self.encoder.verbs, self.encoder.objects)
        return {named.get(pair, pair_label(*pair)): pair for pair in every}

    def own_labels(self) -> LabelList:
        """The pairs that the model offers, as labels in parts."""
        offered = self.offered()
        parts = tuple({"verb": verb, "object": noun} for verb, noun in offered.values())
        return LabelList.of_model(tuple(offered), parts)

    def labels_head(self, labels: LabelList, mode: str) -> PairLabels:
        """The head of pairs of verb and object.

        Args:
            labels: The pairs to choose from.
            mode: ``one``: they exclude each other; ``multi``: each stands for itself.

        Raises:
            UsageError: a label is not a pair, or two are the same pair.
        """
        pairs = self._pairs_of(labels)
        count = Counter(pairs)
        twice = [label for label, pair in zip(labels.labels, pairs, strict=True) if count[pair] > 1]
        if twice:
            raise UsageError(
                f"two labels have the verb and the object of {twice[0]!r}; list each pair once"
            )
        return PairLabels(self, labels.labels, pairs, mode)

    def _pairs_of(self, labels: LabelList) -> list[Pair]:
        """The verb and the object of each of C labels.

        Labels in parts name them. Any other label is one with examples, or a verb and an object
        that the model learned.

        Raises:
            UsageError: a label is none of these; the message names the first.
        """
        if labels.parts and all(set(PARTS) <= parts.keys() for parts in labels.parts):
            return [(parts["verb"], parts["object"]) for parts in labels.parts]
        pairs = {label_key(label): pair for label, pair in self.offered().items()}
        missing = [label for label in labels.labels if label_key(label) not in pairs]
        if missing:
            raise UsageError(
                f"model {self.core.name!r} learned the verbs {_some(self.encoder.verbs)} and the "
                f"objects {_some(self.encoder.objects)}; {missing[0]!r} is not a pair of them: "
                "give other words apart, as --pairs VERBS OBJECTS or a CSV with the columns "
                "verb,object"
            )
        return [pairs[label_key(label)] for label in labels.labels]

    def pair_scores(self, context: npt.NDArray[Any], pair: Pair) -> tuple[Float32, Float64]:
        """Similarity and probability (N,) of a pair, see ``Model.pair_scores``."""
        pairs = list(dict.fromkeys((pair, *self.offered().values())))
        similarity = self.encoder.pair_similarity(context, pairs)
        shares = softmax(self.head.trained_weight * similarity.astype(np.float64))
        return similarity[:, 0], shares[:, 0]


class PairLabels(Head):
    """Pairs as the labels of a model that learned verbs and objects.

    Args:
        model: The model's parts.
        labels: P labels.
        pairs: The verb and the object of each.
        mode: ``one``: the pairs exclude each other. ``multi``: each stands for itself, among all
            pairs that the model offers.

    Raises:
        UsageError: the lists do not fit.
    """

    name = "pair-labels"
    reads = "features"

    def __init__(
        self, model: Composition, labels: Sequence[str], pairs: Sequence[Pair], mode: str
    ) -> None:
        if len(labels) != len(pairs) or not labels:
            raise UsageError(
                f"{len(labels)} labels and {len(pairs)} pairs are not those of model "
                f"{model.core.name!r}"
            )
        self.labels, self.mode, self._asked = tuple(labels), mode, tuple(pairs)
        others = model.offered().values() if mode == "multi" else ()
        self._compared = tuple(dict.fromkeys((*pairs, *others)))
        columns = {pair: column for column, pair in enumerate(self._compared)}
        self._place = [columns[pair] for pair in pairs]
        self._known = model.head.pairs
        self._adapted, self._encoder = model.adapted, model.encoder
        self._content_free = ContentFree(model.core.content_free)

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Scores of N clips; similarity is that of the pairs' trained scores."""
        return Scores.join((self._score(row) for row in encoded), len(self.labels))

    def _score(self, encoded: Encoded) -> Scores:
        context = encoded.context
        if context is None:  # from cached features
            context = self._encoder.context(encoded.features[None])[0]
        pairs = (*self._compared, *self._known)
        similarity = self._encoder.pair_similarity(context[None], pairs)[0]
        logits, unknown = self._adapted.pair_scores(encoded, similarity, self._compared)
        blank = float(self._content_free.probability(encoded.vector[None])[0])
        shares = softmax(logits)[self._place] * (1 - unknown) * (1 - blank)
        unknown = blank + (1 - blank) * unknown
        if self.mode == "multi":
            unknown = 1 - float(shares.max())
        return Scores(similarity[None, self._place], shares[None], np.array([unknown]))

    def config(self) -> JsonDict:
        """The labels, their pairs and the mode; the adapted head is saved with the model."""
        pairs = [list(pair) for pair in self._asked]
        return {"head": self.name, "labels": list(self.labels), "pairs": pairs, "mode": self.mode}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """No arrays."""
        return {}


def _some(words: Sequence[str]) -> str:
    most = 5
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
