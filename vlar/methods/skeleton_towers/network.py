"""The network of every skeleton tower, and the interface by which a family of blocks plugs in.

Letters: N clips, M people, T frames, V joints, C channels, R people of all clips who are there, W
width of what is found, D width of the shared space.

A family of blocks is one file of this folder. It brings one of three classes, each named in a table
of ``config.py`` (``"name": "file:Class"``) and chosen by a setting of that name:

- ``SPACES`` (setting ``space``): a ``Space(inputs, outputs, given)`` mixes the joints of a block.
- ``TIMES`` (setting ``time``): a ``Time(inputs, outputs, stride, given)`` mixes its frames, and
  gives every ``stride``-th.
- ``BODIES`` (setting ``body``): a ``TowerBody(given)`` is a whole network from streams to a vector
  of each clip. ``GraphBody`` stacks blocks of the two above.

Spaces and times get ``x`` (R, C, T, V) and ``seen`` (R, T, V), 1 where a joint is seen and 0 where
it is not, or None where all are; values of unseen joints are 0 in ``x``, and the block sets them to
0 again afterwards. Bodies get ``x`` (N, M, C, T, V) and ``seen`` (N, M, T, V); an absent person
has no seen joint. All get ``Given``: the settings, and what the streams hold. Normalisation,
streams, augmentation, fusion and heads are the tower's and not the family's. A loss of the family's
own is an ``Aux(config, bodies)``, named in the table ``AUX`` and chosen by the setting ``aux``.

A preset is a table of ``presets.toml`` with the settings that make the paper's network.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.media.skeleton.layouts import parents
from vlar.methods.skeleton_towers.config import (
    AUX,
    BODIES,
    SPACES,
    TIMES,
    TowerConfig,
    loaded,
    part_joints,
)
from vlar.methods.skeleton_towers.joints import PER_JOINT
from vlar.methods.skeleton_towers.limbs import stream_joints
from vlar.training.tower_network import ResidualNetwork, small_step, zero_linear

#: Blocks, of ten, of the networks of both arms and both legs.
_PART_BLOCKS = {"arm": (1, 5, 6, 7, 8, 9), "leg": (1, 5, 6, 8)}
PART_WIDTH = 512  # of the texts that GAP draws its heads to


@dataclass(frozen=True)
class Given:
    """Facts that a family of blocks is built from.

    Attributes:
        config: The settings.
        channels: C of the streams.
        joints: Numbers of the V joints in the layout that it reads.
        centre: Joint that a hierarchy starts from; None for the root.
        widths: Channels of each block, after ``slim``.
        halved: Blocks, counted from 1, that halve the frames.
        body: Name in ``BODIES``.
    """

    config: TowerConfig
    channels: int
    joints: tuple[int, ...]
    centre: str | None
    widths: tuple[int, ...]
    halved: tuple[int, ...]
    body: str


class BodyAnswer(NamedTuple):
    """Answer of a body.

    Attributes:
        vectors: (N, W) of the clips; 0 where nobody is seen.
        last: (R, W, T', V) of the people who are there, for heads of parts; None without one.
        seen: (R, T', V) of ``last``; None where all joints are seen.
        owners: (R,) the clip of each person; None without ``last``.
        extra: What a further loss of this body compares; None for none.
    """

    vectors: Tensor
    last: Tensor | None = None
    seen: Tensor | None = None
    owners: Tensor | None = None
    extra: Tensor | None = None


class Space(nn.Module):
    """Mixing of the joints of a block: (R, C, T, V) to (R, C', T, V)."""

    def __init__(self, inputs: int, outputs: int, given: Given) -> None:
        super().__init__()
        self.inputs, self.outputs, self.given = inputs, outputs, given

    @abstractmethod
    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) with ``seen`` (R, T, V) or None to (R, C', T, V)."""


class Time(nn.Module):
    """Mixing of the frames of a block: (R, C, T, V) to (R, C', ceil(T / stride), V)."""

    def __init__(self, inputs: int, outputs: int, stride: int, given: Given) -> None:
        super().__init__()
        self.inputs, self.outputs, self.stride, self.given = inputs, outputs, stride, given

    @abstractmethod
    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(R, C, T, V) with ``seen`` (R, T, V) or None to (R, C', ceil(T / stride), V)."""


class TowerBody(nn.Module):
    """A network from streams to a vector of each clip.

    Attributes:
        width: W, width of what it finds.
        relates: Whether it relates people to each other, so that one alone leaves it little.
    """

    width: int
    relates: ClassVar[bool] = False

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.given = given

    @abstractmethod
    def forward(self, x: Tensor, seen: Tensor) -> BodyAnswer:
        """Streams (N, M, C, T, V), 0 at unseen joints, and ``seen`` (N, M, T, V) to answers."""


class TowerBlock(nn.Module):
    """Joints, then frames, each with a residual connection."""

    def __init__(self, inputs: int, outputs: int, stride: int, given: Given) -> None:
        super().__init__()
        self.stride = stride
        self.space: Space = loaded(SPACES, given.config.space)(inputs, outputs, given)
        self.time: Time = loaded(TIMES, given.config.time)(outputs, outputs, stride, given)
        self.norm = nn.BatchNorm2d(outputs)
        self.across = _same_or_conv(inputs, outputs, 1)
        # The first block reads coordinates: there is nothing to carry along.
        self.along = None if inputs == given.channels else _same_or_conv(inputs, outputs, stride)

    def forward(self, x: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(R, C, T, V) and its mask to (R, C', T', V) and its mask."""
        y = hidden(F.relu(self.norm(self.space(x, seen)) + self.across(x)), seen)
        y = self.time(y, seen)
        if self.along is not None:
            y = y + self.along(x)
        later = None if seen is None else seen[:, :: self.stride]
        return hidden(F.relu(y), later), later


def _same_or_conv(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    layer = nn.Conv2d(inputs, outputs, 1, stride=(stride, 1))
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def hidden(x: Tensor, seen: Tensor | None) -> Tensor:
    """(R, C, T, V) with 0 at joints that are not seen (R, T, V)."""
    return x if seen is None else x * seen[:, None]


def mean_over(x: Tensor, seen: Tensor | None, dims: tuple[int, ...]) -> Tensor:
    """Mean of (R, C, T, V) over frames (-2) or joints (-1) that are seen (R, T, V)."""
    if seen is None:
        return x.mean(dim=dims)
    weight = seen[:, None]
    return (x * weight).sum(dim=dims) / weight.sum(dim=dims).clamp(min=1e-6)


class GraphBody(TowerBody):
    """Blocks of a space and a time on each person alone; the mean over people is a clip's vector.

    Absent people enter no block, so they change no statistics of a batch.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.norm = nn.BatchNorm1d(given.channels * len(given.joints))
        sizes = [given.channels, *given.widths]
        self.blocks = nn.ModuleList(
            TowerBlock(inputs, outputs, 2 if number in given.halved else 1, given)
            for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1)
        )
        self.width = sizes[-1]

    def forward(self, x: Tensor, seen: Tensor) -> BodyAnswer:
        present = seen.amax(dim=(2, 3)) > 0
        owners = present.nonzero()[:, 0]
        if not len(owners):
            return BodyAnswer(x.new_zeros(len(x), self.width))
        x, mask = x[present], seen[present]
        mask = None if bool((mask > 0).all()) else mask
        x = hidden(self.standard(x), mask)
        for block in self.blocks:
            x, mask = block(x, mask)
        means = mean_over(x, mask, (-2, -1))
        return BodyAnswer(mean_of_people(means, owners, len(seen)), x, mask, owners)

    def standard(self, x: Tensor) -> Tensor:
        """(R, C, T, V) with each coordinate of each joint standardised over people and frames."""
        r, c, t, v = x.shape
        flat = x.transpose(2, 3).reshape(r, c * v, t)
        return self.norm(flat).view(r, c, v, t).transpose(2, 3)


def mean_of_people(each: Tensor, owners: Tensor, clips: int) -> Tensor:
    """(R, W) of people to the mean of each of N clips (N, W); 0 where there is nobody."""
    total = each.new_zeros(clips, each.shape[1]).index_add(0, owners, each)
    count = each.new_zeros(clips).index_add(0, owners, each.new_ones(len(owners)))
    return total / count.clamp(min=1)[:, None]


def streams_of(points: Tensor, seen: Tensor, names: Sequence[str], layout: str) -> Tensor:
    """Streams of joints, 0 where a joint that enters is not seen.

    Args:
        points: (N, M, 3, T, V).
        seen: (N, M, T, V).
        names: Some of ``joint``, ``bone``, ``motion``, ``bone_motion`` and ``skip``.
        layout: Layout of the V joints.

    Returns:
        (N, M, 3 S, T, V), S the number of names.
    """
    up = torch.from_numpy(parents(layout).copy()).to(points.device)

    def bones(hops: Tensor) -> tuple[Tensor, Tensor]:
        both = seen * seen[..., hops]
        return (points - points[..., hops]) * both[:, :, None], both

    def motion(of: Tensor, there: Tensor) -> Tensor:
        steps = F.pad(of[..., 1:, :] - of[..., :-1, :], (0, 0, 0, 1))
        return steps * F.pad(there[..., 1:, :] * there[..., :-1, :], (0, 0, 0, 1))[:, :, None]

    tensors: list[Tensor] = []
    for name in names:
        if name == "joint":
            tensors.append(points * seen[:, :, None])
        elif name == "motion":
            tensors.append(motion(points, seen))
        elif name == "skip":
            tensors.append(bones(up[up])[0])
        else:
            bone, both = bones(up)
            tensors.append(bone if name == "bone" else motion(bone, both))
    return torch.cat(tensors, dim=2)


def members(config: TowerConfig) -> list[tuple[tuple[str, ...], Given]]:
    """The networks of a tower, each with the streams that it reads.

    Early fusion has one. Late fusion has one for each stream, body and centre. Fusion of parts has
    the whole body, the arms and the legs, in the frame of the whole body.
    """
    every = tuple(range(config.joints))
    widths = tuple(map(config.slimmed, config.widths))
    parameters = Given(
        config, 3 * len(config.streams), every, None, widths, config.halved, config.body
    )
    centres = config.centres or (None,)
    if config.fuse == "late":
        of = itertools.product(config.streams, config.bodies or (config.body,), centres)
        return [((s,), replace(parameters, channels=3, body=b, centre=c)) for s, b, c in of]
    whole = replace(parameters, centre=centres[0])
    parts = ("arm", "leg") if config.fuse == "parts" else ()
    return [
        (config.streams, member) for member in (whole, *(of_part(whole, part) for part in parts))
    ]


def of_part(given: Given, part: str) -> Given:
    """Smaller network of both arms or both legs, and the joints that they hang on (PSUMNet)."""
    blocks = [number for number in _PART_BLOCKS[part] if number <= len(given.widths)]
    halved = tuple(index for index, number in enumerate(blocks, start=1) if number in given.halved)
    widths = tuple(given.widths[number - 1] for number in blocks)
    joints = stream_joints(given.config.layout, part)
    return replace(given, joints=joints, widths=widths, halved=halved)


class Readout(NamedTuple):
    """Answers of all members of a tower.

    Attributes:
        residuals: (K, N, D) of K members; 0 with a class head.
        scores: (K, N, C) of their class heads; None where texts are the readout.
        found: What each member found.
        points: (N, T, M, V, 3) after the normalisation.
        seen: (N, T, M, V).
    """

    residuals: Tensor
    scores: Tensor | None
    found: list[BodyAnswer]
    points: Tensor
    seen: Tensor


class Outputs(NamedTuple):
    """Labelled clips of a step, for further losses.

    Attributes:
        rows: (n,) numbers of these among the N clips.
        y: (n,) their labels.
        logits: (n, C) of the tower.
    """

    rows: Tensor
    y: Tensor
    logits: Tensor


class Aux(nn.Module):
    """A further loss of a training; its parameters are trained and saved with the tower.

    Args:
        config: The settings.
        bodies: The members of the tower.
    """

    def __init__(self, config: TowerConfig, bodies: Sequence[TowerBody]) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, network: TowerNetwork, reading: Readout, answers: Outputs) -> Tensor:
        """The loss, a scalar, before its factor in ``weights``."""


class ClassHead(nn.Module):
    """A plain linear head: features (N, W) to scores (N, C).

    Args:
        width: W.
        count: C.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(count, width) / math.sqrt(width))
        self.offsets = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, C)."""
        return F.linear(x, self.rows, self.offsets)


class TowerNetwork(ResidualNetwork):
    """(N, T, M V 4) joints of ``Joints`` to what is added to N vectors, zero at the start.

    Args:
        config: The settings.
        dim: D.
    """

    def __init__(self, config: TowerConfig, dim: int) -> None:
        super().__init__()
        self.config, self.dim = config, dim
        member_rows = members(config)
        self.streams = [streams for streams, _ in member_rows]
        self.chosen = [list(member.joints) for _, member in member_rows]
        bodies: list[TowerBody] = [loaded(BODIES, member.body)(member) for _, member in member_rows]
        self.bodies = nn.ModuleList(bodies)
        self.leave = nn.ModuleList(
            zero_linear(body.width, dim) for body in bodies if config.readout != "classes"
        )
        self.classes = nn.ModuleList(
            ClassHead(body.width, len(config.labels))
            for body in bodies
            if config.readout == "classes"
        )
        self.drop = nn.Dropout(config.dropout)
        if "parts" in config.heads:
            self.parts = PartHeads(bodies[0].width, config.layout)
        self.aux = nn.ModuleDict({name: loaded(AUX, name)(config, bodies) for name in config.aux})
        self.register_labels(len(config.labels), dim)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the vectors of the clips, (N, D): the members' mean."""
        return self.read(inputs).residuals.mean(dim=0)

    def read(self, inputs: Tensor) -> Readout:
        """(N, T, K) to all that the losses need."""
        points, visible = self.joints(inputs)
        folded, mask = points.permute(0, 2, 4, 1, 3), visible.permute(0, 2, 1, 3)
        anybody = mask.flatten(1).amax(dim=1)[:, None]
        outputs: list[BodyAnswer] = []
        for body, streams, chosen in zip(self.bodies, self.streams, self.chosen, strict=True):
            x = streams_of(folded, mask, streams, self.config.layout)
            whole = len(chosen) == self.config.joints
            outputs.append(body(x, mask) if whole else body(x[..., chosen], mask[..., chosen]))
        vectors = [self.drop(one.vectors) for one in outputs]
        if len(self.classes):
            heads = zip(self.classes, vectors, strict=True)
            scores = torch.stack([head(rows) for head, rows in heads])
            none = points.new_zeros(len(outputs), len(points), self.dim)
            return Readout(none, scores, outputs, points, visible)
        residuals = [
            small_step(leave(rows) * anybody, rows.shape[1])
            for leave, rows in zip(self.leave, vectors, strict=True)
        ]
        return Readout(torch.stack(residuals), None, outputs, points, visible)

    def joints(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (N, T, K) to joints (N, T', M, V, 3) and which are seen; moved in training."""
        config = self.config
        rows = inputs.view(*inputs.shape[:2], config.people, config.joints, PER_JOINT)
        rows = at_frames(
            torch.cat([rows[..., :3] * rows[..., 3:], rows[..., 3:]], -1), config.frames
        )
        # A frame between one where a joint is seen and one where it is not does not show it.
        points, visible = rows[..., :3], (rows[..., 3] > 0.999).to(rows.dtype)
        if self.training:
            points = moved(points, config.rotate, config.shift)
        return points * visible[..., None], visible


def at_frames(rows: Tensor, frames: int) -> Tensor:
    """Rows (N, T, ...) at other even times, (N, T', ...), between the two nearest."""
    if rows.shape[1] == frames:
        return rows
    phase = torch.linspace(0, rows.shape[1] - 1, frames, device=rows.device)
    before = phase.floor().long()
    share = (phase - before).view(-1, *(1,) * (rows.ndim - 2)).to(rows.dtype)
    after = (before + 1).clamp(max=rows.shape[1] - 1)
    return rows[:, before] * (1 - share) + rows[:, after] * share


def moved(points: Tensor, rotate: float, shift: float) -> Tensor:
    """Scenes (N, T, M, V, 3) turned and moved by random amounts, one draw for each clip."""
    n = len(points)
    angle = (2 * torch.rand(3, n) - 1) * rotate
    cos, sin = angle.cos(), angle.sin()
    one, zero = torch.ones(n), torch.zeros(n)
    x = torch.stack([one, zero, zero, zero, cos[0], -sin[0], zero, sin[0], cos[0]], 1)
    y = torch.stack([cos[1], zero, sin[1], zero, one, zero, -sin[1], zero, cos[1]], 1)
    z = torch.stack([cos[2], -sin[2], zero, sin[2], cos[2], zero, zero, zero, one], 1)
    turn = (x.view(n, 3, 3) @ y.view(n, 3, 3) @ z.view(n, 3, 3)).to(points)
    away = ((2 * torch.rand(n, 3) - 1) * shift).to(points)
    return (points.flatten(1, 3) @ turn).view_as(points) + away[:, None, None, None]


class PartHeads(nn.Module):
    """Five heads that texts of the body and its parts draw on in training (GAP).

    Args:
        width: W of the last map.
        layout: Whose joints are divided into head, hand, hip and foot.
    """

    def __init__(self, width: int, layout: str) -> None:
        super().__init__()
        self.joints = list(part_joints(layout).values())
        self.heads = nn.ModuleList(nn.Linear(width, PART_WIDTH) for _ in range(5))
        self.scale = nn.Parameter(torch.full((5,), 2.659))

    def forward(self, found: BodyAnswer, clips: int) -> Tensor:
        """(5, N, PART_WIDTH) of the whole body and each part."""
        assert found.last is not None
        assert found.owners is not None
        rows: list[Tensor] = []
        for head, joints in zip(self.heads, [None, *self.joints], strict=True):
            x, visible = found.last, found.seen
            if joints is not None:
                x, visible = x[..., joints], None if visible is None else visible[..., joints]
            means = mean_over(x, visible, (-2, -1))
            rows.append(head(mean_of_people(means, found.owners, clips)))
        return torch.stack(rows)
