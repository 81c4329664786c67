"""Self-organising maps and growing grids: vectors laid out on a plane by how alike they are.

Sources: Kohonen, "Self-organized formation of topologically correct feature maps", 1982; Fritzke,
"Growing grid - a self-organizing network with constant neighborhood range and adaptation strength",
1995; Gharaee, "Action in mind: neural models for action and intention perception", 2018 (key
activations). Letters: n vectors, U units of a grid (rows, columns), F width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar.errors import UsageError
from vlar.heads.fewshot.base import Array, ClosedForm
from vlar.heads.fewshot.closed_forms import BIAS, dual_weights
from vlar.registry import register
from vlar.types import Float32, Float64

_RATES = (0.5, 0.02)  # at the first and the last step
_LAST_WIDTH = 0.5  # of the neighbourhood, in units
_PASSES, _MOST_STEPS = 8, 6000
_GROW_EVERY = 8  # steps a unit before a row or column is inserted
_MOST_UNITS = 4096
_CHUNK = 1 << 14  # vectors compared with all units at once
_POSTURES = (10, 10)
_PATHS = (7, 7)
_KEYS = 12  # places of a path that count


class Som:
    """A map of vectors on a grid, drawn to them step by step; ``fit`` first.

    Args:
        grid: Rows and columns. A growing grid starts at 2 x 2 and gets as many units.
        growing: Insert rows and columns where the map fits worst, instead of a fixed grid.
        seed: Seed of the start and of the order of the vectors.

    Attributes:
        weights: (rows, columns, F) float64.

    Raises:
        UsageError: a grid without units, or with more than 4096.
    """

    weights: Float64

    def __init__(
        self, grid: tuple[int, int] = (8, 8), growing: bool = False, *, seed: int = 0
    ) -> None:
        rows, columns = grid
        if rows < 1 or columns < 1 or rows * columns > _MOST_UNITS:
            raise UsageError(
                f"a map of {rows} x {columns} units; give a grid of 1 to {_MOST_UNITS} units"
            )
        self.grid, self.growing, self.seed = (rows, columns), growing, seed

    @classmethod
    def of(cls, weights: npt.ArrayLike) -> Self:
        """The map with these weights (rows, columns, F).

        Raises:
            UsageError: another shape, or a number that is not finite.
        """
        array = np.asarray(weights, np.float64)
        if array.ndim != 3 or not array.size or not np.isfinite(array).all():
            raise UsageError(f"weights of shape {array.shape}; give finite (rows, columns, F)")
        som = cls((array.shape[0], array.shape[1]))
        som.weights = array
        return som

    @property
    def positions(self) -> Float64:
        """(U, 2) row and column of each unit."""
        rows, columns = self.weights.shape[:2]
        return np.stack(np.divmod(np.arange(rows * columns), columns), axis=1).astype(np.float64)

    @property
    def units(self) -> Float64:
        """(U, F) weights, row by row."""
        return self.weights.reshape(-1, self.weights.shape[2])

    def fit(self, vectors: npt.ArrayLike, steps: int | None = None) -> Self:
        """Draw the map to vectors, one after the other in a seeded order.

        The rate and the width of the neighbourhood fall from step to step.

        Args:
            vectors: (n, F).
            steps: Vectors shown, n or fewer of them several times; None for 8 passes, 6000 at
                most; 0 leaves the random start.

        Raises:
            UsageError: no vectors, or a number that is not finite.
        """
        x = self._checked(vectors)
        random = np.random.default_rng(self.seed)
        count = min(_PASSES * len(x), _MOST_STEPS) if steps is None else steps
        rows, columns = (2, 2) if self.growing else self.grid
        middle, spread = x.mean(axis=0), x.std(axis=0)
        self.weights = middle + spread * random.standard_normal((rows, columns, x.shape[1]))
        if self.growing:
            self._grow(x, random, grow=count > 0)
        order = np.concatenate(
            [random.permutation(len(x)) for _ in range(-(-count // len(x)))] or [np.zeros(0, int)]
        )[:count]
        first = max(*self.weights.shape[:2]) / 2
        first = min(first, 1.0) if self.growing else first
        for step, row in enumerate(order):
            done = step / max(count - 1, 1)
            rate = _RATES[0] * (_RATES[1] / _RATES[0]) ** done
            width = first * (_LAST_WIDTH / max(first, _LAST_WIDTH)) ** done
            self.update(x[row], rate, max(width, _LAST_WIDTH))
        return self

    def update(self, vector: npt.ArrayLike, rate: float, width: float) -> int:
        """One step: ``w_j += rate exp(-|r_j - r_win|^2 / (2 width^2)) (x - w_j)``.

        Args:
            vector: (F,) the vector x.
            rate: Rate of the winner, 0 to 1.
            width: Width of the neighbourhood, in units, above 0.

        Returns:
            The winner, the unit nearest to the vector.
        """
        x = np.asarray(vector, np.float64)
        units, places = self.units, self.positions
        winner = int(np.square(units - x).sum(axis=1).argmin())
        away = np.square(places - places[winner]).sum(axis=1)
        pull = rate * np.exp(-away / (2 * width**2))
        self.weights = (units + pull[:, None] * (x - units)).reshape(self.weights.shape)
        return winner

    def distances(self, vectors: npt.ArrayLike) -> Float64:
        """(n, U) squared distances of vectors (n, F) to all units."""
        x, units = np.asarray(vectors, np.float64), self.units
        if x.ndim != 2 or x.shape[1] != units.shape[1]:
            raise UsageError(
                f"vectors of shape {x.shape} for a map of (n, {units.shape[1]}); give those it was "
                "fitted to, or others of the same features"
            )
        norms = np.square(units).sum(axis=1)
        blocks = [
            np.square(part).sum(axis=1)[:, None] - 2 * part @ units.T + norms
            for part in (x[i : i + _CHUNK] for i in range(0, len(x), _CHUNK))
        ]
        return np.maximum(np.concatenate(blocks), 0) if blocks else np.zeros((0, len(units)))

    def winners(self, vectors: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """(n,) the unit nearest to each vector (n, F)."""
        return self.distances(vectors).argmin(axis=1)

    def path(self, frames: npt.ArrayLike) -> Float64:
        """(k, 2) grid places that the frames (T, F) of a clip pass, each stay once: k is 1 to T."""
        winners = self.winners(frames)
        stays = np.flatnonzero(np.diff(winners, prepend=-1))
        return self.positions[winners[stays]]

    def keys(self, frames: npt.ArrayLike, count: int) -> Float64:
        """(count, 2) the path of a clip at even distances along it, in shares of the grid.

        How long a clip stays at a place does not count, so a clip and the same clip at half the
        speed have the same keys.
        """
        way = self.path(frames)
        steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        ticks = np.linspace(0, along[-1], count)
        path_rows = np.stack([np.interp(ticks, along, axis) for axis in way.T], axis=1)
        return path_rows / np.maximum(np.array(self.weights.shape[:2]) - 1, 1)

    def _grow(self, x: Float64, random: np.random.Generator, *, grow: bool) -> None:
        most = self.grid[0] * self.grid[1]
        while True:
            units = self.weights.shape[0] * self.weights.shape[1]
            missed = np.zeros(units)
            for row in random.integers(len(x), size=_GROW_EVERY * units if grow else 0):
                before = self.units
                winner = self.update(x[row], 0.1, 0.7)
                missed[winner] += float(np.square(before[winner] - x[row]).sum())
            if units + min(self.weights.shape[:2]) > most:
                return
            self._insert(int(missed.argmax()))

    def _insert(self, worst: int) -> None:
        """A row or column between the unit that fits worst and its farthest neighbour."""
        rows, columns = self.weights.shape[:2]
        row, column = divmod(worst, columns)
        unit_weights = self.weights[row, column]
        near = [
            (axis, min(index, index + step))
            for axis, index, size in ((0, row, rows), (1, column, columns))
            for step in (-1, 1)
            if 0 <= index + step < size
        ]

        def length(place: tuple[int, int]) -> float:
            axis, before = place
            line = self.weights[:, column] if axis == 0 else self.weights[row]
            index = row if axis == 0 else column
            other = line[before + 1] if before == index else line[before]
            return float(np.square(unit_weights - other).sum())

        axis, before = max(near, key=length)
        pair = np.take(self.weights, [before, before + 1], axis=axis)
        self.weights = np.insert(self.weights, before + 1, pair.mean(axis=axis), axis=axis)

    def _checked(self, vectors: npt.ArrayLike) -> Float64:
        x = np.asarray(vectors, np.float64)
        if x.ndim != 2 or not x.size or not np.isfinite(x).all():
            raise UsageError(
                f"a map of vectors of shape {x.shape}; give (n, F) finite numbers, at least one row"
            )
        return x


def topographic_error(som: Som, vectors: npt.ArrayLike) -> float:
    """Share (0 to 1) of vectors (n, F) whose nearest two units are not neighbours on the grid.

    Kiviluoto, "Topology preservation in self-organizing maps", 1996. Units that touch at a corner
    are neighbours. 0 for a map of one unit.

    Raises:
        UsageError: no vectors.
    """
    distances = som.distances(vectors)
    if not len(distances):
        raise UsageError("the topographic error of no vectors; give at least one row")
    if distances.shape[1] < 2:
        return 0.0
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :2]
    places = som.positions
    apart = np.abs(places[nearest[:, 0]] - places[nearest[:, 1]]).max(axis=1)
    return float((apart > 1).mean())


@register("fewshot", "som", status="null here")
class SomHead(ClosedForm):
    """Postures on a map, the path of a clip over it, paths on a growing grid, a linear layer.

    Gharaee, "Action in mind: neural models for action and intention perception", 2018. The first
    map lays out the frames of all examples. A clip is the ordered vector of the places it passes,
    at even distances along its path, so its speed does not count. A growing grid lays out these
    vectors; how near a clip is to each of its units is the input of a linear layer. That layer is
    the least-squares solution that the delta rule tends to, with a penalty. Both maps are drawn
    from a fixed seed and read no labels, so that a held-out example may be part of them.

    Reference: Gharaee, "Action in mind: neural models for action and intention perception", 2018.
    Example: ``vlar adapt support/ --out mine --method som``.
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
