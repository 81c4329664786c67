"""Figures of the segments that a model finds in whole recordings, against annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.behaviour.annotated.head import NAME, best_path, timeline_of
from vlar.behaviour.annotated.recordings import answers_of, bouts
from vlar.behaviour.annotated.report import FIGURES
from vlar.behaviour.annotated.truth import truth_of
from vlar.behaviour.measures.segmentation import bouts_of, segment_metrics
from vlar.errors import DecodeError, SupportError, UsageError
from vlar.formatting import counted
from vlar.heads.support import recordings_named
from vlar.language.labels import Labels, LabelSet
from vlar.media.lookup import find
from vlar.model.model import Model, load
from vlar.model.requests import ClassifyRequest
from vlar.segments import Segment, read
from vlar.types import Classification, Failure, Float64, JsonDict, Prediction, ProgressCallback

_TOUCH_S = 1e-3
_ON = 0.5  # probability of a label that is on, where several may be


@dataclass(frozen=True)
class SegmentEvaluation:
    """Segments of a model in annotated recordings.

    Attributes:
        model: Name of the model.
        recordings: Those that were read and count.
        answers: Segments of the model.
        truth: Segments of the annotation.
        failed: Recordings that cannot be read; they do not count.
        figures: Figures of ``vlar.behaviour.measures.segmentation.segment_metrics``, shares of 1.
        control: The same with the answers moved by half of their recording: no skill has them.
    """

    model: str
    recordings: tuple[Path, ...]
    answers: tuple[Segment, ...]
    truth: tuple[Segment, ...]
    failed: tuple[Failure, ...]
    figures: dict[str, float]
    control: dict[str, float]

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {
            "model": self.model,
            "n": len(self.recordings),
            "answers": len(self.answers),
            "truth": len(self.truth),
            "segments": self.figures,
            "control": self.control,
            "failed": [row.to_dict() for row in self.failed],
        }

    def summary(self) -> list[str]:
        """A few lines for a person."""
        head = (
            f"{counted(len(self.recordings), 'recordings')}, {counted(len(self.truth), 'segments')}"
        )
        rows = (("", self.figures), ("answers moved by half a recording: ", self.control))
        texts = (
            name + ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            for name, figures in rows
        )
        return [f"{head}, {len(self.answers)} answers", *texts]


def evaluate(
    recordings: str | Path | Sequence[str | Path] | None = None,
    *,
    truth: str | Path | Sequence[Segment],
    model: str | Path | Model = "lite",
    labels: Labels | None = None,
    mode: str = "one",
    every_s: float = 1.0,
    unknown: bool = True,
    fps: float | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> SegmentEvaluation:
    """Compare the segments that a model finds in whole recordings with annotations.

    A model of annotated recordings (``learn``) answers by its bouts. Another one answers about
    each step of ``every_s``; steps of one answer are a segment.

    Args:
        recordings: A path, or several; folders are searched. None: those that ``truth`` names.
        truth: A file of annotations of any format, a folder of them, or segments.
        model: The model, or its name.
        labels: As ``Model.classify``; None for an adapted model's own, else those of ``truth``.
        mode: ``multi`` where labels may be on at the same time, else ``one``.
        every_s: Seconds of a step.
        unknown: Whether ``unknown`` gives no segment; False where labels cover all of the time.
        fps: Frames a second, for annotations that count frames.
        force: Whether recordings with less than half of the points of the model are answered.
        progress: Called with the total, then as recordings are read.

    Raises:
        UsageError: the annotations cannot be read, or none belongs to a recording that can be.
    """
    judge = model if isinstance(model, Model) else load(model)
    paths = _paths(recordings, truth, judge.modality, fps)
    spans = truth_of(paths, truth, fps=fps)
    true = [
        replace(row, recording=str(path))
        for path, rows in zip(paths, spans, strict=True)
        for row in bouts_of(rows)
    ]
    names = labels
    if names is None and judge.labels is None:
        names = sorted({row.label for row in true})
    request = ClassifyRequest(
        LabelSet.read(names, "multi" if mode == "multi" else "one"), top=10_000, every_s=every_s
    )
    answers: list[Segment] = []
    failed: list[Failure] = []
    good: list[Path] = []
    for number, path in enumerate(paths):
        if progress is not None:
            progress(int(number > 0), total=len(paths))
        try:
            answers += _bouts(judge, path, request, unknown, fps=fps, force=force)
            good.append(path)
        except DecodeError as error:
            failed.append(Failure(path, error.kind, error.message))
    counted = [row for row in true if Path(row.recording) in good]
    if not counted:
        raise SupportError(
            f"no annotated recording can be read: {failed[0].message if failed else 'none'}"
        )
    return SegmentEvaluation(
        judge.name,
        tuple(good),
        tuple(answers),
        tuple(counted),
        tuple(failed),
        segment_metrics(answers, counted),
        segment_metrics(list(_moved(answers, counted)), counted),
    )


@dataclass
class StepAnswers:
    """Answers about the steps of a recording, of all tracks of labels one after the other.

    Attributes:
        labels: Labels of all tracks.
        answer: (S,) their columns.
        confidence: (S,) probability of the answers, 0 to 1.
        held: Mean confidence and share of right answers of steps held out.
        missing: Points of the model that the recording lacks.
        facts: Samples a second of the recording.
        taught: Those of the recordings that taught the model.
    """

    labels: tuple[str, ...]
    answer: npt.NDArray[np.int64]
    confidence: Float64
    held: Sequence[Sequence[float]]
    missing: Sequence[str]
    facts: Mapping[str, float]
    taught: Mapping[str, float]


def steps_of(model: Model, path: Path, fps: float | None = None) -> StepAnswers:
    """Answers about the steps of a recording, also of one that lacks most points.

    Raises:
        DecodeError: it cannot be read.
    """
    head = timeline_of(model)
    recording, tracks, match = answers_of(head, path, encoder=model.encoder, fps=fps, force=True)
    labels: list[str] = []
    steps: list[npt.NDArray[np.int64]] = []
    sure: list[Float64] = []
    for track, probability in tracks:
        chance, share = 1 / len(track.labels), 1.0 if match is None else match.share
        steps.append(len(labels) + best_path(probability, track.least, track.switch))
        sure.append(chance + (probability.max(axis=1).astype(np.float64) - chance) * share)
        labels += [label or "background" for label in track.labels]
    held = [row for facts in head.source.get(FIGURES, ("", ()))[1] for row in facts.get("held", ())]
    rate = getattr(recording, "rate_hz", None)
    return StepAnswers(
        tuple(labels), np.concatenate(steps), np.concatenate(sure), held,
        () if match is None else match.missing, {"rate": rate} if rate else {},
        head.source.get("facts", {}),
    )  # fmt: skip


def _paths(
    recordings: str | Path | Sequence[str | Path] | None,
    truth: str | Path | Sequence[Segment],
    modality: str,
    fps: float | None,
) -> list[Path]:
    if recordings is not None:
        given = [recordings] if isinstance(recordings, str | Path) else recordings
        if not (paths := find(given, modality)):
            raise UsageError(f"{', '.join(map(str, given))[:200]}: no recording in it")
        return paths
    if not isinstance(truth, str | Path) or Path(truth).is_dir():
        raise UsageError("the recordings are missing; give them next to the annotations")
    names = [row.recording for row in read(truth, fps=fps)]
    return list(dict.fromkeys(recordings_named(Path(truth), names, modality).values()))


def _bouts(
    model: Model, path: Path, request: ClassifyRequest, unknown: bool, **choices: Any
) -> list[Segment]:
    """Segments of a recording."""
    if NAME in model.heads:
        return [replace(row, recording=str(path)) for row in bouts(model, path, **choices)]
    steps = list(model.recogniser.classify_each([path], request))
    rows = [row for row in steps if isinstance(row, Classification)]
    if (failed := [row for row in steps if isinstance(row, Failure)]) and not rows:
        raise DecodeError(failed[0].message)
    if request.label_set.mode == "multi":
        steps = [[p for p in row.predictions if p.probability >= _ON] for row in rows]
    else:
        steps = [row.predictions[: int(row.label is not None or not unknown)] for row in rows]
    return list(_joined(str(path), zip(rows, steps, strict=True)))


def _joined(
    path: str, steps: Iterable[tuple[Classification, Sequence[Prediction]]]
) -> Iterator[Segment]:
    """Steps that follow each other with one answer, as segments."""
    open_spans: dict[str, Segment] = {}
    for row, on in steps:
        spans: dict[str, Segment] = {}
        for answer in on:
            share = answer.probability
            last = open_spans.pop(answer.label, None)
            if last is not None and row.start_s <= last.end_s + _TOUCH_S:
                share = max(share, last.probability or 0.0)
                spans[answer.label] = replace(last, end_s=row.end_s, probability=share)
                continue
            if last is not None:
                yield last
            spans[answer.label] = Segment(
                path, row.start_s, row.end_s, answer.label, probability=share
            )
        yield from open_spans.values()
        open_spans = spans
    yield from open_spans.values()


def _moved(answers: Iterable[Segment], truth: Sequence[Segment]) -> Iterator[Segment]:
    """Answers, moved around by half of the length of their recording."""
    ends: dict[str, float] = {}
    for row in (*answers, *truth):
        ends[row.recording] = max(ends.get(row.recording, 0.0), row.end_s)
    for row in answers:
        length_s = ends[row.recording]
        start_s = (row.start_s + length_s / 2) % length_s
        yield replace(row, start_s=start_s, end_s=min(start_s + row.duration_s, length_s))
