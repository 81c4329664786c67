"""Gate-Shift-Fuse (Sudhakaran et al., TPAMI 2023) on three networks, and Gate-Shift-Pose.

Gate-Shift-Pose: Bianchi and Lanz, WACV Workshops 2025. Layers by the names of the released files.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from vlar.methods.released.inceptions import BnInception, InceptionV3


class GateShiftFuse(nn.Module):
    """A gate chooses what moves to the next or the previous frame; the rest stays.

    Args:
        channels: Gated channels: the first ones of the map, a multiple of four.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.frames = channels, 1  # the network around it sets the frames
        self.bn = nn.BatchNorm3d(channels)
        self.conv3D = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        self.channel_conv1 = nn.Conv2d(2, 1, 3, padding=1)
        self.channel_conv2 = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B T, C, h, w) of maps."""
        gated, others = x[:, : self.channels], x[:, self.channels :]
        clip = gated.unflatten(0, (-1, self.frames)).transpose(1, 2)  # (B, n, T, h, w)
        gates = torch.tanh(self.conv3D(functional.relu(self.bn(clip))))
        fuses = (self.channel_conv1, self.channel_conv2)
        halves = clip.chunk(2, 1)
        out = [
            self._half(half, gates[:, i : i + 1], fuse, back=i == 0)
            for i, (half, fuse) in enumerate(zip(halves, fuses, strict=True))
        ]
        moved = torch.cat(out, 1).transpose(1, 2).flatten(0, 1)
        return torch.cat([moved, others], 1)

    def _half(self, x: Tensor, gate: Tensor, fuse: nn.Module, back: bool) -> Tensor:
        moving = gate * x
        staying = x - moving
        empty = torch.zeros_like(moving[:, :, :1])
        parts = [moving[:, :, 1:], empty] if back else [empty, moving[:, :, :-1]]
        moving = torch.cat(parts, 2)
        picture = torch.stack([moving.mean((3, 4)), staying.mean((3, 4))], 1)  # (B, 2, n/2, T)
        share = torch.sigmoid(fuse(picture))[:, 0, :, :, None, None]
        mixed = share * moving + (1 - share) * staying
        return mixed.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)  # interleaved


def gated_channels(channels: int, ratio: float) -> int:
    """Number of the gated channels, an even one."""
    count = int(channels * ratio / 100)
    return count + count % 2


class _GatedBottleneck(Bottleneck):
    ratio = 100.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gsf = GateShiftFuse(gated_channels(self.conv3.out_channels, self.ratio))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.gsf(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class _GatedBasic(BasicBlock):
    ratio = 100.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gsf = GateShiftFuse(gated_channels(self.conv2.out_channels, self.ratio))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.gsf(self.conv2(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def gated_resnet(name: str, ratio: float, channels: int = 3) -> tuple[nn.Module, int]:
    """A ResNet with gates in each block and no last layer, and its width.

    Args:
        name: ``resnet50``, or ``resnet18``, which has the depth of a ResNet-34 in the release.
        ratio: Share of gated channels in percent.
        channels: Channels of the input.
    """
    base = _GatedBottleneck if name.replace("-", "").lower() == "resnet50" else _GatedBasic
    block: Any = type(base.__name__, (base,), {"ratio": ratio})
    network: Any = ResNet(block, [3, 4, 6, 3])
    width = network.fc.in_features
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    network.fc = nn.Dropout(0.5)
    return network, width


def set_frames(network: nn.Module, frames: int) -> None:
    """Tell every gate how many frames a clip has."""
    for module in network.modules():
        if isinstance(module, GateShiftFuse):
            module.frames = frames


class GsfNetwork(nn.Module):
    """GSF on a network of pictures: (B, c T, H, W), channels frame by frame, -> (B, classes).

    Args:
        config: ``backbone`` (``BNInception``, ``InceptionV3``, ``ResNet-50``, ``resnet18``),
            ``ratio`` in percent, ``classes``, ``channels`` of a frame (3; 4 with a map of joints).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.channels = config.get("channels", 3)
        if config["backbone"] == "BNInception":
            self.base_model: nn.Module = BnInception(self._gate(config))
            width = 1024
        elif config["backbone"] == "InceptionV3":
            self.base_model = InceptionV3(self._gate(config))
            width = 2048
        else:
            self.base_model, width = gated_resnet(
                config["backbone"], config["ratio"], self.channels
            )
        self.new_fc = nn.Linear(width, config["classes"])

    @staticmethod
    def _gate(config: dict[str, Any]) -> Any:
        def gate(channels: int) -> nn.Module:
            return GateShiftFuse(gated_channels(channels, config["ratio"]))

        return gate

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, classes), the mean over frames."""
        frames = video.shape[1] // self.channels
        set_frames(self.base_model, frames)
        pictures = video.reshape(-1, self.channels, *video.shape[2:])
        return self.new_fc(self.base_model(pictures)).unflatten(0, (-1, frames)).mean(1)


class _PoseModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(34, 64), nn.Linear(64, 128)
        self.fc3 = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


class GateShiftPoseLate(nn.Module):
    """Pictures and joints joined late: (B, 3 T, H, W) and (B, T, 34) -> (B, classes).

    Args:
        config: ``backbone``, ``ratio``, ``classes``, ``heads``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.base_model, width = gated_resnet(config["backbone"], config["ratio"])
        self.pose_model = _PoseModel()
        joint = width + 128
        self.attention_layer = nn.MultiheadAttention(joint, config["heads"])
        half, quarter = joint // 2, joint // 4
        self.feature_refinement_layer = nn.Sequential(
            nn.Linear(joint, half),
            nn.BatchNorm1d(half),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(half, quarter),
            nn.BatchNorm1d(quarter),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.new_fc = nn.Linear(quarter, config["classes"])

    def forward(self, video: Tensor, pose: Tensor) -> Tensor:
        """Logits (B, classes). The released attention is over a sequence of one: a linear map."""
        frames = video.shape[1] // 3
        set_frames(self.base_model, frames)
        pictures = self.base_model(video.reshape(-1, 3, *video.shape[2:]))
        bodies = self.pose_model(pose.flatten(0, 1))
        joined = [functional.normalize(pictures, dim=-1), functional.normalize(bodies, dim=-1)]
        rows = torch.cat(joined, -1)[None]
        attended = self.attention_layer(rows, rows, rows, need_weights=False)[0][0]
        refined = self.feature_refinement_layer(attended)
        return self.new_fc(refined).unflatten(0, (-1, frames)).mean(1)
