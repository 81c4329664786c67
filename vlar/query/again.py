"""The second look for queries with operators: the best answers by text as their windows see it.

The rule of ``vlar.query.rerank`` on spans. The head are the best ``max(50, 5 k)`` answers. One
whose windows all keep context tokens is evaluated again on these windows alone, each phrase with
the probability that its conditioned text gives; these answers are put in order among themselves, in
the places they hold. The others keep their places and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlar.index.protocol import LibraryModel
from vlar.index.store import Int64, Store
from vlar.query.compare import Compared
from vlar.query.evaluate import Evaluator, Spans, Windows
from vlar.query.grammar import Like, Node
from vlar.query.grammar.tree import Leaf
from vlar.query.merge import Match
from vlar.query.rerank import SecondLook, head_rows, look_again
from vlar.types import Float64


@dataclass(frozen=True)
class SecondLooks:
    """What was seen again.

    Attributes:
        spans: By place among the ranked answers.
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
    tree: Node, k: int, store: Store, model: LibraryModel, compared: Compared, ranked: Spans
) -> SecondLooks:
    """Answers whose windows keep context tokens. Use inside ``store.snapshot()``."""
    head = ranked.take(np.arange(min(head_rows(model, k), len(ranked))))
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
    known = {at for _, at in seen}
    spans: dict[int, SecondLook] = {}
    for place in range(len(head)):
        windows = np.unique([at[place] for at in head.parts.values()])
        windows = windows[windows >= 0]
        if known.issuperset(windows.tolist()):
            value = _value(tree, compared, windows, seen)
            spans[place] = SecondLook(value, value)
    return SecondLooks(spans, seen)


def _value(
    tree: Node, compared: Compared, at: Int64, seen: Mapping[tuple[Leaf, int], SecondLook]
) -> float:
    all_windows = compared.windows
    few = Windows(
        all_windows.ids[at],
        all_windows.video_ids[at],
        all_windows.start_s[at],
        all_windows.end_s[at],
        all_windows.base_s,
    )
    probability: dict[Leaf, Float64] = {
        leaf: np.array(
            [seen[leaf, w].probability if (leaf, w) in seen else of_all[w] for w in at.tolist()]
        )
        for leaf, of_all in compared.probability.items()
    }
    spans = Evaluator(few, probability, lambda pattern: compared.matching(pattern)[at]).spans(tree)
    return float(spans.value.max(initial=0.0))


def _row(windows: Windows, at: int) -> Match:
    return Match(int(windows.ids[at]), int(windows.video_ids[at]), 0.0, 0.0, 0.0, 0.0)
