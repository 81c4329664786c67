"""``som``: clips as ordered key postures on a self-organising map (Action in Mind)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlar.fewshot.base import Array, ClosedForm
from vlar.fewshot.heads.ridge import BIAS, dual_weights
from vlar.fewshot.som import Som
from vlar.registry import register
from vlar.types import Float32, Float64

_POSTURES = (10, 10)
_PATHS = (7, 7)
_KEYS = 12  # places of a path that count


@register("fewshot", "som")
class SomHead(ClosedForm):
    """Postures on a map, the path of a clip over it, paths on a growing grid, a linear layer.

    Gharaee, "Action in mind: neural models for action and intention perception", 2018. The first
    map lays out the frames of all examples. A clip is the ordered vector of the places it passes,
    at even distances along its path, so its speed does not count. A growing grid lays out these
    vectors; how near a clip is to each of its units is the input of a linear layer. That layer is
    the least-squares solution that the delta rule tends to, with a penalty. Both maps are drawn
    from a fixed seed and read no labels, so that a held-out example may be part of them.
    """

    name = "som"
    reads = "features"
    kinds = ("frames:24",)
    grid = (0.1, 0.03, 0.3, 1.0)
    slope = 10.0
    postures: Som
    paths: Som
    _width: float

    def gram(self, signatures: Float32) -> Float64:
        """(n, n) similarities of the examples, on maps of their own."""
        frames = self._frames(signatures)
        self.postures = Som(_POSTURES).fit(frames.reshape(-1, frames.shape[2]))
        keys = self._keys(frames)
        self.paths = Som(_PATHS, growing=True).fit(keys)
        nearest = self.paths.distances(keys)
        self._width = max(float(np.median(nearest)), 1e-9)
        return self.compare(signatures, signatures)

    def similarity(self, a: Float32, b: Float32) -> Float64:
        """(m, n) dot products of the activations of clips (m, T, F) and (n, T, F)."""
        return self._activations(a) @ self._activations(b).T

    def evidence(self, signatures: Float32) -> Float64:
        """(m, C) outputs of the linear layer."""
        return self._activations(self._frames(signatures)) @ self._matrix + self._bias

    def evidence_from(
        self, cross: Float64, gram: Float64, member: Float64, parameter: float
    ) -> Float64:
        """Outputs of the linear layer that similarities alone give."""
        return (cross + BIAS) @ dual_weights(gram, member, parameter)

    def _solve(self, signatures: Float32, gram: Float64, member: Float64) -> None:
        dual = dual_weights(gram, member, self.parameter)
        self._matrix = self._activations(self._frames(signatures)).T @ dual
        self._bias = BIAS * dual.sum(axis=0)

    def _keys(self, frames: Float32) -> Float64:
        """(m, 2 K) key places of clips (m, T, F)."""
        return np.stack([self.postures.keys(clip, _KEYS).ravel() for clip in frames])

    def _activations(self, frames: Float32) -> Float64:
        """(m, U) nearness of clips (m, T, F) to the units of the second map, rows of length 1."""
        if not len(frames):
            return np.zeros((0, len(self.paths.units)))
        near = np.exp(-self.paths.distances(self._keys(frames)) / self._width)
        length = np.linalg.norm(near, axis=1, keepdims=True)
        return near / np.maximum(length, 1e-12)

    def _arrays(self) -> dict[str, Array]:
        return {
            "postures": self.postures.weights,
            "paths": self.paths.weights,
            "width": np.array([self._width]),
            "matrix": self._matrix,
            "bias": self._bias,
        }

    def _restore(self, arrays: Mapping[str, Array]) -> None:
        self.postures, self.paths = Som.of(arrays["postures"]), Som.of(arrays["paths"])
        (self._width,) = np.asarray(arrays["width"], np.float64).tolist()
        self._matrix = np.asarray(arrays["matrix"], np.float64)
        self._bias = np.asarray(arrays["bias"], np.float64)
        self._checked(self._matrix, 1)
        self._checked(self._bias, 0)
        if len(self._matrix) != len(self.paths.units) or not self._width > 0:
            raise ValueError(
                f"{len(self.paths.units)} units, a matrix {self._matrix.shape} and a width of "
                f"{self._width}"
            )
