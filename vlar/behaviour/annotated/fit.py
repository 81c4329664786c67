"""Fit of one track of labels: forests, context and path, with its figures held out.

What is held out is always a recording, never a window of one, or a quarter of a single recording.

Letters: S steps of time, F features, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.behaviour.annotated.forest import Bins, Bytes, Forest, Growth, grow
from vlar.behaviour.annotated.head import LabelTrack, best_path, context_rows, with_context
from vlar.behaviour.annotated.recordings import AnyRecording, Plan
from vlar.behaviour.annotated.truth import NOT_ANNOTATED, TruthTrack, durations_of
from vlar.behaviour.measures.agreement import bout_f1, kappa_of
from vlar.behaviour.tracks.features import STEP_S
from vlar.segments import Segment
from vlar.segments.spans import runs
from vlar.types import Float32, Float64, JsonDict

Steps = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_MOST_ROWS = 4000  # that a forest learns from
_BALANCE = 0.3  # power of the weights of rare labels
FOLDS = 4
_GROUP_S = 5.0  # rows that a tree takes or leaves together
_FINAL = Growth(trees=120, columns=60, least=3.0, share=0.5)
_FOLD = Growth(trees=60, columns=60, least=3.0, share=0.6)
_CONTEXT = Growth(trees=60, columns=20, least=6.0, depth=8, share=0.5)
_SWITCHES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_USUAL_SWITCH = 2.0
_SHORTEST = 0.1  # quantile of the bouts that is the least duration
_LONGEST_LEAST_S = 5.0
_LEAST_EVIDENCE = 2.0  # deviations that labels must differ by held out, or they are not answered
_FEW = 2.7  # square root of the bouts below which evidence is raised
_ROUND = 3  # digits of a figure
_HELD_PARTS = 20


@dataclass
class Learned:
    """Recordings that are read: features of their steps, also of other rigs, and labels."""

    plan: Plan
    recordings: list[AnyRecording]
    masks: list[Mask]
    tracks: list[TruthTrack]
    pieces: list[tuple[int, slice, Float32]] = field(default_factory=list[Any])
    copies: list[list[Float32]] = field(default_factory=list[Any])


def trees_of_a_track() -> int:
    """Number of trees that a fit grows, for the progress."""
    return _FINAL.trees + _FOLD.trees * (FOLDS + 1)


def fit_track(
    learned: Learned,
    track: TruthTrack,
    bins: Bins,
    versions: list[list[Bytes]],
    plain: int,
    folds: list[int],
    seed: int,
    tick: Callable[..., None],
) -> tuple[LabelTrack, JsonDict]:
    """The forests, the context and the path of one track, with its figures held out."""
    binned = [version[0] for version in versions]
    truth = [_truth(learned, track, index) for index in range(len(binned))]
    count = len(track.labels)

    def forest(places: list[int], growth: Growth, columns: int | None = None) -> Forest:
        rows, targets, weights, groups = _examples([truth[p] for p in places], count)
        parts = zip(*([part[:, :columns] for part in versions[p]] for p in places), strict=True)
        stacked = [np.concatenate(part)[rows] for part in parts]
        n = len(stacked)
        return grow(
            np.concatenate(stacked),
            np.tile(targets, (n, 1)),
            np.tile(weights / n, n),
            growth,
            seed=seed,
            groups=np.tile(groups, n),
            progress=tick,
        )

    everything = list(range(len(binned)))
    held = _held_out(folds, everything, truth, lambda places: forest(places, _FOLD), binned)
    context_of = [context_rows(rows, STEP_S) for rows in held]
    stacked = np.concatenate(context_of)
    edges = Bins.of(stacked[:: max(1, len(stacked) // 6000)])
    around = [edges.apply(rows) for rows in context_of]

    def context(places: list[int]) -> Forest:
        rows, targets, weights, groups = _examples([truth[p] for p in places], count)
        return grow(
            np.concatenate([around[p] for p in places])[rows],
            targets,
            weights,
            _CONTEXT,
            seed=seed,
            groups=groups,
        )

    least = _least(learned, track, count)
    # A forest that never met a label answers wrongly about it, and its answers teach nothing.
    complete = _is_complete(folds, truth, count)
    mixed: list[Float32] = held
    if complete:
        second = _held_out(folds, everything, truth, context, around)
        mixed = [with_context(*pair) for pair in zip(held, second, strict=True)]
    costs = _SWITCHES if complete else (_USUAL_SWITCH,)
    constant = None
    if evidence(mixed, truth, folds) < _LEAST_EVIDENCE:
        labels = np.concatenate(truth)
        constant = int(np.bincount(labels[labels != NOT_ANNOTATED], minlength=count).argmax())
        mixed = [np.eye(count, dtype=np.float32)[np.full(len(rows), constant)] for rows in mixed]
    switch, kappa, f1 = _best_switch(mixed, truth, least, costs)
    head = LabelTrack(
        track.labels, track.tier, track.subject, track.points, least, switch,
        forest(everything, _FINAL), forest(everything, _FOLD, plain),
        (edges, context(everything)) if complete else None, constant,
    )  # fmt: skip
    held = _held_answers(mixed, truth, least, switch)
    return head, {**_facts(track, truth, head, kappa, f1), "held": held}


def _held_answers(
    answers: list[Float32], truth: list[Steps], least: tuple[int, ...], switch: float
) -> list[list[float]]:
    """Mean confidence and share of right steps held out, of parts with about as many steps."""
    labels = np.concatenate(truth)
    right = np.concatenate([best_path(rows, least, switch) for rows in answers]) == labels
    inside = labels != NOT_ANNOTATED
    sure = np.concatenate(answers).max(axis=1)[inside]
    parts = np.array_split(np.argsort(sure, kind="stable"), _HELD_PARTS)
    shares = ((sure[part], right[inside][part]) for part in parts if len(part))
    return [[round(float(pair.mean()), 4) for pair in rows] for rows in shares]


def evidence(answers: Sequence[Float32], truth: Sequence[Steps], folds: Sequence[int]) -> float:
    """Certainty that answers held out go with the labels: deviations of their covariance from 0.

    A bout counts as one observation, whatever its length: its steps repeat each other. Labels that
    were shuffled give 0 +- 1. Of fewer than eight bouts, which reach no large number, it is raised.

    Args:
        answers: (S, K) of each piece, by a forest that did not learn from its fold.
        truth: (S,) labels of each piece.
        folds: Fold of each piece.
    """
    sums: list[float] = []
    for fold in sorted(set(folds)):
        pieces = [piece for piece, number in enumerate(folds) if number == fold]
        labels = np.concatenate([truth[piece] for piece in pieces])
        rows = np.concatenate([answers[piece] for piece in pieces]).astype(np.float64)
        inside = np.flatnonzero(labels != NOT_ANNOTATED)
        if len(inside):
            labels, rows = labels[inside], rows[inside]
            gain = (rows - rows.mean(axis=0))[np.arange(len(labels)), labels]
            sums += [float(gain[first:last].sum()) for first, last, _ in runs(labels)]
    deviations = np.sum(sums) / max(np.sqrt(np.square(sums).sum()), 1e-9)
    return float(deviations * max(1.0, _FEW / np.sqrt(max(1, len(sums)))))


def _is_complete(folds: list[int], truth: list[Steps], count: int) -> bool:
    """Return whether every label is annotated outside each fold."""
    for fold in set(folds):
        outside = [
            part for fold_index, part in zip(folds, truth, strict=True) if fold_index != fold
        ]
        present = np.unique(np.concatenate(outside)) if outside else np.zeros(0, np.int64)
        if int((present != NOT_ANNOTATED).sum()) < count:
            return False
    return True


def _truth(learned: Learned, track: TruthTrack, place: int) -> Steps:
    """Labels of the steps of a piece that are learned from; others are not annotated."""
    number, part, _ = learned.pieces[place]
    return np.where(learned.masks[number][part], track.steps[number][part], NOT_ANNOTATED)


def _examples(
    truth: list[Steps], count: int
) -> tuple[npt.NDArray[np.intp], Float32, Float64, Steps]:
    """Rows, one-hot targets, weights and groups of what a forest learns from.

    Frequent labels give evenly spaced rows; all rows of rare ones are taken and weigh more.
    """
    labels = np.concatenate(truth)
    lengths = np.cumsum([0, *(len(part) for part in truth)])
    rows: list[npt.NDArray[np.intp]] = []
    weights: list[Float64] = []
    annotated = int((labels != NOT_ANNOTATED).sum())
    share = min(1.0, _MOST_ROWS / max(1, annotated))
    for label in range(count):
        places = np.flatnonzero(labels == label)
        if not len(places):
            continue
        count_drawn = min(len(places), max(round(len(places) * share), _MOST_ROWS // (4 * count)))
        chosen = places[(np.arange(count_drawn) * len(places) / count_drawn).astype(np.intp)]
        rows.append(chosen)
        balance = (annotated / (count * len(places))) ** _BALANCE
        weights.append(np.full(count_drawn, balance * len(places) / count_drawn))
    if not rows:
        return (
            np.zeros(0, np.intp),
            np.zeros((0, count), np.float32),
            np.zeros(0),
            np.zeros(0, np.int64),
        )
    stacked, weight = np.concatenate(rows), np.concatenate(weights)
    weight = weight / weight.mean()
    piece = np.searchsorted(lengths, stacked, side="right")
    group = piece * 1_000_000 + (stacked - lengths[piece - 1]) // round(_GROUP_S / STEP_S)
    groups = np.unique(group, return_inverse=True)[1].astype(np.int64)
    targets = np.zeros((len(stacked), count), np.float32)
    targets[np.arange(len(stacked)), labels[stacked]] = 1
    return stacked, targets, weight, groups


def _held_out(
    folds: list[int],
    everything: list[int],
    truth: list[Steps],
    fit: Callable[[list[int]], Forest],
    rows: list[Bytes],
) -> list[Float32]:
    """(S, K) answers about each piece by a forest that did not learn from its recording."""
    answers: dict[int, Float32] = {}
    for fold in sorted(set(folds)):
        inside = [index for index in everything if folds[index] != fold]
        if not any((truth[index] != NOT_ANNOTATED).any() for index in inside):
            inside = everything  # nothing else is annotated
        forest = fit(inside)
        for index in everything:
            if folds[index] == fold:
                answers[index] = forest.predict(rows[index])
    return [answers[index] for index in everything]


def _least(learned: Learned, track: TruthTrack, count: int) -> tuple[int, ...]:
    """Least steps of a bout of each label: a low quantile of the complete bouts."""
    parts = {
        number: np.where(mask, steps, NOT_ANNOTATED)
        for number, (mask, steps) in enumerate(zip(learned.masks, track.steps, strict=True))
    }
    least: list[int] = []
    for label in range(count):
        lengths = durations_of(parts, label)
        steps = int(np.quantile(lengths, _SHORTEST)) if lengths else 1
        least.append(max(1, min(steps, round(_LONGEST_LEAST_S / STEP_S))))
    return tuple(least)


def _best_switch(
    answers: list[Float32], truth: list[Steps], least: tuple[int, ...], costs: Sequence[float]
) -> tuple[float, float, list[float]]:
    """The cost of a change whose path fits best held out, with its kappa and bout F1 by label."""
    best = (-np.inf, costs[0], 0.0, [0.0])
    for switch in costs:
        paths = [best_path(rows, least, switch) for rows in answers]
        kappa, f1 = agreement(truth, paths, answers[0].shape[1])
        score = kappa + float(np.mean(f1))
        if score > best[0] + 1e-9:
            best = score, switch, kappa, f1
    return best[1], best[2], best[3]


def agreement(
    truth: Sequence[npt.NDArray[Any]], paths: Sequence[npt.NDArray[Any]], count: int
) -> tuple[float, list[float]]:
    """Cohen's kappa by step, and bout F1 at IoU .5 by label, where a person annotated.

    Args:
        truth: (S,) labels of each piece; ``NOT_ANNOTATED`` steps do not count.
        paths: (S,) answers of each piece.
        count: K labels.
    """
    table = np.zeros((count, count))
    bouts: list[list[Segment]] = [[], []]
    for piece, (labels, path) in enumerate(zip(truth, paths, strict=True)):
        inside = labels != NOT_ANNOTATED
        np.add.at(table, (labels[inside], path[inside]), 1)
        for rows, steps in zip(bouts, (labels, np.where(inside, path, NOT_ANNOTATED)), strict=True):
            rows += [
                Segment(str(piece), first, last, str(label))
                for first, last, label in runs(steps)
                if label != NOT_ANNOTATED
            ]
    f1 = bout_f1(*bouts)
    return kappa_of(table), [f1.get(str(label), 0.0) for label in range(count)]


def _facts(
    track: TruthTrack, truth: list[Steps], head: LabelTrack, kappa: float, f1: list[float]
) -> JsonDict:
    seconds = [sum(int((part == n).sum()) for part in truth) * STEP_S for n in range(len(f1))]
    rows = {
        label or "background": {
            "seconds": round(seconds[n], 1),
            "bout_f1": round(f1[n], _ROUND),
            "least_s": round(head.least[n] * STEP_S, 2),
        }
        for n, label in enumerate(track.labels)
    }
    return {
        "tier": track.tier,
        "subject": track.subject,
        "kappa": round(kappa, _ROUND),
        "switch": head.switch,
        "learned": head.constant is None,
        "labels": rows,
    }
