"""Random forest of several outputs, grown on histograms with numpy alone.

A tree splits where the squared sums of the targets grow most (of one-hot targets: the Gini index;
Breiman, "Random forests", 2001). A missing number goes to the left, as the least value.

Letters: n rows, F features, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.types import Float32, Float64

Bytes = npt.NDArray[np.uint8]
_BINS = 32
_CHUNK = 8192  # rows that are answered at a time


@dataclass(frozen=True)
class Bins:
    """Edges that turn numbers into bins; bin 0 is a missing number.

    Attributes:
        edges: (F, 30) float32 rising; the same value twice makes an empty bin.
    """

    edges: Float32

    @classmethod
    def of(cls, rows: Float32) -> Bins:
        """Edges at the quantiles of rows (n, F)."""
        shares = np.linspace(0, 1, _BINS)[1:-1]
        edges = np.zeros((rows.shape[1], len(shares)), np.float32)
        for column in range(rows.shape[1]):
            values = rows[:, column]
            values = np.sort(values[np.isfinite(values)])
            if len(values):
                edges[column] = values[(shares * (len(values) - 1)).astype(np.intp)]
        return cls(edges)

    def apply(self, rows: Float32) -> Bytes:
        """Bins (n, F) of rows (n, F)."""
        binned = np.zeros(rows.shape, np.uint8)
        for column in range(rows.shape[1]):
            values = rows[:, column]
            bins = np.searchsorted(self.edges[column], values, side="left") + 1
            binned[:, column] = np.where(np.isfinite(values), bins, 0)
        return binned


@dataclass(frozen=True)
class Forest:
    """Trees side by side in flat arrays.

    Attributes:
        roots: (trees,) int32 node of each root.
        feature: (nodes,) int32; -1 at a leaf.
        cut: (nodes,) uint8; a bin up to it goes to the left.
        child: (nodes,) int32 left child; the right one follows it.
        value: (nodes, K) float32 mean target.
    """

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    cut: Bytes
    child: npt.NDArray[np.int32]
    value: Float32

    def predict(self, binned: Bytes) -> Float32:
        """Mean targets (n, K) of the leaves of binned rows (n, F)."""
        result = np.zeros((len(binned), self.value.shape[1]), np.float32)
        for first in range(0, len(binned), _CHUNK):
            rows = binned[first : first + _CHUNK]
            flat, width = rows.ravel(), rows.shape[1]
            offset = np.arange(len(rows), dtype=np.int64) * width
            for root in self.roots:
                node = np.full(len(rows), root, np.int32)
                active = np.arange(len(rows))
                while len(active):
                    nodes = node[active]
                    feature = self.feature[nodes]
                    inner = feature >= 0
                    active, nodes, feature = active[inner], nodes[inner], feature[inner]
                    right = flat[offset[active] + feature] > self.cut[nodes]
                    node[active] = self.child[nodes] + right
                result[first : first + _CHUNK] += self.value[node]
        return np.asarray(result / max(1, len(self.roots)), np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to save."""
        names = ("roots", "feature", "cut", "child", "value")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Forest:
        """The forest of saved arrays.

        Raises:
            ValueError: an array is missing, or a node names one that does not exist.
        """
        try:
            forest = cls(
                arrays["roots"].astype(np.int32),
                arrays["feature"].astype(np.int32),
                arrays["cut"].astype(np.uint8),
                arrays["child"].astype(np.int32),
                arrays["value"].astype(np.float32),
            )
        except KeyError as error:
            raise ValueError(f"the array {error} of the forest is missing") from None
        nodes, index = len(forest.feature), np.arange(len(forest.feature))
        inner = forest.feature >= 0
        fine = forest.value.ndim == 2 and len(forest.value) == len(forest.cut) == nodes > 0
        fine = fine and forest.child.shape == (nodes,) and forest.roots.ndim == 1
        fine = fine and bool(((forest.roots >= 0) & (forest.roots < nodes)).all())
        # A child comes after its node, so that no walk is endless.
        steps = forest.child[inner] if fine else np.zeros(0)
        if not fine or not ((steps > index[inner]) & (steps + 1 < nodes)).all():
            raise ValueError("the nodes of the forest do not fit together")
        return forest


@dataclass(frozen=True)
class Growth:
    """Settings of a forest.

    Attributes:
        trees: Number of trees.
        columns: Features that are tried at each level of a tree.
        least: Least weight of a leaf, in rows.
        depth: Largest depth.
        share: Share of the rows that each tree learns from.
    """

    trees: int = 200
    columns: int = 60
    least: float = 5.0
    depth: int = 14
    share: float = 0.5


def grow(
    binned: Bytes,
    targets: Float32,
    weights: Float64,
    growth: Growth,
    *,
    seed: int = 0,
    groups: npt.NDArray[np.int64] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Forest:
    """A forest.

    Args:
        binned: (n, F) bins.
        targets: (n, K), one-hot.
        weights: (n,) of the rows.
        growth: Its settings.
        seed: Seed of all draws.
        groups: (n,) groups that a tree takes or leaves whole; None draws rows.
        progress: Called with 1 after each tree.
    """
    random = np.random.default_rng(seed)
    trees: list[tuple[npt.NDArray[Any], ...]] = []
    units = np.arange(len(binned)) if groups is None else groups
    n_units = int(units.max()) + 1
    roots: list[int] = []
    total = 0
    for _ in range(growth.trees):
        drawn = random.random(n_units) < growth.share
        rows = np.flatnonzero(drawn[units] & (weights > 0))
        if not len(rows):
            rows = np.flatnonzero(weights > 0)
        tree = _tree(binned, targets, weights, rows, growth, random)
        roots.append(total)
        trees.append((tree[0], tree[1], tree[2] + total, tree[3]))
        total += len(tree[0])
        if progress:
            progress(1)
    feature, cut, child, value = (np.concatenate(part) for part in zip(*trees, strict=True))
    return Forest(np.array(roots, np.int32), feature, cut, child, value)


def _tree(
    binned: Bytes,
    targets: Float32,
    weights: Float64,
    rows: npt.NDArray[np.intp],
    growth: Growth,
    random: np.random.Generator,
) -> tuple[npt.NDArray[Any], ...]:
    """Feature, cut, child and value of the nodes of one tree, level by level."""
    outputs = targets.shape[1]
    label, weight = targets[rows].argmax(axis=1), weights[rows]
    features: list[Any] = []
    cuts: list[Any] = []
    children: list[Any] = []
    values: list[Any] = []
    node = np.zeros(len(rows), np.intp)  # of the level
    width, start = 1, 0
    for depth in range(growth.depth + 1):
        sums: Float64 = np.zeros((width, outputs))
        sums[:] = np.bincount(node * outputs + label, weight, sums.size).reshape(sums.shape)
        total = sums.sum(axis=1)
        values.append(sums / np.maximum(total[:, None], 1e-12))
        feature, cut = np.full(width, -1), np.zeros(width, np.intp)
        child = np.zeros(width, np.intp)
        # A node that is pure or too small is a leaf, and is not searched.
        open_ = (np.square(sums).sum(axis=1) < total**2 * (1 - 1e-9)) & (total >= 2 * growth.least)
        if depth < growth.depth and open_.any():
            tried = random.choice(binned.shape[1], min(growth.columns, binned.shape[1]), False)
            numbers = np.cumsum(open_) - 1
            inside = open_[node]
            feature[open_], cut[open_] = _splits(
                binned,
                rows[inside],
                tried,
                numbers[node[inside]],
                label[inside],
                weight[inside],
                sums[open_],
                growth.least,
            )
        split = np.flatnonzero(feature >= 0)
        child[split] = start + width + 2 * np.arange(len(split))
        features.append(feature)
        cuts.append(cut)
        children.append(child)
        if not len(split):
            break
        position = np.full(width, -1)
        position[split] = 2 * np.arange(len(split))
        inside = position[node] >= 0
        rows, node = rows[inside], node[inside]
        label, weight = label[inside], weight[inside]
        right = binned[rows, feature[node]] > cut[node]
        node = position[node] + right
        start, width = start + width, 2 * len(split)
    return (
        np.concatenate(features).astype(np.int32),
        np.concatenate(cuts).astype(np.uint8),
        np.concatenate(children).astype(np.int32),
        np.concatenate(values).astype(np.float32),
    )


def _splits(
    binned: Bytes,
    rows: npt.NDArray[np.intp],
    tried: npt.NDArray[np.intp],
    node: npt.NDArray[np.intp],
    label: npt.NDArray[np.intp],
    weight: Float64,
    sums: Float64,
    least: float,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Best feature (-1 for none) and cut of each node of a level."""
    width, columns = len(sums), len(tried)
    # The wide table is read once; the keys number node, feature and bin.
    keys = binned[rows[:, None], tried[None, :]].astype(np.intp)
    keys += (node[:, None] * columns + np.arange(columns)[None, :]) * _BINS
    shape = (width, columns, _BINS)
    count_left, score, error_right = (np.zeros(shape, np.float32) for _ in range(3))
    for output in range(sums.shape[1]):
        inside = np.flatnonzero(label == output)
        repeated = np.repeat(weight[inside], columns)
        flat = np.bincount(keys[inside].ravel(), repeated, width * columns * _BINS)
        below = flat.reshape(shape).cumsum(axis=2, dtype=np.float32)
        count_left += below
        score += below * below
        below -= sums[:, output].astype(np.float32)[:, None, None]
        error_right += below * below
    right = sums.sum(axis=1).astype(np.float32)[:, None, None] - count_left
    small = (count_left < least) | (right < least)
    gain = score / np.maximum(count_left, 1e-9) + error_right / np.maximum(right, 1e-9)
    gain[small] = -np.inf
    best = gain.reshape(width, -1).argmax(axis=1)
    top = gain.reshape(width, -1)[np.arange(width), best]
    whole = np.square(sums).sum(axis=1) / np.maximum(sums.sum(axis=1), 1e-9)
    feature = np.where(top > whole * (1 + 1e-6), tried[best // _BINS], -1)
    return feature, best % _BINS
