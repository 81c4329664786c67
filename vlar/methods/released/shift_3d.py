"""EPAM-Net (Abdelkawy et al., Neurocomputing 2025): X-ShiftNet pictures, guided by bodies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_EVERY = 3  # heat maps of the 48 moments that meet a picture


class _ConvNorm(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv = nn.Conv3d(
            inputs,
            outputs,
            (1, kernel, kernel),
            (1, stride, stride),
            (0, pad, pad),
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class _Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels / 16
        least = max(8, int(width + 4) // 8 * 8)
        hidden = least + 8 if least < 0.9 * width else least
        self.fc1, self.fc2 = nn.Conv3d(channels, hidden, 1), nn.Conv3d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3, 4), keepdim=True)
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(means))))


class ShiftBlock(nn.Module):
    """A shift in time, then convolutions of each frame alone."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, fold: int, first: bool, squeezes: bool
    ) -> None:
        super().__init__()
        middle = int(2.25 * outputs)
        self.fold = fold
        self.conv1 = _ConvNorm(inputs, middle)
        self.conv2 = _ConvNorm(middle, middle, 3, stride, groups=middle)
        self.conv3 = _ConvNorm(middle, outputs)
        self.se_module = _Squeeze(middle) if squeezes else None
        self.downsample = _ConvNorm(inputs, outputs, 1, stride) if first else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T, H', W') of maps."""
        share = x.shape[1] // self.fold
        empty = torch.zeros_like(x[:, :share, :1])
        back = torch.cat([x[:, :share, 1:], empty], 2)
        on = torch.cat([empty, x[:, share : 2 * share, :-1]], 2)
        y = torch.cat([back, on, x[:, 2 * share :]], 1)
        y = self.conv2(functional.relu(self.conv1(y)))
        y = functional.silu(y if self.se_module is None else self.se_module(y))
        skip = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.conv3(y) + skip)


class ShiftNet(nn.Module):
    """Clips (B, C, T, H, W) as maps; nothing mixes time but the shift."""

    def __init__(
        self, channels: int, stride: int, fold: int, stages: list[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.conv1_s = _ConvNorm(channels, 24, 3, stride)
        inputs, self.count = 24, len(stages)
        for number, (depth, outputs) in enumerate(stages, 1):
            blocks: list[nn.Module] = []
            for index in range(depth):
                first = index == 0
                step = 2 if first else 1
                blocks.append(ShiftBlock(inputs, outputs, step, fold, first, index % 2 == 0))
                inputs = outputs
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.conv5 = _ConvNorm(inputs, int(2.25 * inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, 2.25 C, T, H', W')."""
        x = functional.relu(self.conv1_s(x))
        for number in range(1, self.count + 1):
            x = getattr(self, f"layer{number}")(x)
        return functional.relu(self.conv5(x))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = _ConvNorm(2, 1, 7)
        self.conv_temporal_attention = nn.Conv1d(1, 1, 7, padding=3, bias=False)

    def forward(self, bodies: Tensor) -> Tensor:
        both = torch.cat([bodies.amax(1, keepdim=True), bodies.mean(1, keepdim=True)], 1)
        places = torch.sigmoid(self.spatial(both))
        times = torch.sigmoid(self.conv_temporal_attention(places.mean((3, 4))))
        return places * times[..., None, None]


class EpamNet(nn.Module):
    """The network: pictures (B, 3, 16, H, W) and heat maps (B, 17, 48, h, w) -> (B, classes).

    Args:
        config: ``classes``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.rgb_backbone = ShiftNet(3, 2, 8, [(3, 24), (5, 48), (11, 96), (7, 192)])
        self.pose_backbone = ShiftNet(17, 1, 4, [(5, 24), (11, 48), (7, 96)])
        self.attention_module = _Attention()
        self.rgb_cls_head = nn.ModuleDict({"fc_cls": nn.Linear(432, config["classes"])})
        self.pose_cls_head = nn.ModuleDict({"fc_cls": nn.Linear(216, config["classes"])})

    def both(self, imgs: Tensor, heatmap_imgs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of guided pictures and of bodies; the published answer is the largest sum."""
        bodies = self.pose_backbone(heatmap_imgs)
        pictures = self.rgb_backbone(imgs)
        pictures = pictures + pictures * self.attention_module(bodies[:, :, ::_EVERY])
        rgb = self.rgb_cls_head["fc_cls"](pictures.mean((2, 3, 4)))
        return rgb, self.pose_cls_head["fc_cls"](bodies.mean((2, 3, 4)))

    def forward(self, imgs: Tensor, heatmap_imgs: Tensor) -> Tensor:
        """Logits (B, classes) of the guided pictures."""
        return self.both(imgs, heatmap_imgs)[0]
