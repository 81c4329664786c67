"""What every rejector offers: whether a clip shows none of the labels of a support set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.errors import ModelError, SupportError, UsageError
from vlar.safety.numbers import number
from vlar.scoring.logistic import fit_logistic, logistic
from vlar.types import Float32, Float64, JsonDict

Array = npt.NDArray[Any]


class HeldOut(NamedTuple):
    """Scores of the support set's own examples, each judged by the others.

    Attributes:
        known: (k,) float64 scores of examples whose recording is left out.
        unknown: (u,) float64 scores of examples whose whole label is left out.
    """

    known: Float64
    unknown: Float64


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
        del signatures, label, group, logits
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
        """See ``Rejector``.

        Raises:
            SupportError: nothing can be held out, so that no score of a known example exists.
        """
        group = np.arange(len(y)) if groups is None else np.asarray(groups)
        known, unknown = self.hold_out(signatures, np.asarray(y), group, logits)
        if not len(known) or not len(unknown):
            raise SupportError(
                f"rejector {self.name!r} needs two labels, and one of them in two recordings; give "
                "more examples or use 'familiarity'"
            )
        self.centre, self.slope = fit_logistic(unknown, known)
        return self

    def probability(self, signatures: Float32, logits: Float64 | None = None) -> Float64:
        """See ``Rejector``."""
        return logistic(self.score(signatures, logits), self.centre, self.slope)

    def config(self) -> JsonDict:
        """The curve."""
        return {"rejector": self.name, "centre": self.centre, "slope": self.slope}

    def state(self) -> dict[str, Array]:
        """No arrays, unless a rejector keeps some."""
        return {}

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Array]) -> None:
        """See ``Rejector``."""
        del state
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
        """See ``Rejector``.

        Raises:
            UsageError: no logits.
        """
        del signatures
        if logits is None:
            raise UsageError(f"rejector {self.name!r} reads logits; give them")
        return self.of_logits(np.asarray(logits, np.float64))

    def hold_out(
        self, signatures: Float32, label: Array, group: Array, logits: Float64 | None
    ) -> HeldOut:
        """See ``Rejector``."""
        del signatures, group
        if logits is None:
            raise UsageError(f"rejector {self.name!r} reads logits; give those of the examples")
        there = np.isfinite(logits).all(axis=1)
        rows = np.asarray(logits, np.float64)[there]
        column = np.searchsorted(np.unique(label), label[there])
        others = np.arange(rows.shape[1])[None] != column[:, None]
        self.learn(rows, column)
        if not len(rows):
            return HeldOut(np.zeros(0), np.zeros(0))
        without = rows[others].reshape(len(rows), -1)
        return HeldOut(self.of_logits(rows), self.of_logits(without))

    def learn(self, logits: Float64, column: Array) -> None:
        """Fit what the score needs on held-out logits (n, C) of examples; nothing by default.

        Args:
            logits: (n, C) float64.
            column: (n,) the column of each example's label.
        """
