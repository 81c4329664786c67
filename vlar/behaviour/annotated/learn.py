"""Learning from annotated recordings: whole recordings with spans in, bouts of others out.

What is held out is always a recording, never a window of one. Where there is a single recording,
its four quarters stand in for recordings, and the report states so.

Letters: S steps of time, n rows, F features, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vlar import notebook
from vlar.behaviour.annotated.bundles import BundleRecording
from vlar.behaviour.annotated.fit import FOLDS, Learned, fit_track, trees_of_a_track
from vlar.behaviour.annotated.forest import Bins, Bytes
from vlar.behaviour.annotated.head import NAME, TimelineHead, timeline_of
from vlar.behaviour.annotated.recordings import AnswerReport, AnyRecording, plan_of, recording_of
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
from vlar.behaviour.annotated.truth import fitting, labelled_minutes, tracks_of, truth_of
from vlar.behaviour.tracks.features import STEP_S
from vlar.behaviour.tracks.recording import TrackRecording
from vlar.behaviour.tracks.windows import steps_of
from vlar.errors import DecodeError, UsageError
from vlar.media.lookup import reader
from vlar.model.folder import read_model
from vlar.model.model import Model, load
from vlar.progress import no_progress
from vlar.segments import Segment
from vlar.segments.spans import runs
from vlar.types import Failure, Float32, ProgressCallback

_AROUND_S = 15.0  # of a recording around what is annotated, for the context
_RECORDING = 10  # steps of the progress that reading a recording counts as


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
    tick = request.progress or no_progress
    tick(0, 2 * _RECORDING * len(request.recordings))
    recordings, spans, learned, failed, notes = _read(request, tick)
    work = (len(request.recordings) + len(recordings)) * _RECORDING + len(learned.tracks) * (
        trees_of_a_track()
    )
    tick(0, work)
    _featurise(learned, tick, request.seed)
    bins, binned, plain = _binned(learned)
    folds = _folds(learned)
    heads, facts = [], []
    for number, track in enumerate(learned.tracks):
        head, fact = fit_track(
            learned, track, bins, binned, plain, folds, request.seed + number, tick
        )
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
    rates = [float(row.rate_hz) for row in recordings if isinstance(row, TrackRecording)]
    source["facts"] = {"rate": float(np.median(rates))} if rates else {}
    head = TimelineHead(STEP_S, bins, tuple(heads), source)
    notes += [
        f"{', '.join(filter(None, track.labels))[:120]}: recordings held out show nothing of what "
        f"was learned; {track.labels[track.constant] or 'background'} is answered everywhere. "
        "Annotate more, or check the annotation"
        for track in heads
        if track.constant is not None
    ]
    reports = [AnswerReport(row.path, learned.plan.matching(row)) for row in recordings]
    notes += [text for row in reports if (text := row.summary())]
    minutes = sum(int(mask.sum()) for mask in learned.masks) * STEP_S / 60
    report = AnnotatedReport(
        len(recordings), minutes, by, tuple(facts), tuple(failed), tuple(notes), tuple(reports)
    )
    return head, report


def _read(
    request: AnnotatedRequest, tick: Callable[..., None]
) -> tuple[list[AnyRecording], list[list[Segment]], Learned, list[Failure], list[str]]:
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
            np.logical_and(mask, covered([(s.start_s, s.end_s) for s in parts], times), out=mask)
    masks = labelled_minutes(tracks, request.minutes, STEP_S, allowed=allowed, always=always)
    plan = plan_of(recordings, request.fps)
    return recordings, rows, Learned(plan, recordings, masks, tracks), failed, notes


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


def _featurise(learned: Learned, tick: Callable[..., None], seed: int) -> None:
    """Features of what is annotated and of what lies around it, piece by piece."""
    around = round(_AROUND_S / STEP_S)
    copies = learned.plan.copies and max(1, learned.plan.copies + 1 - len(learned.recordings))
    for number, (recording, mask) in enumerate(zip(learned.recordings, learned.masks, strict=True)):
        wide = np.convolve(mask, np.ones(2 * around + 1), "same") > 0
        begins = [(first, last) for first, last, inside in runs(wide) if inside]
        if len(learned.recordings) == 1:
            begins = _quarters(begins, len(mask))
        random = np.random.default_rng([seed, number])
        versions = [
            _pieces(learned.plan.features(recording, STEP_S, source), begins)
            for source in (None, *[random] * copies)
        ]
        for (first, last), rows, *others in zip(begins, *versions, strict=True):
            learned.pieces.append((number, slice(first, last), rows))
            learned.copies.append(others)
        tick(_RECORDING)


def _pieces(blocks: Iterable[Float32], begins: Sequence[tuple[int, int]]) -> list[Float32]:
    """Features of the parts (first, last) of a recording, of which blocks come one by one."""
    offset = 0
    parts: list[list[Float32]] = [[] for _ in begins]
    for rows in blocks:
        for index, (first, last) in enumerate(begins):
            low, high = max(first - offset, 0), min(last - offset, len(rows))
            if low < high:
                parts[index].append(rows[low:high].astype(np.float16).astype(np.float32))
        offset += len(rows)
    return [np.concatenate(part) for part in parts]


def _quarters(parts: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Parts (first, last) cut at the quarters of a recording of ``count`` steps."""
    edges = [count * n // FOLDS for n in range(FOLDS + 1)]
    return [
        (max(first, low), min(last, high))
        for first, last in parts
        for low, high in pairwise(edges)
        if max(first, low) < min(last, high)
    ]


def _binned(learned: Learned) -> tuple[Bins, list[list[Bytes]], int]:
    """Edges of the features, binned versions of the pieces, and how many features name no point."""
    versions = [
        [rows, *copies] for (_, _, rows), copies in zip(learned.pieces, learned.copies, strict=True)
    ]
    rows = np.concatenate([rows[::3] for part in versions for rows in part])
    bins = Bins.of(rows[:: max(1, len(rows) // 6000)])
    binned = [[bins.apply(rows) for rows in part] for part in versions]
    learned.copies.clear()
    learned.pieces[:] = [(number, part, rows[:, :0]) for number, part, rows in learned.pieces]
    return bins, binned, learned.plan.plain_features(learned.recordings[0])


def _folds(learned: Learned) -> list[int]:
    """Fold of each piece: whole recordings together; quarters of a single one."""
    numbers = [number for number, _, _ in learned.pieces]
    present = sorted(set(numbers))
    if len(present) > 1:
        return [present.index(number) % min(FOLDS, len(present)) for number in numbers]
    return [index * FOLDS // len(numbers) for index in range(len(numbers))]
