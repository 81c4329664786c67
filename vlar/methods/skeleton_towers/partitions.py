"""SkateFormer: attention inside partitions of near or far joints by near or far frames.

Do and Kim, "SkateFormer: skeletal-temporal transformer for human action recognition", ECCV 2024.

Letters: N clips, M people, C channels, T frames, V joints, P parts of t frames and v joints.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses
from torchvision.ops import StochasticDepth

from vlar.adapters.settings import bad_setting
from vlar.errors import UsageError
from vlar.media.skeleton.layouts import layout
from vlar.methods.msq.network import position_code
from vlar.methods.skeleton_towers.limbs import limbs
from vlar.methods.skeleton_towers.network import Body, Found, Given, mean_over
from vlar.registry import unknown_name

KINDS = (("near", "near"), ("far", "near"), ("near", "far"), ("far", "far"))
_GROUP = 4  # joints that are near
_FRAMES = 8  # frames of a part
_MOST_HEADS = 32
_HIDDEN = -1e4  # on the scores of joints that are not there


def partition(x: Tensor, joints: str, frames: str, *, size: tuple[int, int]) -> Tensor:
    """Parts (N, P, C, t, v) of x (N, C, T, V); blocks of frames are the outer order.

    Args:
        x: What is cut.
        joints: ``near`` takes runs of joints, ``far`` joints at even strides.
        frames: The same of frames.
        size: t and v, divisors of T and V.

    Raises:
        UsageError: a size does not divide.
        UnknownNameError: a kind is neither ``near`` nor ``far``.
    """
    _check(joints, frames, size, (x.shape[2], x.shape[3]))
    (t, v), (n, c, frames_, joints_) = size, x.shape
    rows = (frames_ // t, t) if frames == "near" else (t, frames_ // t)
    columns = (joints_ // v, v) if joints == "near" else (v, joints_ // v)
    cut = x.reshape(n, c, *rows, *columns).permute(0, *_places(joints, frames))
    return cut.reshape(n, -1, c, t, v)


def restore(parts: Tensor, joints: str, frames: str, *, shape: Sequence[int]) -> Tensor:
    """Inverse of ``partition``: parts (N, P, C, t, v) to x (N, C, T, V).

    ``shape`` is that of x, or its last entries, T and V.

    Raises:
        UsageError: the shape does not fit the parts.
    """
    n, count, c, t, v = parts.shape
    rows, columns = shape[-2:]
    _check(joints, frames, (t, v), (rows, columns))
    if count * t * v != rows * columns:
        raise UsageError(f"{count} parts of {t} x {v} do not make {rows} x {columns}")
    cut = parts.reshape(n, rows // t, columns // v, c, t, v)
    order = torch.tensor([0, *_places(joints, frames)]).argsort().tolist()
    return cut.permute(order).reshape(n, c, rows, columns)


def _places(joints: str, frames: str) -> tuple[int, ...]:
    """Dimensions of frame block, joint block, channel, frame and joint, after the reshape."""
    rows = (2, 3) if frames == "near" else (3, 2)
    columns = (4, 5) if joints == "near" else (5, 4)
    return rows[0], columns[0], 1, rows[1], columns[1]


def _check(joints: str, frames: str, size: tuple[int, int], shape: tuple[int, int]) -> None:
    for kind in (joints, frames):
        if kind not in ("near", "far"):
            raise unknown_name("kind of partition", kind, ("near", "far"))
    if min(size) < 1 or shape[0] % size[0] or shape[1] % size[1]:
        raise UsageError(
            f"parts of {size[0]} frames x {size[1]} joints do not divide {shape[0]} x {shape[1]}; "
            "give divisors"
        )


class PartitionAttention(nn.Module):
    """Attention of a kind, within the parts of a partition, with a bias by place.

    The bias of near joints is one of the step in time; that of far joints one of the step in time
    and of the two joints, whose places in the part have a meaning. H are the heads.
    """

    def __init__(self, heads: int, joints: str, frames: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.heads, self.joints, self.frames, self.size = heads, joints, frames, size
        steps = 2 * size[0] - 1
        pairs = (steps,) if joints == "near" else (steps, size[1], size[1])
        self.bias = nn.Parameter(torch.zeros(heads, *pairs))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(N, C, T, V) each, and the mask (N, T, V) of what is there, to (N, C, T, V)."""
        query, key, value = (self._heads(part) for part in (query, key, value))
        there = partition(mask[:, None], self.joints, self.frames, size=self.size)
        hidden = (1 - there.flatten(2)) * _HIDDEN  # (N, P, t v)
        scores = (self._bias() + hidden[:, :, None, None]).flatten(0, 1)
        near = query @ key.mT * query.shape[-1] ** -0.5
        found = torch.softmax(near + scores, dim=-1) @ value
        n, shape = len(mask), (mask.shape[1], mask.shape[2])
        found = found.transpose(2, 3).reshape(n, there.shape[1], -1, *self.size)
        return restore(found, self.joints, self.frames, shape=shape)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, C, T, V) to (N P, H, t v, C / H)."""
        parts = partition(x, self.joints, self.frames, size=self.size).flatten(0, 1)
        return parts.reshape(len(parts), self.heads, -1, self.size[0] * self.size[1]).mT

    def _bias(self) -> Tensor:
        """(H, t v, t v)."""
        t, v = self.size
        place = torch.arange(t, device=self.bias.device)
        found = self.bias[:, place[:, None] - place + t - 1]  # (H, t, t) or (H, t, t, v, v)
        if self.joints == "near":
            found = found[..., None, None].expand(-1, -1, -1, v, v)
        return found.transpose(2, 3).reshape(self.heads, t * v, t * v)


class SkateBlock(nn.Module):
    """Convolutions on one half of the channels, four kinds of attention on the other.

    A quarter of the channels is mixed by a learned graph of the joints, a quarter by convolutions
    over time; each of ``KINDS`` has an eighth. A feed-forward layer follows; both are residual.

    Args:
        width: C, a multiple of 8. Of its heads a quarter are for the graph and for the
            convolutions each, and an eighth for each kind of attention.
        shape: T and V.
        near: Columns of a part of near joints.
        ratio: Width of the feed-forward layer, in C.
        drop: Share of the clips of a training whose residual is left out.
    """

    def __init__(
        self, width: int, shape: tuple[int, int], near: int, ratio: float, drop: float
    ) -> None:
        super().__init__()
        heads = _heads(width)
        self.norm, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.enter, self.leave = nn.Linear(width, 2 * width), nn.Linear(width, width)
        quarter = heads // 4
        self.graph = nn.Parameter(torch.randn(quarter, shape[1], shape[1]) * 0.02)
        self.time = nn.Conv2d(width // 4, width // 4, (7, 1), padding=(3, 0), groups=quarter)
        t = min(_FRAMES, shape[0])
        sizes = {"near": (t, near), "far": (t, shape[1] // _GROUP)}
        self.kinds = nn.ModuleList(
            PartitionAttention(heads // 8, joints, frames, sizes[joints])
            for joints, frames in KINDS
        )
        self.feed = nn.Sequential(
            nn.Linear(width, int(ratio * width)), nn.GELU(), nn.Linear(int(ratio * width), width)
        )
        self.drop = StochasticDepth(drop, "row")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, V, C) and the mask (N, T, V) to (N, T, V, C)."""
        wide = self.enter(self.norm(x)).permute(0, 3, 1, 2)
        quarter = x.shape[-1] // 4
        graph, time, *seen = wide.split([quarter, quarter, *[2 * quarter] * 3], dim=1)
        # A joint that is not there gives nothing to the others, here as in the attention.
        graph = (graph * mask[:, None]).reshape(len(x), len(self.graph), -1, *graph.shape[2:])
        mixed = torch.einsum("hvw,nhctw->nhctv", self.graph, graph).flatten(1, 2)
        shares = zip(*(part.chunk(len(KINDS), dim=1) for part in seen), strict=True)
        found = [kind(*share, mask) for kind, share in zip(self.kinds, shares, strict=True)]
        joined = torch.cat([mixed, self.time(time * mask[:, None]), *found], dim=1)
        x = x + self.drop(self.leave(joined.permute(0, 2, 3, 1)))
        return x + self.drop(self.feed(self.norm_feed(x)))


class SkateFormer(Body):
    """Columns of the joints of all people, in limbs of four, through blocks of attention.

    The people of a limb are columns next to each other: near joints are one limb of all people, far
    ones the same place in every limb. A chest that makes four joints and one is left out. Frames
    are merged by two in front of the blocks of ``halved``; then T is a multiple of 8, or below 8.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        config, widths, halvings = given.config, given.widths, 0
        order = [joint for limb in limbs(config.layout).values() for joint in limb]
        joints = layout(config.layout).joints
        if len(order) % _GROUP == 1 and "chest" in joints:
            order.remove(joints.index("chest"))
        blank = -len(order) % _GROUP  # columns that are never there
        columns = config.people * (len(order) + blank)
        self.order, self.blank = order, blank
        sizes = [given.channels, 2 * given.channels, 3 * given.channels, widths[0]]
        stem = [(nn.Linear(*pair), nn.GELU()) for pair in itertools.pairwise(sizes)]
        self.stem = nn.Sequential(*itertools.chain(*stem))
        self.place = nn.Parameter(torch.randn(columns, widths[0]) * 0.02)
        self.blocks, self.merges = nn.ModuleList(), nn.ModuleDict()
        drops = torch.linspace(0, config.dropout, len(widths)).tolist()
        for number, (width, drop) in enumerate(zip(widths, drops, strict=True)):
            if number + 1 in given.halved:
                merge = nn.Conv2d(widths[number - 1], width, (7, 1), (2, 1), (3, 0))
                self.merges[str(number)] = nn.Sequential(merge, nn.BatchNorm2d(width))
                halvings += 1
            shape = config.frames >> halvings, columns
            if shape[0] << halvings != config.frames or shape[0] % min(_FRAMES, max(shape[0], 1)):
                wanted = f"a multiple of {_FRAMES << len(given.halved)}, or a power of 2"
                raise bad_setting(config.what, "frames", config.frames, wanted)
            near = _GROUP * config.people
            self.blocks.append(SkateBlock(width, shape, near, config.ratio, drop))
        self.width = widths[-1]

    def forward(self, x: Tensor, seen: Tensor) -> Found:
        """Streams (N, M, C, T, V) and ``seen`` (N, M, T, V) to the mean of what is seen."""
        there = self._columns(seen[:, :, None])[..., 0]
        x = self.stem(self._columns(x))
        x = x + self.place * position_code(x.shape[1], x.shape[3]).to(x)[:, None]
        for number, block in enumerate(self.blocks):
            if str(number) in self.merges:
                x = self.merges[str(number)](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
                there = F.max_pool2d(there, (2, 1))
            x = block(x, there)
        return Found(mean_over(x.permute(0, 3, 1, 2), there, (-2, -1)))

    def _columns(self, x: Tensor) -> Tensor:
        """(N, M, C, T, V) to (N, T, columns, C): limb, person, joint of the limb."""
        x = F.pad(x[..., self.order], (0, self.blank)).unflatten(-1, (-1, _GROUP))
        return x.permute(0, 3, 4, 1, 5, 2).flatten(2, 4)


def _heads(width: int) -> int:
    """Heads of three channels: the largest divisor of a width by 8 up to a third of it, at least 8.

    Raises:
        ModelError: the width is not a multiple of 8.
    """
    if width % 8:
        raise bad_setting("skeleton tower setting", "widths", width, "multiples of 8")
    fitting = [n for n in range(8, max(width // 3, 8) + 1, 8) if width % n == 0]
    return min(fitting[-1], _MOST_HEADS)
