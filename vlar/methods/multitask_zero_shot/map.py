"""The map from the features of clips to the vectors of their labels, in closed form.

Each entry of a label's vector is a task of its own, and the tasks share a space of few dimensions
(Xu, Hospedales and Gong, "Multi-task zero-shot action recognition with prioritised data
augmentation", ECCV 2016, arXiv 1611.08663). The factors ``M = S A`` and their solution are our
derivation: the equations of the paper could not be compared.

Letters: n clips, d features, k entries of a label's vector, q shared tasks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar.errors import ModelError
from vlar.types import Float64

Array = npt.NDArray[Any]
_ROUNDS = 100
_SETTLED = 1e-6  # relative fall of the objective that ends the rounds
_NOTHING = 1e-12  # relative size of what is a zero by rounding


class SemanticMap:
    """``z = S A x`` with ``S`` (k, q) and ``A`` (q, d), which share q tasks among k entries.

    It minimises ``sum_i w_i |z_i - S A x_i|^2 + penalty_s |S|^2 + penalty_a |A|^2`` by solving for
    ``S`` and for ``A`` in turn, each exactly, so the objective never rises. Nothing is centred:
    subtract the means of ``X`` and ``Z`` first, or the first task is the mean.

    Args:
        q: Shared tasks, at least 1; more than ``min(n, d, k)`` are not used.
        penalty_s: On ``S``, at least 0.
        penalty_a: On ``A``, at least 0.
        rounds: Most rounds.

    Attributes:
        objective: The objective at the start and after each round.
        s: (k, q).
        a: (q, d).

    Raises:
        ModelError: a setting is out of range.
    """

    objective: list[float]
    s: Float64
    a: Float64

    def __init__(
        self, q: int, penalty_s: float, penalty_a: float, *, rounds: int = _ROUNDS
    ) -> None:
        for name, value, least in (
            ("q", q, 1),
            ("penalty_s", penalty_s, 0),
            ("penalty_a", penalty_a, 0),
        ):
            if not np.isfinite(value) or value < least:
                raise ModelError(f"{name} of the semantic map is {value!r}; use {least} or more")
        self.q, self.penalty_s, self.penalty_a, self.rounds = q, penalty_s, penalty_a, rounds

    def fit(self, X: Array, Z: Array, weights: Array | None = None) -> Self:  # noqa: N803
        """Learn from n clips.

        Args:
            X: (n, d) features.
            Z: (n, k) vectors of their labels.
            weights: (n,) importance of each clip, at least 0; None weighs all alike.

        Raises:
            ModelError: sizes differ, a number is not finite, or no weight is above 0.
        """
        x, z, w = _checked(X, Z, weights)
        # All that X and Z hold is in as many directions as there are clips: A and S have no part
        # outside of them, so the problem is solved there. This is the kernel form, exactly.
        root = np.sqrt(w)[:, None]
        x, back_x = reduced(root * x)
        z, back_z = reduced(root * z)
        gram, cross = x.T @ x, z.T @ x
        values, vectors = np.linalg.eigh(gram)
        q = min(self.q, *cross.shape)
        s, a = _start(cross, values, vectors, q, np.sqrt(self.penalty_s * self.penalty_a))
        self.objective = [self._value(x, z, s, a)]
        for _ in range(self.rounds):
            next_s = _solve(a @ gram @ a.T, cross @ a.T, self.penalty_s)
            next_a = sylvester(next_s, values, vectors, next_s.T @ cross, self.penalty_a)
            before, now = self.objective[-1], self._value(x, z, next_s, next_a)
            if now > before:  # by rounding: nothing is left to gain
                break
            s, a = next_s, next_a
            self.objective.append(now)
            if before - now <= _SETTLED * abs(before):
                break
        self.s, self.a = back_z @ s, a @ back_x.T
        return self

    def transform(self, X: Array) -> Float64:  # noqa: N803
        """(n, d) features to (n, k) vectors, not of unit length."""
        return self.latent(X) @ self.s.T

    def latent(self, X: Array) -> Float64:  # noqa: N803
        """(n, d) features to the (n, q) shared tasks."""
        return np.asarray(X, np.float64) @ self.a.T

    def _value(self, x: Float64, z: Float64, s: Float64, a: Float64) -> float:
        missed = np.square(z - (x @ a.T) @ s.T).sum()
        return float(
            missed + self.penalty_s * np.square(s).sum() + self.penalty_a * np.square(a).sum()
        )


def sylvester(
    s: Float64, values: Float64, vectors: Float64, right: Float64, penalty: float
) -> Float64:
    """(q, d) solution A of ``S^T S A G + penalty A = right``, by the eigenvectors of both sides.

    Args:
        s: (k, q).
        values: (d,) eigenvalues of the symmetric G (d, d).
        vectors: (d, d) its eigenvectors, in columns.
        right: (q, d).
        penalty: At least 0; without one the directions that neither side determines are 0.
    """
    values_of, turn = np.linalg.eigh(s.T @ s)
    scale = np.clip(values_of, 0, None)[:, None] * np.clip(values, 0, None) + penalty
    turned = turn.T @ right @ vectors
    sure = scale > _NOTHING * max(float(scale.max()), np.finfo(float).tiny)
    return turn @ np.where(sure, turned / np.where(sure, scale, 1.0), 0.0) @ vectors.T


def _start(
    cross: Float64, values: Float64, vectors: Float64, q: int, penalty: float
) -> tuple[Float64, Float64]:
    """S and A of the best q directions of the ridge regression: no randomness.

    Both have the same length in each direction, which the penalties would take many rounds to find.
    """
    whole = sylvester(np.eye(len(cross)), values, vectors, cross, penalty)
    basis, sizes, right = np.linalg.svd(whole, full_matrices=False)
    root = np.sqrt(sizes[:q])
    return basis[:, :q] * root, root[:, None] * right[:q]


def _solve(gram: Float64, right: Float64, penalty: float) -> Float64:
    """``right (gram + penalty I)^-1`` for a symmetric gram; the pseudo-inverse where singular."""
    values, vectors = np.linalg.eigh(gram)
    scale = np.clip(values, 0, None) + penalty
    sure = scale > _NOTHING * max(float(scale.max()), np.finfo(float).tiny)
    return (right @ vectors) * np.where(sure, 1 / np.where(sure, scale, 1.0), 0.0) @ vectors.T


def reduced(rows: Float64) -> tuple[Float64, Float64]:
    """Rows (n, d) in the directions they fill (n, r), and these (d, r); as given where n >= d."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    basis, sizes, right = np.linalg.svd(rows, full_matrices=False)
    return basis * sizes, right.T


def _checked(x: Array, z: Array, weights: Array | None) -> tuple[Float64, Float64, Float64]:
    features, vectors = np.asarray(x, np.float64), np.asarray(z, np.float64)
    w = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    if features.ndim != 2 or vectors.ndim != 2 or w.ndim != 1:
        raise ModelError(
            f"the semantic map got arrays of shape {features.shape}, {vectors.shape} and "
            f"{w.shape}; give (n, d) features, (n, k) vectors and (n,) weights"
        )
    if not len(features) == len(vectors) == len(w) or not len(features):
        raise ModelError(
            f"the semantic map got {len(features)} clips, {len(vectors)} label vectors and "
            f"{len(w)} weights; give one of each for every clip, and at least one clip"
        )
    if not all(np.isfinite(array).all() for array in (features, vectors, w)):
        raise ModelError("the semantic map got a number that is not finite; leave that clip out")
    if (w < 0).any() or not w.any():
        raise ModelError("the weights of the semantic map must be 0 or more, and not all 0")
    return features, vectors, w
