"""Pairs of verb and object, whether or not the model has examples of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.composed import ComposedLabels, Pair
from vlar.errors import UsageError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.heads.components import ComponentsHead
from vlar.model.core import ModelCore
from vlar.numeric import softmax
from vlar.scoring.base import Head, Scores
from vlar.scoring.content_free import ContentFree
from vlar.text.clean import label_key
from vlar.text.labels import PARTS, LabelList
from vlar.text.pairs import pair_label
from vlar.types import Encoded, Float32, Float64, JsonDict

MOST_PAIRS = 4096  # that a model offers of itself; of more words, only the pairs with examples


class PairLabels(Head):
    """Pairs as the labels of a model that learned verbs and objects.

    Args:
        adapted: The head, whose closed forms know verbs and objects.
        encoder: Scores pairs by a clip's context.
        labels: P labels.
        pairs: The verb and the object of each.
        mode: ``one``: the pairs exclude each other. ``multi``: each stands for itself, among all
            pairs that the model offers.
        content_free: Recognises clips that show nothing.
    """

    name = "pair-labels"
    reads = "features"

    def __init__(
        self,
        adapted: AdaptedHead,
        encoder: ComposedLabels,
        labels: Sequence[str],
        pairs: Sequence[Pair],
        mode: str,
        content_free: ContentFree,
    ) -> None:
        assert isinstance(adapted.head, ComponentsHead)
        self.labels, self.mode, self._asked = tuple(labels), mode, tuple(pairs)
        others = offered(adapted, encoder).values() if mode == "multi" else ()
        self._compared = tuple(dict.fromkeys((*pairs, *others)))
        place = {pair: column for column, pair in enumerate(self._compared)}
        self._place = [place[pair] for pair in pairs]
        self._known = adapted.head.pairs
        self._adapted, self._encoder, self._content_free = adapted, encoder, content_free

    @staticmethod
    def of(
        core: ModelCore,
        adapted: AdaptedHead,
        labels: Sequence[str],
        pairs: Sequence[Pair],
        mode: str,
    ) -> PairLabels:
        """The head of labels whose pairs are known.

        Raises:
            UsageError: the model did not learn verbs and objects, or the lists do not fit.
        """
        if not composes(core, adapted) or len(labels) != len(pairs) or not labels:
            raise UsageError(
                f"{len(labels)} labels and {len(pairs)} pairs are not those of model {core.name!r}"
            )
        assert isinstance(core.encoder, ComposedLabels)
        return PairLabels(
            adapted, core.encoder, labels, pairs, mode, ContentFree(core.content_free)
        )

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """See ``Head``; similarity is that of the pairs' trained scores."""
        return Scores.join((self._score(each) for each in encoded), len(self.labels))

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


def composes(core: ModelCore, adapted: AdaptedHead | None) -> bool:
    """Whether a model learned verbs and objects, so that it answers for their pairs."""
    return (
        adapted is not None
        and isinstance(adapted.head, ComponentsHead)
        and isinstance(core.encoder, ComposedLabels)
    )


def pair_head(
    core: ModelCore, adapted: AdaptedHead, labels: LabelList | None, mode: str
) -> tuple[PairLabels, tuple[str, ...]]:
    """The head of pairs of verb and object, and the labels as their source spells them.

    Args:
        core: Of a model that learned verbs and objects.
        adapted: Its head.
        labels: The pairs to choose from; None for all that the model offers.
        mode: As in ``make_classifier``.

    Raises:
        UsageError: a label is not a pair, or two are the same pair.
    """
    assert isinstance(core.encoder, ComposedLabels)
    named = offered(adapted, core.encoder) if labels is None else {}
    shown = tuple(named) if labels is None else labels.labels
    keys = shown if labels is None else labels.keys
    pairs = list(named.values()) if labels is None else pairs_of(core, adapted, labels)
    count = Counter(pairs)
    twice = [label for label, pair in zip(shown, pairs, strict=True) if count[pair] > 1]
    if twice:
        raise UsageError(
            f"two labels have the verb and the object of {twice[0]!r}; list each pair once"
        )
    one = "multi" if len(shown) == 1 else mode
    return PairLabels.of(core, adapted, shown, pairs, one), keys


def offered(adapted: AdaptedHead, encoder: ComposedLabels) -> dict[str, Pair]:
    """The pairs that a model answers with of itself, by label: every verb with every object.

    Of more than 4,096 only those with examples. A pair with examples has the label of these.
    """
    assert isinstance(adapted.head, ComponentsHead)
    named = dict(zip(adapted.head.pairs, adapted.labels, strict=True))
    if len(encoder.verbs) * len(encoder.objects) > MOST_PAIRS:
        return {label: pair for pair, label in named.items()}
    every = itertools.product(encoder.verbs, encoder.objects)
    return {named.get(pair, pair_label(*pair)): pair for pair in every}


def pair_probability(
    core: ModelCore, adapted: AdaptedHead, context: npt.NDArray[Any], pair: Pair
) -> tuple[Float32, Float64]:
    """Similarity and probability (N,) of a pair; see ``Recogniser.pair_scores``."""
    assert isinstance(core.encoder, ComposedLabels)
    assert isinstance(adapted.head, ComponentsHead)
    pairs = list(dict.fromkeys((pair, *offered(adapted, core.encoder).values())))
    similarity = core.encoder.pair_similarity(context, pairs)
    shares = softmax(adapted.head.trained_weight * similarity.astype(np.float64))
    return similarity[:, 0], shares[:, 0]


def pairs_of(core: ModelCore, adapted: AdaptedHead, labels: LabelList) -> list[Pair]:
    """The verb and the object of each of C labels.

    Labels in parts say so themselves. Any other label is one with examples, or a verb and an object
    that the model learned.

    Raises:
        UsageError: a label is none of these; the message names the first.
    """
    assert isinstance(core.encoder, ComposedLabels)
    if labels.parts and all(set(PARTS) <= parts.keys() for parts in labels.parts):
        return [(parts["verb"], parts["object"]) for parts in labels.parts]
    known = {label_key(label): pair for label, pair in offered(adapted, core.encoder).items()}
    missing = [label for label in labels.labels if label_key(label) not in known]
    if missing:
        raise UsageError(
            f"model {core.name!r} learned the verbs {_some(core.encoder.verbs)} and the objects "
            f"{_some(core.encoder.objects)}; {missing[0]!r} is not a pair of them: give other "
            "words apart, as --pairs VERBS OBJECTS or a CSV with the columns verb,object"
        )
    return [known[label_key(label)] for label in labels.labels]


def _some(words: Sequence[str]) -> str:
    most = 5
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
