"""A support set in columns, checked, and its folds: which examples are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.errors import SupportError
from vlar.types import Float32, Float64

Bools = npt.NDArray[np.bool_]
_MAX_FOLDS = 5
_REPEATS = 4
_MANY = 300  # examples from which one partition is stable enough


@dataclass(frozen=True)
class Problem:
    """A support set in columns, without its vectors.

    Attributes:
        labels: C labels in column order.
        member: (n, C) float64, 1 where the example shows the label.
        folds: (folds, n) bool, the examples held out together: one group of every label, so that
            what stays is as balanced as the whole; several random partitions.
        shots: Mean number of groups a label.
        prior: (n, C) float64 standardised zero-shot scores, or None.
        prior_mean: (C,) what was subtracted from each label: its mean over the support set.
        prior_scale: What the difference was divided by.
    """

    labels: tuple[str, ...]
    member: Float64
    folds: Bools
    shots: float
    prior: Float64 | None
    prior_mean: Float64
    prior_scale: float

    @property
    def target(self) -> npt.NDArray[Any]:
        """(n,) column of each example's label."""
        return self.member.argmax(axis=1)

    @property
    def fair(self) -> Bools:
        """(folds, n): held out while another example of its label stays."""
        stays = (~self.folds).astype(np.float64) @ self.member > 0
        return self.folds & stays[:, self.target]


def make_problem(
    y: Sequence[str],
    zero_shot: Float32 | None = None,
    labels: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Problem:
    """Check a support set and put it in columns.

    Args:
        y: n labels.
        zero_shot: (n, C) similarities of the clips to the labels' texts, or None.
        labels: Order of the C columns; default the sorted labels of ``y``.
        groups: n groups (videos), held out as one; default every example its own.

    Raises:
        SupportError: fewer than two labels, a label without example, or sizes that differ.
    """
    n = len(y)
    names = tuple(labels) if labels is not None else tuple(sorted(set(y)))
    if len(names) < 2 or len(set(names)) != len(names):
        raise SupportError(
            f"the support set has the labels {list(names)}; give examples of at least two "
            "different labels"
        )
    if missing := [name for name in names if name not in set(y)]:
        raise SupportError(f"label {missing[0]!r} has no example; add one or drop the label")
    if unknown := sorted(set(y) - set(names)):
        raise SupportError(f"example label {unknown[0]!r} is not among the labels {list(names)}")
    groups = [str(i) for i in range(n)] if groups is None else groups
    if len(groups) != n:
        raise SupportError(f"{n} labels for {len(groups)} groups; give one group an example")
    member = np.array([[float(label == name) for name in names] for label in y])
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    contents = np.zeros((int(group.max()) + 1, len(names)))  # which labels a group shows
    np.maximum.at(contents, group, member)
    prior, mean, scale = _standardise(zero_shot, n, len(names))
    shots = contents.sum(axis=0)
    folds = _partitions(contents, int(shots.max()), 1 if n > _MANY else _REPEATS)[:, group]
    return Problem(names, member, folds, float(shots.mean()), prior, mean, scale)


def _partitions(contents: Float64, shots: int, repeats: int) -> Bools:
    """(folds, groups): every group goes to the fold that holds least of its labels so far."""
    n_folds = min(max(shots, 2), _MAX_FOLDS)
    random = np.random.default_rng(0)
    rows: list[Bools] = []
    for _ in range(repeats):
        held = np.zeros((n_folds, contents.shape[1]))
        fold_of = np.zeros(len(contents), np.intp)
        for index in random.permutation(len(contents)):
            load = held @ contents[index] + 1e-3 * held.sum(axis=1)
            fold_of[index] = load.argmin()
            held[fold_of[index]] += contents[index]
        rows.append(fold_of[None] == np.arange(n_folds)[:, None])
    folds = np.concatenate(rows)
    return folds[folds.any(axis=1) & ~folds.all(axis=1)]


def _standardise(
    zero_shot: Float32 | None, n: int, n_labels: int
) -> tuple[Float64 | None, Float64, float]:
    # Some label texts are close to every clip; without its mean a label's score can be compared.
    if zero_shot is None:
        return None, np.zeros(n_labels), 1.0
    if zero_shot.shape != (n, n_labels):
        raise SupportError(
            f"zero-shot scores have shape {zero_shot.shape}, but {n} examples of {n_labels} labels "
            f"need {(n, n_labels)}"
        )
    mean = zero_shot.astype(np.float64).mean(axis=0)
    centred = zero_shot - mean
    scale = float(centred.std()) or 1.0
    return centred / scale, mean, scale
