"""The second look: the best rows in the order of the text as each of them sees it.

Where a model's text depends on the video (TC-CLIP, X-CLIP), a text cannot be compared with all
rows at once: the search uses the text without any video, and the best rows are looked at again.

The rule. The head are the best ``max(50, 5 k)`` rows that the filter leaves, by unconditioned
similarity. A row of the head that keeps context tokens gets the similarity to the text conditioned
on its own context, and the probability that goes with it. These rows are put in order by it among
themselves, in the places that they hold. A row without context keeps its place, and all behind the
head stand as they were, with unconditioned similarity: the two kinds are never compared, so a
library that keeps contexts of some videos only favours neither. How far a span reaches
(``vlar.query.temporal_merge``) is decided by unconditioned probabilities, which all rows have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlar.index.protocol import Matcher, conditioning
from vlar.index.store.database import Store
from vlar.query.temporal_merge import Match

_FEWEST_ROWS = 50
_ROWS_PER_ANSWER = 5
_BATCH_ROWS = 32  # contexts in memory at once: about 0.1 MB each


@dataclass(frozen=True)
class SecondLook:
    """How well a row answers by conditioned text."""

    similarity: float
    probability: float


def head_rows(model: Matcher, k: int) -> int:
    """How many rows are looked at again for ``k`` answers; 0 where text is the same for all."""
    return 0 if conditioning(model) is None else max(_FEWEST_ROWS, _ROWS_PER_ANSWER * k)


def look_again(
    store: Store, model: Matcher, phrase: str, rows: Sequence[Match]
) -> dict[int, SecondLook]:
    """By row id, the rows that keep context tokens. Use inside ``store.snapshot()``."""
    looks: dict[int, SecondLook] = {}
    conditioned = conditioning(model)
    if conditioned is None:
        return looks
    for start in range(0, len(rows), _BATCH_ROWS):
        ids, contexts = store.contexts([row.row_id for row in rows[start : start + _BATCH_ROWS]])
        if not len(ids):
            continue
        queries = conditioned.conditioned_queries([phrase], contexts)[:, 0]
        vectors = store.rows(ids.tolist(), queries.shape[1]).vectors
        similarity = (vectors.astype(np.float64) * queries.astype(np.float64)).sum(axis=1)
        for place, row_id in enumerate(ids.tolist()):
            probability = model.match_probability(vectors[place : place + 1], queries[place])
            looks[row_id] = SecondLook(float(similarity[place]), float(probability[0]))
    return looks


def reordered(rows: Sequence[Match], looks: Mapping[int, SecondLook]) -> list[Match]:
    """Rows, best first, with those that were looked at again in order in their places."""
    places = [place for place, row in enumerate(rows) if row.row_id in looks]
    # Rounded and stable: equal rows of two files (copies) keep their order.
    best = sorted(
        (rows[place] for place in places), key=lambda row: -round(looks[row.row_id].similarity, 6)
    )
    ordered = list(rows)
    for place, row in zip(places, best, strict=True):
        ordered[place] = row
    return ordered


def rescored(span: Match, looks: Mapping[int, SecondLook]) -> Match:
    """A span with what the second look at its best row gave, if there was one."""
    look = looks.get(span.row_id)
    if look is None:
        return span
    return replace(span, similarity=look.similarity, probability=look.probability)
