"""Two opinions about the same labels as one: a weighted product of the probabilities.

The proposer gives probabilities p_g of all C labels, the answerer p_h of the K labels it was asked
about. Among these K, ``p(c)`` is proportional to ``exp(a log p_g(c) + b log p_h(c))``, scaled so
that they keep the sum they had; every other label keeps its probability. ``a = 1, b = 0`` is the
proposer alone. The weights are fitted on labelled clips by the negative log likelihood, which is
convex in them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlar.errors import UsageError
from vlar.types import Float64

Ints = npt.NDArray[np.int64]
_DOUBT = 0.02  # share of an opinion that is spread evenly: one wrong answer must not be final
_PULL = 1.0  # precision of the prior that holds the weights near the start
_LARGEST = 20.0
_FOLDS = 5
_GAIN = 1e-3  # of the held-out loss, below which the answerer adds nothing
_FEWEST = 2  # groups, so that one can be held out
_ROUNDING = 1e-9  # of a mean over rotations


@dataclass(frozen=True)
class Mixing:
    """Weight of each of the two opinions.

    Attributes:
        a: Power on the proposer's probabilities, 0 or more.
        b: Power on the answerer's, 0 or more.

    Raises:
        UsageError: a weight is negative or not a number.
    """

    a: float = 1.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.a < float("inf") and 0 <= self.b < float("inf")):
            raise UsageError(
                f"the weights {self.a}, {self.b} cannot be used; give two numbers of 0 or more"
            )

    @property
    def is_proposer(self) -> bool:
        """Whether the answerer has no weight."""
        return self.a == 1.0 and self.b == 0.0

    @property
    def weight(self) -> float:
        """Weight of the answerer where the proposer has 1, which gives the same order."""
        return self.b / max(self.a, 1 / _LARGEST)


PROPOSER = Mixing()
#: Without labelled clips to fit it on the answerer counts little, and only where it is sure: its
#: best option leads the next by more than ``LEAD``. Chosen on one half of the clips
#: (``evals/results/unfitted_opinion.json``) such that random answers cost 2 points at most there.
WEIGHT = 0.1
LEAD = 0.2


def mix(
    proposer: Float64, opinion: Float64, options: Ints, *, a: float = 1.0, b: float = 0.0
) -> Float64:
    """The probabilities of N clips after a second opinion.

    Args:
        proposer: (N, C) probabilities; a row may sum to less than 1 (the rest is unknown).
        opinion: (N, K) probabilities of the options, rows summing to 1. A row of NaN is a clip
            without an opinion, which keeps its row bit for bit.
        options: (N, K) int, the column of each option; a row's columns differ.
        a: Power on the proposer's probabilities.
        b: Power on the answerer's.

    Returns:
        (N, C) float64. Columns outside the options are bit-equal, and the sum over the options is
        kept. ``a = 1, b = 0`` gives the proposer's values bit for bit.

    Raises:
        UsageError: shapes that do not agree, or weights that cannot be used.
    """
    weights = Mixing(a, b)
    proposer, opinion, options = _checked(proposer, opinion, options)
    mixed = proposer.copy()
    answered = np.isfinite(opinion).all(axis=1) & (
        np.take_along_axis(proposer, options, 1) > 0
    ).any(1)
    if weights.is_proposer or not answered.any():
        return mixed
    chosen, columns = proposer[answered], options[answered]
    shares_of_options = np.take_along_axis(chosen, columns, axis=1)
    logits = a * _log(shares_of_options) + b * _log(_doubted(opinion[answered]))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares *= shares_of_options.sum(axis=1, keepdims=True) / shares.sum(axis=1, keepdims=True)
    np.put_along_axis(chosen, columns, shares, axis=1)
    mixed[answered] = chosen
    return mixed


def fit_mixing(
    proposer: Float64,
    opinion: Float64,
    options: Ints,
    truth: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Mixing:
    """Weights for ``mix``, fitted on labelled clips; never worse on them than the proposer.

    A fit is kept only if it lowers the negative log likelihood of held-out groups (5 folds), also
    against the best power on the proposer alone, which needs no answerer, and if it neither raises
    that of all clips nor lowers the number of right answers. Else the answerer counts nothing.

    Args:
        proposer: (N, C) like in ``mix``.
        opinion: (N, K) as in ``mix``.
        options: (N, K) as in ``mix``.
        truth: (N,) column of the right label. Clips whose label is not among the options do not
            affect the weights.
        groups: N groups of clips that stand and fall together; None, or a single group, for each
            clip by itself.

    Raises:
        UsageError: shapes that do not agree.
    """
    proposer, opinion, options = _checked(proposer, opinion, options)
    right = np.asarray(truth, np.int64)
    if right.shape != (len(proposer),):
        raise UsageError(f"{right.shape} right labels for {len(proposer)} clips; give one a clip")
    hit = options == right[:, None]
    used = hit.any(axis=1) & np.isfinite(opinion).all(axis=1)
    shares = np.take_along_axis(proposer, options, axis=1)
    used &= shares.sum(axis=1) > 0
    names = list(range(len(right))) if groups is None else list(groups)
    fold = _folds([names[n] for n in np.flatnonzero(used)])
    if fold is None:
        return PROPOSER
    logs = np.stack([_log(shares[used]), _log(_doubted(opinion[used]))], axis=-1)  # (n, K, 2)
    truth_column = hit[used].argmax(axis=1)
    start = np.array([1.0, 0.0])
    held, alone = np.zeros(len(truth_column)), np.zeros(len(truth_column))
    for part in range(fold.max() + 1):
        out = fold == part
        examples = logs[~out], truth_column[~out]
        held[out] = _loss(_solve(*examples), logs[out], truth_column[out])
        alone[out] = _loss(_solve(*examples, largest=0.0), logs[out], truth_column[out])
    solved, before = _solve(logs, truth_column), _loss(start, logs, truth_column).mean()
    if held.mean() >= min(alone.mean() - _GAIN, before):
        return PROPOSER
    if _loss(solved, logs, truth_column).mean() > before:
        return PROPOSER
    weights = Mixing(float(solved[0]), float(solved[1]))
    after = mix(proposer, opinion, options, a=weights.a, b=weights.b)
    if (after.argmax(1) == right).sum() < (proposer.argmax(1) == right).sum():
        return PROPOSER
    return weights


def margins(proposer: Float64) -> Float64:
    """(N,) by how much the best of (N, C) probabilities leads."""
    if proposer.shape[1] < 2:
        return np.ones(len(proposer))
    best = -np.partition(-proposer, 1, axis=1)
    return best[:, 0] - best[:, 1]


def heard(opinion: Float64, weight: float | None) -> tuple[Float64, float]:
    """Opinions that count, and how much.

    Args:
        opinion: (N, K) probabilities.
        weight: Power on them, 0 or more; None where their quality is unknown.

    Returns:
        The opinions (N, K) and their power. Without a weight a row whose best option does not lead
        the next by more than ``LEAD`` is NaN.
    """
    if weight is not None:
        return opinion, weight
    leads = margins(np.nan_to_num(opinion)) > LEAD + _ROUNDING
    return np.where(leads[:, None], opinion, np.nan), WEIGHT


def _checked(proposer: Float64, opinion: Float64, options: Ints) -> tuple[Float64, Float64, Ints]:
    p, h = np.asarray(proposer, np.float64), np.asarray(opinion, np.float64)
    columns = np.asarray(options, np.int64)
    if p.ndim != 2 or h.ndim != 2 or columns.shape != h.shape or len(p) != len(h):
        raise UsageError(
            f"probabilities {p.shape}, opinions {h.shape} and options {columns.shape} do not fit; "
            "give (N, C), (N, K) and (N, K)"
        )
    if columns.size and (columns.min() < 0 or columns.max() >= p.shape[1]):
        raise UsageError(f"an option's column lies outside the {p.shape[1]} labels")
    return p, h, columns


def _doubted(opinion: Float64) -> Float64:
    return (1 - _DOUBT) * opinion + _DOUBT / opinion.shape[1]


def _log(probability: Float64) -> Float64:
    return np.log(np.maximum(probability, 1e-12))


def _loss(weights: Float64, logs: Float64, place: Ints) -> Float64:
    """(n,) negative log likelihood of the right option among the K."""
    logits = logs @ weights
    top = logits.max(axis=1)
    norm = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return norm - logits[np.arange(len(place)), place]


def _solve(logs: Float64, place: Ints, largest: float = _LARGEST) -> Float64:
    """(2,) weights, a to 20 and b to ``largest``: the minimum of the loss and the prior."""
    from scipy.optimize import minimize

    start = np.array([1.0, 0.0])
    if not len(place):
        return start

    def value(weights: Float64) -> tuple[float, Float64]:
        logits = logs @ weights
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        mean = (shares[..., None] * logs).sum(axis=1)
        slope = (mean - logs[np.arange(len(place)), place]).sum(axis=0)
        pull = weights - start
        loss = float(_loss(weights, logs, place).sum() + 0.5 * _PULL * pull @ pull)
        return loss, slope + _PULL * pull

    bounds = [(0.0, _LARGEST), (0.0, largest)]
    return minimize(value, start, jac=True, bounds=bounds, method="L-BFGS-B").x


def _folds(groups: Sequence[Hashable]) -> Ints | None:
    """The fold of each clip; groups stay whole, unless all clips are of one. None for one clip."""
    names = groups if len(set(groups)) >= _FEWEST else range(len(groups))
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    if len(number) < _FEWEST:
        return None
    folds = min(_FOLDS, len(number))
    return np.array([number[name] % folds for name in names], np.int64)
