"""What every rejector offers: whether a clip shows none of the labels of a support set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from vlar import registry
from vlar.errors import ModelError, UsageError
from vlar.types import Float32, Float64, JsonDict

Array = npt.NDArray[Any]


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
                rejector that reads ``logits``, NaN in the rows that were never held out.
        """

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
