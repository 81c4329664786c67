"""Near-duplicates: spans of several files that show the same are one answer.

The rule. Spans are taken best first. One whose best window (of a sequence: first and last window)
is nearly identical (cosine of the stored vectors at least ``SAME``) to that of an earlier answer of
another video is not an answer of its own: its path stands under that answer (``Hit.also``). Copies
of a file have the same vectors, so they always fold; a re-encoded or slightly trimmed copy does
where its windows still look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlar.index.store.database import Store
from vlar.query.temporal_merge import Match
from vlar.types import Float32

SAME = 0.9995
Rows = Callable[[Match], Sequence[int]]


@dataclass(frozen=True)
class Answer:
    """A span, and the videos (ids) that show the same."""

    span: Match
    also: list[int] = field(default_factory=list[int])


def fold(
    store: Store, spans: Sequence[Match], dim: int, rows: Rows = lambda span: (span.row_id,)
) -> list[Answer]:
    """Spans, best first, without those that repeat an earlier one of another video.

    Args:
        store: Where the vectors are.
        spans: Best first.
        dim: D.
        rows: The rows that speak for a span.
    """
    batch = store.rows(sorted({row_id for span in spans for row_id in rows(span)}), dim)
    lengths = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
    vectors = dict(zip(batch.ids.tolist(), batch.vectors / np.maximum(lengths, 1e-12), strict=True))
    seen = {span: np.stack([vectors[row_id] for row_id in rows(span)]) for span in spans}
    answers: list[Answer] = []
    for span in spans:
        same = _same(span, answers, seen)
        if same is None:
            answers.append(Answer(span))
        elif span.video_id not in (same.span.video_id, *same.also):
            same.also.append(span.video_id)
    return answers


def _same(span: Match, answers: list[Answer], seen: dict[Match, Float32]) -> Answer | None:
    for answer in answers:
        if answer.span.video_id == span.video_id:
            continue
        if (np.sum(seen[answer.span] * seen[span], axis=1) >= SAME).all():
            return answer
    return None
