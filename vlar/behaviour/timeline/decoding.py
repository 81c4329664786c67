"""Decoding of scores over time to one label a time step: the best path of labels.

The path is that of a hidden Markov model whose labels last a least number of steps (explicit least
durations by counting states; Rabiner, "A tutorial on hidden Markov models", 1989, section IV.D),
found by the algorithm of Viterbi, 1967. ``Decoder`` finds it as steps come in.

Letters: T steps of time, C labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Classification, Float64, JsonDict

Integers = npt.NDArray[np.int64]
_MOST_STATES = 1 << 20


class Decoder:
    """The best path as steps come in; ``push`` gives the labels that no later step can change.

    Args:
        n_labels: C.
        shortest: Least steps of a stay at a label, for all or for each of the C labels. A
            recording that is shorter than every stay gets one label.
        switch: Cost of a change of label, at least 0.
        delay: Steps after which a label is given in any case; the path stays one of least
            durations, and may no longer be the best. None waits as long as it takes: the labels are
            then those of the best path.

    Raises:
        UsageError: a setting is out of range.
    """

    def __init__(
        self,
        n_labels: int,
        *,
        shortest: int | Sequence[int] = 1,
        switch: float = 0.0,
        delay: int | None = None,
    ) -> None:
        least = np.broadcast_to(np.asarray(shortest, np.int64), (n_labels,))
        fine = n_labels >= 1 and (least >= 1).all() and switch >= 0
        if not fine or (delay is not None and delay < 0):
            raise UsageError(
                f"{n_labels} labels, stays of {least.min(initial=0)} steps, a cost of {switch} and "
                f"a delay of {delay}; give a label, stays from 1, a cost and a delay from 0"
            )
        self._depth = int(least.max())  # D: a label is a row of D counting states, the last stays
        if n_labels * self._depth > _MOST_STATES:
            raise UsageError(
                f"stays of {self._depth} steps for {n_labels} labels are too long to follow; use "
                "longer steps or shorter stays"
            )
        self._entry = self._depth - least  # a shorter stay enters its row later
        self._switch, self._delay = switch, delay
        self._value: Float64 | None = None
        self._stays: list[npt.NDArray[np.bool_]] = []  # steps after the last label that was given
        self._sources: list[Integers] = []

    def push(self, scores: npt.ArrayLike) -> list[int]:
        """Add one step (C,) of scores; the labels that are now sure, oldest first."""
        self.advance(scores)
        return self._decided()

    def advance(self, scores: npt.ArrayLike) -> None:
        """Add one step (C,) of scores without asking what is sure."""
        row = np.asarray(scores, np.float64)
        if row.shape != self._entry.shape or not np.isfinite(row).all():
            raise UsageError(
                f"a step of shape {row.shape} for {len(self._entry)} labels; give finite scores of "
                "every label"
            )
        count, depth = len(row), self._depth
        labels = np.arange(count)
        fresh = np.full((count, depth), -np.inf)
        if self._value is None:
            fresh[labels, self._entry] = 0.0
            stay, source = np.zeros(count, bool), np.full(count, -1)
        else:
            old = self._value
            fresh[:, 1:] = old[:, :-1]
            stay = old[:, -1] >= fresh[:, -1]
            fresh[:, -1] = np.where(stay, old[:, -1], fresh[:, -1])
            change, source = self._changes(old[:, -1])
            entering = fresh[labels, self._entry]
            # A state that is the only one of its row is reached by a stay or a change.
            change_wins = change > entering
            stay &= ~(change_wins & (self._entry == depth - 1))
            fresh[labels, self._entry] = np.where(change_wins, change, entering)
        self._value = fresh + row[:, None]
        self._stays.append(stay)
        self._sources.append(source)

    def finish(self) -> list[int]:
        """The labels of the steps that are left; the decoder can then start again."""
        if self._value is None:
            return []
        ends = np.full(self._value.shape, -np.inf)
        ends[:, -1] = self._value[:, -1]
        if not np.isfinite(ends).any():  # shorter than every stay
            ends = self._value
        last = len(self._stays)
        labels = self._labels_to(int(ends.argmax()), last - 1) if last else []
        self._value, self._stays, self._sources = None, [], []
        return labels

    def _changes(self, ends: Float64) -> tuple[Float64, Integers]:
        """(C,) value and source of the best change to each label from another one."""
        if len(ends) < 2:
            return np.full(1, -np.inf), np.full(1, -1)
        second, first = np.argsort(ends, kind="stable")[-2:]
        source = np.where(np.arange(len(ends)) == first, second, first)
        return ends[source] - self._switch, source

    def _before(self, states: Integers, step: int) -> Integers:
        """The states one step earlier on the best paths to these states of ``step``."""
        labels, position = np.divmod(states, self._depth)
        last = self._depth - 1
        stayed = (position == last) & self._stays[step][labels]
        entered = (position == self._entry[labels]) & ~stayed
        from_change = self._sources[step][labels] * self._depth + last
        return np.where(stayed, states, np.where(entered, from_change, states - 1))

    def _decided(self) -> list[int]:
        """Labels of the steps at which all paths that can still win agree."""
        assert self._value is not None
        alive = np.flatnonzero(np.isfinite(self._value.ravel()))
        states, step = alive, len(self._stays) - 1
        while step > 0 and len(states) > 1:
            states = np.unique(self._before(states, step))
            step -= 1
        if len(states) == 1:
            return self._give(int(states[0]), step)
        if self._delay is not None and len(self._stays) > self._delay:
            return self._force(alive)
        return []

    def _force(self, alive: Integers) -> list[int]:
        """Labels up to ``delay`` steps ago on the best path; paths that differ there end."""
        assert self._value is not None
        assert self._delay is not None
        best = int(np.flatnonzero(alive == int(self._value.argmax()))[0])
        target, states = len(self._stays) - 1 - self._delay, alive
        for step in range(len(self._stays) - 1, target, -1):
            states = self._before(states, step)
        flat = self._value.ravel()
        flat[alive[states != states[best]]] = -np.inf
        self._value = flat.reshape(self._value.shape)
        return self._give(int(states[best]), target)

    def _give(self, state: int, step: int) -> list[int]:
        """The labels up to a step, which are then forgotten."""
        labels = self._labels_to(state, step)
        self._stays, self._sources = self._stays[step + 1 :], self._sources[step + 1 :]
        return labels

    def _labels_to(self, state: int, step: int) -> list[int]:
        """The labels on the best path that ends in a state of a step, oldest first."""
        states = np.array([state])
        path = [state // self._depth]
        for index in range(step, 0, -1):
            states = self._before(states, index)
            path.append(int(states[0]) // self._depth)
        return path[::-1]


UNKNOWN = "unknown"
_TOUCH_S = 1e-3


@dataclass(frozen=True)
class AnswerSegment:
    """Windows of one recording that follow each other with one answer.

    Attributes:
        path: The recording.
        start_s: Seconds.
        end_s: Seconds.
        label: The answer; None is unknown.
        probability: Mean of the answer's probabilities, weighted by time, 0 to 1.
        lost: The greatest share (0 to 1) of samples that are lost in one of the windows.
    """

    path: str
    start_s: float
    end_s: float
    label: str | None
    probability: float
    lost: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        digits = {"start_s": 3, "end_s": 3, "probability": 6, "lost": 4}
        rounded = {name: round(getattr(self, name), to) for name, to in digits.items()}
        return asdict(self) | rounded


def segments(rows: Sequence[Classification]) -> list[AnswerSegment]:
    """Answers in the order of time, those of one label joined.

    Where windows overlap (the last one of a video ends with it), the later one begins where the
    earlier one ends.
    """
    segments: list[AnswerSegment] = []
    for row in sorted(rows, key=lambda r: (str(r.path), r.start_s)):
        label = row.label
        probability = row.unknown_probability if label is None else row.predictions[0].probability
        segments.append(
            AnswerSegment(str(row.path), row.start_s, row.end_s, label, probability, row.lost)
        )
    return joined(segments)


def joined(pieces: Iterable[AnswerSegment]) -> list[AnswerSegment]:
    """Segments in the order of time, those of one label that touch joined."""
    segments: list[AnswerSegment] = []
    for new in pieces:
        last = segments[-1] if segments else None
        if last is None or last.path != new.path or last.end_s < new.start_s - _TOUCH_S:
            segments.append(new)
            continue
        start_s = max(new.start_s, last.end_s)
        if new.end_s <= start_s:
            continue
        if last.label == new.label:
            before_s, after_s = last.end_s - last.start_s, new.end_s - start_s
            total = before_s * last.probability + after_s * new.probability
            mean, lost = total / (before_s + after_s), max(last.lost, new.lost)
            segments[-1] = replace(last, end_s=new.end_s, probability=mean, lost=lost)
        else:
            segments.append(replace(new, start_s=start_s))
    return segments
