"""``spans``: when does it happen? Windows of long recordings are scored, joined and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from vlar.errors import ProtocolError, VlarError
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.media.video.sample import windows
from vlar.metrics.figures import Figure
from vlar.metrics.spans import detection_map, moment_metrics, overlap
from vlar.registry import register
from vlar.segments.spans import runs
from vlar.types import Failure, Float64, JsonDict

Span = tuple[float, float, float]  # start, end, score
_SEED = 0
_LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # shares of the range of a recording's scores
_SAME = 0.9  # overlap of two proposals from which on the lower one goes


@register("protocol", "spans")
class Spans(Protocol):
    """mAP at temporal IoU over labels, and R1@IoU and mAP of each label as a query.

    Every annotated clip of the subset has a start and an end. A recording is scored in windows;
    runs of windows above several levels of its scores are the proposals. The controls are the
    whole recording as the only answer, and the windows' scores in a random order. A score is a
    similarity: a window at the border of two actions has less of each. Settings: ``window_s``,
    ``every_s``, ``ious``.
    """

    name = "spans"
    defaults: ClassVar[JsonDict] = {
        "window_s": 4.0,
        "every_s": 2.0,
        "ious": [0.3, 0.4, 0.5, 0.6, 0.7],
    }

    def check(self, plan: Plan) -> None:
        for part in plan.parts:
            plain = [item for item in part.test.items if item.window is None]
            if plain:
                raise ProtocolError(
                    f"{plain[0].path} has no start_s and end_s; spans are measured where every "
                    "clip has its time"
                )
            plan.counts["recordings"] = len({item.path for item in part.test.items})

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        truth = _truth(part.test.items)
        labels = [label for label in part.labels if any(key[1] == label for key in truth)]
        cut = _windows(run, part)
        items = [item for listed in cut.values() for item in listed]
        scored = run.scores({0: run.classifier(labels)}, items, [None])
        numbers = {(item.path, item.window): n for n, item in enumerate(scored.items)}
        random = np.random.default_rng(_SEED)
        figures: list[Figure] = []
        for under in (None, "windows permuted", "whole recording"):
            find = _whole if under == "whole recording" else _proposals
            answers: dict[tuple[str, str], list[Span]] = {}
            for path, listed in cut.items():
                windows = [i for i in listed if (i.path, i.window) in numbers]
                rows = np.array([numbers[i.path, i.window] for i in windows], np.int64)
                scores = scored.by[0, None].similarity[rows].astype(np.float64)
                if under == "windows permuted":
                    scores = scores[random.permutation(len(scores))]
                for c, label in enumerate(labels):
                    answers[path, label] = find(windows, scores[:, c])
            rows = self._rows(answers, truth, labels, run.settings["ious"])
            figures += [row.of(under=under) for row in rows]
        return figures

    def _rows(
        self,
        answers: dict[tuple[str, str], list[Span]],
        truth: dict[tuple[str, str], list[Any]],
        labels: Sequence[str],
        ious: Sequence[float],
    ) -> list[Figure]:
        predictions = {key: answers.get(key, []) for key in truth}
        moments = moment_metrics({k: v[:10] for k, v in predictions.items()}, truth)
        figures = [Figure(f"query {k}", v / 100, n=len(truth)) for k, v in moments.items()]
        spans_of = {
            label: [(p, *s) for (p, x), spans in answers.items() if x == label for s in spans]
            for label in labels
        }
        right = {
            label: [(p, *s) for (p, x), spans in truth.items() if x == label for s in spans]
            for label in labels
        }
        detected = detection_map(spans_of, right, ious)
        return figures + [Figure(k, v, n=len(labels)) for k, v in detected.items()]


def _truth(items: Sequence[SupportItem]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    truth: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for item in items:
        assert item.window is not None  # ``check`` has refused others
        for label in item.labels:
            span = (item.window.start_s, item.window.end_s)
            truth.setdefault((str(item.path), label), []).append(span)
    return truth


def _windows(run: Run, part: RunSplit) -> dict[str, list[SupportItem]]:
    """The windows of each recording, as items without a label."""
    by_window: dict[str, list[SupportItem]] = {}
    size, step = float(run.settings["window_s"]), float(run.settings["every_s"])
    for path in dict.fromkeys(item.path for item in part.test.items):
        try:
            length = reader(run.core.modality).probe(path).duration_s
        except VlarError as error:
            run.failed[str(path)] = Failure(path, error.kind, error.message)
            continue
        cut = windows(length, min(size, length), step)
        by_window[str(path)] = [SupportItem(path, window, (), str(path)) for window in cut]
    return by_window


def _whole(items: Sequence[SupportItem], scores: Float64) -> list[Span]:
    spans = [item.window for item in items if item.window is not None]
    if not spans:
        return []
    return [(spans[0].start_s, spans[-1].end_s, float(scores.max()))]


def _proposals(items: Sequence[SupportItem], scores: Float64) -> list[Span]:
    """Runs of windows above several levels, best first; the score is the mean of the run."""
    spans = [item.window for item in items if item.window is not None]
    if not spans:
        return []
    low, high = float(scores.min()), float(scores.max())
    proposals: list[Span] = []
    for level in _LEVELS:
        for start, end, above in runs(scores >= low + level * (high - low)):
            if above:
                mean = float(scores[start:end].mean())
                proposals.append((spans[start].start_s, spans[end - 1].end_s, mean))
    chosen: list[Span] = []
    for span in sorted(proposals, key=lambda span: -span[2]):
        if not chosen or overlap([span[:2]], [other[:2] for other in chosen]).max() < _SAME:
            chosen.append(span)
    return chosen
