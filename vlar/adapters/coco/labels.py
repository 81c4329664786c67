"""Labels as the frozen text tower has them: their texts, and which descriptions are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlar.adapters.coco.config import CocoConfig
from vlar.encoders.base import Encoder
from vlar.numeric import unit
from vlar.text.description_lookup import descriptions_of
from vlar.text.description_sets import load_descriptions
from vlar.text.prompts import fill, load_templates
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

_SAME = 1 - 1e-6  # cosine of two descriptions that are one
_LEFT_OUT = "contrast"  # names what a label is not


@dataclass(frozen=True)
class CocoLabels:
    """Vectors of labels by the frozen text tower.

    Attributes:
        names: (C, D) of their texts.
        described: C times (P, D) of their descriptions.
        unseen: The same of labels without examples; None without any.
    """

    names: Tensor
    described: list[Tensor]
    unseen: CocoLabels | None = None


class LabelReader:
    """Reads label texts and descriptions.

    Args:
        encoder: The text tower.
        config: Where the descriptions are, and how many are kept.
    """

    def __init__(self, encoder: Encoder, config: CocoConfig) -> None:
        self._encoder, self._config = encoder, config

    def look_up(self, texts: Sequence[str]) -> tuple[list[list[str]], str]:
        """Descriptions of C label texts from the bank of the settings, and their hash."""
        if self._config.bank:
            entries = load_descriptions(self._config.bank).entries
            found = descriptions_of(texts, entries, only_own=True)
        else:
            found = descriptions_of(texts)
        rows = [
            [text for kind, several in row.items() if kind != _LEFT_OUT for text in several]
            for row in found
        ]
        return rows, hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def labels(self, texts: Sequence[str], described: Sequence[Sequence[str]]) -> CocoLabels:
        """C label texts and their descriptions as vectors."""
        import torch

        names = self._names(texts)
        rows = [torch.from_numpy(row) for row in self._described(names, described)]
        return CocoLabels(torch.from_numpy(names), rows)

    def chosen(self, name: Float32, rows: Float32) -> Float32:
        """Descriptions (P, D) without near-duplicates: those nearest to the label's text (D,)."""
        kept: list[int] = []
        for place, row in enumerate(rows[: 4 * self._config.most]):
            if not kept or float((rows[kept] @ row).max()) < _SAME:
                kept.append(place)
        if not kept:
            return rows
        count = min(self._config.most, max(1, round(self._config.keep * len(kept))))
        nearest = np.argsort(-(rows[kept] @ name), kind="stable")[:count]
        return rows[np.array(kept)[nearest]]

    def _names(self, texts: Sequence[str]) -> Float32:
        """(C, D) of label texts: the mean over the templates."""
        prompts = fill(load_templates(self._encoder.templates), list(texts))
        flat = self._encoder.encode_text([prompt for row in prompts for prompt in row])
        return unit(flat.reshape(len(texts), -1, self._encoder.dim).mean(axis=1))

    def _described(self, names: Float32, found: Sequence[Sequence[str]]) -> list[Float32]:
        """C times (P, D), in order, without repetitions."""
        texts = list(dict.fromkeys(text for row in found for text in row))
        vectors = dict(zip(texts, self._encoder.encode_text(texts), strict=True))
        empty = np.zeros((0, self._encoder.dim), np.float32)
        stacked = [
            np.stack([vectors[text] for text in row]) if row else empty
            for row in (dict.fromkeys(row) for row in found)
        ]
        return [self.chosen(name, row) for name, row in zip(names, stacked, strict=True)]
