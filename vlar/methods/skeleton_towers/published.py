"""The released networks as bodies of a tower, without their class head.

At the layout ``ntu25``, two people, one stream and ``slim`` 1 each has the layers, names and sizes
of ``released``; other layouts bring their own graphs. As published, absent people and unseen joints
are zeros that enter every norm and mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import bad_setting
from vlar.errors import ModelError
from vlar.media.skeleton.layouts import levels, parents, tree
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.limbs import NTU_PARENTS, limbs
from vlar.methods.skeleton_towers.network import (
    Aux,
    BodyAnswer,
    Given,
    Outputs,
    Readout,
    TowerBody,
)
from vlar.methods.skeleton_towers.released import FULL, headless
from vlar.methods.skeleton_towers.released.ctr_gcn import ChannelGraphs, box_distance
from vlar.methods.skeleton_towers.released.hd_gcn import LEVELS

_NTU = "ntu25"
#: SkateFormer's order of NTU's joints by limb, numbered from 1; the chest is left out.
SKATE = (7, 8, 22, 23, 11, 12, 24, 25, 13, 14, 15, 16, 17, 18, 19, 20, 5, 9, 6, 10, 2, 3, 1, 4)
_CENTRES = {"chest": 21, "spine": 2, "pelvis": 1}
_LIMB, _PART = 4, 8  # joints of a limb, frames of a part
_CONTRAST = 256  # width of ProtoGCN's memories
_SMALL = 1e-6  # a block starts as its residual


class PublishedTower(TowerBody):
    """A released network whose head is left out: streams to the features that it read.

    Attributes:
        network: Network of ``released.headless``.
    """

    network: Any

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.order = _limb_order(given) if given.body == "skateformer" else None
        self.network, self.width = headless(given.body, settings_of(given))
        blocks: list[Any] = list(self.network.modules())
        for graphs in (part for part in blocks if isinstance(part, ChannelGraphs)):
            graphs.PA.data = channel_graphs(given)
        for space in (part.gcn1 for part in blocks if hasattr(part, "gcn1")):
            nn.init.constant_(space.bn.weight, _SMALL)

    def forward(self, x: Tensor, seen: Tensor) -> BodyAnswer:
        """Streams (N, M, C, T, V) to ``BodyAnswer``; ``extra`` is what a further loss compares."""
        if self.order is not None:
            x = F.pad(x, (0, 1))[..., self.order]  # -1: a column that is never there
        clips = x.permute(0, 1, 3, 4, 2)
        if self.given.body == "chase":
            moved = self.network.moved(clips)
            return BodyAnswer(self.network.backbone(moved), extra=moved)
        if self.given.body == "protogcn" and self.training:
            vectors, graphs = self.network.graph(clips)
            return BodyAnswer(vectors, extra=graphs)
        return BodyAnswer(self.network(clips))


class PublishedTokens(PublishedTower):
    """ISTA-Net, whose tokens hold the joints of all people."""

    relates: ClassVar[bool] = True


def settings_of(given: Given) -> dict[str, Any]:
    """Settings of ``released.build`` for a tower's; ``num_classes`` is 1.

    Raises:
        ModelError: the network cannot have these widths or frames.
    """
    config, widths = given.config, list(given.widths)
    wide = {
        **FULL[given.body],
        "joints": len(given.joints),
        "people": config.people,
        "frames": config.frames,
        "in_channels": given.channels,
        "num_classes": 1,
    }
    first = config.slimmed(config.embed) if config.embed else given.channels
    layers = [
        {"inputs": inputs, "outputs": outputs, "stride": 2 if number in given.halved else 1}
        for number, (inputs, outputs) in enumerate(itertools.pairwise([first, *widths]), start=1)
    ]
    if given.body == "hdgcn":
        return {**wide, "layers": layers, "levels": level_joints(given)}
    if given.body == "hypergcn":
        heads = next(n for n in (8, 4, 2, 1) if all(row["inputs"] % (4 * n) == 0 for row in layers))
        return {
            **wide,
            "layers": layers,
            "embed": first,
            "virtual": config.virtual,
            "neighbours": min(config.neighbours, len(given.joints)),
            "num_subset": heads,
            "bones": [(child + 1, parent + 1) for parent, child in tree(config.layout)],
        }
    if given.body == "protogcn":
        doubled = [n for n, (a, b) in enumerate(itertools.pairwise(widths), 2) if b == 2 * a]
        return {
            **wide,
            "base_channels": widths[0],
            "num_stages": len(widths),
            "inflate_stages": doubled,
            "down_stages": list(given.halved),
            "contrast_width": _CONTRAST,
        }
    if given.body == "skateformer":
        return {**wide, **_stages(given)}
    if given.body == "istanet":
        run = -(-config.frames // config.pieces)
        shapes = [[a, b, b // 4] for a, b in itertools.pairwise([widths[0], *widths])]
        return {
            **wide,
            "config": shapes,
            "num_frames": config.frames,
            "num_joints": len(given.joints),
            "num_persons": config.people,
            "window_size": [run, 1, config.people if config.together else 1],
        }
    return {**wide, "layers": layers}


def _stages(given: Given) -> dict[str, Any]:
    """Stages of SkateFormer: a merge begins one in front of each block of ``halved``."""
    config, starts = given.config, [1, *given.halved]
    ends = [*starts[1:], len(given.widths) + 1]
    shortest = config.frames >> len(given.halved)
    if shortest << len(given.halved) != config.frames or shortest % min(_PART, max(shortest, 1)):
        advice = f"a multiple of {_PART << len(given.halved)}, or a power of 2"
        raise bad_setting(config.what, "frames", config.frames, advice)
    joints = len(_limb_order(given))
    columns, frames = config.people * joints, min(_PART, shortest)
    near = [frames, 2 * _LIMB if columns % (2 * _LIMB) == 0 else _LIMB]
    far = [frames, columns // _LIMB]
    width = min(given.widths)
    heads = next(n for n in (32, 24, 16, 8) if width % n == 0 and 3 * width % (8 * n // 8) == 0)
    return {
        "joints": joints,
        "embed_dim": given.widths[0],
        "mlp_ratio": config.ratio,
        "depths": [end - start for start, end in zip(starts, ends, strict=True)],
        "channels": [given.widths[start - 1] for start in starts],
        "num_heads": heads,
        "type_1_size": near,
        "type_2_size": far,
        "type_3_size": near,
        "type_4_size": far,
    }


def _limb_order(given: Given) -> list[int]:
    """Columns of SkateFormer, four a limb; -1 is one that is never there."""
    if given.config.layout == _NTU:
        return [joint - 1 for joint in SKATE]
    order = [joint for limb in limbs(given.config.layout).values() for joint in limb]
    return [*order, *[-1] * (-len(order) % _LIMB)]


def channel_graphs(given: Given) -> Tensor:
    """(3, V, V) itself, towards the root and away from it; rows take, columns sum to 1."""
    name, rows = given.config.layout, list(given.joints)
    hangs = NTU_PARENTS if name == _NTU else parents(name)
    bones = [(child, int(up)) for child, up in enumerate(hangs) if up != child]
    graphs = torch.zeros(3, len(hangs), len(hangs))
    graphs[0] = torch.eye(len(hangs))
    for child, up in bones:
        graphs[1, up, child] = graphs[2, child, up] = 1
    graphs = graphs[:, rows][:, :, rows]
    return graphs / graphs.sum(dim=1, keepdim=True).clamp(min=1)


def level_joints(given: Given) -> list[list[int]]:
    """Joints of each level, numbered from 1, seen from the centre; NTU's are the published ones."""
    name, centre = given.config.layout, given.centre
    if name == _NTU and (centre or "pelvis") in _CENTRES:
        return LEVELS[_CENTRES[centre or "pelvis"]]
    of = levels(name, centre)
    return [[int(j) + 1 for j in (of == level).nonzero()[0]] for level in range(int(of.max()) + 1)]


class Diversity(Aux):
    """Likeness of the virtual joints of Hyper-GCN."""

    def forward(self, network: Any, reading: Readout, answers: Outputs) -> Tensor:
        """Mean over the members."""
        return torch.stack([body.network.likeness() for body in network.bodies]).mean()


class PeopleApart(Aux):
    """Distance of the boxes that two people move in, after the shift (CHASE)."""

    def forward(self, network: Any, reading: Readout, answers: Outputs) -> Tensor:
        """``box_distance`` of the first two people, of the clips that show both."""
        moved = reading.found[0].extra
        if moved is None:
            raise ModelError("aux 'mmd' compares the people of the body 'chase'; set body")
        both = reading.seen.amax(dim=(1, 3))[:, :2].amin(dim=1) > 0
        if moved.shape[1] < 2 or int(both.sum()) < 2:
            return moved.sum() * 0
        return box_distance(moved[both], 0, 1)


class TowerPrototypes(Aux):
    """Contrast of the graphs that ProtoGCN rebuilds with a memory of each class."""

    memory: Tensor

    def __init__(self, config: TowerConfig, bodies: Sequence[TowerBody]) -> None:
        super().__init__(config, bodies)
        if bodies[0].given.body != "protogcn":
            raise ModelError("aux 'prototypes' compares the graphs of the body 'protogcn'")
        random = torch.Generator().manual_seed(0)
        start = torch.randn(len(config.labels), _CONTRAST, generator=random)
        self.register_buffer("memory", start)

    def forward(self, network: Any, reading: Readout, answers: Outputs) -> Tensor:
        """The loss; right answers of a training move the memories."""
        graphs = reading.found[0].extra
        if graphs is None:
            return reading.points.sum() * 0
        loss, after = network.bodies[0].network.contrast(
            graphs[answers.rows], answers.logits, answers.y, self.memory.T
        )
        self.memory.copy_(after.detach().T)
        return loss
