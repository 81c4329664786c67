"""The second look for queries with operators: the best answers by text as their windows see it.

The rule of ``vlar.query.rerank`` on spans. The head are the best ``max(50, 5 k)`` answers. One
whose windows all keep context tokens is evaluated again on these windows, each phrase with the
probability that its conditioned text gives; these answers are put in order among themselves, in the
places they hold. The others keep their places and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlar.index.protocol import LibraryModel
from vlar.index.store.database import Store
from vlar.query.compare import Compared
from vlar.query.evaluate import PRODUCT, WEAKEST, Evaluator, Spans, Windows
from vlar.query.grammar import Like
from vlar.query.grammar.tree import Leaf
from vlar.query.plan import Plan
from vlar.query.rerank import SecondLook, head_rows, look_again
from vlar.query.temporal_merge import Match


@dataclass(frozen=True)
class SecondLooks:
    """What was seen again.

    Attributes:
        spans: By place among the ranked answers; its similarity is what ranks.
        windows: By phrase and window.
    """

    spans: Mapping[int, SecondLook] = field(default_factory=dict[int, SecondLook])
    windows: Mapping[tuple[Leaf, int], SecondLook] = field(
        default_factory=dict[tuple[Leaf, int], SecondLook]
    )

    @property
    def n_windows(self) -> int:
        """How many windows were compared again."""
        return len({window for _, window in self.windows})


def look_again_at_spans(
    plan: Plan,
    store: Store,
    model: LibraryModel,
    compared: Compared,
    evaluator: Evaluator,
    ranked: Spans,
) -> SecondLooks:
    """Answers whose windows keep context tokens. Use inside ``store.snapshot()``."""
    head = ranked.take(np.arange(min(head_rows(model, plan.k), len(ranked))))
    if not len(head):
        return SecondLooks()
    spoken = np.unique(np.concatenate(list(head.parts.values())))
    rows = [_row(compared.windows, at) for at in spoken[spoken >= 0].tolist()]
    at_id = {row.row_id: at for row, at in zip(rows, spoken[spoken >= 0].tolist(), strict=True)}
    seen: dict[tuple[Leaf, int], SecondLook] = {}
    for leaf in compared.probability:
        if not isinstance(leaf, Like):
            looks = look_again(store, model, leaf.text, rows)
            seen |= {(leaf, at_id[row_id]): look for row_id, look in looks.items()}
    known = np.isin(spoken, [at for _, at in seen])
    unseen = set(spoken[~known & (spoken >= 0)].tolist())
    probability = {leaf: of_all.copy() for leaf, of_all in compared.probability.items()}
    for (leaf, at), look in seen.items():
        probability[leaf][at] = look.probability
    value = evaluator.at_parts(plan.tree, head, probability, PRODUCT)
    weakest = evaluator.at_parts(plan.tree, head, probability, WEAKEST)
    spans = {
        place: SecondLook(float(value[place]), float(weakest[place]))
        for place in range(len(head))
        if unseen.isdisjoint(int(at[place]) for at in head.parts.values())
    }
    return SecondLooks(spans, seen)


def _row(windows: Windows, at: int) -> Match:
    return Match(int(windows.ids[at]), int(windows.video_ids[at]), 0.0, 0.0, 0.0, 0.0)
