"""Interface of a rejector: probability that a clip shows none of the labels of a support set."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.errors import ModelError, SupportError, UsageError
from vlar.files.reading import number
from vlar.heads.logistic import fit_logistic, logistic
from vlar.numeric import logsumexp, softmax, unit
from vlar.registry import register
from vlar.types import Float32, Float64, JsonDict

Array = npt.NDArray[Any]
_KEPT, _NORMAL = 0.95, 1.645  # share of right answers that stay, and its quantile
_FEW = 0.9  # Student's quantile against the normal one, by degrees of freedom


class HeldOut(NamedTuple):
    """Scores of the support set's own examples, each judged by the others.

    Attributes:
        known: (k,) float64 scores of examples whose recording is left out.
        unknown: (u,) float64 scores of examples whose whole label is left out.
        rows: (k,) numbers of the examples of ``known``; None where they are not stated.
    """

    known: Float64
    unknown: Float64
    rows: Array | None = None


class Rejector(ABC):
    """A part of kind ``rejector``: scores that rise where no label fits.

    Attributes:
        name: Registered name; ``config`` holds it.
        reads: ``signatures`` of clips, or ``logits`` of the head that it guards.
    """

    name: ClassVar[str]
    reads: ClassVar[str] = "signatures"

    @abstractmethod
    def fit(
        self,
        signatures: Float32,
        y: Sequence[str],
        groups: Sequence[str] | None = None,
        logits: Float64 | None = None,
    ) -> Self:
        """Learn from a support set, and from it alone.

        Args:
            signatures: (n, S) float32, one row an example.
            y: n labels, at least two different ones.
            groups: n groups (recordings); examples of one group never support each other. Default
                every example its own.
            logits: (n, C) of the same examples by heads that did not learn from them; only for a
                rejector that reads ``logits``, NaN in the rows that were never held out. The
                columns are the sorted labels.
        """

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        """Learn from the support set, and score its examples by what the others taught.

        ``auto`` compares rejectors by these scores. It leaves out one that has none, as here.

        Args:
            signatures: (n, S) float32.
            label: (n,) labels.
            group: (n,) recordings.
            logits: As in ``fit``; None where the rejector does not read them.
        """
        return HeldOut(np.zeros(0), np.zeros(0))

    @abstractmethod
    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """(m,) float64 scores of clips; higher means that no label fits.

        Args:
            signatures: (m, S) float32.
            logits: (m, C) of the same clips; only for a rejector that reads ``logits``.
        """

    @abstractmethod
    def probability(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """(m,) float64 in 0..1, the probability that no label fits; rises with ``score``."""

    @staticmethod
    def threshold(known: Array, keep: float = 0.95) -> float:
        """The score up to which a share of known clips stays known.

        Args:
            known: (n,) scores of held-out clips that show one of the labels.
            keep: Share of them to keep, 0..1.

        Raises:
            UsageError: no score, or a share outside 0..1.
        """
        if not len(known):
            raise UsageError("a threshold needs the score of at least one known clip")
        if not 0.0 <= keep <= 1.0:
            raise UsageError(f"the share of known clips to keep is {keep}; give one from 0 to 1")
        return float(np.quantile(known, keep, method="inverted_cdf"))

    def keep(self, known: Float64) -> None:  # noqa: B027 - a rejector without a curve has no use
        """Take clips for known up to the scores that right answers reach; never fewer than before.

        Args:
            known: (k,) held-out scores of examples that are answered right without their recording;
                none change nothing, and nor does a rejector without a curve.
        """

    @abstractmethod
    def config(self) -> JsonDict:
        """The settings to save (JSON), with ``rejector`` as the registered name."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The arrays to save (safetensors)."""

    @abstractmethod
    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """Set what ``config`` and ``state`` hold; called by ``from_state``."""

    @staticmethod
    def from_state(config: Mapping[str, Any], state: Mapping[str, Array]) -> Rejector:
        """The rejector that ``config`` and ``state`` were saved from, by its registered name.

        Raises:
            ModelError: a setting or an array is missing or malformed.
            UnknownNameError: no rejector has the saved name.
        """
        try:
            rejector: Rejector = registry.get("rejector", str(config["rejector"]))()
            rejector.restore(config, state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f"the saved rejector is incomplete or malformed ({error!r}); adapt again"
            ) from error
        return rejector


def upper_bound(scores: Float64) -> float:
    """The score that 95 % of further ones of their kind stay below, expected from k of them.

    From 19 on it is one of the scores, by rank. Fewer show no such end: it is then that of a normal
    distribution of their mean and spread (nearly Student's t), and the largest at least.

    Args:
        scores: (k,), at least one.

    >>> upper_bound(np.arange(99.0)), round(upper_bound(np.array([0.0, 1.0])), 1)
    (94.0, 3.2)
    """
    count = len(scores)
    rank = math.ceil(_KEPT * (count + 1))
    if rank <= count:
        return float(np.sort(scores)[rank - 1])
    if count < 2:
        return float(scores.max())
    reach = _NORMAL * (1 + _FEW / (count - 1)) * math.sqrt(1 + 1 / count)
    return max(float(scores.max()), float(scores.mean() + reach * scores.std(ddof=1)))


class CurveRejector(Rejector):
    """A rejector that is a score, turned into a probability by a logistic curve.

    The curve runs between the scores of examples whose recording is left out, which are known, and
    those of examples whose label is left out, which are not. Both come from the support set alone.

    Attributes:
        centre: The score at which known and unknown are equally likely.
        slope: Steepness per unit of score, positive.
    """

    centre: float = 0.0
    slope: float = 1.0

    def fit(
        self,
        signatures: Float32,
        y: Sequence[str],
        groups: Sequence[str] | None = None,
        logits: Float64 | None = None,
    ) -> Self:
        """Learn from a support set.

        Raises:
            SupportError: nothing can be held out, so that no score of a known example exists.
        """
        group = np.arange(len(y)) if groups is None else np.asarray(groups)
        scores = self.hold_out(signatures, np.asarray(y), group, logits)
        self.centre, self.slope = self.curve(scores)
        return self

    def curve(self, scores: HeldOut) -> tuple[float, float]:
        """Centre and slope by held-out scores.

        Raises:
            SupportError: known or unknown ones are missing.
        """
        if not len(scores.known) or not len(scores.unknown):
            raise SupportError(
                f"rejector {self.name!r} needs two labels, and one of them in two recordings; give "
                "more examples or use 'familiarity'"
            )
        return fit_logistic(scores.unknown, scores.known)

    def keep(self, known: Float64) -> None:
        self.centre = max(self.centre, upper_bound(known)) if len(known) else self.centre

    def probability(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        return logistic(self.score(signatures, logits), self.centre, self.slope)

    def config(self) -> JsonDict:
        """The curve."""
        return {"rejector": self.name, "centre": self.centre, "slope": self.slope}

    def state(self) -> dict[str, Array]:
        """No arrays, unless a rejector keeps some."""
        return {}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        self.centre, self.slope = number(config, "centre"), number(config, "slope", above=0)


class LogitRejector(CurveRejector):
    """A rejector whose score is a function of the head's logits.

    An example stands for an unknown clip once the column of its own label is taken away.
    """

    reads = "logits"

    @abstractmethod
    def of_logits(self, logits: Float64) -> Float64:
        """(m,) float64 scores of logits (m, C); higher means that no label fits."""

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """Score clips by their logits.

        Raises:
            UsageError: no logits.
        """
        if logits is None:
            raise UsageError(f"rejector {self.name!r} reads logits; give them")
        return self.of_logits(np.asarray(logits, np.float64))

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        if logits is None:
            raise UsageError(f"rejector {self.name!r} reads logits; give those of the examples")
        answered = np.isfinite(logits).all(axis=1)
        rows = np.asarray(logits, np.float64)[answered]
        column = np.searchsorted(np.unique(label), label[answered])
        others = np.arange(rows.shape[1])[None] != column[:, None]
        self.learn(rows, column)
        if not len(rows):
            return HeldOut(np.zeros(0), np.zeros(0))
        without = rows[others].reshape(len(rows), -1)
        return HeldOut(self.of_logits(rows), self.of_logits(without), np.flatnonzero(answered))

    def learn(self, logits: Float64, column: Array) -> None:
        """Fit what the score needs on held-out logits (n, C) of examples; nothing by default.

        Args:
            logits: (n, C) float64.
            column: (n,) the column of each example's label.
        """


@register("rejector", "knn")
class NearestExamples(CurveRejector):
    """One minus the cosine to the k-th nearest example (Sun et al., 2022).

    ``familiarity`` is the same with k = 1; k = 3 forgives one odd example.
    """

    name = "knn"
    k = 3
    examples: Float32

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        self.examples = unit(signatures)
        distance = 1.0 - (self.examples @ self.examples.T).astype(np.float64)
        other_group = group[:, None] != group[None]
        same_label = label[:, None] == label[None]
        shown = (same_label & other_group).any(axis=1)
        nearest = np.where(other_group, distance, np.inf)[shown]
        unknown = np.where(other_group & ~same_label, distance, np.inf)
        return HeldOut(self._finite(nearest), self._finite(unknown), np.flatnonzero(shown))

    def _finite(self, distances: Float64) -> Float64:
        """(m,) the k-th smallest of each row, or the largest; rows without any are left out."""
        counts = np.isfinite(distances).sum(axis=1)
        rows = np.sort(distances[counts > 0], axis=1)
        rank = np.minimum(self.k, counts[counts > 0]) - 1
        return rows[np.arange(len(rows)), rank]

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        return self._finite(1.0 - (unit(signatures) @ self.examples.T).astype(np.float64))

    def state(self) -> dict[str, Array]:
        """The examples."""
        return {"examples": self.examples}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        super().restore(config, state)
        self.examples = np.asarray(state["examples"], np.float32)


@register("rejector", "prototype")
class NearestPrototype(CurveRejector):
    """One minus the cosine to the nearest mean of a label's examples."""

    name = "prototype"
    _prototypes: Float32

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        rows, member = unit(signatures), label[:, None] == np.unique(label)[None]
        self._prototypes = unit(member.T.astype(np.float32) @ rows)
        inside: list[float] = []
        unknown: list[float] = []
        known: list[int] = []
        for index, row in enumerate(rows):
            stays = member * (group != group[index])[:, None]
            cosine = unit(stays.T.astype(np.float32) @ rows) @ row
            shown, is_label = stays.any(axis=0), member[index]
            inside += [1.0 - float(cosine[shown].max())] if shown[is_label].any() else []
            known += [index] if shown[is_label].any() else []
            unknown += (
                [1.0 - float(cosine[shown & ~is_label].max())] if (shown & ~is_label).any() else []
            )
        return HeldOut(np.array(inside), np.array(unknown), np.array(known, np.intp))

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        return 1.0 - (unit(signatures) @ self._prototypes.T).max(axis=1).astype(np.float64)

    def state(self) -> dict[str, Array]:
        """The means."""
        return {"prototypes": self._prototypes}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        super().restore(config, state)
        self._prototypes = np.asarray(state["prototypes"], np.float32)


_LARGEST = 10.0  # of a logit before exp, as in the source
_DOUBT = 0.01  # nats for one unit of the log factor or of the offset, squared, an example


@register("rejector", "evidential")
class Evidential(LogitRejector):
    """Vacuity ``C / S`` of ``alpha = 1 + exp(factor * logit + offset)``, ``S`` the sum of alpha.

    The vacuity depends on the number of labels: scores of models over other labels do not compare.

    Attributes:
        factor: On the logits, positive.
        offset: Added to them.
    """

    name = "evidential"
    factor: float = 1.0
    offset: float = 0.0

    def learn(self, logits: Float64, column: Array) -> None:
        """The factor and offset under which the evidential loss of held-out examples is least."""
        if not len(logits):
            return
        from scipy.optimize import minimize

        start = np.array([0.0, -float(logits.mean())])
        rows = np.arange(len(logits))

        def loss(free: Float64) -> float:
            alpha = 1.0 + _evidence(np.exp(free[0]) * logits + free[1])
            fit = np.log(alpha.sum(axis=1)) - np.log(alpha[rows, column])
            return float(fit.mean() + _DOUBT * ((free - start) ** 2).sum() / len(rows))

        solution = minimize(loss, start, method="Nelder-Mead").x
        self.factor, self.offset = float(np.exp(solution[0])), float(solution[1])

    def of_logits(self, logits: Float64) -> Float64:
        evidence = _evidence(self.factor * logits + self.offset)
        n_labels = logits.shape[1]
        return n_labels / (evidence.sum(axis=1) + n_labels)

    def config(self) -> JsonDict:
        """The curve, the factor and the offset."""
        return {**super().config(), "factor": self.factor, "offset": self.offset}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        super().restore(config, state)
        self.factor, self.offset = number(config, "factor"), number(config, "offset")


def _evidence(logits: Float64) -> Float64:
    return np.exp(np.clip(logits, -_LARGEST, _LARGEST))


@register("rejector", "familiarity")
class Familiarity(NearestExamples):
    """``probability = 1 - 1 / (1 + exp(-slope * (familiarity - centre)))``; slope is positive.

    Attributes:
        examples: (n, S) float32, unit vectors of the support set.
        centre: The cosine at which known and unknown are equally likely.
        slope: Steepness per unit of cosine.
    """

    name = "familiarity"

    def curve(self, scores: HeldOut) -> tuple[float, float]:
        """Centre and slope by held-out scores.

        With one example a label no pair of known examples exists; the known end is then half-way
        between what out-of-distribution examples reach and identity.
        """
        inside, unknown = -scores.known, -scores.unknown
        if not len(unknown):
            return CurveRejector.centre, CurveRejector.slope
        return fit_logistic(inside if len(inside) else (1.0 + unknown) / 2, unknown)

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        self.examples = unit(signatures)
        cosine = (self.examples @ self.examples.T).astype(np.float64)
        other_group = group[:, None] != group[None, :]
        same_label = label[:, None] == label[None, :]
        outside = _largest(cosine, ~same_label & other_group)
        inside = _largest(cosine, same_label & other_group)
        known = np.flatnonzero(np.isfinite(inside))
        best_inside = np.maximum(inside, outside)[known]
        return HeldOut(-best_inside, -outside[np.isfinite(outside)], known)

    def familiarity(self, signatures: Float32) -> Float64:
        """(m,) largest cosine to an example."""
        return (unit(signatures) @ self.examples.T).max(axis=1).astype(np.float64)

    def score(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """Minus the familiarity."""
        return -self.familiarity(signatures)

    def probability(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        return 1.0 - self.known(self.familiarity(signatures))

    def keep(self, known: Float64) -> None:
        self.centre = min(self.centre, -upper_bound(known)) if len(known) else self.centre

    def known(self, familiarity: Array) -> Float64:
        """Probability, elementwise, that a known clip reaches this cosine to an example."""
        return logistic(familiarity, self.centre, self.slope)


def _largest(cosine: Float64, allowed: Array) -> Float64:
    return np.where(allowed, cosine, -np.inf).max(axis=1)


@register("rejector", "max-softmax")
class MaxSoftmax(LogitRejector):
    """Minus the largest probability (Hendrycks and Gimpel, "A baseline for detecting", 2017)."""

    name = "max-softmax"

    def of_logits(self, logits: Float64) -> Float64:
        return -softmax(logits).max(axis=1)


@register("rejector", "max-logit")
class MaxLogit(LogitRejector):
    """Minus the largest logit (Hendrycks et al., "Scaling out-of-distribution detection", 2022)."""

    name = "max-logit"

    def of_logits(self, logits: Float64) -> Float64:
        return -logits.max(axis=1)


@register("rejector", "energy")
class Energy(LogitRejector):
    """Free energy, ``-logsumexp`` (Liu et al., "Energy-based out-of-distribution", 2020, eq. 4)."""

    name = "energy"

    def of_logits(self, logits: Float64) -> Float64:
        return -logsumexp(logits)
