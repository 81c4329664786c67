"""Verb and object pairs, some of which training has never shown together.

Source: the protocol of C2C (Li et al., "C2C: component-to-composition learning for zero-shot
compositional action recognition", 2024), as compositional zero-shot learning uses it: a bias is
added to the scores of unseen pairs, and accuracy on seen and unseen pairs is traced over it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import MetricError
from vlar.metrics.checks import Record, finite
from vlar.types import Float64

Pair = tuple[str, str]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_EXCLUDED, _ALL_UNSEEN, _MARGIN, _STEPS = -1e10, 1e3, 1e-4, 20


@dataclass(frozen=True)
class PairScores(Record):
    """Accuracy over pairs, 0..1.

    The first five take the scores as they are. The last four choose a bias with the right answers,
    which no user has: they bound the scores from above, and are never one headline number.

    Attributes:
        verb_accuracy: The verb of the best pair is right.
        object_accuracy: The object of the best pair is right.
        seen: The pair is right, of clips that show seen pairs.
        unseen: The pair is right, of clips that show unseen pairs.
        all: The pair is right, of all clips.
        best_seen: The best ``seen`` over the biases.
        best_unseen: The best ``unseen`` over the biases.
        best_hm: The best harmonic mean of both over the biases.
        auc: Area under ``seen`` over ``unseen``.
    """

    verb_accuracy: float
    object_accuracy: float
    seen: float
    unseen: float
    all: float
    best_seen: float
    best_unseen: float
    best_hm: float
    auc: float


@dataclass(frozen=True)
class PairFaults(Record):
    """Error shares on unseen pairs.

    Attributes:
        seen_instead: Share of wrong unseen clips that are answered with a seen pair.
        frequent_instead: The share answered with a pair that training shows often: its share of
            the training clips exceeds the mean of the seen pairs by a standard deviation.
        gap: Pair accuracy minus the product of verb and object accuracy, of all clips.
    """

    seen_instead: float
    frequent_instead: float
    gap: float


@dataclass(frozen=True)
class _PairProblem:
    """Scores (N, P) over candidate pairs, the right columns (N,), and which pairs are seen."""

    scores: Float64
    truth: Ints
    seen: Bools

    @property
    def seen_clips(self) -> Bools:
        """(N,) clips that show a seen pair."""
        return self.seen[self.truth]

    def answers(self, bias: float = 0.0) -> Ints:
        """(N,) best pair with a bias on the unseen ones."""
        return (self.scores + np.where(self.seen, 0.0, bias)).argmax(axis=1)

    def accuracy(self, bias: float = 0.0) -> tuple[float, float]:
        """Share of seen and of unseen clips whose pair is right."""
        right, of_seen = self.answers(bias) == self.truth, self.seen_clips
        return float(right[of_seen].mean()), float(right[~of_seen].mean())


def evaluate_pairs(
    scores: npt.ArrayLike,
    pairs: Sequence[Pair],
    truth: Sequence[Pair],
    *,
    train_pairs: Collection[Pair],
    target_pairs: Collection[Pair],
) -> PairScores:
    """Seen and unseen accuracy, their best harmonic mean, and the area under their curve.

    Args:
        scores: (N, P) float, higher is better.
        pairs: P pairs ``(verb, object)``.
        truth: N pairs that the clips show.
        train_pairs: The seen pairs. They and the target pairs are the candidates.
        target_pairs: The pairs of the part that is evaluated; all pairs for an open world.

    Raises:
        MetricError: nothing in it, NaN, a pair that is not among the candidates, or clips of only
            one kind.
    """
    problem = _problem(scores, pairs, truth, train_pairs, target_pairs)
    answers, of_seen = problem.answers(), problem.seen_clips
    verb = [pairs[a][0] == t[0] for a, t in zip(answers, truth, strict=True)]
    noun = [pairs[a][1] == t[1] for a, t in zip(answers, truth, strict=True)]
    right = answers == problem.truth
    points = [problem.accuracy(bias) for bias in [*_biases(problem), _ALL_UNSEEN]]
    seen_accuracy, unseen = (np.array(side) for side in zip(*points, strict=True))
    total = seen_accuracy + unseen
    mean = np.divide(2 * seen_accuracy * unseen, total, out=np.zeros_like(total), where=total > 0)
    return PairScores(
        verb_accuracy=float(np.mean(verb)),
        object_accuracy=float(np.mean(noun)),
        seen=float(right[of_seen].mean()),
        unseen=float(right[~of_seen].mean()),
        all=float(right.mean()),
        best_seen=float(seen_accuracy.max()),
        best_unseen=float(unseen.max()),
        best_hm=float(mean.max()),
        auc=float(np.sum(np.diff(unseen) * (seen_accuracy[1:] + seen_accuracy[:-1]) / 2)),
    )


def pair_faults(
    scores: npt.ArrayLike,
    pairs: Sequence[Pair],
    truth: Sequence[Pair],
    *,
    train_counts: Mapping[Pair, int],
    target_pairs: Collection[Pair],
) -> PairFaults:
    """Share of wrong answers on unseen pairs that fall back on seen or frequent ones.

    Args:
        scores: As ``evaluate_pairs``.
        pairs: As ``evaluate_pairs``.
        truth: As ``evaluate_pairs``.
        train_counts: Training clips of each seen pair.
        target_pairs: As ``evaluate_pairs``.

    Returns:
        Shares of the wrong unseen clips; 0 where none is wrong.

    Raises:
        MetricError: see ``evaluate_pairs``.
    """
    problem = _problem(scores, pairs, truth, train_counts, target_pairs)
    answers = problem.answers()
    wrong = answers[~problem.seen_clips & (answers != problem.truth)]
    counts = np.array([train_counts.get(pair, 0) for pair in pairs], np.float64)
    share = counts / counts.sum()
    frequent = share > share[problem.seen].mean() + share[problem.seen].std()
    answered = [pairs[a] for a in answers]
    verb = np.mean([a[0] == t[0] for a, t in zip(answered, truth, strict=True)])
    noun = np.mean([a[1] == t[1] for a, t in zip(answered, truth, strict=True)])
    return PairFaults(
        float(problem.seen[wrong].mean()) if len(wrong) else 0.0,
        float(frequent[wrong].mean()) if len(wrong) else 0.0,
        float((answers == problem.truth).mean() - verb * noun),
    )


def _problem(
    scores: npt.ArrayLike,
    pairs: Sequence[Pair],
    truth: Sequence[Pair],
    train_pairs: Collection[Pair],
    target_pairs: Collection[Pair],
) -> _PairProblem:
    values = finite(scores, "the scores", 2)
    if values.shape != (len(truth), len(pairs)):
        raise MetricError(
            f"the scores have the shape {values.shape}; {len(truth)} clips and {len(pairs)} pairs "
            f"need {(len(truth), len(pairs))}"
        )
    column = {tuple(pair): number for number, pair in enumerate(pairs)}
    if len(column) < len(pairs):
        raise MetricError("a pair is listed twice; list each verb and object once")
    seen_pairs = {tuple(pair) for pair in train_pairs}
    candidates = seen_pairs | {tuple(pair) for pair in target_pairs}
    strange = [pair for pair in truth if tuple(pair) not in candidates & column.keys()]
    if strange:
        raise MetricError(
            f"a clip shows {' '.join(strange[0])!r}, which is not among the train and target pairs"
        )
    is_seen = np.array([pair in seen_pairs for pair in column])
    allowed = np.array([pair in candidates for pair in column])
    right = np.array([column[tuple(pair)] for pair in truth], np.int64)
    of_seen = is_seen[right]
    if of_seen.all() or not of_seen.any():
        side = "unseen" if of_seen.all() else "seen"
        raise MetricError(f"no clip shows {side} pairs; the curve needs clips of both")
    return _PairProblem(np.where(allowed[None], values, _EXCLUDED), right, is_seen)


def _biases(problem: _PairProblem) -> Float64:
    """The biases at which an unseen clip changes to right, thinned out to about twenty."""
    rows = ~problem.seen_clips & (problem.answers(_ALL_UNSEEN) == problem.truth)
    truth_scores = problem.scores[rows, problem.truth[rows]]
    best_seen = problem.scores[rows][:, problem.seen].max(axis=1)
    needed = np.sort(best_seen - truth_scores - _MARGIN)
    return needed[:: max(len(needed) // _STEPS, 1)]
