"""Maps from the vectors of one model to those of another, learned on windows that both encoded.

A library that changes its model keeps its rows: parts that both models share are copied, the others
are predicted from the stored vectors until a row is encoded. Two forms are tried, ridge regression
and an orthogonal map (Procrustes); left-out recordings choose. They also give the probabilities of
predicted rows their scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.heads.logistic import logit
from vlar.library.manifest import VectorMapping
from vlar.model.library_model import LibraryModel
from vlar.numeric import sigmoid, unit
from vlar.types import Float32, Float64

_PENALTIES = 10.0 ** np.arange(-3, 3.5, 0.5)
_FOLDS = 5
_PHRASES = 64  # by which forms are chosen and probabilities scaled
_SHARE = 0.05  # of the windows, the best of a phrase: those that answers come from
_SLOPES = np.geomspace(0.1, 1.6, 17)
_STEPS = 40  # of a bisection
Int64, Bool = npt.NDArray[np.int64], npt.NDArray[np.bool_]
Solve = Callable[[Float32, Float64], tuple[Float64, Float64]]


@dataclass(frozen=True)
class LinearMap:
    """A map from vectors (N, S) to vectors (N, E): ``(x - mean) @ coefficients + centre``."""

    mean: Float64
    coefficients: Float64
    centre: Float64

    def __call__(self, vectors: Float32) -> Float32:
        """Vectors (N, E)."""
        return ((vectors - self.mean) @ self.coefficients + self.centre).astype(np.float32)


def ridge(inputs: Float32, vectors: Float64) -> tuple[Float64, Float64]:
    """Mean (S,) of inputs (N, S), and coefficients (S, D) from them less it to vectors (N, D).

    The vectors count less their mean. The penalty is the one with the least error of a row that is
    left out.
    """
    wide = inputs.astype(np.float64)
    mean, spread = wide.mean(axis=0), wide.std(axis=0) + 0.1 * wide.std() + 1e-9
    targets = vectors - vectors.mean(axis=0)
    rows, scale, columns = np.linalg.svd((wide - mean) / spread, full_matrices=False)
    powers, inside = scale**2, rows.T @ targets
    errors = list[tuple[float, float]]()
    for penalty in max(float(powers.mean()), 1e-9) * _PENALTIES:
        gain = powers / (powers + penalty)
        leverage = (rows**2 * gain).sum(axis=1)
        residual = (targets - (rows * gain) @ inside) / np.maximum(1 - leverage, 1e-6)[:, None]
        errors.append((float((residual**2).sum()), float(penalty)))
    penalty = min(errors)[1]
    coefficients = (columns.T * (scale / (powers + penalty))) @ inside
    return mean, coefficients / spread[:, None]


def procrustes(inputs: Float32, vectors: Float64) -> tuple[Float64, Float64]:
    """Mean (S,) of inputs (N, S), and the scaled orthogonal map (S, D) to vectors (N, D)."""
    mean = inputs.mean(axis=0, dtype=np.float64)
    wide, targets = inputs - mean, vectors - vectors.mean(axis=0)
    (inner, small), (outer, other) = np.linalg.qr(wide.T), np.linalg.qr(targets.T)
    rows, scale, columns = np.linalg.svd(small @ other.T)  # (N, N): of wide.T @ targets
    rank = int((scale > 1e-9 * max(float(scale[0]), 1e-12)).sum())
    size = float(scale.sum() / max(float((wide**2).sum()), 1e-12))
    return mean, size * (inner @ rows[:, :rank]) @ (columns[:rank] @ outer.T)


_FORMS: dict[str, Solve] = {"ridge": ridge, "procrustes": procrustes}


@dataclass(frozen=True)
class Sample:
    """Windows that both models encoded.

    Attributes:
        old: (N, S) vectors of the earlier model.
        new: (N, D) vectors of the later one.
        recordings: (N,) recording of each.
        shared: (D,) whether a column is copied.
        silent: A column that no text reads (``completed``).
    """

    old: Float32
    new: Float32
    recordings: Int64
    shared: Bool
    silent: int | None

    def fitted(self, solve: Solve, rows: Bool | slice = slice(None)) -> LinearMap:
        """The map of one form, learned from some of the windows; shared columns stay 0."""
        targets = np.where(self.shared, 0, self.new[rows]).astype(np.float64)
        return LinearMap(*solve(self.old[rows], targets), targets.mean(axis=0))

    def left_out(self, solve: Solve) -> Float32:
        """(N, D) vectors by maps that did not learn from the recording of a window."""
        vectors = np.zeros_like(self.new)
        owners = np.unique(self.recordings)
        folds = min(_FOLDS, len(owners))
        parts = np.random.default_rng(0).permutation(len(owners)) % folds
        fold_of = parts[np.searchsorted(owners, self.recordings)]
        for fold in range(folds):
            out = fold_of == fold
            predicted = self.fitted(solve, ~out)(self.old[out])
            vectors[out] = completed(predicted, self.new[out], self.shared, self.silent)
        return vectors


def learned(
    sample: Sample, model: LibraryModel, phrases: Sequence[str], earlier: str, shared: Sequence[str]
) -> tuple[LinearMap, VectorMapping]:
    """The map of a sample, and what a library states of it.

    Args:
        sample: Windows of at least two recordings.
        model: The later model.
        phrases: What is asked of left-out windows.
        earlier: Name of the earlier model.
        shared: Names of the blocks that are copied.
    """
    chosen = np.unique(np.linspace(0, len(phrases) - 1, _PHRASES).astype(int))
    words = np.asarray(model.encode_queries([phrases[int(i)] for i in chosen]), np.float32)
    right = sample.new @ words.T
    tried = {form: sample.left_out(solve) for form, solve in _FORMS.items()}
    errors = {form: float(((rows @ words.T - right) ** 2).mean()) for form, rows in tried.items()}
    form = min(errors, key=errors.__getitem__)
    first = float(((tried[form] @ words.T).argmax(axis=0) == right.argmax(axis=0)).mean())
    scale = _scale(model, words, tried[form], sample.new)
    mapping = VectorMapping(earlier, form, len(sample.new), first, *scale, tuple(shared))
    return sample.fitted(_FORMS[form]), mapping


def _scale(
    model: LibraryModel, words: Float32, predicted: Float32, encoded: Float32
) -> tuple[float, float]:
    """Slope and offset of log odds by which predicted rows state what encoded ones do on average.

    They count where answers come from: the best windows of each phrase.
    """
    best = max(8, round(_SHARE * len(predicted)))
    odds, stated = list[Float64](), list[Float64]()
    for query in words:
        probability = np.asarray(model.match_probability(predicted, query), np.float64)
        rows = np.argsort(-probability, kind="stable")[:best]
        odds.append(logit(probability[rows]))
        right = np.asarray(model.match_probability(encoded[rows], query), np.float64)
        stated.append(model.moment(right))
    flat, targets = np.concatenate(odds), np.concatenate(stated)

    def residual(slope: float, offset: float) -> Float64:
        return model.moment(sigmoid(slope * flat + offset)) - targets

    tried = list[tuple[float, float, float]]()
    for slope in _SLOPES.tolist():
        low, high = -30.0, 30.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if residual(slope, middle).mean() > 0 else (middle, high)
        offset = (low + high) / 2
        tried.append((float((residual(slope, offset) ** 2).sum()), slope, offset))
    return min(tried)[1:]


def completed(predicted: Float32, copied: Float32, shared: Bool, silent: int | None) -> Float32:
    """Vectors (N, D) of unit length from predictions and the blocks that were copied.

    Args:
        predicted: (N, D).
        copied: (N, D); only the columns of shared blocks count.
        shared: (D,) whether a column was copied.
        silent: A column that no text reads. It takes what predictions lack of their length, so
            that uncertain ones weigh less; None where there is none.
    """
    vectors = np.where(shared, copied, predicted).astype(np.float64)
    free = np.maximum(1 - (vectors[:, shared] ** 2).sum(axis=1), 0)
    loose = ~shared
    if silent is not None:
        vectors[:, silent] = 0
    length = (vectors[:, loose] ** 2).sum(axis=1)
    factor = np.sqrt(free / np.maximum(length, 1e-12))
    if silent is not None:
        factor = np.minimum(factor, 1)
    vectors[:, loose] *= factor[:, None]
    if silent is not None:
        vectors[:, silent] = np.sqrt(np.maximum(free - (vectors[:, loose] ** 2).sum(axis=1), 0))
    return unit(vectors)
