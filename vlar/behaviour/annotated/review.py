"""Minutes of recordings that would teach a model of bouts most if a person annotated them.

A span counts by how unsure the model is about it, and less where a span like it is chosen or was
learned from already. Spans are alike that show similar answers and changes of answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar.behaviour.annotated.head import timeline_of
from vlar.behaviour.annotated.recordings import answers_of, rater_of
from vlar.behaviour.annotated.support import Taught, support_of
from vlar.errors import UsageError
from vlar.media.lookup import reader
from vlar.model.model import Model, load
from vlar.segments import Segment
from vlar.types import Float64

_NEAR = 0.15  # mean difference of answers at which a span counts as much as if it were alone
REVIEW = "review"
"""Tier of the spans."""


def review(
    model: str | Path | Model,
    recordings: str | Path | Sequence[str | Path],
    *,
    minutes: float = 5.0,
    span_s: float = 20.0,
    fps: float | None = None,
    layout: str | Path | None = None,
    force: bool = False,
) -> list[Segment]:
    """Spans of recordings to annotate next, the most instructive first.

    Args:
        model: A model that ``learn`` made, or its folder.
        recordings: A path, or several; folders are searched.
        minutes: Minutes to annotate.
        span_s: Seconds of a span.
        fps: Frames a second of files that state none; None takes that of the learning.
        layout: A layout file; None for the one next to each recording.
        force: Whether recordings with less than half of the points of the model are answered.

    Returns:
        Spans with the answer that prevails as label and its mean probability, for ``learn`` with
        ``within``.

    Raises:
        UsageError: the model did not learn from annotated recordings, nothing is left to review, or
            a recording has less than half of its points.
        DecodeError: a recording cannot be read.
    """
    loaded = model if isinstance(model, Model) else load(model)
    paths: Any = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    files = reader(loaded.modality).find(paths)
    if not minutes > 0 or not span_s > 0:
        raise UsageError(f"{minutes:g} minutes in spans of {span_s:g} s; give numbers above 0")
    choices: Any = {"fps": fps, "layout": layout, "force": force}
    spans, facts, unsure, learned_mask = _spans(loaded, files, span_s, **choices)
    count = min(max(1, round(minutes * 60 / span_s)), int((~learned_mask).sum()))
    if not count:
        raise UsageError(
            "nothing is left to review: the model learned from all of these recordings"
        )
    distance = _distance(facts, facts[learned_mask]) if learned_mask.any() else np.ones(len(spans))
    chosen: list[Segment] = []
    rater, waiting = rater_of(loaded), ~learned_mask
    for _ in range(count):
        value = np.where(waiting, unsure * np.maximum(distance, 1e-6), -1.0)
        best = int(value.argmax())
        chosen.append(replace(spans[best], rater=rater))
        waiting[best] = False
        distance = np.minimum(distance, _distance(facts, facts[best : best + 1]))
    return chosen


def _distance(facts: Float64, others: Float64) -> Float64:
    """(N,) how far each span is from the nearest of others, 0 to 1."""
    apart = np.abs(facts[:, None] - others[None]).mean(axis=2).min(axis=1)
    return np.asarray(np.minimum(apart / _NEAR, 1.0), np.float64)


def _spans(
    model: Model,
    files: Sequence[Path],
    span_s: float,
    **choices: Any,
) -> tuple[list[Segment], Float64, Float64, np.ndarray[Any, Any]]:
    """Spans, facts (N, F) of their answers, how unsure these are, which were learned from."""
    head = timeline_of(model)
    taught: dict[Path, Taught] = {row.path.resolve(): row for row in support_of(head)}
    spans: list[Segment] = []
    facts: list[Float64] = []
    unsure: list[float] = []
    learned_mask: list[bool] = []
    for path in files:
        recording, tracks, _ = answers_of(head, path, encoder=model.encoder, **choices)
        before = taught.get(path.resolve())
        times_s = (np.arange(len(tracks[0][1])) + 0.5) * head.step_s
        learned = before.mask(times_s) if before else np.zeros(len(times_s), np.bool_)
        size = max(1, round(span_s / head.step_s))
        for first in range(0, len(times_s), size):
            last = min(first + size, len(times_s))
            rows = [probability[first:last].astype(np.float64) for _, probability in tracks]
            means = [part.mean(axis=0) for part in rows]
            label, chance = max(
                (
                    (track.labels[int(m.argmax())], float(m.max()))
                    for (track, _), m in zip(tracks, means, strict=True)
                ),
                key=lambda row: (bool(row[0]), row[1]),
            )
            begin, end = first * head.step_s, min(last * head.step_s, recording.duration_s)
            spans.append(
                Segment(
                    str(path),
                    round(begin + recording.start_s, 3),
                    round(end + recording.start_s, 3),
                    label or "background",
                    tier=REVIEW,
                    probability=round(chance, 4),
                )
            )
            facts.append(np.concatenate([*means, *(part.std(axis=0) for part in rows)]))
            unsure.append(float(np.mean([_unsure(part) for part in rows])) * (last - first) / size)
            learned_mask.append(bool(learned[first:last].mean() > 0.5))
    return spans, np.stack(facts), np.array(unsure), np.array(learned_mask, np.bool_)


def _unsure(probability: Float64) -> float:
    """Mean over steps of 1 less the difference of the two most probable labels."""
    if probability.shape[1] < 2:
        return 0.0
    best = np.sort(probability, axis=1)[:, -2:]
    return float((1 - (best[:, 1] - best[:, 0])).mean())
