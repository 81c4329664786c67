"""``compositional``: verbs and objects in pairs that training has not shown together."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.compositional import evaluate_pairs, pair_faults
from vlar.evaluation.datasets.base import Subset
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit
from vlar.heads.support import SupportItem
from vlar.metrics.figures import Figure
from vlar.registry import register
from vlar.types import JsonDict

Pair = tuple[str, str]
_SEED = 0


@register("protocol", "compositional")
class Compositional(Protocol):
    """The nine figures of C2C's evaluation, over the pairs of train and of the scored subset.

    The four from ``best seen`` on choose a bias with the right answers. ``open world`` asks about
    every verb with every object. The control permutes the verbs of the pairs that are asked.
    """

    name = "compositional"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {}

    def check(self, plan: Plan) -> None:
        for part in plan.parts:
            train, test = _counts(part.data.subset("train")), _counts(part.test)
            if not train or not test:
                raise ProtocolError("compositional needs clips with a verb and an object each")
            unseen = [pair for pair in test if pair not in train]
            if not unseen or len(unseen) == len(test):
                raise ProtocolError(
                    f"{len(unseen)} of {len(test)} tested pairs are unseen; some must be, and some "
                    "must not"
                )
            plan.counts |= {"pairs": len(train | test), "unseen pairs": len(unseen)}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        train, target = _counts(part.data.subset("train")), _counts(part.test)
        texts = _texts(part)
        pairs = sorted(train | target)
        classifier = run.classifier([texts[pair] for pair in pairs])
        scored = run.scores({0: classifier}, part.test.items, run.changes)
        truth = [_pair(item) for item in scored.items]
        figures = scored.figures(
            lambda scores: (
                self._rows(scores.similarity, pairs, truth, train, target)
                + held_out(scores.similarity, pairs, truth, train)
            )
        )
        clean = scored.by[0, None].similarity
        mixed = self._rows(_other_verbs(clean, pairs), pairs, truth, train, target)
        figures += [row.of(under="verbs permuted") for row in mixed]
        faults = pair_faults(clean, pairs, truth, train_counts=train, target_pairs=target)
        n = len(truth)
        return figures + [Figure(k, v, n=n) for k, v in faults.to_dict().items()]

    def _rows(
        self,
        scores: np.ndarray,
        pairs: list[Pair],
        truth: list[Pair],
        train: Counter[Pair],
        target: Counter[Pair],
    ) -> list[Figure]:
        pair_figures = evaluate_pairs(
            scores, pairs, truth, train_pairs=set(train), target_pairs=set(target)
        )
        values = pair_figures.to_dict()
        return [Figure(k.replace("_", " "), v, n=len(truth)) for k, v in values.items()]


def held_out(
    scores: np.ndarray, pairs: list[Pair], truth: list[Pair], train: Counter[Pair]
) -> list[Figure]:
    """Verb and object where training never showed the pair, and verb where not even the object."""
    predicted = [pairs[best] for best in scores.argmax(axis=1)]
    objects = {noun for _, noun in train}
    new_pair = [pair not in train for pair in truth]
    new_object = [noun not in objects for _, noun in truth]
    questions = {
        "verb of unseen pairs": (0, new_pair),
        "object of unseen pairs": (1, new_pair),
        "verb of unseen objects": (0, new_object),
    }
    figures: list[Figure] = []
    for name, (part, mask) in questions.items():
        hits = [g[part] == t[part] for g, t, k in zip(predicted, truth, mask, strict=True) if k]
        if hits:
            figures.append(Figure(name, float(np.mean(hits)), n=len(hits)))
    return figures


def _pair(item: SupportItem) -> Pair:
    return item.parts.get("verb", ""), item.parts.get("object", "")


def _counts(subset: Subset) -> Counter[Pair]:
    return Counter(_pair(item) for item in subset.items if len(item.parts) == 2)


def _texts(part: RunSplit) -> dict[Pair, str]:
    """The label of each pair; two pairs of one text would be one candidate."""
    texts = {
        _pair(item): item.label
        for subset in part.data.subsets.values()
        for item in (*subset.items, *subset.missing)
    }
    twice = [text for text, count in Counter(texts.values()).items() if count > 1]
    if twice:
        raise ProtocolError(f"two pairs of verb and object have the label {twice[0]!r}")
    return texts


def _other_verbs(scores: np.ndarray, pairs: list[Pair]) -> np.ndarray:
    """(N, P) scores in which the pairs of one object have exchanged their verbs at random."""
    random = np.random.default_rng(_SEED)
    columns = np.arange(len(pairs))
    for noun in {noun for _, noun in pairs}:
        noun_columns = np.array([n for n, pair in enumerate(pairs) if pair[1] == noun])
        order = random.permutation(noun_columns)
        columns[order] = np.roll(order, 1)  # every pair gets another verb, where there is one
    return scores[:, columns]
