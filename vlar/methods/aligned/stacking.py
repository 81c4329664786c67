"""Share of a map next to the encoder, and calibrated stacking, from held-out labels.

Chao et al., "An empirical study and analysis of generalized zero-shot learning for object
recognition in the wild", ECCV 2016. The scores of labels with examples are too high in a list with
others, because the map has learned from their clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.metrics.classification import harmonic_mean
from vlar.types import Float64

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_FOLDS = 3
_HELD = 4  # every fourth clip of a label that stays
_STEPS = np.linspace(0.0, 1.0, 51)
_SHARES = np.linspace(1.0, 0.0, 11)


@dataclass(frozen=True)
class Pretended:
    """Labels that are treated as if they had no examples.

    Attributes:
        kept: Clips to learn from.
        asked: Clips to ask about: all of the labels without examples, some of the others.
        seen: (C,) True for the labels with examples.
    """

    kept: Integers
    asked: Integers
    seen: Bools


def pretended(columns: Integers, n_labels: int) -> list[Pretended]:
    """Three ways to hold labels out, each label in one of them; none for fewer than six labels.

    Args:
        columns: (n,) label of each clip.
        n_labels: C.
    """
    if n_labels < 2 * _FOLDS:
        return []
    rounds: list[Pretended] = []
    number = np.zeros(len(columns), np.int64)  # of a clip among those of its label
    for label in range(n_labels):
        rows = np.flatnonzero(columns == label)
        number[rows] = np.arange(len(rows))
    for fold in range(_FOLDS):
        is_seen = np.arange(n_labels) % _FOLDS != fold
        away = ~is_seen[columns]
        held = ~away & (number % _HELD == _HELD - 1)
        if held.any() and away.any():
            candidates = np.flatnonzero(away | held)
            rounds.append(Pretended(np.flatnonzero(~away & ~held), candidates, is_seen))
    return rounds


def pretended_apart(columns: Integers, n_labels: int, groups: Sequence[str]) -> list[Pretended]:
    """``pretended`` with queried clips of other groups, such as other people.

    Args:
        columns: (n,) label of each clip.
        n_labels: C.
        groups: n names.

    Returns:
        Up to three ways; one that would leave a label or a side without a clip is left out.
    """
    names, group = np.unique(np.asarray(groups, str), return_inverse=True)
    ways = min(_FOLDS, len(names))
    if n_labels < 2 * _FOLDS or ways < 2:
        return []
    rounds: list[Pretended] = []
    for fold in range(_FOLDS):
        is_seen = np.arange(n_labels) % _FOLDS != fold
        candidates = np.flatnonzero(group % ways == fold % ways)
        fit_rows = np.flatnonzero((group % ways != fold % ways) & is_seen[columns])
        sides = is_seen[columns[candidates]]
        if len(np.unique(columns[fit_rows])) == is_seen.sum() and sides.any() and not sides.all():
            rounds.append(Pretended(fit_rows, candidates, is_seen))
    return rounds


@dataclass(frozen=True)
class Round:
    """Similarity of clips to all labels where some are treated as labels without examples.

    Attributes:
        own: (m, C) cosines of the encoder.
        mapped: (m, C) cosines of the map.
        truth: (m,) right labels.
        seen: (C,) True for the labels with examples.
    """

    own: Float64
    mapped: Float64
    truth: Integers
    seen: Bools

    def cosines(self, share: float) -> Float64:
        """(m, C) with a share of the encoder's own."""
        return share * self.own + (1 - share) * self.mapped


def best_share(rounds: Sequence[Round]) -> float:
    """The share of the encoder's own cosine with which unseen labels are ranked best.

    Returns:
        0 to 1, the higher of equal ones; one half without any split.
    """
    if not rounds:
        return 0.5
    ranks = [np.mean([_rank(part, share) for part in rounds]) for share in _SHARES]
    return float(_SHARES[int(np.argmax(np.round(ranks, 6)))])


def best_offset(rounds: Sequence[Round], share: float) -> float:
    """The offset with the greatest harmonic mean of seen and unseen accuracy.

    Args:
        rounds: One for each split.
        share: Share of the encoder's own cosine.

    Returns:
        0 to 1; 0 without any split.
    """
    if not rounds:
        return 0.0
    means = [np.mean([_harmonic(part, share, offset) for part in rounds]) for offset in _STEPS]
    return float(_STEPS[int(np.argmax(means))])


def held_out_offset(rounds: Sequence[Round], share: float) -> float:
    """Mean harmonic mean of each split with the offset of the others; 0 for fewer than two.

    Args:
        rounds: One for each split.
        share: Share of the encoder's own cosine.
    """
    if len(rounds) < 2:
        return 0.0
    offsets: list[float] = []
    for index, part in enumerate(rounds):
        offset = best_offset([*rounds[:index], *rounds[index + 1 :]], share)
        offsets.append(_harmonic(part, share, offset))
    return float(np.mean(offsets))


def _rank(each: Round, share: float) -> float:
    """Mean reciprocal rank of the right label of unseen clips among unseen labels."""
    rows, names = ~each.seen[each.truth], np.flatnonzero(~each.seen)
    scores = each.cosines(share)[np.ix_(np.flatnonzero(rows), names)]
    right = np.searchsorted(names, each.truth[rows])
    truth_scores = scores[np.arange(len(right)), right]
    equal = (scores == truth_scores[:, None]).sum(axis=1) - 1  # half of them would come first
    return float((1.0 / (1 + (scores > truth_scores[:, None]).sum(axis=1) + equal / 2)).mean())


def _harmonic(each: Round, share: float, offset: float) -> float:
    right = (each.cosines(share) - offset * each.seen).argmax(axis=1) == each.truth
    of_seen = each.seen[each.truth]
    if not of_seen.any() or of_seen.all():
        return 0.0
    return harmonic_mean(float(right[of_seen].mean()), float(right[~of_seen].mean()))
