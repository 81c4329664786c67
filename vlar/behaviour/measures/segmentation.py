"""Figures of segments against those of a person: detection, overlap, order of the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.metrics.spans import detection_map, overlap
from vlar.segments import Segment

_ACTIVITYNET = (0.3, 0.4, 0.5, 0.6, 0.7)
_SEGMENTAL = (0.1, 0.25, 0.5)


def segment_metrics(answers: Sequence[Segment], truth: Sequence[Segment]) -> dict[str, float]:
    """Figures of the segments of recordings: detection, and segmentation.

    Args:
        answers: Segments of a model; without a probability they rank in the order given.
        truth: Segments of a person. Points and segments without a label are left out of both.

    Returns:
        ``mAP@0.3`` to ``mAP@0.7`` and ``mAP``; ``F1@0.1``, ``F1@0.25`` and ``F1@0.5`` over the
        segments of all recordings; ``edit``, the mean over recordings of 1 less the normalised
        edit distance of the orders of labels. Shares of 1.

    Raises:
        MetricError: no segment of ``truth`` counts.
    """
    predicted, true = bouts_of(answers), bouts_of(truth)
    spans: dict[str, list[tuple[str, float, float]]] = {}
    for row in true:
        spans.setdefault(str(row.label), []).append((row.recording, row.start_s, row.end_s))
    ranked: dict[str, list[tuple[str, float, float, float]]] = {label: [] for label in spans}
    for row in predicted:
        if row.label in spans:
            score = 1.0 if row.probability is None else row.probability
            ranked[str(row.label)].append((row.recording, row.start_s, row.end_s, score))
    figures = detection_map(ranked, spans, _ACTIVITYNET)
    for least in _SEGMENTAL:
        figures[f"F1@{least:g}"] = (
            2 * _matched(predicted, true, least) / (len(predicted) + len(true))
        )
    recordings = {row.recording for row in true}
    orders = [(_order(predicted, name), _order(true, name)) for name in sorted(recordings)]
    figures["edit"] = float(np.mean([1 - _edits(a, b) / max(len(a), len(b)) for a, b in orders]))
    return figures


def bouts_of(rows: Sequence[Segment]) -> list[Segment]:
    """Segments that have a label and a length."""
    return [row for row in rows if row.label and not row.is_point]


def _matched(predicted: Sequence[Segment], true: Sequence[Segment], least: float) -> int:
    """Answers with the overlap to a segment of their label and recording that is still free."""
    free = set(range(len(true)))
    for row in predicted:
        key = row.recording, row.label
        same = [n for n in free if (true[n].recording, true[n].label) == key]
        if not same:
            continue
        times = np.array([(true[n].start_s, true[n].end_s) for n in same])
        ious = overlap(np.array([[row.start_s, row.end_s]]), times)[0]
        if ious.max() >= least:
            free.remove(same[int(ious.argmax())])
    return len(true) - len(free)


def _order(rows: Sequence[Segment], recording: str) -> list[str]:
    ordered = sorted((row for row in rows if row.recording == recording), key=lambda r: r.start_s)
    return [str(row.label) for row in ordered]


def _edits(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein distance of two orders."""
    costs = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, costs[0] = costs[0], i
        for j, b in enumerate(second, 1):
            before, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, before + (a != b))
    return costs[-1]
