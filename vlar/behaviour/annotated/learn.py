"""Learning from annotated recordings: whole recordings with spans in, bouts of others out.

What is held out is always a recording, never a window of one. Where there is a single recording,
its four quarters stand in for recordings, and the report states so.

Letters: S steps of time, n rows, F features, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar import notebook
from vlar.behaviour.annotated.bundles import BundleRecording
from vlar.behaviour.annotated.forest import Bins, Bytes, Forest, Growth, grow
from vlar.behaviour.annotated.head import (
    NAME,
    LabelTrack,
    TimelineHead,
    best_path,
    context_rows,
    runs,
    timeline_of,
    with_context,
)
from vlar.behaviour.annotated.recordings import AnyRecording, Plan, plan_of, recording_of
from vlar.behaviour.annotated.report import FIGURES, AnnotatedReport
from vlar.behaviour.annotated.request import AnnotatedRequest
from vlar.behaviour.annotated.support import (
    SUPPORT,
    Taught,
    asked_of,
    covered,
    support_of,
    together,
)
from vlar.behaviour.annotated.truth import (
    NOT_ANNOTATED,
    TruthTrack,
    durations_of,
    fitting,
    labelled_minutes,
    tracks_of,
    truth_of,
)
from vlar.behaviour.tracks.features import STEP_S
from vlar.behaviour.tracks.recording import TrackRecording
from vlar.behaviour.tracks.windows import steps_of
from vlar.errors import DecodeError, UsageError
from vlar.media.lookup import reader
from vlar.model.folder import read_model
from vlar.model.model import Model, load
from vlar.segments import Segment
from vlar.types import Failure, Float32, Float64, JsonDict, ProgressCallback

Steps = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_AROUND_S = 15.0  # of a recording around what is annotated, for the context
_MOST_ROWS = 4000  # that a forest learns from
_BALANCE = 0.3  # power of the weights of rare labels
_FOLDS = 4
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
_RECORDING = 10  # steps of the progress that reading a recording counts as
_ROUND = 3  # digits of a figure


@dataclass
class _Learned:
    """Recordings that are read: features of their steps, and labels."""

    plan: Plan
    recordings: list[AnyRecording]
    masks: list[Mask]
    tracks: list[TruthTrack]
    pieces: list[tuple[int, slice, Float32]] = field(default_factory=list[Any])


def learn(
    recordings: str | Path | Sequence[str | Path],
    truth: str | Path | Sequence[Segment],
    *,
    model: str | Path | Model = "tracks",
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Model:
    """A model of bouts from whole recordings with annotations, as ``vlar adapt --truth`` makes it.

    Args:
        recordings: A path, or several; folders are searched.
        truth: A file of annotations of any format, a folder of them, or segments.
        model: The model whose encoder reads the recordings, or its name.
        progress: Called with the total, then with the work done since.
        options: ``minutes``, ``ignore``, ``tier``, ``background``, ``within``, ``fps``, ``layout``,
            ``px_per_cm``, ``seed`` and ``add`` of ``AnnotatedRequest``.

    Returns:
        A model for ``vlar.behaviour.bouts`` of recordings of this kind.

    Raises:
        UsageError: the annotations or the recordings cannot be used.
        TypeError: an option does not exist.
    """
    base = model if isinstance(model, Model) else load(model)
    progress = progress or notebook.bar("adapting")
    return learn_with_report(base, recordings, truth, progress=progress, **options)[0]


def learn_with_report(
    model: Model, recordings: Any, truth: str | Path | Sequence[Segment], **options: Any
) -> tuple[Model, AnnotatedReport]:
    """The model of ``learn``, and the report of its learning; ``learn`` describes the arguments."""
    encoder = model.encoder
    paths = [recordings] if isinstance(recordings, str | Path) else list(recordings or ())
    files = reader(encoder.modality).find(paths)
    if not files:
        raise UsageError(
            f"no recording of {encoder.modality} is given; name files or folders of them"
        )
    add = options.pop("add", None)
    if add is not None:
        base = timeline_of(read_model(add) if isinstance(add, str | Path) else add)
        options |= asked_of(base, options) | {"support": support_of(base)}
    request = AnnotatedRequest(files, truth, encoder=encoder, **options)
    head, report = learn_request(request)
    heads = {NAME: head}
    return Model(encoder, templates=model.words.template_set, heads=heads), report


def learn_request(request: AnnotatedRequest) -> tuple[TimelineHead, AnnotatedReport]:
    """The head of a timeline, and the report of its learning."""
    if request.minutes is not None and not request.minutes > 0:
        raise UsageError(f"{request.minutes:g} minutes are none; give a number above 0")
    if request.px_per_cm is not None and not 0 < request.px_per_cm < 1e6:
        raise UsageError(
            f"{request.px_per_cm:g} pixels a centimetre are none; give a number above 0"
        )
    tick = request.progress or _no_progress
    tick(0, 2 * _RECORDING * len(request.recordings))
    recordings, spans, learned, failed, notes = _read(request, tick)
    work = (len(request.recordings) + len(recordings)) * _RECORDING + len(learned.tracks) * (
        _FINAL.trees + _FOLD.trees * (_FOLDS + 1)
    )
    tick(0, work)
    _featurise(learned, tick)
    bins, binned, plain = _binned(learned)
    folds = _folds(learned)
    heads, facts = [], []
    for number, track in enumerate(learned.tracks):
        head, fact = _fit(learned, track, bins, binned, plain, folds, request.seed + number, tick)
        heads.append(head)
        facts.append(fact)
    taught = [
        Taught.of(row.path, part, mask, STEP_S).to_dict()
        for row, part, mask in zip(recordings, spans, learned.masks, strict=True)
    ]
    choices = {
        "background": request.background,
        "ignore": list(request.ignore),
        "tier": request.tier,
        "px_per_cm": request.px_per_cm,
    }
    one = len({number for number, _, _ in learned.pieces}) < 2
    by = "quarter" if one else "recording"
    source = {**learned.plan.to_dict(), "plain": plain, SUPPORT: taught, "asked": choices}
    source[FIGURES] = [by, facts]
    head = TimelineHead(STEP_S, bins, tuple(heads), source)
    notes += [
        f"{', '.join(filter(None, track.labels))[:120]}: recordings held out show nothing of what "
        f"was learned; {track.labels[track.constant] or 'background'} is answered everywhere. "
        "Annotate more, or check the annotation"
        for track in heads
        if track.constant is not None
    ]
    minutes = sum(int(mask.sum()) for mask in learned.masks) * STEP_S / 60
    report = AnnotatedReport(
        len(recordings), minutes, by, tuple(facts), tuple(failed), tuple(notes)
    )
    return head, report


def _no_progress(count: int = 0, total: int | None = None) -> None:
    del count, total


def _read(
    request: AnnotatedRequest, tick: Callable[..., None]
) -> tuple[list[AnyRecording], list[list[Segment]], _Learned, list[Failure], list[str]]:
    """The recordings that have spans and can be read, with what is learned from them."""
    files = [path.resolve() for path in request.recordings]
    spans = truth_of(files, request.truth or (), fps=request.fps)
    minutes: Sequence[Sequence[Segment]] = [() for _ in files]
    if request.within is not None:
        minutes = truth_of(files, request.within, fps=request.fps)
    within = dict(zip(files, minutes, strict=True))
    recordings: list[AnyRecording] = []
    rows: list[list[Segment]] = []
    before: list[Taught | None] = []
    open_: list[bool] = []
    failed: list[Failure] = []
    notes: list[str] = []
    for path, part, taught, is_new in zip(*together(request.support, files, spans), strict=True):
        if not part:
            notes.append(f"{path.name}: no annotation belongs to it; it is left out")
            continue
        try:
            recording = recording_of(
                request.encoder,
                path,
                fps=request.fps,
                layout=request.layout,
                px_per_cm=request.px_per_cm,
            )
        except DecodeError as error:
            failed.append(Failure(path, error.kind, error.message))
            continue
        tick(_RECORDING)
        recordings.append(recording)
        rows.append(part)
        before.append(taught)
        open_.append(is_new)
        notes += [f"{path.name}: {text}" for text in _remarks(recording)]
    if not recordings:
        first = failed[0].message if failed else "no annotation belongs to a recording"
        raise UsageError(f"nothing can be learned: {first}")
    times_s = [steps_of(row.duration_s, STEP_S) for row in recordings]
    inside = [
        fitting(part, row.duration_s, row.start_s)
        for row, part in zip(recordings, rows, strict=True)
    ]
    tracks = tracks_of(
        inside, times_s, background=request.background, ignore=request.ignore, tier=request.tier
    )
    always = [
        np.zeros(len(times), np.bool_) if taught is None else taught.mask(times)
        for taught, times in zip(before, times_s, strict=True)
    ]
    allowed = [np.full(len(times), is_new) for is_new, times in zip(open_, times_s, strict=True)]
    for mask, row, times in zip(allowed, recordings, times_s, strict=True):
        if request.within is not None:
            parts = fitting(within.get(row.path, ()), row.duration_s, row.start_s)
            mask &= covered([(s.start_s, s.end_s) for s in parts], times)
    masks = labelled_minutes(tracks, request.minutes, STEP_S, allowed=allowed, always=always)
    plan = plan_of(recordings, request.fps)
    return recordings, rows, _Learned(plan, recordings, masks, tracks), failed, notes


def _remarks(recording: AnyRecording) -> list[str]:
    """Sentences on a recording: facts that were put right or assumed."""
    if isinstance(recording, BundleRecording) and recording.tracks is not None:
        recording = recording.tracks
    if not isinstance(recording, TrackRecording):
        return []
    assumed = recording.tracks.meta.get("assumed")
    remarks = [str(assumed)] if assumed else []
    if recording.repaired:
        remarks.append(
            f"two animals exchanged their names at {recording.repaired} frames; distance put them "
            "right"
        )
    return remarks


def _featurise(learned: _Learned, tick: Callable[..., None]) -> None:
    """Features of what is annotated and of what lies around it, piece by piece."""
    around = round(_AROUND_S / STEP_S)
    for number, (recording, mask) in enumerate(zip(learned.recordings, learned.masks, strict=True)):
        wide = np.convolve(mask, np.ones(2 * around + 1), "same") > 0
        begins = [(first, last) for first, last in runs(wide) if wide[first]]
        if len(learned.recordings) == 1:
            begins = _quarters(begins, len(mask))
        offset = 0
        parts: list[list[Float32]] = [[] for _ in begins]
        for rows in learned.plan.features(recording, STEP_S):
            for index, (first, last) in enumerate(begins):
                low, high = max(first - offset, 0), min(last - offset, len(rows))
                if low < high:
                    parts[index].append(rows[low:high].astype(np.float16).astype(np.float32))
            offset += len(rows)
        for (first, last), part in zip(begins, parts, strict=True):
            learned.pieces.append((number, slice(first, last), np.concatenate(part)))
        tick(_RECORDING)


def _quarters(parts: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Parts (first, last) cut at the quarters of a recording of ``count`` steps."""
    edges = [count * n // _FOLDS for n in range(_FOLDS + 1)]
    return [
        (max(first, low), min(last, high))
        for first, last in parts
        for low, high in pairwise(edges)
        if max(first, low) < min(last, high)
    ]


def _binned(learned: _Learned) -> tuple[Bins, list[Bytes], int]:
    """Edges of the features, the binned pieces, and how many features name no point."""
    rows = np.concatenate([features[::3] for _, _, features in learned.pieces])
    bins = Bins.of(rows[:: max(1, len(rows) // 6000)])
    del rows
    binned: list[Bytes] = []
    for index, (number, part, features) in enumerate(learned.pieces):
        binned.append(bins.apply(features))
        learned.pieces[index] = (number, part, features[:, :0])
    return bins, binned, learned.plan.plain_features(learned.recordings[0])


def _folds(learned: _Learned) -> list[int]:
    """Fold of each piece: whole recordings together; quarters of a single one."""
    numbers = [number for number, _, _ in learned.pieces]
    present = sorted(set(numbers))
    if len(present) > 1:
        return [present.index(number) % min(_FOLDS, len(present)) for number in numbers]
    return [index * _FOLDS // len(numbers) for index in range(len(numbers))]


def _fit(
    learned: _Learned,
    track: TruthTrack,
    bins: Bins,
    binned: list[Bytes],
    plain: int,
    folds: list[int],
    seed: int,
    tick: Callable[..., None],
) -> tuple[LabelTrack, JsonDict]:
    """The forests, the context and the path of one track, with its figures held out."""
    truth = [_truth(learned, track, index) for index in range(len(binned))]
    count = len(track.labels)

    def forest(places: list[int], growth: Growth, columns: int | None = None) -> Forest:
        rows, targets, weights, groups = _examples([truth[p] for p in places], count)
        stacked = np.concatenate([binned[p][:, :columns] for p in places])
        return grow(
            stacked[rows], targets, weights, growth, seed=seed, groups=groups, progress=tick
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
    return head, _facts(track, truth, head, kappa, f1)


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
            sums += [float(gain[first:last].sum()) for first, last in runs(labels)]
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


def _truth(learned: _Learned, track: TruthTrack, place: int) -> Steps:
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


def _least(learned: _Learned, track: TruthTrack, count: int) -> tuple[int, ...]:
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
    matched, total = np.zeros(count), np.zeros(count)
    for labels, path in zip(truth, paths, strict=True):
        inside = labels != NOT_ANNOTATED
        np.add.at(table, (labels[inside], path[inside]), 1)
        answered = np.where(inside, path, NOT_ANNOTATED)
        a = [(int(labels[f]), f, e) for f, e in runs(labels) if labels[f] != NOT_ANNOTATED]
        b = [(int(answered[f]), f, e) for f, e in runs(answered) if answered[f] != NOT_ANNOTATED]
        for label in range(count):
            rows = [bout for bout in a if bout[0] == label]
            bouts = [bout for bout in b if bout[0] == label]
            matched[label] += _matches(rows, bouts)
            total[label] += len(rows) + len(bouts)
    share = table / max(1.0, float(table.sum()))
    chance = float((share.sum(axis=0) * share.sum(axis=1)).sum())
    kappa = 1.0 if chance >= 1 else (float(np.trace(share)) - chance) / (1 - chance)
    return kappa, (2 * matched / np.maximum(total, 1)).tolist()


def _matches(a: list[tuple[int, int, int]], b: list[tuple[int, int, int]]) -> int:
    """Pairs of bouts with IoU of at least .5; such a pair is the only one of either."""
    count = 0
    for _, begin, end in a:
        for _, other_begin, other_end in b:
            common = min(end, other_end) - max(begin, other_begin)
            union = max(end, other_end) - min(begin, other_begin)
            if 2 * common > union or (2 * common == union and common > 0):
                count += 1
                break
    return count


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
