"""Near-duplicates: spans of several files that show the same are one answer.

The rule. Spans are taken best first. A span is a duplicate if its best window (for a sequence: its
first and its last window) is nearly identical to that of an earlier answer of another video: the
cosine of the stored vectors is at least ``SAME``. A duplicate is listed under that answer
(``Hit.also``). Copies of a file have equal vectors, so they are always duplicates; a re-encoded or
slightly trimmed copy is one where its windows still look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlar.index.store.base import LibraryStore
from vlar.query.temporal_merge import ScoredSpan
from vlar.types import Float32

SAME = 0.9995


@dataclass(frozen=True)
class DistinctSpan:
    """A span, and the spans of other videos that show the same, one a video."""

    span: ScoredSpan
    copies: list[ScoredSpan] = field(default_factory=list[ScoredSpan])


def deduplicate(
    store: LibraryStore,
    spans: Sequence[ScoredSpan],
    dim: int,
    rows: Callable[[ScoredSpan], Sequence[int]],
) -> list[DistinctSpan]:
    """Spans, best first, without those that repeat an earlier one of another video.

    Args:
        store: Holds the vectors.
        spans: Best first.
        dim: D.
        rows: Ids of the rows that represent a span.
    """
    batch = store.rows(sorted({row_id for span in spans for row_id in rows(span)}), dim)
    lengths = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
    vectors = dict(zip(batch.ids.tolist(), batch.vectors / np.maximum(lengths, 1e-12), strict=True))
    shown = {span: np.stack([vectors[row_id] for row_id in rows(span)]) for span in spans}
    found: list[DistinctSpan] = []
    for span in spans:
        same = _same(span, found, shown)
        if same is None:
            found.append(DistinctSpan(span))
        elif span.video_id not in (same.span.video_id, *(c.video_id for c in same.copies)):
            same.copies.append(span)
    return found


def _same(
    span: ScoredSpan, found: list[DistinctSpan], shown: dict[ScoredSpan, Float32]
) -> DistinctSpan | None:
    for earlier in found:
        if earlier.span.video_id == span.video_id:
            continue
        if (np.sum(shown[earlier.span] * shown[span], axis=1) >= SAME).all():
            return earlier
    return None
