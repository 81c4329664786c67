"""The networks that compare a query clip with the support clips of every label.

Letters: B queries, n support clips, T frames, F features of a frame, D width, C labels, L tuples.
Each query is scored for itself: nothing passes from one query to another.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

_POSITIONS = 0.1  # factor on the sinusoids, as TRX has it


class RelationNetwork(nn.Module):
    """Scores of queries against labelled clips."""

    @abstractmethod
    def forward(self, queries: Tensor, supports: Tensor, member: Tensor) -> Tensor:
        """(B, C) logits.

        Args:
            queries: (B, T, F) frames.
            supports: (n, T, F) frames.
            member: (n, C) float, 1 where a support clip shows the label; each label has one.
        """

    def begin(self, n_labels: int) -> None:
        """Build what only training needs; ``end`` removes it."""

    def end(self) -> None:
        """Drop what ``begin`` prepared."""

    def further_losses(
        self, queries: Tensor, supports: Tensor, member: Tensor, y: Tensor
    ) -> Tensor:
        """Loss of training in addition to the cross-entropy of the logits.

        Args:
            queries: (B, T, F) frames.
            supports: (n, T, F) frames.
            member: (n, C).
            y: (B,) int64 labels of the queries.
        """
        return queries.new_zeros(())


class TrxNetwork(RelationNetwork):
    """Tuples of frames of a query look for those of each label (TRX).

    Perrett et al., "Temporal-relational CrossTransformers", 2021, equations 3 to 8: keys and values
    of ordered tuples; a prototype of each query tuple from all tuples of a label's clips; the mean
    squared distance to it. Cardinalities are averaged.

    Args:
        n_features: F.
        width: D of keys and values.
        cardinalities: Frames of a tuple.
        dropout: On the frames.
    """

    def __init__(
        self, n_features: int, width: int, cardinalities: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.cardinalities = cardinalities
        self.drop = nn.Dropout(dropout)
        for size in cardinalities:
            self.add_module(f"key{size}", nn.Linear(size * n_features, width))
            self.add_module(f"value{size}", nn.Linear(size * n_features, width))
            self.add_module(f"norm{size}", nn.LayerNorm(width))

    def forward(self, queries: Tensor, supports: Tensor, member: Tensor) -> Tensor:
        a, b = (self.drop(x + _POSITIONS * sinusoids(x)) for x in (queries, supports))
        sizes = [size for size in self.cardinalities if size <= queries.shape[1]]
        distances = [self._distances(a, b, member, size) for size in sizes]
        return -torch.stack(distances).mean(dim=0)

    def _distances(self, queries: Tensor, supports: Tensor, member: Tensor, size: int) -> Tensor:
        (key, value), (keys, values) = (self._tuples(x, size) for x in (queries, supports))
        distances: list[Tensor] = []
        for column in member.T:
            is_tuple = column > 0
            flat = keys[is_tuple].flatten(0, 1)
            attention = (key @ flat.T / math.sqrt(flat.shape[1])).softmax(dim=-1)
            prototype = attention @ values[is_tuple].flatten(0, 1)
            distances.append((value - prototype).square().sum(dim=-1).mean(dim=1))
        return torch.stack(distances, dim=1)

    def _tuples(self, frames: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Keys and values (N, L, D) of all ordered tuples of clips (N, T, F)."""
        places = torch.tensor(list(itertools.combinations(range(frames.shape[1]), size)))
        tuples: list[Tensor] = []
        for name in ("key", "value"):
            linear = self.get_submodule(f"{name}{size}")
            assert isinstance(linear, nn.Linear)
            # A linear map of joined frames is a sum of maps of frames, each computed once.
            total: Tensor = linear.bias
            for index, weight in enumerate(linear.weight.chunk(size, dim=1)):
                total = total + F.linear(frames, weight)[:, places[:, index]]
            tuples.append(total)
        return self.get_submodule(f"norm{size}")(tuples[0]), tuples[1]


class HyrsmNetwork(RelationNetwork):
    """Relations within a clip and among the clips of a task, then a set distance (HyRSM, HyRSM++).

    Wang et al., "Hybrid relation guided set matching", 2022, equations 2 to 6. A linear map makes
    the frames narrower first, where the source works at the width of its backbone. ``coherence`` is
    the term of HyRSM++ (2023): frames near in time should be alike, frames apart should not.

    Args:
        n_features: F.
        width: D.
        heads: Heads of both attentions.
        frames: Factor on a classification of single frames, in training alone.
        coherence: Factor on the temporal coherence.
    """

    def __init__(
        self, n_features: int, width: int, heads: int, frames: float, coherence: float
    ) -> None:
        super().__init__()
        self.frames_weight, self.coherence = frames, coherence
        self.width, self.classes = width, None
        self.enter = nn.Linear(n_features, width)
        self.within_norm = nn.LayerNorm(width)
        self.within = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across_norm = nn.LayerNorm(width)
        self.fuse = nn.Linear(2 * width, width)

    def begin(self, n_labels: int) -> None:
        """The classifier of single frames."""
        self.classes = nn.Linear(self.width, n_labels) if self.frames_weight else None

    def end(self) -> None:
        """Drop the classes that ``begin`` prepared."""
        self.classes = None

    def forward(self, queries: Tensor, supports: Tensor, member: Tensor) -> Tensor:
        query_rows, others = self._within(queries), self._within(supports)
        means = others.mean(dim=1).expand(len(query_rows), -1, -1)
        tokens = torch.cat([query_rows.mean(dim=1, keepdim=True), means], dim=1)
        attended, _ = self.across(tokens, tokens, tokens, need_weights=False)
        relations = self.across_norm(tokens + attended).relu()
        fused = self._fused(query_rows[:, None], relations[:, :1])
        guided = self._fused(others.expand(len(query_rows), -1, -1, -1), relations[:, 1:])
        distance = set_distance(fused, guided)
        return -(distance @ member) / member.sum(dim=0)

    def further_losses(
        self, queries: Tensor, supports: Tensor, member: Tensor, y: Tensor
    ) -> Tensor:
        """The classification of frames, and the coherence."""
        frames = self._within(torch.cat([queries, supports]))
        total = frames.new_zeros(())
        if self.classes is not None:
            labels = torch.cat([y, member.argmax(dim=1)])
            logits = self.classes(frames)
            targets = labels[:, None].expand(logits.shape[:2]).flatten()
            total = total + self.frames_weight * F.cross_entropy(logits.flatten(0, 1), targets)
        if self.coherence:
            total = total + self.coherence * temporal_coherence(frames)
        return total

    def _within(self, frames: Tensor) -> Tensor:
        x = self.enter(frames)
        x = x + _POSITIONS * sinusoids(x)
        normed = self.within_norm(x)
        attended, _ = self.within(normed, normed, normed, need_weights=False)
        return (x + attended).relu()

    def _fused(self, frames: Tensor, relations: Tensor) -> Tensor:
        """Frames (B, k, T, D) with the relation (B, k, D) of their clip."""
        repeated = relations[:, :, None].expand(-1, -1, frames.shape[2], -1)
        return self.fuse(torch.cat([frames, repeated], dim=-1))


class GghmNetwork(RelationNetwork):
    """A graph over the clips of a task guides frames, which are matched in a hybrid way (GgHM).

    Xing et al., "Boosting few-shot action recognition with graph-guided hybrid matching", 2023. The
    published text leaves details open. Here: the learned dense temporal model has its two temporal
    parts, as clips come as one vector a frame; edges start at 1, 0 and one half (where the query is
    an end); nodes and edges are updated by an edge-labelling network; a clip's task feature is the
    mean of its neighbours' frames, weighted by the last edges.

    Args:
        n_features: F.
        width: D.
        n_frames: T.
        layers: Layers of the graph.
        edges: Factor on the cross-entropy of the edges.
    """

    def __init__(
        self, n_features: int, width: int, n_frames: int, layers: int, edges: float
    ) -> None:
        super().__init__()
        self.edges_weight = edges
        self.enter = nn.Linear(n_features, width)
        self.times = nn.Sequential(
            nn.Linear(n_frames, n_frames), nn.ReLU(), nn.Linear(n_frames, n_frames)
        )
        self.channels = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Parameter(torch.zeros(()))
        self.node = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.edge = nn.ModuleList(_perceptron(width, 1) for _ in range(layers))
        self.message, self.join = _perceptron(width, width), nn.Linear(2 * width, width)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.sharpness = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, queries: Tensor, supports: Tensor, member: Tensor) -> Tensor:
        query_frames, prototypes = self._frames(queries), self._prototypes(supports, member)
        frames = torch.cat(
            [query_frames[:, None], prototypes.expand(len(query_frames), -1, -1, -1)], dim=1
        )
        edges = self._graph(frames.mean(dim=2))[-1]
        shared = torch.einsum("bij,bjtd->bitd", _normalised(edges), self.message(frames))
        guided = self.join(torch.cat([frames, shared], dim=-1))
        query, tail = guided[:, :1], guided[:, 1:]
        share = self.alpha.sigmoid()
        pairs = set_distance(_pairs(query), _pairs(tail))
        distance = share * pairs + (1 - share) * set_distance(query, tail)
        return -self.sharpness.exp() * distance

    def further_losses(
        self, queries: Tensor, supports: Tensor, member: Tensor, y: Tensor
    ) -> Tensor:
        """The binary cross-entropy of the edges against "the same label", summed over layers."""
        if not self.edges_weight:
            return queries.new_zeros(())
        query_frames, prototypes = self._frames(queries), self._prototypes(supports, member)
        nodes = torch.cat(
            [query_frames[:, None], prototypes.expand(len(query_frames), -1, -1, -1)], dim=1
        )
        labels = torch.arange(member.shape[1], device=y.device).expand(len(y), -1)
        labels = torch.cat([y[:, None], labels], dim=1)
        same = (labels[:, :, None] == labels[:, None]).to(query_frames)
        layers = self._graph(nodes.mean(dim=2))
        losses = [F.binary_cross_entropy(edges.clamp(0, 1), same) for edges in layers]
        return self.edges_weight * torch.stack(losses).sum()

    def _frames(self, frames: Tensor) -> Tensor:
        """(N, T, F) to (N, T, D): a map over time and a convolution over time, mixed."""
        x = self.enter(frames).transpose(1, 2)
        share = self.mix.sigmoid()
        return (share * (x + self.times(x)) + (1 - share) * self.channels(x)).transpose(1, 2)

    def _prototypes(self, supports: Tensor, member: Tensor) -> Tensor:
        """(C, T, D) mean sequences of the labels."""
        frames = self._frames(supports)
        share = member / member.sum(dim=0)
        return torch.einsum("nc,ntd->ctd", share, frames)

    def _graph(self, nodes: Tensor) -> list[Tensor]:
        """Edges (B, C + 1, C + 1) after each layer; node 0 is the query."""
        count = nodes.shape[1]
        edges = torch.eye(count, device=nodes.device, dtype=nodes.dtype)
        edges[0, 1:] = edges[1:, 0] = 0.5
        edges = edges.expand(len(nodes), -1, -1)
        graphs: list[Tensor] = []
        for node, edge in zip(self.node, self.edge, strict=True):
            heard = _normalised(edges) @ nodes
            nodes = node(torch.cat([heard, nodes], dim=-1)).relu()
            apart = (nodes[:, :, None] - nodes[:, None]).abs()
            edges = edge(apart)[..., 0].sigmoid() * edges
            # An edge that began at 0 would stay there; the diagonal is the clip itself.
            graphs.append(edges)
        return graphs


def sinusoids(frames: Tensor) -> Tensor:
    """(T, D) sinusoidal positions for frames (..., T, D)."""
    count, width = frames.shape[-2:]
    positions = torch.arange(count, device=frames.device, dtype=frames.dtype)[:, None]
    rate = torch.arange(0, width, 2, device=frames.device, dtype=frames.dtype)
    phase = positions * torch.exp(-math.log(10_000.0) * rate / width)
    return torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(1)[:, :width]


def set_distance(queries: Tensor, supports: Tensor) -> Tensor:
    """(B, k) bidirectional mean Hausdorff distance of (B, 1, T, D) and (B, k, T, D) frames.

    The cost is one minus the cosine; each direction is a mean over its frames.
    """
    a, b = F.normalize(queries, dim=-1), F.normalize(supports, dim=-1)
    cost = 1 - a @ b.transpose(-1, -2)
    return cost.amin(dim=-1).mean(dim=-1) + cost.amin(dim=-2).mean(dim=-1)


def temporal_coherence(frames: Tensor, window: int = 1, spread: float = 10.0) -> Tensor:
    """Mean over pairs of frames: near ones should be alike, those apart should not (HyRSM++).

    Args:
        frames: (N, T, D).
        window: Steps in time up to which frames are near.
        spread: How fast the wanted distance of frames apart grows.
    """
    unit = F.normalize(frames, dim=-1)
    cost = 1 - unit @ unit.transpose(1, 2)
    positions = torch.arange(frames.shape[1], device=frames.device)
    steps = (positions[:, None] - positions).abs().to(cost)
    near = cost / (steps.square() + 1)
    target = 1 - torch.exp(-(steps - window).square() / spread)
    return torch.where(steps <= window, near, (target - cost).clamp_min(0)).mean()


def _perceptron(entering: int, leaving: int) -> nn.Module:
    return nn.Sequential(nn.Linear(entering, entering), nn.ReLU(), nn.Linear(entering, leaving))


def _normalised(edges: Tensor) -> Tensor:
    return edges / edges.sum(dim=-1, keepdim=True).clamp_min(1e-8)


def _pairs(frames: Tensor) -> Tensor:
    """(B, k, L, 2D) ordered pairs of frames (B, k, T, D), with positions."""
    x = frames + _POSITIONS * sinusoids(frames)
    first, second = torch.triu_indices(x.shape[2], x.shape[2], offset=1)
    return torch.cat([x[:, :, first], x[:, :, second]], dim=-1)
