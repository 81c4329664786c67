"""Head of an annotated timeline: probabilities of labels at every step, and the best path of bouts.

Labels that exclude each other are one ``LabelTrack``; several may go on at once. A track has a
forest on windowed features, and a second one on what the first answers around a step (auto-context;
Tu, "Auto-context and its application to high-level vision tasks", 2008). The path is that of a
semi-Markov model whose labels last a least time (Rabiner, 1989, section IV.D).

Letters: S steps of time, F features, K labels of a track.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vlar.behaviour.annotated.forest import Bins, Bytes, Forest, Growth, grow
from vlar.errors import ModelError, UsageError
from vlar.heads.base import ModelHead
from vlar.registry import register
from vlar.segments.spans import runs
from vlar.types import Float32, Float64, JsonDict

Arrays = dict[str, npt.NDArray[Any]]
_FLOOR = 0.01  # least probability of a label at a step
_CONTEXT_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_MEANS_S = (1.0, 3.0, 10.0, 30.0)
_CONTEXT_SHARE = 0.25
DOUBTFUL = 0.6
"""Mean probability below which a bout is doubtful."""


@dataclass(frozen=True)
class Bout:
    """A run of steps with one label.

    Attributes:
        label: The label.
        first: First step.
        last: Step after the last one.
        probability: Mean of the label's probabilities, 0 to 1.
        track: Number of its track.
    """

    label: str
    first: int
    last: int
    probability: float
    track: int = 0


@dataclass(frozen=True)
class LabelTrack:
    """Labels of which one holds at a time.

    Attributes:
        labels: K labels; the empty text is the background, which gives no bout.
        tier: Tier of its segments.
        subject: Subject of its segments.
        points: Labels that are point events.
        least: (K,) least steps of a bout.
        switch: Cost of a change of label.
        forest: On windowed features.
        plain: On the first features, which name no point, for recordings that lack points.
        context: On the answers of ``forest`` around a step; None for none.
        constant: Number of the label that is answered everywhere, where held-out recordings showed
            nothing of what was learned; None else.
    """

    labels: tuple[str, ...]
    tier: str
    subject: str
    points: tuple[str, ...]
    least: tuple[int, ...]
    switch: float
    forest: Forest
    plain: Forest
    context: tuple[Bins, Forest] | None = None
    constant: int | None = None

    def probabilities(self, binned: Bytes, step_s: float) -> Float32:
        """(S, K) probabilities of the labels at every step.

        Args:
            binned: (S, F) bins of the features, or of those alone that name no point.
            step_s: Seconds of a step.
        """
        if self.constant is not None:
            return np.eye(len(self.labels), dtype=np.float32)[np.full(len(binned), self.constant)]
        whole = binned.shape[1] > int(self.forest.feature.max())
        first = (self.forest if whole else self.plain).predict(binned)
        if self.context is None:
            return first
        bins, forest = self.context
        second = forest.predict(bins.apply(context_rows(first, step_s)))
        return with_context(first, second)

    def bouts(self, probability: Float32, number: int = 0) -> Iterator[Bout]:
        """Bouts of the best path through probabilities (S, K), without the background."""
        path = best_path(probability, self.least, self.switch)
        for first, last, column in runs(path):
            label = self.labels[column]
            if label:
                mean = float(probability[first:last, column].mean())
                yield Bout(label, first, last, min(mean, 1.0), number)


NAME = "timeline"


@register("head", "timeline")
@dataclass(frozen=True)
class TimelineHead(ModelHead):
    """Everything that answers annotated recordings of a kind.

    Attributes:
        step_s: Length of a step in seconds.
        bins: Edges of the features.
        tracks: The tracks of labels.
        source: Facts from which the features of a recording are made.
    """

    step_s: float
    bins: Bins
    tracks: tuple[LabelTrack, ...]
    source: JsonDict

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, without the background, each once."""
        return tuple(dict.fromkeys(name for track in self.tracks for name in track.labels if name))

    @property
    def fingerprint(self) -> str:
        """Hash of its arrays, in twelve letters."""
        digest = hashlib.sha256()
        for name, array in sorted(self.state().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:12]

    def state(self) -> Arrays:
        """Arrays to save."""
        arrays: Arrays = {"bins": self.bins.edges}
        for number, track in enumerate(self.tracks):
            arrays |= {f"{number}.forest.{k}": v for k, v in track.forest.state().items()}
            arrays |= {f"{number}.plain.{k}": v for k, v in track.plain.state().items()}
            if track.context is not None:
                bins, forest = track.context
                arrays[f"{number}.context.bins"] = bins.edges
                arrays |= {f"{number}.context.{k}": v for k, v in forest.state().items()}
        return arrays

    def config(self) -> JsonDict:
        """Everything else, as JSON."""
        rows = [
            {
                "labels": list(track.labels),
                "tier": track.tier,
                "subject": track.subject,
                "points": list(track.points),
                "least": list(track.least),
                "switch": track.switch,
                "context": track.context is not None,
                "constant": track.constant,
            }
            for track in self.tracks
        ]
        return {"step_s": self.step_s, "source": self.source, "tracks": rows}

    @classmethod
    def example(cls) -> TimelineHead:
        """A head of one forest on two features."""
        rows = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        targets = np.eye(2, dtype=np.float32)[(rows[:, 0] > 0).astype(int)]
        bins = Bins.of(rows)
        growth = Growth(trees=2, columns=2, least=4.0)
        forest = grow(bins.apply(rows), targets, np.ones(len(rows)), growth)
        track = LabelTrack(("run", ""), "", "", (), (2, 1), 1.0, forest, forest)
        return cls(0.1, bins, (track,), {})

    @classmethod
    def restore(
        cls, config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> TimelineHead:
        """The head of a saved model.

        Raises:
            ModelError: it is malformed.
        """
        try:
            bins = _bins(arrays["bins"])
            tracks = [
                _track(row, number, arrays, len(bins.edges))
                for number, row in enumerate(config["tracks"])
            ]
            step_s = float(config["step_s"])
            if not tracks or not 0.01 <= step_s <= 60:
                raise ValueError("it has no labels, or its step is out of range")  # noqa: TRY301
            return cls(step_s, bins, tuple(tracks), dict(config["source"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError(
                f"the timeline of the model is malformed ({error!r}); adapt again"
            ) from error


class HasHeads(Protocol):
    """A model, or what a model folder holds."""

    @property
    def heads(self) -> Mapping[str, ModelHead]:
        """Further heads by name."""
        ...


def timeline_of(model: HasHeads) -> TimelineHead:
    """The head of a model that learned from annotated recordings.

    Raises:
        UsageError: it did not.
    """
    head = model.heads.get(NAME)
    if not isinstance(head, TimelineHead):
        raise UsageError(
            "the model did not learn from annotated recordings; make one with 'vlar adapt "
            "RECORDINGS --truth FILE'"
        )
    return head


def _bins(edges: npt.NDArray[Any]) -> Bins:
    if edges.ndim != 2 or not edges.size or edges.shape[1] > 250:
        raise ValueError("the edges of its features do not fit")
    return Bins(edges.astype(np.float32))


def _track(
    row: Mapping[str, Any], number: int, arrays: Mapping[str, npt.NDArray[Any]], features: int
) -> LabelTrack:
    labels = tuple(str(name) for name in row["labels"])
    least = tuple(int(steps) for steps in row["least"])
    forest = _forest(arrays, f"{number}.forest.", features, len(labels))
    plain = _forest(arrays, f"{number}.plain.", features, len(labels))
    context = None
    if row["context"]:
        bins = _bins(arrays[f"{number}.context.bins"])
        context = bins, _forest(arrays, f"{number}.context.", len(bins.edges), len(labels))
    switch = float(row["switch"])
    constant = None if row.get("constant") is None else range(len(labels))[int(row["constant"])]
    if len(least) != len(labels) or min(least) < 1 or max(least) > 1e6 or not 0 <= switch < 1e6:
        raise ValueError("its least durations or its cost of a change do not fit")
    points = tuple(str(name) for name in row["points"])
    tier, subject = str(row["tier"]), str(row["subject"])
    return LabelTrack(
        labels, tier, subject, points, least, switch, forest, plain, context, constant
    )


def _forest(
    arrays: Mapping[str, npt.NDArray[Any]], prefix: str, features: int, outputs: int
) -> Forest:
    inner = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    forest = Forest.restore(inner)
    if int(forest.feature.max()) >= features or forest.value.shape[1] != outputs:
        raise ValueError("its forest is of other features or labels")
    return forest


def with_context(first: Float32, second: Float32) -> Float32:
    """Answers (S, K) of the steps themselves with those of what lies around them.

    The share of the second is small: it makes short bouts part of those around them.
    """
    return np.asarray((1 - _CONTEXT_SHARE) * first + _CONTEXT_SHARE * second, np.float32)


def context_rows(probability: Float32, step_s: float) -> Float32:
    """Answers of a track around each step: (S, K) to (S, C)."""
    values = probability.astype(np.float64)
    count = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    steps = np.arange(count)
    parts: list[Float64] = []
    for shift_s in _CONTEXT_S:
        shift = round(shift_s / step_s)
        parts.append(values[(steps - shift).clip(0, count - 1)])
        if shift:
            parts.append(values[(steps + shift).clip(0, count - 1)])
    for width_s in _MEANS_S:
        half = max(1, round(width_s / step_s / 2))
        for low, high in ((-half, half), (-2 * half, 0), (0, 2 * half)):
            begin = (steps + low).clip(0, count - 1)
            end = np.maximum((steps + high + 1).clip(1, count), begin + 1)
            parts.append((sums[end] - sums[begin]) / (end - begin)[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32)


def best_path(probability: Float32, least: Sequence[int], switch: float) -> npt.NDArray[np.intp]:
    """Labels (S,) of the best path whose bouts last at least ``least`` steps.

    The first and the last bout may be shorter: the recording cuts them.

    Args:
        probability: (S, K).
        least: K least steps.
        switch: Cost of a change of label.
    """
    scores = np.log(np.maximum(probability.astype(np.float64), _FLOOR))
    count, labels = scores.shape
    if labels == 1 or count == 0:
        return np.zeros(count, np.intp)
    longest = max(least)
    scores = np.concatenate([scores, np.zeros((longest, labels))])  # the last bout is cut
    sums = np.concatenate([np.zeros((1, labels)), np.cumsum(scores, axis=0)])
    stays = [min(steps, count) for steps in least]
    total = len(scores)
    value = np.full((total + 1, labels), -np.inf)
    source = np.full((total + 1, labels), -1, np.int32)
    best = np.full((total + 1, 2), -np.inf)  # of a bout that ends here: the best two
    best_label = np.zeros((total + 1, 2), np.int32)
    names = range(labels)
    for step in range(1, total + 1):
        row = value[step]
        before = value[step - 1]
        for k in names:
            score = before[k] + scores[step - 1, k]
            first = sums[step, k]  # one bout from the beginning
            origin = -1
            if first >= score:
                score, origin = first, -2
            start = step - stays[k]
            if start >= 1:
                other = 1 if best_label[start, 0] == k else 0
                change = best[start, other] - switch + sums[step, k] - sums[start, k]
                if change > score:
                    score, origin = change, int(best_label[start, other])
            row[k], source[step, k] = score, origin
        order = np.argsort(row)
        best[step] = row[order[-1]], row[order[-2]]
        best_label[step] = order[-1], order[-2]
    path = np.zeros(total, np.intp)
    step, label = total, int(value[total].argmax())
    while step > 0:
        origin = int(source[step, label])
        if origin == -1:
            path[step - 1] = label
            step -= 1
        elif origin == -2:
            path[:step] = label
            step = 0
        else:
            start = step - stays[label]
            path[start:step] = label
            step, label = start, origin
    return path[:count]
