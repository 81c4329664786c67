"""Accuracy of a model at a new place, estimated from recordings without labels.

The estimate starts from answers about examples that were held out when the model learned
(``AdaptReport.held``). It is moved by how much less sure the model is at the place (difference of
confidences; Guillory et al., "Predicting with confidence on unseen distributions", 2021), and by
how its answers fall on the labels: samples that a model cannot read all get a few of them
(dispersity; Deng et al., "Confidence and dispersity speak", 2023, here as the affinity of the
shares of the labels with those of the examples). A model of words has no answers held out: its mean
confidence stands alone. The constants of ``RULES`` come from the sets of ``evals/unlabelled.py``
that chose; others show their errors.

Letters: N answers, C labels, n answers held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar import registry
from vlar.errors import DecodeError, LabelError, SupportError, UsageError
from vlar.formatting import percent
from vlar.heads.base import Scores
from vlar.language.labels import Labels
from vlar.media.lookup import find
from vlar.model.adapt_report import AdaptReport
from vlar.model.core import EncodedSpan
from vlar.model.examples import median_facts, with_facts
from vlar.model.model import Model
from vlar.model.requests import find_unlabelled
from vlar.progress import no_progress
from vlar.types import Failure, Float64, JsonDict, ProgressCallback

_ALONE = "no answers of the model were held out, so its confidence stands alone"
_FALLS = (
    "the answers fall on few labels; the estimate takes this for a sign that the model cannot read "
    "the place. Where it shows only these labels, the upper end of the interval is nearer"
)
_STEPS = ("answer", "confidence")
_TIMELINE = "timeline"  # name of the head that answers in bouts
_NEXT = 10  # recordings to label
_DRAWN = 2.0  # answers that the estimate of a label is drawn to the mean by
_NORMAL = 1.645  # quantile of a two-sided interval of 90 %
_MOST = {"rate": 1.25, "size": 1.5, "light": 1.5, "points": 1.1}  # factors between places
_USUAL = {"rate": (8, np.inf), "size": (120, np.inf), "light": (0.15, 0.8), "points": (1, np.inf)}
_LEAST, _TINY = 1e-6, 1e-300
_DRAWS = 200
_FEW_LABELS = 0.9
_DIGITS = 4
_FEWEST = 10  # answers held out
_NO_FEATURES = np.zeros((0, 0), np.float32)
_NAMES = {
    "rate": "samples a second",
    "size": "pixels of the shorter side",
    "light": "light, 0 to 1",
    "points": "points of a body",
}


@dataclass(frozen=True)
class Rule:
    """Constants of one kind of model.

    Attributes:
        dispersion: Power of the affinity of the labels' shares.
        deviation: Standard deviation of the errors, 0..1.
        shift: More of it for a point by which the estimate leaves what was held out.
    """

    dispersion: float
    deviation: float
    shift: float


RULES = {
    "examples": Rule(2.0, 0.05, 0.5),
    "bouts": Rule(0.0, 0.06, 0.5),
    "words": Rule(0.0, 0.15, 0.0),
}


@dataclass(frozen=True)
class Answers:
    """Answers of a model about recordings without labels.

    Attributes:
        labels: C labels.
        answer: (N,) columns of the answers.
        confidence: (N,) 0..1.
        held: (n, 2) of answers held out: confidence, and whether it is right.
        expected: (C,) shares of the labels among the examples.
        count: Number of answers that do not repeat each other.
        rule: Name of the rule.
    """

    labels: tuple[str, ...]
    answer: npt.NDArray[np.int64]
    confidence: Float64
    held: Float64
    expected: Float64
    count: int
    rule: str


@dataclass(frozen=True)
class Estimate:
    """Accuracy to expect at a place.

    Attributes:
        estimate: Share of answers that are right.
        low: End of the interval that holds it nine times of ten.
        high: The other end.
        labels: Share of the answers of each label that are right.
        differs: Facts in which the place differs from where the model learned, a sentence each.
        label_next: Recordings whose labels would tell most, the best first.
        n: Number of recordings.
        notes: What the estimate rests on, where that is little.
        failed: Recordings that cannot be read.
    """

    estimate: float
    low: float
    high: float
    labels: dict[str, float]
    differs: list[str]
    label_next: list[str]
    n: int
    notes: list[str]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {**vars(self), "failed": [row.to_dict() for row in self.failed]}

    def summary(self) -> list[str]:
        """Lines for a person."""
        span = f"{percent(self.low)} to {percent(self.high)}"
        lines = [f"{self.n} recordings, about {percent(self.estimate)} of answers right ({span})"]
        worst = sorted(self.labels.items(), key=lambda row: row[1])[:_NEXT]
        lines += [f"  {label}: {percent(share)}" for label, share in worst]
        lines += [f"differs: {text}" for text in self.differs]
        lines += [f"label next: {path}" for path in self.label_next]
        return lines + [f"note: {text}" for text in self.notes]


def estimate(
    model: Model,
    folder: str | Path,
    labels: Labels | None = None,
    *,
    fps: float | None = None,
    progress: ProgressCallback | None = None,
) -> Estimate:
    """The accuracy to expect of a model at a place; no label is read.

    Args:
        model: Zero-shot, adapted, or of behaviour.
        folder: Recordings of the place, at any depth; names of its folders mean nothing.
        labels: As ``Model.classify``; None for the model's own.
        fps: Frames a second of tracks that state none.
        progress: Called with the total, then with the recordings read since.

    Raises:
        SupportError: no recording can be read.
        LabelError: the model has no labels of its own, and none are given.
    """
    answer = _of_bouts if _TIMELINE in model.heads else _of_clips
    return answer(model, str(folder), labels, fps, progress or no_progress)


def _of_clips(
    model: Model, folder: str, labels: Labels | None, fps: float | None, tick: ProgressCallback
) -> Estimate:
    del fps  # a clip states its own
    items = find_unlabelled(folder, model.modality)
    classifier, sampler = model.classifier(labels), model.view_sampler
    if len(classifier.labels) < 2:
        raise LabelError("with one label every answer is right; give the labels to choose from")
    tick(0, total=len(items))
    views = sampler.sample_each((item.path, item.window) for item in items)
    facts: list[dict[str, float]] = []
    failed: list[Failure] = []
    spans: list[EncodedSpan] = []
    rows: list[Scores] = []
    for span in model.words.encode_spans(with_facts(views, facts)):
        tick(1)
        if isinstance(span, Failure):
            failed.append(span)
            continue
        rows.append(classifier.scores([span.encoded]))
        spans.append(replace(span, encoded=replace(span.encoded, features=_NO_FEATURES)))
    _check_readable(folder, len(rows), failed)
    scores = Scores.join(iter(rows), len(classifier.labels))
    answer = scores.probability.argmax(axis=1)
    sure = scores.probability.max(axis=1) / scores.probability.sum(axis=1).clip(_TINY)
    report, notes = _report(model), list[str]()
    held = np.array(report.held if report else ()).reshape(-1, 2)
    if len(held) < _FEWEST:
        again = "; adapt again, with several groups a label, for an estimate that rests on some"
        notes.append(_ALONE + (again if model.head is not None else ""))
        held = held[:0]
    names, rule = classifier.labels, "words" if notes else "examples"
    counts = np.array([report.examples.get(name, 0) if report else 0 for name in names]) + _LEAST
    expected = counts / counts.sum()
    answers = Answers(names, answer, sure, held, expected, len(rows), rule)
    candidates = registry.shelf("behaviour.candidates", "--unlabelled")
    vectors = np.stack([span.encoded.vector for span in spans])
    order = candidates.review_order(candidates.uncertainty(scores.probability), vectors, _NEXT)
    taught = report.facts if report else {}
    differs = differences(median_facts(facts), taught)
    paths = [spans[row].path for row in order]
    return _estimate(answers, differs, paths, len(rows), notes, failed)


def _of_bouts(
    model: Model, folder: str, labels: Labels | None, fps: float | None, tick: ProgressCallback
) -> Estimate:
    if labels is not None:
        raise UsageError("a model of behaviour answers its own labels; leave the labels out")
    steps_of = registry.shelf("behaviour.annotated.evaluate", "--unlabelled").steps_of
    rows: dict[Path, Any] = {}  # StepAnswers
    failed: list[Failure] = []
    paths = find([folder], model.modality)
    tick(0, total=len(paths))
    for path in paths:
        tick(1)
        try:
            rows[path] = steps_of(model, path, fps)
        except DecodeError as error:
            failed.append(Failure(path, error.kind, error.message))
    _check_readable(folder, len(rows), failed)
    row = next(iter(rows.values()))
    answer, sure = (np.concatenate([getattr(r, key) for r in rows.values()]) for key in _STEPS)
    held = np.array(row.held).reshape(-1, 2)
    notes = [] if len(held) else [f"{_ALONE}; learn again for an estimate that rests on some"]
    count = sum(1 + int((np.diff(r.answer) != 0).sum()) for r in rows.values())
    rule = "bouts" if len(held) else "words"
    expected = np.full(len(row.labels), 1 / len(row.labels))
    answers = Answers(row.labels, answer, sure, held, expected, count, rule)
    missing = sorted({name for r in rows.values() for name in r.missing})
    differs = [f"points that are missing: {', '.join(missing)}"] if missing else []
    differs += differences(median_facts([r.facts for r in rows.values()]), row.taught)
    order = sorted(rows, key=lambda path: float(rows[path].confidence.mean()))[:_NEXT]
    return _estimate(answers, differs, order, len(rows), notes, failed)


def _check_readable(folder: str, count: int, failed: Sequence[Failure]) -> None:
    if not count:
        reason = failed[0].message if failed else "it holds none of the sensor of the model"
        raise SupportError(f"{folder}: no recording can be read: {reason}")


def _report(model: Model) -> AdaptReport | None:
    """The report of an adaptation; None for a model that was not adapted, or has none."""
    try:
        return model.report
    except UsageError:
        return None


@dataclass(frozen=True)
class Figures:
    """Estimate of ``figures_of``.

    Attributes:
        estimate: Share of answers that are right.
        low: End of the interval of 90 %.
        high: The other end.
        shares: (N,) probability of each answer to be right.
        affinity: 1 where the answers fall on the labels as the examples did, 0 at the other end.
    """

    estimate: float
    low: float
    high: float
    shares: Float64
    affinity: float


def figures_of(answers: Answers) -> Figures:
    """The estimate of the accuracy of answers."""
    rule, chance = RULES[answers.rule], 1 / len(answers.labels)
    shares, before, few = answers.confidence, None, 0.0
    if len(answers.held):
        sure, before = answers.held.mean(axis=0)
        shares = shares + before - sure
        few = _variance(before) / len(answers.held)
    affinity, of_label = _affinity(answers)
    most = float(shares.mean().clip(0, 1))  # should the place show only some of the labels
    scale = affinity**rule.dispersion
    value = chance + max(most - chance, 0.0) * scale
    if rule.dispersion:
        shares = chance + (shares - chance) * scale * of_label[answers.answer] / affinity
    shift = rule.shift * (before - value) if before is not None else 0.0
    few += _variance(value) / answers.count
    half = _NORMAL * float(np.sqrt(rule.deviation**2 + shift**2 + few))
    low, high = max(0.0, value - half), min(1.0, max(most, value + half))
    return Figures(value, low, high, shares.clip(0, 1), affinity)


def _variance(share: float) -> float:
    """Variance of one answer; 0.05 where all are right, which few answers do not prove."""
    return max(0.05, share * (1 - share))


def _affinity(answers: Answers) -> tuple[float, Float64]:
    """Affinity (Bhattacharyya) of the shares of the labels with those of the examples.

    Returns:
        0 to 1, over what as many answers reach by chance; and (C,) the part of an answer in it.
    """
    shape, expected = len(answers.labels), answers.expected
    shares = np.bincount(answers.answer, minlength=shape) / len(answers.answer)
    draws = np.random.default_rng(0).multinomial(answers.count, expected, _DRAWS) / answers.count
    usual = float(np.sqrt(draws * expected).sum(axis=1).mean())
    of_label = np.sqrt(expected / np.maximum(shares, _LEAST)) / usual
    return min(1.0, float((shares * of_label).sum())), of_label


def _estimate(
    answers: Answers,
    differs: list[str],
    order: Sequence[Path],
    n: int,
    notes: list[str],
    failed: Sequence[Failure],
) -> Estimate:
    found = figures_of(answers)
    if answers.rule == "examples" and found.affinity < _FEW_LABELS:
        notes.append(_FALLS)
    labels: dict[str, float] = {}
    for column, label in enumerate(answers.labels):
        own = found.shares[answers.answer == column]
        share = (own.sum() + _DRAWN * found.estimate) / (len(own) + _DRAWN)
        labels[label] = round(float(share), _DIGITS)
    middle, low, high = (round(v, _DIGITS) for v in (found.estimate, found.low, found.high))
    paths = [str(path) for path in order]
    return Estimate(middle, low, high, labels, differs, paths, n, notes, tuple(failed))


def differences(facts: Mapping[str, float], taught: Mapping[str, float]) -> list[str]:
    """Facts of a place that lie outside of where a model learned, or of what is usual.

    Args:
        facts: Medians of ``clip_facts`` of the place.
        taught: Those of the recordings that taught the model; empty where none are stated.
    """
    sentences: list[str] = []
    for name, value in facts.items():
        low, high = _USUAL[name]
        if name in taught:
            low, high = taught[name] / _MOST[name], taught[name] * _MOST[name]
        if not low <= value <= high:
            usual = (
                f"it learned at {taught[name]:.3g}"
                if name in taught
                else f"usual are {low:.3g} to {high:.3g}"
            )
            sentences.append(f"{_NAMES[name]}: {value:.3g}; {usual}")
    return sentences
