"""The contract of encoders that make a label's vector of its text and its descriptions at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vlar.types import Float32


@runtime_checkable
class DescribedText(Protocol):
    """An encoder that pools descriptions in a way of its own.

    Other encoders mix them by ``Encoder.descriptions``.
    """

    def encode_described(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> Float32:
        """Vectors (C, D) of labels, float32 of unit length.

        Args:
            texts: C label texts, without templates.
            described: C lists of descriptions; a label with none goes by its text.
        """
        ...
