"""SkateFormer (Do and Kim, ECCV 2024, arXiv 2403.09508), by the names of its released files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlar.methods.skeleton_towers.partitions import partition, restore


class PartAttention(nn.Module):
    """Attention within parts of frames and columns.

    Args:
        size: Frames and columns of a part.
        heads: Attention heads.
        far_frames: A part has every nth frame, otherwise a run of them.
        far_columns: A part has every nth column, otherwise a run of them.
    """

    def __init__(
        self, size: tuple[int, int], heads: int, far_frames: bool, far_columns: bool
    ) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.far_columns = far_columns
        self.kinds = tuple("far" if far else "near" for far in (far_columns, far_frames))
        frames, columns = size
        shape = (2 * frames - 1, *((columns, columns) if far_columns else ()), heads)
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn(shape))
        steps = torch.arange(frames)
        index = steps[:, None] - steps[None] + frames - 1
        self.register_buffer("relative_position_index", index)

    def bias(self) -> Tensor:
        """Terms that are added to the scores, (heads, P, P), P = frames x columns of a part.

        For runs of columns the released weights were trained with the number of a token modulo the
        frames in place of its frame.
        """
        frames, columns = self.size
        table = self.relative_position_bias_table
        token = torch.arange(frames * columns, device=table.device)
        if not self.far_columns:
            step = token % frames
            return table[step[:, None] - step[None] + frames - 1].permute(2, 0, 1)
        frame, column = token // columns, token % columns
        rows = frame[:, None] - frame[None] + frames - 1
        return table[rows, column[:, None], column[None]].permute(2, 0, 1)

    def parts(self, x: Tensor) -> Tensor:
        """Parts (N, parts, P, C) of (N, T, S, C)."""
        cut = partition(x.permute(0, 3, 1, 2), *self.kinds, size=self.size)
        return cut.flatten(3).transpose(2, 3)

    def whole(self, parts: Tensor, frames: int, columns: int) -> Tensor:
        """The inverse of ``parts``: (N, T, S, C)."""
        cut = parts.transpose(2, 3).unflatten(3, self.size)
        return restore(cut, *self.kinds, shape=(frames, columns)).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, T, S, c) of queries, keys and values next to each other, (N, T, S, 3 c)."""
        frames, columns = x.shape[1:3]
        parts = self.parts(x)
        shape = (*parts.shape[:3], 3, self.heads, -1)
        query, key, value = parts.view(shape).permute(3, 0, 1, 4, 2, 5)
        scores = query @ key.transpose(-1, -2) * self.heads**-0.5 + self.bias()
        y = scores.softmax(-1) @ value  # (N, parts, heads, P, d)
        y = y.transpose(2, 3).flatten(-2)
        return self.whole(y, frames, columns)


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class PartTransformer(nn.Module):
    """A graph, a convolution over time and four kinds of attention on shares of the channels."""

    def __init__(self, width: int, config: dict[str, Any]) -> None:
        super().__init__()
        heads = config["num_heads"]
        columns = config["people"] * config["joints"]
        self.width = width
        self.gconv = nn.Parameter(0.02 * torch.randn(heads // 4, columns, columns))
        self.norm_1 = nn.LayerNorm(width)
        self.mapping = nn.Linear(width, 2 * width)
        kernel, share = config["kernel_size"], width // 4
        self.tconv = nn.Conv2d(
            share, share, (kernel, 1), padding=(kernel // 2, 0), groups=heads // 4
        )
        sizes = [tuple(config[f"type_{kind}_size"]) for kind in (1, 2, 3, 4)]
        self.attention = nn.ModuleList(
            PartAttention(size, heads // 8, far_frames=kind >= 2, far_columns=kind % 2 == 1)
            for kind, size in enumerate(sizes)
        )
        self.proj = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, int(width * config["mlp_ratio"]))

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, C, T, S) of the same shape."""
        x = x.permute(0, 2, 3, 1)
        share = self.width // 4
        mapped = self.mapping(self.norm_1(x))
        graph, time, others = mapped.split([share, share, 2 * self.width - 2 * share], dim=-1)
        heads = len(self.gconv)
        runs = graph.view(*graph.shape[:3], heads, -1)
        moved = torch.einsum("hvu,ntuhc->ntvhc", self.gconv, runs).flatten(-2)
        timed = self.tconv(time.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        pieces = others.chunk(4, dim=-1)
        attended = [kind(piece) for kind, piece in zip(self.attention, pieces, strict=True)]
        x = x + self.proj(torch.cat([moved, timed, *attended], -1))
        x = x + self.mlp(self.norm_2(x))
        return x.permute(0, 3, 1, 2)


class _Merge(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(inputs, outputs, (kernel, 1), (2, 1), (kernel // 2, 0))
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.reduction(x))


class _SkateBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, merges: bool, config: dict[str, Any]) -> None:
        super().__init__()
        self.downsample = _Merge(inputs, outputs, config["kernel_size"]) if merges else None
        self.transformer = PartTransformer(outputs, config)

    def forward(self, x: Tensor) -> Tensor:
        return self.transformer(x if self.downsample is None else self.downsample(x))


class SkateFormer(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes), joints in the order of limbs.

    Args:
        config: ``joints``, ``people``, ``num_classes``, ``in_channels``, ``depths``, ``channels``,
            ``embed_dim``, ``num_heads``, ``kernel_size``, ``type_1_size`` to ``type_4_size``
            (frames, columns), ``mlp_ratio``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inputs = config["embed_dim"], config["in_channels"]
        columns = config["people"] * config["joints"]
        self.joint_person_embedding = nn.Parameter(0.02 * torch.randn(width, columns))
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, 2 * inputs, 1),
            nn.GELU(),
            nn.Conv2d(2 * inputs, 3 * inputs, 1),
            nn.GELU(),
            nn.Conv2d(3 * inputs, width, 1),
        )
        self.stages = nn.ModuleList()
        before = width
        for number, (depth, channels) in enumerate(
            zip(config["depths"], config["channels"], strict=True)
        ):
            stage = nn.Module()
            stage.blocks = nn.ModuleList(
                _SkateBlock(
                    before if index == 0 else channels, channels, number > 0 and index == 0, config
                )
                for index in range(depth)
            )
            self.stages.append(stage)
            before = channels
        self.head = nn.Linear(before, config["num_classes"])

    def forward(self, x: Tensor, index_t: Tensor | None = None) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C).

        Args:
            x: Joints by limb.
            index_t: Times (N, T) in -1..1; evenly spaced by default.
        """
        frames = x.shape[2]
        x = x.permute(0, 4, 2, 1, 3).flatten(3)  # (N, C, T, M * V)
        x = self.stem(x)
        if index_t is None:
            index_t = 2 * torch.arange(frames, device=x.device)[None] / frames - 1
        width = x.shape[1]
        rates = 10_000 ** (-torch.arange(0, width, 2, device=x.device) / width)
        angles = index_t[..., None] * rates
        code = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)  # (N, T, C)
        x = x + code.transpose(1, 2)[..., None] * self.joint_person_embedding[None, :, None]
        for stage in self.stages:
            assert isinstance(stage.blocks, nn.ModuleList)
            for block in stage.blocks:
                x = block(x)
        return self.head(x.mean((2, 3)))
