"""Small numeric functions that many stages share: unit length, sigmoid, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.types import Float32, Float64


def unit(vectors: npt.NDArray[Any]) -> Float32:
    """Scale the last axis to length 1; a zero vector stays zero.

    >>> unit(np.array([[3.0, 4.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinite numbers become NaN, which is refused later
        return (vectors / np.where(norm > 0, norm, 1.0)).astype(np.float32, copy=False)


def cosine(product: float) -> float:
    """An inner product of two vectors of nearly unit length, within -1 to 1.

    >>> cosine(1.0004), cosine(0.5)
    (1.0, 0.5)
    """
    return min(max(product, -1.0), 1.0)


def sigmoid(x: npt.NDArray[Any]) -> Float64:
    """``1 / (1 + exp(-x))``, elementwise and without overflow.

    >>> sigmoid(np.array([-1e9, 0.0, 1e9])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def softmax(scores: npt.NDArray[Any]) -> Float64:
    """Softmax over the last axis; rows sum to 1.

    >>> softmax(np.array([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(scores: npt.NDArray[Any]) -> Float64:
    """Logarithm of the softmax over the last axis, without underflow.

    >>> np.exp(log_softmax(np.array([1000.0, 1000.0]))).round(6).tolist()
    [0.5, 0.5]
    """
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def logsumexp(scores: npt.NDArray[Any]) -> Float64:
    """Logarithm of the sum of exponentials over the last axis, without overflow.

    The greatest terms stand outside the sum, as in scipy, whose bits it has.

    >>> logsumexp(np.array([1000.0, 1000.0])).round(6).tolist()
    1000.693147
    """
    top = scores.max(axis=-1, keepdims=True)
    is_top = scores == top
    count = is_top.sum(axis=-1).astype(np.float64)
    others = np.exp(np.where(is_top, -np.inf, scores) - top).sum(axis=-1)
    return np.log1p(others / count) + np.log(count) + top[..., 0]
