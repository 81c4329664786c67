"""Lists that have labels with examples and labels without: what a map keeps to answer them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.adapters.gate import Gate, ListGate, SeenClassifier
from vlar.text.clean import clean_label
from vlar.types import Float32, Float64

if TYPE_CHECKING:
    from torch import nn

_BUFFERS = ("seen_weights", "seen_bias")  # of the classifier of labels with examples


class MixedLists(ABC):
    """Calibrated stacking, or a gate where one was fitted.

    Attributes:
        config: With ``labels``, ``stacking`` and ``gate_numbers``.
    """

    config: Any
    _gate: tuple[Gate, SeenClassifier] | None = None

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is saved; it has the classifier of the gate too."""

    @abstractmethod
    def clip_vectors(self, features: Float32) -> Float32:
        """Frame features (n, T, F) to (n, d)."""

    def label_offsets(self, texts: Sequence[str]) -> Float64:
        """(C,) what each label loses from its cosine in a list with labels without examples."""
        known = set(self.config.labels)
        lost = max(self.config.stacking, 0.0)
        return np.array([lost if clean_label(text) in known else 0.0 for text in texts])

    def label_gate(self, texts: Sequence[str]) -> ListGate | None:
        """What tells clips of labels with examples from others, for a list of labels (C,).

        None without a gate, and for lists that it cannot serve: all of one side, or fewer labels
        without examples than it reads scores of.
        """
        if self._gate is None:
            return None
        known = {label: at for at, label in enumerate(self.config.labels)}
        columns = np.array([known.get(clean_label(text), -1) for text in texts], np.int64)
        bound = ListGate(*self._gate, columns, self.clip_vectors)
        return bound if bound.serves else None

    def _keep_classifier(self, made: SeenClassifier) -> None:
        """Put the classifier of labels with examples among what is saved."""
        import torch

        for name, array in zip(_BUFFERS, (made.weights, made.bias), strict=True):
            self.module.register_buffer(name, torch.from_numpy(array.astype(np.float32)))

    def _read_gate(self) -> None:
        """Take the gate from the settings and its classifier from what is saved."""
        self._gate = None
        if self.config.gate_numbers:
            arrays = (self.module.get_buffer(name).double().numpy() for name in _BUFFERS)
            self._gate = Gate.of(self.config.gate_numbers), SeenClassifier(*arrays)
