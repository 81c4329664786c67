"""TRX (Perrett et al., CVPR 2021) and HyRSM (Wang et al., CVPR 2022): episodes of clips."""

from __future__ import annotations

from itertools import combinations
from math import log, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models


def _frames_network(name: str) -> tuple[nn.Sequential, int]:
    """A ResNet of torchvision without its last layer, and its width."""
    network: Any = models.get_model(name, weights=None)
    return nn.Sequential(*list(network.children())[:-1]), network.fc.in_features


class _Positions(nn.Module):
    pe: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("pe", table[None])


class TupleAttention(nn.Module):
    """Queries attend to all tuples of frames of a class."""

    def __init__(self, width: int, size: int, frames: int, out: int) -> None:
        super().__init__()
        count = int(1.5 * frames)
        rates = torch.exp(-torch.arange(0, width, 2) * log(10_000) / width)
        angles = torch.arange(count)[:, None] * rates
        self.pe = _Positions(0.1 * torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
        self.k_linear = nn.Linear(size * width, out)
        self.v_linear = nn.Linear(size * width, out)
        self.norm_k = nn.LayerNorm(out)
        self.norm_v = nn.LayerNorm(out)  # in the released layout, and never used
        self.size = size

    def maps(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (n, tuples, out) of clips (n, L, d)."""
        placed = frames + self.pe.pe[:, : frames.shape[1]]
        index = torch.tensor(list(combinations(range(frames.shape[1]), self.size)))
        tuples = placed[:, index].flatten(2)
        return self.norm_k(self.k_linear(tuples)), self.v_linear(tuples)

    def forward(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Logits (m, way) of queries (m, L, d), by support clips (n, L, d) and labels (n,)."""
        support_keys, support_values = self.maps(support)
        keys, values = self.maps(query)
        columns: list[Tensor] = []
        for label in range(way):
            rows = labels == label
            class_keys, class_values = support_keys[rows].flatten(0, 1), support_values[rows]
            weights = (keys @ class_keys.T / sqrt(keys.shape[-1])).softmax(-1)
            prototypes = weights @ class_values.flatten(0, 1)
            columns.append(-(values - prototypes).square().sum((1, 2)) / values.shape[1])
        return torch.stack(columns, 1)


class Trx(nn.Module):
    """TRX: support and query frames, clip after clip, -> (queries, way).

    Args:
        config: ``backbone`` (``resnet18`` ...), ``frames`` of a clip, ``sets`` (sizes of tuples),
            ``out``, ``way``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.frames, self.way = config["frames"], config["way"]
        self.resnet, width = _frames_network(config["backbone"])
        self.transformers = nn.ModuleList(
            TupleAttention(width, size, self.frames, config["out"]) for size in config["sets"]
        )

    def forward(self, support: Tensor, query: Tensor, support_labels: Tensor) -> Tensor:
        """Logits (m, way).

        Args:
            support: Frames (n L, 3, H, W), in 0..1.
            query: Frames (m L, 3, H, W).
            support_labels: (n,) int64 in 0..way - 1, in any order.
        """
        supports, queries = (
            self.resnet(frames).flatten(1).unflatten(0, (-1, self.frames))
            for frames in (support, query)
        )
        logits = [part(supports, support_labels, queries, self.way) for part in self.transformers]
        return torch.stack(logits).mean(0)


class _QkvAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*qkv.unbind(0))
        return self.to_out(y.transpose(1, 2).flatten(2))


class _Within(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = _QkvAttention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.fn(self.norm(x)))


class _Across(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        heads = [
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.w_qs, self.w_ks, self.w_vs)
        ]
        y = functional.scaled_dot_product_attention(*heads)
        y = self.fc(y.transpose(1, 2).flatten(2))
        return functional.relu(self.layer_norm(x + y))


class Hyrsm(nn.Module):
    """HyRSM: support and query frames, clip after clip, -> (queries, way).

    Args:
        config: ``form`` (its end names the shots), ``backbone``, ``frames``, ``heads``, ``way``,
            ``train_classes``, ``position_a``, ``position_b``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.frames, self.way = config["frames"], config["way"]
        self.one_shot = config["form"].endswith("1shot")
        self.scales = config["position_a"], config["position_b"]
        self.backbone, width = _frames_network(config["backbone"])
        even = torch.arange(0, width, 2)
        positions = torch.arange(20)[:, None]
        sines = torch.sin(positions / 10_000 ** (2 * even / width))
        cosines = torch.cos(positions / 10_000 ** (2 * (even + 1) / width))
        self.pe = _Positions(torch.stack([sines, cosines], -1).flatten(1))
        self.temporal_atte_before = _Within(width, config["heads"])
        self.temporal_atte = _Across(width, config["heads"])
        self.layer2 = nn.Sequential(nn.Conv1d(2 * width, width, 1))
        self.classification_layer = nn.Linear(width, config["train_classes"])

    def clips(self, frames: Tensor) -> Tensor:
        """Related frames (n, L, d) of frames (n L, 3, H, W)."""
        x = self.backbone(frames).flatten(1).unflatten(0, (-1, self.frames))
        a, b = self.scales
        return self.temporal_atte_before(
            x * sqrt(x.shape[-1] / a) + b * self.pe.pe[:, : self.frames]
        )

    def forward(self, support: Tensor, query: Tensor, support_labels: Tensor) -> Tensor:
        """Logits (m, way).

        Args:
            support: Frames (n L, 3, H, W).
            query: Frames (m L, 3, H, W).
            support_labels: (n,) int64 in 0..way - 1, in any order.
        """
        supports, queries = self.clips(support), self.clips(query)
        labels = support_labels
        if not self.one_shot:
            supports = torch.stack([supports[labels == label].mean(0) for label in range(self.way)])
            labels = torch.arange(self.way)
        means = supports.mean(1).expand(len(queries), -1, -1)
        related = self.temporal_atte(
            torch.cat([means, queries.mean(1)[:, None]], 1)
        )  # (m, n + 1, d)
        fused = self._fused(supports.expand(len(queries), -1, -1, -1), related[:, :-1])
        query_rows = self._fused(queries[:, None], related[:, -1:])
        unit, units = functional.normalize(fused, dim=-1), functional.normalize(query_rows, dim=-1)
        distance = 1 - unit @ units.transpose(-1, -2)  # (m, n, L, L)
        total = distance.amin(-1).sum(-1) + distance.amin(-2).sum(-1)
        return torch.stack([-total[:, labels == label].mean(1) for label in range(self.way)], 1)

    def _fused(self, frames: Tensor, relation: Tensor) -> Tensor:
        pair = torch.cat([frames, relation[:, :, None].expand_as(frames)], -1)
        flat = pair.flatten(0, 1).transpose(1, 2)
        return self.layer2(flat).transpose(1, 2).view_as(frames)
