"""``aligned``: a ridge regression from clips to the vectors of their labels, solved at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.adapters.settings import setting
from vlar.methods.aligned.gate import balanced_weights, ridge_map
from vlar.methods.aligned.text_map_adapter import Integers, MappedAdapter, MappedConfig, Solved
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Float32, Float64

if TYPE_CHECKING:
    from torch import nn

_PENALTIES = tuple(10.0 ** np.arange(-3.0, 2.5, 0.5))
_DEFAULT = 1.0
_FOLDS = 4


@dataclass(frozen=True)
class AlignedConfig(MappedConfig):
    """Settings of the ridge regression.

    Attributes:
        penalty: On the map, in mean squared lengths of a clip; 0 chooses by held-out labels.
    """

    penalty: float = setting(0.0, at_least=0, at_most=1e6)
    what: ClassVar[str] = "aligned setting"


@register("adapter", "aligned", status="in the spirit")
class Aligned(MappedAdapter):
    """Clips are mapped to the vectors of texts by least squares with a penalty.

    ``M = Z^T (K + penalty I)^-1 X`` with the centred clips X and label vectors Z, every label
    weighing the same (Palatucci et al., "Zero-shot learning with semantic output codes", 2009; the
    penalty as in Romera-Paredes and Torr, 2015). The penalty is the one with which labels that are
    left out of the fit are found best.

    Reference: Palatucci et al., "Zero-shot learning with semantic output codes", NeurIPS 2009;
    Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", ICML 2015.
    Example: ``vlar adapt skeletons/ --model skeleton --out mine --method aligned``.

    Attributes:
        parts: The map (k, d), and the means that are subtracted, (d,) and (k,).
    """

    config_type = AlignedConfig
    method = "aligned"
    config: AlignedConfig
    parts: nn.Module

    def _width(self) -> int:
        return self.text_width

    def _build(self) -> None:
        import torch
        from torch import nn

        self.parts = nn.Module()
        sizes = {
            "map": (self.text_width, self.clip_width),
            "clips": (self.clip_width,),
            "texts": (self.text_width,),
        }
        for name, size in sizes.items():
            self.parts.register_buffer(name, torch.zeros(size))

    @property
    def module(self) -> nn.Module:
        """The map and the means."""
        return self.parts

    def _refreshed(self) -> None:
        state = self.state_dict()
        self._map, self._clip_mean, self._text_mean = (
            state[name] for name in ("map", "clips", "texts")
        )

    def _fit(self, x: Float64, z: Float64, columns: Integers) -> Solved:
        import torch

        penalty, rank = self.config.penalty, None
        if not penalty:
            penalty, rank = _chosen(x, z, columns)
        weights = balanced_weights(columns, len(z))
        clips, texts = weights @ x, weights @ z[columns]
        mapping = ridge_map(x - clips, (z - texts)[columns], weights, penalty)
        for name, array in (("map", mapping), ("clips", clips), ("texts", texts)):
            self.parts.get_buffer(name).copy_(torch.from_numpy(array))
        self.config = dataclasses.replace(self.config, penalty=penalty)
        self._refreshed()
        missed = np.square((x - clips) @ mapping.T - (z - texts)[columns]).sum(axis=1)
        return Solved((float(weights @ missed),), rank)

    def _clips(self, x: Float32) -> Float32:
        return (x - self._clip_mean) @ self._map.T

    def _words(self, z: Float32) -> Float32:
        return z - self._text_mean


def _chosen(x: Float64, z: Float64, columns: Integers) -> tuple[float, float | None]:
    """The penalty with which held-out labels rank best, and their mean reciprocal rank."""
    if len(z) < 2 * _FOLDS:
        return _DEFAULT, None
    ranks = np.mean([_ranks(x, z, columns, fold) for fold in range(_FOLDS)], axis=0)
    best = int(np.argmax(np.round(ranks, 9)))
    return _PENALTIES[best], float(ranks[best])


def _ranks(x: Float64, z: Float64, columns: Integers, fold: int) -> Float64:
    """(penalties,) mean reciprocal rank of the clips of every fourth label among such labels."""
    names = np.flatnonzero(np.arange(len(z)) % _FOLDS == fold)
    out = np.isin(columns, names)
    label_names, column_of = np.unique(columns[~out], return_inverse=True)
    weights = balanced_weights(column_of, len(label_names))
    clips, texts = weights @ x[~out], weights @ z[columns[~out]]
    words = unit(z[names] - texts)
    right = np.searchsorted(names, columns[out])
    ranks: list[float] = []
    for penalty in _PENALTIES:
        mapped = ridge_map(x[~out] - clips, z[columns[~out]] - texts, weights, penalty)
        scores = unit((x[out] - clips) @ mapped.T) @ words.T
        truth_scores = scores[np.arange(len(right)), right]
        ranks.append(float((1.0 / (1 + (scores > truth_scores[:, None]).sum(axis=1))).mean()))
    return np.array(ranks)
