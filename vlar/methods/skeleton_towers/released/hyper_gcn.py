"""Hyper-GCN, base and large (Zhou et al., ICCV 2025, arXiv 2411.14796), by names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.skeleton_towers.graphs import hyper
from vlar.methods.skeleton_towers.limbs import NTU_PARENTS
from vlar.methods.skeleton_towers.released.blocks import GraphBlock, ScaleBranches, by_person

_TINY = 1e-8
#: Child and parent of each bone of NTU's 25 joints, numbered from 1.
BONES = (
    *((child + 1, parent + 1) for child, parent in enumerate(NTU_PARENTS[:20])),
    *((22, 8), (23, 8), (24, 12), (25, 12)),
)


def joined(joints: int, virtual: int, bones: Sequence[tuple[int, int]] = BONES) -> Tensor:
    """Graph (V', V'): bones both ways, and each virtual joint with every real one."""
    graph = torch.eye(joints + virtual)
    for child, parent in bones:
        if max(child, parent) <= joints:
            graph[child - 1, parent - 1] = graph[parent - 1, child - 1] = 1
    graph[joints:, :joints] = graph[:joints, joints:] = 1
    return graph


class HyperGraphs(nn.Module):
    """Graphs of bones, and of hyperedges that join nearest joints (``gcn1``)."""

    def __init__(self, inputs: int, outputs: int, config: dict[str, Any]) -> None:
        super().__init__()
        joints, virtual, heads = config["joints"], config["virtual"], config["num_subset"]
        self.heads, self.neighbours, self.joints = heads, config["neighbours"], joints
        hidden = inputs // heads // 4
        self.hyper_joint = nn.Parameter(torch.randn(1, inputs).repeat(virtual, 1))
        self.alpha = nn.Parameter(torch.ones(1))
        graph = joined(joints, virtual, config.get("bones", BONES)).repeat(heads, 1, 1)
        self.PA = nn.Parameter(graph, requires_grad=False)
        self.edge_importance = nn.Parameter(torch.ones_like(graph))
        self.to_V = nn.Conv1d(inputs, heads * hidden, 1, groups=heads)
        self.to_W = nn.Sequential(
            nn.Conv1d(inputs, heads * hidden, 1, groups=heads),
            nn.LeakyReLU(),
            nn.Conv1d(heads * hidden, heads, 1),
        )
        self.conv_d = nn.Conv2d(inputs, outputs, 1, groups=heads)
        self.bn = nn.BatchNorm2d(outputs)
        self.down = None
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def hyperedges(self, means: Tensor) -> Tensor:
        """Graphs (R, K, V', V') of hyperedges, of the features' means over time (R, C, V')."""
        rows, _, joints = means.shape
        places = self.to_V(means).view(rows, self.heads, -1, joints).transpose(-1, -2)
        distance = torch.cdist(places, places)
        least, index = distance.topk(self.neighbours, largest=False)
        shares = torch.zeros_like(distance).scatter(-1, index, (-least).softmax(-1))
        return hyper(shares, torch.tanh(self.to_W(means)), twice=True)

    def forward(self, x: Tensor) -> Tensor:
        """Values (R, C, T, V) of (R, C_in, T, V)."""
        rows, channels, frames, _ = x.shape
        virtual = self.hyper_joint.T[None, :, None, :].expand(rows, channels, frames, -1)
        extended = torch.cat([x, virtual], -1)
        bones = self.PA * self.edge_importance
        bones = bones / (bones.abs().sum(-1, keepdim=True) + _TINY)
        graphs = bones + functional.relu(self.alpha) * self.hyperedges(extended.mean(-2))
        values = self.conv_d(extended)
        values = values.view(rows, self.heads, -1, frames, values.shape[-1])
        y = torch.einsum("nkuv,nkctv->nkctu", graphs, values).flatten(1, 2)
        y = y[..., : self.joints]
        return functional.relu(self.bn(y) + (x if self.down is None else self.down(x)))


class HyperGcn(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes). Blocks l1 to l3, l4 to l6 ... have one skip.

    Args:
        config: ``embed``, ``virtual``, ``neighbours``, ``num_subset``, ``joints``, ``people``,
            ``num_classes``, ``in_channels``, ``layers`` (``inputs``, ``outputs``, ``stride``).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        joints, width = config["joints"], config["embed"]
        self.pos_embedding = nn.Parameter(torch.randn(1, joints, width))
        self.to_joint_embedding = nn.Linear(config["in_channels"], width)
        self.data_bn = nn.BatchNorm1d(config["people"] * joints * width)
        self.count = len(config["layers"])
        for number, layer in enumerate(config["layers"], 1):
            inputs, outputs, stride = layer["inputs"], layer["outputs"], layer["stride"]
            space = HyperGraphs(inputs, outputs, config)
            time = ScaleBranches(outputs, stride, padding_mode="replicate")
            setattr(self, f"l{number}", GraphBlock(space, time, inputs, outputs, stride))
        self.fc = nn.Linear(config["layers"][-1]["outputs"], config["num_classes"])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        clips, people, frames = x.shape[:3]
        placed = torch.tanh(self.to_joint_embedding(x) + self.pos_embedding)
        flat = placed.permute(0, 1, 3, 4, 2).reshape(clips, -1, frames)
        x = by_person(self.data_bn(flat), placed.shape)
        before = x
        for number in range(1, self.count + 1):
            turn = (number - 1) % 3
            y = getattr(self, f"l{number}")(x + before if turn == 2 else x)
            before = y if turn == 0 else before
            x = y
        return self.fc(x.mean((2, 3)).view(clips, people, -1).mean(1))

    def likeness(self) -> Tensor:
        """The further loss: how alike the virtual joints of each block are, 0 where orthogonal."""
        terms: list[Tensor] = []
        for number in range(1, self.count + 1):
            joints = getattr(self, f"l{number}").gcn1.hyper_joint
            norms = joints.norm(dim=-1)
            cosines = joints @ joints.T / (norms[:, None] * norms[None] + _TINY)
            count = len(joints)
            terms.append((functional.relu(cosines).sum() - count) / (count * (count - 1)))
        return torch.stack(terms).mean()
