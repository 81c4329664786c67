"""A logistic gate between labels with examples and labels without, in one list.

Li et al., "SA-DVAE: improving zero-shot skeleton-based action recognition by disentangled
variational autoencoders", ECCV 2024, section on generalised zero-shot recognition. Two classifiers
answer: one of the labels with examples, learned from their clips, and one of the others, by texts.
From the certainty of both the gate decides which of them a clip is for. It is learned from labels
that are held out, as if they had no examples. Letters: n clips, d entries of a clip, S labels with
examples, U without, k scores that the gate reads of each side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import ModelError
from vlar.metrics.classification import harmonic_mean
from vlar.numeric import sigmoid, softmax
from vlar.types import Float32, Float64

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
MOST = 5  # scores of a side that a gate may read
_TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5)
_THRESHOLDS = np.linspace(-2.0, 2.0, 41)  # log odds
_PENALTY = 0.1  # of the classifier of labels with examples, in mean squared lengths of a clip
_RIDGE = 0.01
_ROUNDS = 50


def ridge_map(x: Float64, z: Float64, weights: Float64, penalty: float) -> Float64:
    """(k, d) of the weighted ridge regression, solved in the space of the n clips.

    Args:
        x: (n, d), centred.
        z: (n, k), centred.
        weights: (n,) with sum 1.
        penalty: Above 0, in mean squared lengths of ``x``.
    """
    root = np.sqrt(weights)[:, None]
    a, b = root * x, root * z
    gram = a @ a.T
    amount = penalty * max(float(np.trace(gram)), 1e-12) / len(x)
    return np.linalg.solve(gram + amount * np.eye(len(x)), b).T @ a


def balanced_weights(columns: npt.NDArray[np.int64], n_labels: int) -> Float64:
    """(n,) weights with sum 1, every label weighing the same."""
    counts = np.bincount(columns, minlength=n_labels)
    weights = 1.0 / counts[columns]
    return weights / weights.sum()


@dataclass(frozen=True)
class SeenClassifier:
    """A ridge regression from clips to the labels that they show, every label weighing the same.

    Attributes:
        weights: (S, d).
        bias: (S,).
    """

    weights: Float64
    bias: Float64

    @staticmethod
    def empty(n_labels: int, width: int) -> SeenClassifier:
        """A place for the classifier of S labels and clips of d entries."""
        return SeenClassifier(np.zeros((n_labels, width)), np.zeros(n_labels))

    @staticmethod
    def fit(x: Float64, columns: Integers, n_labels: int) -> SeenClassifier:
        """Fit to clips (n, d) and the columns (n,) of their labels, of which each has a clip."""
        balance = balanced_weights(columns, n_labels)
        target = np.eye(n_labels)[columns]
        clips, shares = balance @ x, balance @ target
        weights = ridge_map(x - clips, target - shares, balance, _PENALTY)
        return SeenClassifier(weights, shares - weights @ clips)

    def scores(self, x: Float64) -> Float64:
        """(n, S): about 1 for the label that a clip (n, d) shows, about 0 for the others."""
        return x @ self.weights.T + self.bias


def seen_scores(x: Float64, columns: Integers, kept: Integers, asked: Integers) -> Float64:
    """(m, S) scores of some clips for the labels of others.

    Args:
        x: (n, d).
        columns: (n,) label of each clip.
        kept: Clips to learn from; their labels in order are the S columns.
        asked: m clips to score.
    """
    names, column_of = np.unique(columns[kept], return_inverse=True)
    return SeenClassifier.fit(x[kept], column_of.astype(np.int64), len(names)).scores(x[asked])


@dataclass(frozen=True)
class Sides:
    """Both classifiers' answers about the clips of one split of the labels.

    Attributes:
        seen: (n, S) scores of the labels with examples.
        unseen: (n, U) cosines with the others.
        of_seen: (n,) whether the right label has examples.
        seen_right: (n,) whether the best of the labels with examples is right.
        unseen_right: (n,) whether the best of the others is right.
    """

    seen: Float64
    unseen: Float64
    of_seen: Bools
    seen_right: Bools
    unseen_right: Bools

    @staticmethod
    def of(seen: Float64, cosines: Float64, truth: Integers, has: Bools) -> Sides:
        """Build from scores (n, S), cosines (n, C), right labels (n,), and a mask (C,) of labels
        with examples.
        """
        with_examples, others = np.flatnonzero(has), np.flatnonzero(~has)
        unseen = cosines[:, others]
        best, other = with_examples[seen.argmax(axis=1)], others[unseen.argmax(axis=1)]
        return Sides(seen, unseen, has[truth], best == truth, other == truth)

    def harmonic(self, is_seen: Bools) -> float:
        """The harmonic mean of both sides' accuracies where clips (n,) are held to be seen."""
        right = np.where(is_seen, self.seen_right, self.unseen_right)
        if not self.of_seen.any() or self.of_seen.all():
            return 0.0
        return harmonic_mean(float(right[self.of_seen].mean()), float(right[~self.of_seen].mean()))


@dataclass(frozen=True)
class Gate:
    """A logistic curve over the sorted best scores of both sides.

    Attributes:
        temperature: The scores of labels with examples are divided by it before their softmax.
        threshold: Log odds from which a clip counts as one of a label with examples.
        bias: Bias of the curve.
        weights: (2 k,) of the k best probabilities of labels with examples, and of the k best
            cosines of the others.
    """

    temperature: float
    threshold: float
    bias: float
    weights: tuple[float, ...]

    @property
    def top(self) -> int:
        """k; a list needs as many labels of each side."""
        return len(self.weights) // 2

    def log_odds(self, seen: Float64, unseen: Float64) -> Float64:
        """(n,) above the threshold: 0 or more for clips of labels with examples.

        Args:
            seen: (n, S) scores of the classifier, S at least k.
            unseen: (n, U) cosines, U at least k.
        """
        inputs = _inputs(seen, unseen, self.temperature, self.top)
        return inputs @ np.array(self.weights) + self.bias - self.threshold

    def probability(self, seen: Float64, unseen: Float64) -> Float64:
        """(n,) that a clip shows a label with examples; one half at the threshold."""
        return sigmoid(self.log_odds(seen, unseen))

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers from which ``of`` builds the gate again, for settings that are saved."""
        return (self.temperature, self.threshold, self.bias, *self.weights)

    @staticmethod
    def of(numbers: Sequence[float]) -> Gate:
        """The gate of its numbers.

        Raises:
            ModelError: their count or a value is not of a gate.
        """
        values = np.array(numbers, np.float64)
        if not 5 <= len(values) <= 3 + 2 * MOST or len(values) % 2 == 0:
            raise ModelError(
                f"a gate has an odd count of 5 to {3 + 2 * MOST} numbers and "
                f"gate_numbers has {len(values)}; adapt the model again"
            )
        if not np.isfinite(values).all() or values[0] <= 0:
            raise ModelError(
                f"the gate's numbers are {list(numbers)}: they must be finite, and the first, the "
                "temperature, above 0; adapt the model again"
            )
        temperature, threshold, bias, *weights = values.tolist()
        return Gate(temperature, threshold, bias, tuple(weights))


@dataclass(frozen=True)
class ListGate:
    """A gate and its classifier, bound to a list of C labels.

    Attributes:
        gate: Decision between both kinds of clips.
        classifier: Classifier of the S labels with examples, whether or not they are in the list.
        columns: (C,) label of the classifier; -1 for labels without examples.
        read: Frame features (n, T, F) to clips (n, d).
    """

    gate: Gate
    classifier: SeenClassifier
    columns: Integers
    read: Callable[[Float32], Float32]

    @property
    def has_examples(self) -> Bools:
        """(C,)."""
        return self.columns >= 0

    @property
    def serves(self) -> bool:
        """Whether the list has labels on both sides, and as many as the gate reads."""
        others = int((~self.has_examples).sum())
        enough = len(self.classifier.bias) >= self.gate.top <= others
        return bool(self.has_examples.any()) and enough

    def answer(self, features: Float32, cosines: Float32) -> tuple[Float64, Float64]:
        """Answers for clips by frame features (n, T, F) and cosines (n, C).

        Returns:
            (n,) log odds that it is a label with examples, 0 at the threshold; and probabilities
            (n, A) of the A labels of the list that have examples, in its order, if it is one.
        """
        scores = self.classifier.scores(self.read(features).astype(np.float64))
        candidates = scores[:, self.columns[self.has_examples]]
        odds = self.gate.log_odds(scores, cosines[:, ~self.has_examples].astype(np.float64))
        return odds, softmax(candidates / self.gate.temperature)


def fit_gate(splits: Sequence[Sides], top: int = 1) -> Gate:
    """The gate with the greatest mean of the splits' harmonic means.

    For each temperature the curve is fitted by likelihood, both sides weighing the same; the
    temperature and the threshold are those with the best answers.

    Args:
        splits: At least one, with at least ``top`` labels on each side.
        top: k.
    """
    best, best_gate = -1.0, None
    of_seen = np.concatenate([split.of_seen for split in splits])
    for temperature in _TEMPERATURES:
        inputs = [_inputs(split.seen, split.unseen, temperature, top) for split in splits]
        weights, bias = _curve(np.concatenate(inputs), of_seen)
        odds = [rows @ weights + bias for rows in inputs]
        threshold, mean = _threshold(splits, odds)
        if mean > best + 1e-9:
            best = mean
            best_gate = Gate(temperature, threshold, bias, tuple(weights.tolist()))
    assert best_gate is not None  # the harmonic mean is never below 0
    return best_gate


def _threshold(splits: Sequence[Sides], odds: Sequence[Float64]) -> tuple[float, float]:
    """The threshold with the greatest mean harmonic mean, the middle of equal ones; the mean."""
    means = np.array(
        [
            np.mean([split.harmonic(row >= limit) for split, row in zip(splits, odds, strict=True)])
            for limit in _THRESHOLDS
        ]
    )
    equal = np.flatnonzero(means >= means.max() - 1e-9)
    return float(_THRESHOLDS[equal[len(equal) // 2]]), float(means.max())


def held_out_harmonic(splits: Sequence[Sides], top: int = 1) -> float:
    """Mean harmonic mean of each split with the gate of the others; 0 for fewer than two."""
    if len(splits) < 2:
        return 0.0
    harmonic_means: list[float] = []
    for index, split in enumerate(splits):
        gate = fit_gate([*splits[:index], *splits[index + 1 :]], top)
        harmonic_means.append(split.harmonic(gate.log_odds(split.seen, split.unseen) >= 0))
    return float(np.mean(harmonic_means))


def _inputs(seen: Float64, unseen: Float64, temperature: float, top: int) -> Float64:
    """(n, 2 k) the best of both sides, best first."""
    sides = (softmax(seen / temperature), unseen)
    return np.concatenate([-np.sort(-side, axis=1)[:, :top] for side in sides], axis=1)


def _curve(inputs: Float64, of_seen: Bools) -> tuple[Float64, float]:
    """Weights (p,) and bias of a logistic regression, both sides weighing the same.

    Newton's method on standardised inputs; the ridge keeps it finite where the sides are apart.
    """
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    rows = np.column_stack([(inputs - mean) / spread, np.ones(len(inputs))])
    counts = max(int(of_seen.sum()), 1), max(int((~of_seen).sum()), 1)
    balance = np.where(of_seen, 0.5 / counts[0], 0.5 / counts[1])
    ridge = _RIDGE * np.eye(rows.shape[1])
    beta = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        p = sigmoid(rows @ beta)
        slope = rows.T @ (balance * (p - of_seen)) + ridge @ beta
        step = np.linalg.solve((rows.T * (balance * p * (1 - p))) @ rows + ridge, slope)
        beta -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    weights = beta[:-1] / spread
    return weights, float(beta[-1] - weights @ mean)
