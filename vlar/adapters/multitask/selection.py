"""Which numbers of a map carry over to labels it has not met: by holding labels out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.adapters.multitask.map import SemanticMap, reduced
from vlar.numeric import unit
from vlar.text.inflection import base_forms
from vlar.types import Float64

_TASKS = (5, 10, 25, 50, 100, 200)
_PENALTIES = tuple(float(10.0**power) for power in range(-4, 3))
_FOLDS = 4
_ROUNDS = 15  # after them the order of labels hardly changes
_DEFAULT = (50, 1.0)
_LITTLE = frozenset({"a", "an", "the", "do", "doing", "does", "someone", "person"})


@dataclass(frozen=True)
class MapNumbers:
    """The numbers of a map, and how held-out labels rank with them.

    Attributes:
        q: Shared tasks.
        penalty: On both factors.
        rank: Mean reciprocal rank of the right label, 0 to 1; None where no label was held out.
    """

    q: int
    penalty: float
    rank: float | None = None


def choose_numbers(
    x: Float64,
    label_vectors: Float64,
    columns: npt.NDArray[np.int64],
    weights: Float64,
    *,
    q: int = 0,
    penalty: float = 0.0,
) -> MapNumbers:
    """The numbers with which labels left out of the fit are found best.

    A fold leaves out labels with all their clips, never clips of a label that stays. The smallest
    ``q`` and the largest penalty win where several do equally well.

    Args:
        x: (n, d) features.
        label_vectors: (C, k), centred.
        columns: (n,) label of each clip.
        weights: (n,).
        q: Taken as it is unless 0.
        penalty: Taken as it is unless 0.
    """
    n_labels = len(label_vectors)
    most = min(*x.shape, *label_vectors.shape)
    tasks = sorted({min(count, most) for count in ((q,) if q else _TASKS)})
    penalties = (penalty,) if penalty else _PENALTIES[::-1]
    if (q and penalty) or n_labels < 4:
        return MapNumbers(q or min(_DEFAULT[0], most), penalty or _DEFAULT[1])
    # Angles stay as they are, and each of the many fits below is as small as the data is.
    x, label_vectors = reduced(x)[0], reduced(label_vectors)[0]
    folds = [np.arange(n_labels) % min(_FOLDS, n_labels // 2) == fold for fold in range(_FOLDS)]
    best = MapNumbers(tasks[0], penalties[0], -1.0)
    for count, amount in itertools.product(tasks, penalties):
        ranks = [
            _ranks(x, label_vectors, columns, weights, out, _map(count, amount))
            for out in folds
            if out.any() and not out[columns].all()
        ]
        found = float(np.mean(np.concatenate(ranks)))
        if best.rank is None or found > best.rank + 1e-9:
            best = MapNumbers(count, amount, found)
    return best


def _map(q: int, penalty: float) -> SemanticMap:
    return SemanticMap(q, penalty, penalty, rounds=_ROUNDS)


def _ranks(
    x: Float64,
    label_vectors: Float64,
    columns: npt.NDArray[np.int64],
    weights: Float64,
    out: npt.NDArray[np.bool_],
    semantic: SemanticMap,
) -> Float64:
    """Reciprocal rank of the right label among those held out, for each of their clips."""
    held = out[columns]
    mean = x[~held].mean(axis=0)
    kept = weights[~held]
    kept = kept if kept.any() else np.ones_like(kept)
    semantic.fit(x[~held] - mean, label_vectors[columns[~held]], kept)
    names = np.flatnonzero(out)
    scores = unit(semantic.transform(x[held] - mean)) @ unit(label_vectors[names]).T
    right = np.searchsorted(names, columns[held])
    return 1.0 / (1 + (scores > scores[np.arange(len(right)), right][:, None]).sum(axis=1))


def overlapping(
    labels: Sequence[str], targets: Sequence[str], cosines: Float64, most: float = 0.8
) -> list[tuple[str, str]]:
    """Labels that may show a target under another name, each with it.

    These are labels of the same head word (``kicking a ball``, ``kick``), or of a near vector.

    Args:
        labels: C training labels.
        targets: The labels that will be asked about.
        cosines: (C, targets) of their vectors.
        most: Greatest cosine of different actions.
    """
    found: list[tuple[str, str]] = []
    for label, row in zip(labels, cosines, strict=True):
        nearest = int(row.argmax()) if len(row) else -1
        same = [target for target in targets if _head(target) == _head(label)]
        if same or (nearest >= 0 and row[nearest] > most):
            found.append((label, same[0] if same else targets[nearest]))
    return found


def _head(label: str) -> str:
    """The base form of the first word that has a meaning of its own.

    >>> _head("doing pull-ups"), _head("kicks a ball")
    ('pull', 'kick')
    """
    words = re.findall(r"[^\W\d_]+", label.casefold())
    first = next((word for word in words if word not in _LITTLE), words[0] if words else label)
    return min(base_forms(first), key=lambda form: (len(form), form))
