"""ProtoGCN (Liu et al., CVPR 2025, arXiv 2411.18941), by the names of its released files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.skeleton_towers.released.blocks import ConvNorm

_GLOBAL = 25  # entries of ``add_coeff``, however few joints there are


def remember(
    memory: Tensor, vectors: Tensor, y: Tensor, right: Tensor, *, momentum: float = 0.9
) -> Tensor:
    """Class memories after a batch: each moves to the mean of the right answers of its class.

    Args:
        memory: (C, d); it is not changed.
        vectors: (n, d).
        y: (n,) integer classes.
        right: (n,) bool, whether each was answered right; others are left out.
        momentum: Share that is kept, 0 to 1.

    Returns:
        (C, d); classes without a right answer are as before.
    """
    member = functional.one_hot(y, len(memory)).to(memory.dtype) * right.to(memory.dtype)[:, None]
    count = member.sum(dim=0)[:, None]
    mean = (member.T @ vectors.to(memory.dtype)) / count.clamp(min=1)
    return torch.where(count > 0, momentum * memory + (1 - momentum) * mean, memory)


def _reduce(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU()]


class MotionGraphs(nn.Module):
    """Learned graphs, and two that are made from the features of a clip (``gcn``)."""

    def __init__(self, inputs: int, outputs: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.heads = config["num_filter"]
        width = self.heads * int(outputs * config["ratio"])
        joints = config["joints"]
        self.A = nn.Parameter(0.04 + 0.02 * torch.randn(self.heads, joints, joints))
        self.alpha = nn.Parameter(torch.zeros(self.heads))
        self.beta = nn.Parameter(torch.zeros(self.heads))
        self.pre = nn.Sequential(*_reduce(inputs, width))
        self.post = nn.Conv2d(width, outputs, 1)
        self.conv1 = nn.Conv2d(inputs, width, 1)
        self.conv2 = nn.Conv2d(inputs, width, 1)
        self.down = None
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (R, C, T, V) of (R, C_in, T, V), and the clip's graphs (R, K * c, V, V)."""
        rows, _, frames, joints = x.shape
        values = self.pre(x).view(rows, self.heads, -1, frames, joints)
        one = self.conv1(x).mean(-2).view(rows, self.heads, -1, joints)
        two = self.conv2(x).mean(-2).view(rows, self.heads, -1, joints)
        between = self.alpha[0] * torch.tanh(one[..., :, None] - two[..., None, :])
        within = self.beta[0] * (one.transpose(-1, -2) @ two).softmax(-2)
        joined = between + within[:, :, None]
        graphs = joined + self.A[None, :, None]
        y = torch.einsum("nkctv,nkcvw->nkctw", values, graphs).flatten(1, 2)
        skip = x if self.down is None else self.down(x)
        return functional.relu(self.bn(self.post(y)) + skip), joined.flatten(1, 2)


class _DilatedConv(nn.Module):
    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (3, 1), (stride, 1), (dilation, 0), (dilation, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SixBranches(nn.Module):
    """Six branches over time, with the mean of all joints as a further joint (``tcn``)."""

    def __init__(self, channels: int, stride: int, joints: int) -> None:
        super().__init__()
        width = channels // 6
        first = channels - 5 * width
        self.add_coeff = nn.Parameter(torch.zeros(max(_GLOBAL, joints)))
        self.branches = nn.ModuleList()
        for number in range(4):
            size = width if number else first
            dilated = _DilatedConv(size, stride, number + 1)
            self.branches.append(nn.Sequential(*_reduce(channels, size), dilated))
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*_reduce(channels, width), pool))
        self.branches.append(nn.Conv2d(channels, width, 1, (stride, 1)))
        self.transform = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T', V) of (R, C, T, V)."""
        joints = x.shape[-1]
        x = torch.cat([x, x.mean(-1, keepdim=True)], -1)
        z = torch.cat([branch(x) for branch in self.branches], 1)
        z = z[..., :joints] + self.add_coeff[:joints] * z[..., joints:]
        return self.bn(self.transform(z))


class _PrototypeBlock(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, stride: int, config: dict[str, Any], first: bool
    ) -> None:
        super().__init__()
        self.gcn = MotionGraphs(inputs, outputs, config)
        self.tcn = SixBranches(outputs, stride, config["joints"])
        self.is_first = first
        same = first or (inputs == outputs and stride == 1)
        self.residual = None if same else ConvNorm(inputs, outputs, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, graphs = self.gcn(x)
        y = self.tcn(y)
        if not self.is_first:
            y = y + (x if self.residual is None else self.residual(x))
        return functional.relu(y), graphs


class _Prototypes(nn.Module):
    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.query_matrix = nn.Linear(width, count, bias=False)
        self.memory_matrix = nn.Linear(count, width, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.memory_matrix(self.query_matrix(rows).softmax(-1))


class _Backbone(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        inputs, outputs = config["in_channels"], config["base_channels"]
        self.data_bn = nn.BatchNorm1d(config["joints"] * inputs)
        self.gcn = nn.ModuleList()
        for stage in range(1, config["num_stages"] + 1):
            outputs *= 2 if stage in config["inflate_stages"] else 1
            stride = 2 if stage in config["down_stages"] else 1
            self.gcn.append(_PrototypeBlock(inputs, outputs, stride, config, first=stage == 1))
            inputs = outputs
        width = config["num_filter"] * int(outputs * config["ratio"])
        self.post = nn.Conv2d(width, width, 1)
        self.bn = nn.BatchNorm2d(width)
        self.prn = _Prototypes(width, config["num_prototype"])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        clips, people, frames, joints, channels = x.shape
        flat = x.permute(0, 1, 3, 4, 2).reshape(clips * people, joints * channels, frames)
        rows = self.data_bn(flat).view(clips * people, joints, channels, frames)
        rows = rows.permute(0, 2, 3, 1).contiguous()
        graphs = rows
        for block in self.gcn:
            rows, graphs = block(rows)
        return rows, graphs.view(clips, people, *graphs.shape[1:]).mean(1)


class ProtoGcn(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes).

    Args:
        config: ``joints``, ``num_classes``, ``in_channels``, ``num_prototype``, ``num_filter``
            (graphs), ``ratio``, ``base_channels``, ``num_stages``, ``inflate_stages`` and
            ``down_stages`` (from 1), ``contrast_width``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.backbone = _Backbone(config)
        width = config["base_channels"] * 2 ** len(config["inflate_stages"])
        self.cls_head: Any = nn.Module()
        self.cls_head.fc_cls = nn.Linear(width, config["num_classes"])
        self.cls_head.csc_loss = nn.Module()
        self.cls_head.csc_loss.cl_fc = nn.Linear(config["joints"] ** 2, config["contrast_width"])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        rows, _ = self.backbone(x)
        return self._scores(rows, x.shape)

    def _scores(self, rows: Tensor, shape: torch.Size) -> Tensor:
        pooled = rows.mean((2, 3)).view(shape[0], shape[1], -1).mean(1)
        return self.cls_head.fc_cls(pooled)

    def graph(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and the graphs (N, V * V) that the contrast of training compares."""
        rows, graphs = self.backbone(x)
        remembered = self.backbone.prn(graphs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        shown = functional.relu(self.backbone.bn(self.backbone.post(remembered)))
        return self._scores(rows, x.shape), shown.mean(1).flatten(1)

    def contrast(
        self, graphs: Tensor, logits: Tensor, labels: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The further loss of training, and the memory after it.

        Args:
            graphs: (N, V * V), of ``graph``.
            logits: (N, C).
            labels: (N,) int64.
            memory: (width, C), a column a class.
        """
        features = self.cls_head.csc_loss.cl_fc(graphs)
        after = remember(memory.T, features, labels, logits.argmax(1) == labels).T
        unit = features / (features.norm(dim=1, keepdim=True) + 1e-12)
        columns = after / (after.norm(dim=0, keepdim=True) + 1e-12)
        return functional.cross_entropy(unit @ columns / 0.125, labels), after
