"""BNInception and InceptionV3 of pictures, by the names of the files that GSF starts from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Gate = Callable[[int], nn.Module]
Kernel = int | tuple[int, int]
#: 1x1 | 3x3 reduce, 3x3 | double reduce, double twice | projection of the pool, and the pool.
_BN_BLOCKS: dict[str, tuple[tuple[int, ...], str]] = {
    "3a": ((64, 64, 64, 64, 96, 32), "mean"),
    "3b": ((64, 64, 96, 64, 96, 64), "mean"),
    "3c": ((0, 128, 160, 64, 96, 0), "step"),
    "4a": ((224, 64, 96, 96, 128, 128), "mean"),
    "4b": ((192, 96, 128, 96, 128, 128), "mean"),
    "4c": ((160, 128, 160, 128, 160, 128), "mean"),
    "4d": ((96, 128, 192, 160, 192, 128), "mean"),
    "4e": ((0, 128, 192, 192, 256, 0), "step"),
    "5a": ((352, 192, 320, 160, 224, 128), "mean"),
    "5b": ((352, 192, 320, 192, 224, 128), "max"),
}


class _Named(nn.Module):
    """Convolutions, their norms and gates, each under a name of its own."""

    norm = ""  # what stands behind a name for its norm
    conv = ""

    def __init__(self) -> None:
        super().__init__()

    def add(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: Kernel = 1,
        stride: int = 1,
        padding: Kernel = 0,
        gate: Gate | None = None,
    ) -> int:
        """Append a convolution; the number of its outputs."""
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        setattr(self, f"{name}{self.conv}", conv)
        if gate is not None:
            setattr(self, f"gsf_{name}{self.conv}", gate(outputs))
        setattr(self, f"{name}{self.norm}", nn.BatchNorm2d(outputs))
        return outputs

    def run(self, name: str, x: Tensor) -> Tensor:
        """Convolution, gate where there is one, norm, ReLU."""
        x = getattr(self, f"{name}{self.conv}")(x)
        gate = getattr(self, f"gsf_{name}{self.conv}", None)
        x = x if gate is None else gate(x)
        return functional.relu(getattr(self, f"{name}{self.norm}")(x))


def _max(x: Tensor, stride: int = 2, padding: int = 0) -> Tensor:
    return functional.max_pool2d(x, 3, stride, padding, ceil_mode=True)


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1)


class BnInception(_Named):
    """Pictures (n, 3, H, W) -> (n, 1024); a gate between ten convolutions and their norms."""

    norm = "_bn"

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.add("conv1_7x7_s2", 3, 64, 7, 2, 3)
        self.add("conv2_3x3_reduce", 64, 64)
        inputs = self.add("conv2_3x3", 64, 192, 3, 1, 1)
        for block, (widths, pool) in _BN_BLOCKS.items():
            one, reduce, three, double, twice, project = widths
            stride, name = (2 if pool == "step" else 1), f"inception_{block}"
            if one:
                self.add(f"{name}_1x1", inputs, one, gate=gate)
            self.add(f"{name}_3x3_reduce", inputs, reduce, gate=None if one else gate)
            self.add(f"{name}_3x3", reduce, three, 3, stride, 1)
            self.add(f"{name}_double_3x3_reduce", inputs, double)
            self.add(f"{name}_double_3x3_1", double, twice, 3, 1, 1)
            self.add(f"{name}_double_3x3_2", twice, twice, 3, stride, 1)
            if project:
                self.add(f"{name}_pool_proj", inputs, project)
            inputs = one + three + twice + (project or inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (n, 1024) of pictures (n, 3, H, W)."""
        x = _max(self.run("conv1_7x7_s2", x))
        x = _max(self.run("conv2_3x3", self.run("conv2_3x3_reduce", x)))
        for block, (_, pool) in _BN_BLOCKS.items():
            x = self._block(f"inception_{block}", x, pool)
        return x.mean((2, 3))

    def _block(self, name: str, x: Tensor, pool: str) -> Tensor:
        three = self.run(f"{name}_3x3", self.run(f"{name}_3x3_reduce", x))
        double = self.run(f"{name}_double_3x3_1", self.run(f"{name}_double_3x3_reduce", x))
        parts = [three, self.run(f"{name}_double_3x3_2", double)]
        if pool == "step":
            return torch.cat([*parts, _max(x)], 1)
        pooled = _mean(x) if pool == "mean" else _max(x, 1, 1)
        return torch.cat(
            [self.run(f"{name}_1x1", x), *parts, self.run(f"{name}_pool_proj", pooled)], 1
        )


class InceptionV3(_Named):
    """Pictures (n, 3, H, W) -> (n, 2048); a gate between eleven convolutions and their norms."""

    norm, conv = "_batchnorm", "_Conv2D"

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        for name, inputs, outputs, kernel, stride, padding in (
            ("conv", 3, 32, 3, 2, 0),
            ("conv_1", 32, 32, 3, 1, 0),
            ("conv_2", 32, 64, 3, 1, 1),
            ("conv_3", 64, 80, 1, 1, 0),
            ("conv_4", 80, 192, 3, 1, 0),
        ):
            self.add(name, inputs, outputs, kernel, stride, padding)
        inputs = 192
        for name, project in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
            self.add(f"{name}_conv", inputs, 64, gate=gate)
            self._tower(f"{name}_tower", inputs, [(48, 1), (64, 5)])
            self._tower(f"{name}_tower_1", inputs, [(64, 1), (96, 3), (96, 3)])
            self.add(f"{name}_tower_2_conv", inputs, project)
            inputs = 224 + project
        self.add("mixed_3_conv", inputs, 384, 3, 2, gate=gate)
        self._tower("mixed_3_tower", inputs, [(64, 1), (96, 3)])
        self.add("mixed_3_tower_conv_2", 96, 96, 3, 2)
        for number, width in ((4, 128), (5, 160), (6, 160), (7, 192)):
            name = f"mixed_{number}"
            self.add(f"{name}_conv", 768, 192, gate=gate)
            self._tower(f"{name}_tower", 768, [(width, 1), (width, (7, 1)), (192, (1, 7))])
            long: list[tuple[int, Kernel]] = [
                (width, 1),
                (width, (1, 7)),
                (width, (7, 1)),
                (width, (1, 7)),
                (192, (7, 1)),
            ]
            self._tower(f"{name}_tower_1", 768, long)
            self.add(f"{name}_tower_2_conv", 768, 192)
        self.add("mixed_8_tower_conv", 768, 192, gate=gate)
        self.add("mixed_8_tower_conv_1", 192, 320, 3, 2)
        self._tower("mixed_8_tower_1", 768, [(192, 1), (192, (7, 1)), (192, (1, 7))])
        self.add("mixed_8_tower_1_conv_3", 192, 192, 3, 2)
        for number, inputs in ((9, 1280), (10, 2048)):
            name = f"mixed_{number}"
            self.add(f"{name}_conv", inputs, 320, gate=gate)
            self._tower(f"{name}_tower", inputs, [(384, 1)])
            self._tower(f"{name}_tower_1", inputs, [(448, 1), (384, 3)])
            for tower in ("tower", "tower_1"):
                self.add(f"{name}_{tower}_mixed_conv", 384, 384, (3, 1), 1, (1, 0))
                self.add(f"{name}_{tower}_mixed_conv_1", 384, 384, (1, 3), 1, (0, 1))
            self.add(f"{name}_tower_2_conv", inputs, 192)

    def _tower(self, name: str, inputs: int, rows: list[tuple[int, Kernel]]) -> None:
        """Convolutions one behind the other, padded to keep the size."""
        for number, (outputs, kernel) in enumerate(rows):
            sides = (kernel, kernel) if isinstance(kernel, int) else kernel
            padding = (sides[0] // 2, sides[1] // 2)
            self.add(self._place(name, number), inputs, outputs, kernel, 1, padding)
            inputs = outputs

    @staticmethod
    def _place(name: str, number: int) -> str:
        return f"{name}_conv_{number}" if number else f"{name}_conv"

    def _climb(self, name: str, x: Tensor, count: int) -> Tensor:
        for number in range(count):
            x = self.run(self._place(name, number), x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Vectors (n, 2048) of pictures (n, 3, H, W)."""
        for name in ("conv", "conv_1", "conv_2"):
            x = self.run(name, x)
        x = self.run("conv_4", self.run("conv_3", _max(x)))
        x = _max(x)
        for name in ("mixed", "mixed_1", "mixed_2"):
            x = self._wide(name, x, (2, 3), _mean(x))
        x = torch.cat([self.run("mixed_3_conv", x), self._climb("mixed_3_tower", x, 3), _max(x)], 1)
        for number in (4, 5, 6, 7):
            x = self._wide(f"mixed_{number}", x, (3, 5), _mean(x))
        towers = [self._climb("mixed_8_tower", x, 2), self._climb("mixed_8_tower_1", x, 4)]
        x = torch.cat([*towers, _max(x)], 1)
        x = self._split("mixed_9", x, _mean(x))
        return self._split("mixed_10", x, _max(x, 1, 1)).mean((2, 3))

    def _wide(self, name: str, x: Tensor, counts: tuple[int, int], pooled: Tensor) -> Tensor:
        towers = [
            self._climb(f"{name}_{tower}", x, count)
            for tower, count in zip(("tower", "tower_1"), counts, strict=True)
        ]
        project = self.run(f"{name}_tower_2_conv", pooled)
        return torch.cat([self.run(f"{name}_conv", x), *towers, project], 1)

    def _split(self, name: str, x: Tensor, pooled: Tensor) -> Tensor:
        parts = [self.run(f"{name}_conv", x)]
        for tower, count in (("tower", 1), ("tower_1", 2)):
            y = self._climb(f"{name}_{tower}", x, count)
            parts += [self.run(f"{name}_{tower}_mixed_{end}", y) for end in ("conv", "conv_1")]
        return torch.cat([*parts, self.run(f"{name}_tower_2_conv", pooled)], 1)
