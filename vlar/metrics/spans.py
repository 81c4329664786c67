"""Spans in time and highlights: mAP at overlaps, R1 at overlaps, as QVHighlights scores them.

Source: Lei et al., "QVHighlights: detecting moments and highlights in videos via natural language
queries", 2021. ``detection_map`` is the rule of temporal action localisation (Heilbron et al.,
"ActivityNet", 2015).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import finite
from vlar.types import Float64

Id = TypeVar("Id", bound=Hashable)
Span = tuple[float, float]
ScoredSpan = tuple[float, float, float]
MOST = 10  # predictions of a query that count
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
LENGTHS = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}  # seconds


def overlap(first: npt.ArrayLike, second: npt.ArrayLike) -> Float64:
    """Temporal IoU of every pair of spans.

    Args:
        first: (n, 2) start and end in seconds.
        second: (m, 2).

    Returns:
        (n, m) float64 in 0..1; 0 where both spans are empty.
    """
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    inter = (np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])).clip(0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def moment_metrics(
    predictions: Mapping[Id, Sequence[ScoredSpan]], truth: Mapping[Id, Sequence[Span]]
) -> dict[str, float]:
    """Moment retrieval as QVHighlights scores it.

    The first 10 predictions of a query count, as given. A prediction takes the free true span of
    highest IoU. ``mAP`` is the mean over the IoUs .5, .55, .. .95 and over queries; a query
    without predictions has 0. ``R1`` is the share of queries whose first prediction overlaps a
    true span enough. ``short``, ``middle`` and ``long`` count true spans of up to 10, 30 and 150
    seconds, and the queries that keep one.

    Args:
        predictions: ``(start_s, end_s, score)`` of each query, the first answer first.
        truth: ``(start_s, end_s)`` of each query, at least one each.

    Returns:
        ``mAP mAP@0.5 mAP@0.75 mAP/short mAP/middle mAP/long R1@0.5 R1@0.7`` in percent; NaN where
        no query has a true span of that length.

    Raises:
        MetricError: no query, a query without true spans, predictions for other queries, or times
            that are not numbers or end before they start.
    """
    _check_ids(predictions, truth)
    true = {key: _spans(key, spans, 2) for key, spans in truth.items()}
    answers = {key: _spans(key, predictions.get(key, ())[:MOST], 3) for key in true}
    full = np.array([_precisions(answers[key], true[key], OVERLAPS) for key in true])
    by_overlap = 100 * full.mean(axis=0)
    figures = {
        "mAP": float(by_overlap.mean()),
        "mAP@0.5": float(by_overlap[OVERLAPS.index(0.5)]),
        "mAP@0.75": float(by_overlap[OVERLAPS.index(0.75)]),
    }
    for name, (low, high) in LENGTHS.items():
        rows: list[Float64] = []
        for key, spans in true.items():
            length = spans[:, 1] - spans[:, 0]
            moments = spans[(length > low) & (length <= high)]
            rows += [_precisions(answers[key], moments, OVERLAPS)] if len(moments) else []
        figures[f"mAP/{name}"] = 100 * float(np.mean(rows)) if rows else float("nan")
    first = np.array([_first_overlap(answers[key], true[key]) for key in true])
    figures |= {f"R1@{least}": 100 * float((first >= least).mean()) for least in (0.5, 0.7)}
    return figures


def highlight_metrics(
    saliency: Mapping[Id, Sequence[float]], grades: Mapping[Id, npt.ArrayLike], *, least: int
) -> dict[str, float]:
    """Highlight detection as QVHighlights scores it.

    A clip of 2 seconds is positive for an annotator who gives it ``least`` or more. ``Hit1`` is the
    share of queries whose most salient clip is positive for an annotator. ``mAP`` is the mean over
    annotators and queries of an interpolated average precision, taken where recall changes.

    Args:
        saliency: Predicted saliency of each query, a value a clip; cut or filled with 0 to n.
        grades: (n, annotators) 0..4 of each query, 0 for clips that are not relevant.
        least: The lowest grade that is positive: 2 fair, 3 good, 4 very good.

    Returns:
        ``mAP`` and ``Hit1`` in percent.

    Raises:
        MetricError: no query, predictions for other queries, a query without predictions, or NaN.
    """
    _check_ids(saliency, grades)
    precision: list[float] = []
    hits: list[bool] = []
    for key, clip_grades in grades.items():
        if key not in saliency or not len(saliency[key]):
            raise MetricError(f"query {key!r} has no saliency; give a value for each clip")
        values = finite(saliency[key], f"the saliency values of query {key!r}", 1)
        positive = finite(clip_grades, f"the grades of query {key!r}", 2) >= least
        best = int(values.argmax())
        hits.append(best < len(positive) and bool(positive[best].any()))
        fitted = np.zeros(len(positive))
        fitted[: len(values)] = values[: len(positive)]
        precision += [_highlight_precision(fitted, column) for column in positive.T]
    return {"mAP": 100 * float(np.mean(precision)), "Hit1": 100 * float(np.mean(hits))}


def detection_map(
    predictions: Mapping[str, Sequence[tuple[str, float, float, float]]],
    truth: Mapping[str, Sequence[tuple[str, float, float]]],
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """Mean average precision at temporal IoUs, of labels in untrimmed videos.

    The predictions of a label are ranked over all videos. Each takes the free true span of its
    video with the highest IoU, if that is enough; AP is interpolated, mAP the mean over labels.

    Args:
        predictions: ``(video, start_s, end_s, score)`` of each label; missing means none.
        truth: ``(video, start_s, end_s)`` of each label, at least one each.
        overlaps: The IoUs.

    Returns:
        ``mAP@IoU`` for each, and ``mAP``, their mean; shares of 1.

    Raises:
        MetricError: no label, a label without true spans, predictions for other labels, or times
            that are not numbers or end before they start.
    """
    _check_ids(predictions, truth)
    rows: list[Float64] = []
    for label, spans in truth.items():
        detections = sorted(predictions.get(label, ()), key=lambda row: -row[3])
        values = _spans(label, [row[1:] for row in detections], 3)
        true = _spans(label, [row[1:] for row in spans], 2)
        same = np.array([[row[0] == span[0] for span in spans] for row in detections], np.bool_)
        ious = np.where(same, overlap(values, true), -1.0) if len(detections) else np.zeros((0, 0))
        rows.append(np.array([_precision(ious, len(true), least) for least in overlaps]))
    mean = np.mean(rows, axis=0)
    named = {f"mAP@{o:g}": float(value) for o, value in zip(overlaps, mean, strict=True)}
    return {**named, "mAP": float(mean.mean())}


def _check_ids(given: Iterable[Any], truth: Mapping[Any, Any]) -> None:
    if not truth:
        raise MetricError("no query has a right answer; give at least one")
    strange = [key for key in given if key not in truth]
    if strange:
        raise MetricError(f"{strange[0]!r} has predictions and no right answer; give both or none")


def _spans(key: Hashable, spans: Sequence[Any], width: int) -> Float64:
    if not len(spans) and width == 3:
        return np.zeros((0, 3))
    array = finite(spans, f"the spans of {key!r}", 2)
    if array.shape[1] != width or (array[:, 1] < array[:, 0]).any():
        form = "(start_s, end_s, score)" if width == 3 else "(start_s, end_s)"
        raise MetricError(f"the spans of {key!r} must be {form} with start_s <= end_s")
    return array


def _precisions(given: Float64, true: Float64, overlaps: Sequence[float]) -> Float64:
    """AP of one query at each IoU."""
    if not len(given):
        return np.zeros(len(overlaps))
    ordered = given[np.argsort(-given[:, 2], kind="stable")]
    ious = overlap(ordered, true)
    return np.array([_precision(ious, len(true), least) for least in overlaps])


def _precision(ious: Float64, n_true: int, least: float) -> float:
    """AP of ranked predictions from their IoUs (predictions, true spans), interpolated."""
    if not len(ious):
        return 0.0
    free = np.ones(n_true, np.bool_)
    right = np.zeros(len(ious), np.bool_)
    for row, values in enumerate(ious):
        allowed = np.where(free & (values >= least), values, -1.0)
        best = int(allowed.argmax())
        if allowed[best] >= 0:
            free[best], right[row] = False, True
    hits = np.cumsum(right)
    precision = np.r_[0.0, hits / np.arange(1, len(right) + 1), 0.0]
    recall = np.r_[0.0, hits / n_true, 1.0]
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * highest[1:]).sum())


def _first_overlap(given: Float64, true: Float64) -> float:
    """IoU of the first prediction and the true span it overlaps most, over their hull."""
    if not len(given):
        return 0.0
    first, best = given[0], true[overlap(given[:1], true)[0].argmax()]
    hull = max(first[1], best[1]) - min(first[0], best[0])
    inter = max(min(first[1], best[1]) - max(first[0], best[0]), 0.0)
    return inter / hull if hull > 0 else 0.0


def _highlight_precision(values: Float64, positive: npt.NDArray[np.bool_]) -> float:
    from sklearn.metrics import precision_recall_curve

    if positive.all() or not positive.any():
        return float(positive.all())
    precision, recall, _ = precision_recall_curve(positive, values)
    # The curve runs from high recall to low; float32, as the published figures were computed.
    highest = np.maximum.accumulate(precision)
    changes = np.flatnonzero(np.diff(recall.astype(np.float32)))
    return float(highest[changes].mean())
