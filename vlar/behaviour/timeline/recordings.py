"""The segments of recordings and streams, from any model's scores of short windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from vlar.behaviour.timeline.decoding import UNKNOWN, AnswerSegment, Decoder, joined
from vlar.encoders.session import Session
from vlar.errors import UsageError, VlarError
from vlar.language.labels import Labels
from vlar.media.lookup import isolated
from vlar.model.label_heads import LabelClassifier
from vlar.model.model import Model
from vlar.registry import unknown_name
from vlar.types import Classification, Clip, Encoded, Failure, Float64, Window

_FLOOR = 1e-4  # of a probability: one window alone does not forbid a label
_MOST_STEPS = 1_000_000
_BATCH_CLIPS = 8


@dataclass(frozen=True)
class TimelineRules:
    """Rules that turn scores over time into segments.

    Attributes:
        every_s: Seconds of a step; a segment begins and ends at one.
        window_s: Seconds around a step that its answer reads; None for those of the step.
        shortest_s: Least seconds of a segment, or those of some labels by name.
        switch: Cost of a change of label, in nats; the higher, the fewer segments.
        unknown: Whether a moment may show none of the labels. False shares its probability among
            the labels: right for work that never pauses, and where a model finds parts of movements
            unfamiliar because its examples were whole ones.
        delay_s: Seconds after which the label of a step is given in any case, as steps come in;
            None gives it when no later step can change it.
    """

    every_s: float = 0.5
    window_s: float | None = 2.0
    shortest_s: float | Mapping[str, float] = 1.0
    switch: float = 0.3
    unknown: bool = True
    delay_s: float | None = None

    def __post_init__(self) -> None:
        limits = (
            ("every_s", self.every_s, self.every_s > 0),
            ("window_s", self.window_s, self.window_s is None or self.window_s >= self.every_s),
            ("switch", self.switch, self.switch >= 0),
            ("delay_s", self.delay_s, self.delay_s is None or self.delay_s >= 0),
        )
        for name, value, fine in limits:
            if not fine or (value is not None and not np.isfinite(value)):
                raise UsageError(
                    f"{name} of a timeline is {value}; give a finite number, every_s above 0, "
                    "window_s from every_s, the others from 0"
                )
        for value in self._stays().values():
            if not 0 <= value < float("inf"):
                raise UsageError(f"shortest_s of a timeline is {value}; give seconds from 0")

    def steps(self, seconds: float) -> int:
        """Steps that a span takes, at least 1."""
        return max(1, round(seconds / self.every_s))

    def shortest(self, labels: Sequence[str]) -> list[int]:
        """Least steps of each label, and of ``unknown`` last.

        Raises:
            UnknownNameError: a label of ``shortest_s`` is not in the list.
        """
        stays, names = self._stays(), (*labels, UNKNOWN)
        for name in stays:
            if name and name not in names:
                raise unknown_name("label with a least duration", name, names)
        return [self.steps(stays.get(name, stays.get("", 0.0))) for name in names]

    @property
    def weight(self) -> float:
        """Factor on the evidence of a step: windows that overlap repeat it."""
        return 1.0 if self.window_s is None else min(1.0, self.every_s / self.window_s)

    def _stays(self) -> dict[str, float]:
        """Least seconds by label; the empty name is every other label."""
        if isinstance(self.shortest_s, Mapping):
            return dict(self.shortest_s)
        return {"": float(self.shortest_s)}


@dataclass(frozen=True)
class TimeStep:
    """The scores of one step.

    Attributes:
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        probability: (C + 1,) of each label, and that none fits; None where it cannot be read.
        lost: Share (0 to 1) of samples that are lost.
    """

    path: str
    start_s: float
    end_s: float
    probability: Float64 | None
    lost: float = 0.0

    @classmethod
    def of(cls, row: Classification, labels: Sequence[str]) -> TimeStep:
        """The step of an answer that lists all labels."""
        probabilities = {p.label: p.probability for p in row.predictions}
        values = [*(probabilities.get(label, 0.0) for label in labels), row.unknown_probability]
        return cls(str(row.path), row.start_s, row.end_s, np.array(values), row.lost)


@dataclass
class SegmentStream:
    """Segments of one recording as its steps come in.

    Attributes:
        labels: C labels.
        rules: How scores become segments.
    """

    labels: Sequence[str]
    rules: TimelineRules
    _decoder: Decoder = field(init=False)
    _steps: list[TimeStep] = field(default_factory=list, init=False)
    _open: AnswerSegment | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        rules = self.rules
        delay = None if rules.delay_s is None else rules.steps(rules.delay_s)
        self._decoder = Decoder(
            len(self.labels) + 1,
            shortest=rules.shortest(self.labels),
            switch=rules.switch,
            delay=delay,
        )

    def push(self, step: TimeStep) -> list[AnswerSegment]:
        """Add a step; the segments that are now complete, oldest first."""
        return self._closed(self._decoder.push(self._scores(step)))

    def finish(self) -> list[AnswerSegment]:
        """The segments that are left."""
        closed = self._closed(self._decoder.finish())
        last, self._open = self._open, None
        return [*closed, last] if last else closed

    def all_of(self, steps: Iterable[TimeStep]) -> list[AnswerSegment]:
        """The segments of a whole recording, without asking after each step what is sure."""
        for step in steps:
            self._decoder.advance(self._scores(step))
        return self.finish()

    def _scores(self, step: TimeStep) -> Float64:
        """Weighted log probabilities (C + 1,) of a step, which waits for its label."""
        count = len(self.labels) + 1
        probabilities = step.probability
        even = np.full(count, 1.0 / count) if probabilities is None else probabilities
        if not self.rules.unknown:
            shares = even[:-1] / max(float(even[:-1].sum()), _FLOOR)
            even = np.append(shares, 0.0)
        self._steps.append(step)
        return self.rules.weight * np.log(np.maximum(even, _FLOOR))

    def _closed(self, labels: Sequence[int]) -> list[AnswerSegment]:
        """Segments that end where the steps of these labels are added."""
        steps, self._steps = self._steps[: len(labels)], self._steps[len(labels) :]
        labels_and_none = [*self.labels, None]
        pieces = [
            AnswerSegment(
                step.path,
                step.start_s,
                step.end_s,
                labels_and_none[label],
                0.0 if step.probability is None else float(step.probability[label]),
                step.lost,
            )
            for step, label in zip(steps, labels, strict=True)
        ]
        rows = joined([self._open, *pieces] if self._open else pieces)
        self._open = rows[-1] if rows else None
        return rows[:-1]


def find_segments(
    model: Model,
    recordings: str | Path | Iterable[str | Path],
    labels: Labels | None = None,
    rules: TimelineRules | None = None,
    *,
    online: bool = False,
) -> Iterator[AnswerSegment | Failure]:
    """Find the segments of recordings.

    The windows of every recording are scored by the model, and the best path of labels over time,
    each held for a least time, gives the segments. Where no label fits, a segment's label is None.

    Args:
        model: Any model.
        recordings: A path, or several.
        labels: The same as for ``Model.classify``; an adapted model has its own.
        rules: Rules of the segments; None for the defaults.
        online: Give a segment when no later window can change it (or after ``delay_s``), instead
            of all segments at the end of a recording. Without ``delay_s`` they are the same.

    Yields:
        Segments of each recording in order of time; a Failure for a recording that cannot be read.

    Raises:
        LabelError: the label list cannot be used.
    """
    chosen = rules or TimelineRules()
    classifier = model.classifier(labels)
    paths = [recordings] if isinstance(recordings, (str, Path)) else recordings
    chosen.shortest(classifier.labels)  # a wrong name is found before a recording is read
    for path in paths:
        stream = SegmentStream(classifier.labels, chosen)
        yield from _segments_of(model, classifier, Path(path), stream, online)


def _segments_of(
    model: Model, classifier: LabelClassifier, path: Path, stream: SegmentStream, online: bool
) -> Iterator[AnswerSegment | Failure]:
    read, failure = 0, None
    steps: list[TimeStep] = []
    for step in steps_of(model, classifier, path, stream.rules):
        if isinstance(step, Failure):
            failure = step
            break
        read += step.probability is not None
        if online:
            yield from stream.push(step)
        else:
            steps.append(step)
    if failure is not None or not read:
        yield failure or Failure(path, "decode", f"{path}: none of its windows can be read")
        return
    yield from stream.all_of(steps) if steps else stream.finish()


def steps_of(
    model: Model, classifier: LabelClassifier, path: Path, rules: TimelineRules
) -> Iterator[TimeStep | Failure]:
    """The scores of every step of a recording; a Failure where it cannot be read at all."""
    sampler = model.view_sampler.one_view
    try:
        duration_s = sampler.reader.probe(path).duration_s
        places = list(zip(*_windows(duration_s, rules), strict=True))
    except VlarError as error:
        yield Failure(path, error.kind, error.message)
        return
    session = model.encoder.session(features=classifier.head.reads == "features")
    with isolated(sampler.reader, [path], Path) as (source, _):
        clips = source.read_windows(path, [window for _, window in places], sampler.sampling)
        for (step, _), probabilities_read in zip(places, _encoded(clips, session), strict=True):
            if probabilities_read is None:
                yield TimeStep(str(path), step.start_s, step.end_s, None, 1.0)
                continue
            clip, encoded = probabilities_read
            scores = classifier.scores([encoded])
            values = np.concatenate([scores.probability[0], scores.unknown])
            yield TimeStep(str(path), step.start_s, step.end_s, values, clip.lost)


def _encoded(
    clips: Iterable[Clip | Failure], session: Session
) -> Iterator[tuple[Clip, Encoded] | None]:
    """Windows in order, encoded in batches; overlapping ones share work in a session.

    None stands for one that cannot be read.
    """
    waiting: list[Clip | Failure] = []
    size = 0
    for item in chain(clips, [None]):
        if item is not None:
            waiting.append(item)
            size += item.data.nbytes if isinstance(item, Clip) else 0
        if item is None or len(waiting) >= _BATCH_CLIPS or size >= session.batch_bytes:
            rows = iter(session.encode([one for one in waiting if isinstance(one, Clip)]))
            for one in waiting:
                yield (one, next(rows)) if isinstance(one, Clip) else None
            waiting, size = [], 0


def _windows(duration_s: float, rules: TimelineRules) -> tuple[list[Window], list[Window]]:
    """The steps of a recording, and the window that each is judged by, inside the recording."""
    count = max(1, round(duration_s / rules.every_s))
    if count > _MOST_STEPS:
        raise UsageError(
            f"{count:,} steps of {rules.every_s:g} s in {duration_s:g} s; give a longer step"
        )
    edges = np.arange(count + 1) * rules.every_s
    edges[-1] = duration_s
    length = min(rules.window_s or rules.every_s, duration_s)
    steps = [Window(float(a), float(b)) for a, b in pairwise(edges)]
    if rules.window_s is None:
        return steps, steps
    middles = edges[:-1] + rules.every_s / 2  # even, so that windows share samples
    starts = (middles - length / 2).clip(0, max(duration_s - length, 0))
    return steps, [Window(float(start), float(start) + length) for start in starts]
