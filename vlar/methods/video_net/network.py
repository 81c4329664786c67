"""Small networks of clips, trained from random weights: frame by frame, and over time.

Letters: N clips, C channels, T frames, H W pixels, W features of a clip, D width of the shared
space, K numbers of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.encoders.torchvision import midplanes
from vlar.methods.video_net.ada_fuse import ChannelGate, Spent, fused
from vlar.methods.video_net.bodies import JOINTS, Guide, LateFusion, one_map
from vlar.methods.video_net.inflated import inflated
from vlar.methods.video_net.shift import Excite, GateShift, Shift
from vlar.training.tower_network import ResidualNetwork, small_step, zero_linear
from vlar.types import JsonDict

ENCODER = "encoder"
NETWORKS = ("frames", "r2plus1d", "i3d", "ada-fuse", "gate-shift", "shift", ENCODER)
POSES = ("none", "early", "late", "both", "guide")
_STAGES = 3  # each halves the picture and doubles the channels, the first apart
#: Makes a convolution of n_in channels to n_out by its size and stride.
Conv = Callable[[int, int, int, int], nn.Module]


@dataclass(frozen=True)
class VideoNetConfig(Settings):
    """Size and kind of the network.

    Attributes:
        network: ``frames``: every frame alone, and their mean. ``r2plus1d``: each convolution over
            space is followed by one over time. ``i3d``: filters over space and time. ``ada-fuse``:
            frames whose channels are computed, reused or skipped. ``gate-shift`` and ``shift``:
            frames whose channels move in time, by a learned gate or always. ``encoder``: a copy of
            the encoder's own network in its place, of its own size.
        frozen: First blocks of the encoder's own network that are not trained.
        width: Channels of the first stage; later stages have twice and four times as many.
        depth: Residual blocks of a stage.
        size: Pixels of a side; the whole frame is resized to a square.
        frames: T of a clip; None takes the encoder's.
        saving: Weight of the operations in the loss (``ada-fuse``).
        budget: Share of the operations to aim at, 0 to 1; None makes them as few as pay.
        pose: Bodies that the encoder finds, as maps of joints: ``early`` a fourth channel, ``late``
            tokens with those of the frames, ``both``, or ``guide``: a stream of its own gives
            the places and times at which pictures count.
        sigma: Deviation of a joint in its map, as a share of the side.
        labels: Labels it is trained for.
    """

    network: str = setting("r2plus1d", choices=NETWORKS)
    width: int = setting(16, at_least=4, at_most=256)
    depth: int = setting(1, at_least=1, at_most=8)
    size: int = setting(64, at_least=16, at_most=512)
    frames: int | None = setting(None, at_least=1, at_most=1024)
    saving: float = setting(0.1, at_least=0)
    budget: float | None = setting(None, above=0, at_most=1)
    pose: str = setting("none", choices=POSES)
    sigma: float = setting(0.03, above=0, at_most=1)
    frozen: int = setting(0, at_least=0)
    labels: tuple[str, ...] = ()

    what: ClassVar[str] = "video-net setting"

    def check(self) -> None:
        """Refuse widths and networks that do not go with the rest."""
        if self.network.endswith("shift") and self.width % 4:
            raise bad_setting(self.what, "width", self.width, "a multiple of 4 where channels move")
        if self.pose != "none" and self.network in ("i3d", ENCODER):
            raise bad_setting(self.what, "pose", self.pose, f"none with {self.network}")
        if self.frames is not None and self.network == ENCODER:
            raise bad_setting(self.what, "frames", self.frames, "the model's own, ?frames=16")

    def to_dict(self) -> JsonDict:
        """Settings for the manifest; ``frozen``, which earlier models lack, where it is used."""
        return {k: v for k, v in super().to_dict().items() if k != "frozen" or v}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the features of each stream; they add up to W."""
        width = self.width * 2 ** (_STAGES - 1)
        return (width, width // 2) if self.pose == "guide" else (width,)

    @property
    def map_size(self) -> int:
        """Pixels of a side of a map of a joint."""
        return self.size // 2


def flat(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """A convolution over space."""
    edge = (0, size // 2, size // 2)
    return nn.Conv3d(n_in, n_out, (1, size, size), (1, stride, stride), edge, bias=False)


class OverTime(nn.Conv3d):
    """A convolution over time alone, computed over rows of places: cheaper on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of torch
        """(N, n_in, T, H, W) to (N, n_out, T', H, W)."""
        steps = self.stride[0], 1
        x = F.conv2d(input.flatten(3), self.weight[..., 0], self.bias, steps, (1, 0))
        return x.unflatten(3, input.shape[3:])


def picture(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """A convolution of a network of pictures, to be inflated."""
    return nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)


def factorised(n_in: int, n_out: int, size: int, stride: int) -> nn.Module:
    """R(2+1)D: over space, a non-linearity, over time; the parameters of a full filter.

    A step in space is a step in time (Tran et al. 2018); the first layer takes none.
    """
    between = midplanes(n_in, n_out, 3, size)
    step = stride if size == 3 else 1
    return nn.Sequential(
        flat(n_in, between, size, stride),
        nn.BatchNorm3d(between),
        nn.ReLU(),
        OverTime(between, n_out, (3, 1, 1), (step, 1, 1), (1, 0, 0), bias=False),
    )


class ResidualBlock(nn.Module):
    """A residual block (He et al. 2016)."""

    def __init__(
        self, n_in: int, n_out: int, stride: int, conv: Conv, norm: type[nn.Module], kind: str
    ) -> None:
        super().__init__()
        moves = {"gate-shift": lambda: GateShift(n_in), "shift": Shift}
        self.before = moves.get(kind, nn.Identity)()
        self.gate = ChannelGate(n_in, n_out) if kind == "ada-fuse" else None
        self.weigh = Excite(n_out) if kind == "shift" and n_in == n_out else nn.Identity()
        self.first, self.first_norm = conv(n_in, n_out, 3, stride), norm(n_out)
        self.second, self.second_norm = conv(n_out, n_out, 3, 1), norm(n_out)
        self.relu = nn.ReLU()
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else _shortcut(n_in, n_out, stride, conv, norm)

    def forward(self, x: Tensor, spent: Spent | None = None) -> Tensor:
        """(N, n_in, T, H, W) to (N, n_out, ...)."""
        inner = self.relu(self.first_norm(self.first(self.before(x))))
        if self.gate is not None:
            places = 9 * inner[0].numel()  # of filters of 3 x 3
            inner = fused(
                inner, self.gate(x), spent or Spent(), places * x.shape[1], places * inner.shape[1]
            )
        inner = self.weigh(self.second_norm(self.second(inner)))
        return self.relu(inner + self.shortcut(x))


def _shortcut(n_in: int, n_out: int, stride: int, conv: Conv, norm: type[nn.Module]) -> nn.Module:
    if conv is factorised:  # which steps in time too
        layer: nn.Module = nn.Conv3d(n_in, n_out, 1, stride, bias=False)
    else:
        layer = conv(n_in, n_out, 1, stride)
    return nn.Sequential(layer, norm(n_out))


class ResidualBody(nn.Module):
    """A residual network up to the mean over space and time."""

    def __init__(
        self, config: VideoNetConfig, channels: int, conv: Conv, *, width: int = 0
    ) -> None:
        super().__init__()
        two = conv is picture
        norm = nn.BatchNorm2d if two else nn.BatchNorm3d
        first = width = width or config.width
        self.stem = nn.Sequential(conv(channels, width, 5, 2), norm(width), nn.ReLU())
        layers: list[nn.Module] = []
        for stage in range(_STAGES):
            for number in range(config.depth):
                n_out = first * 2**stage
                stride = 2 if stage and not number else 1
                layers.append(ResidualBlock(width, n_out, stride, conv, norm, config.network))
                width = n_out
        self.stages = nn.ModuleList(layers)
        self.pool = nn.AdaptiveAvgPool2d(1) if two else nn.AdaptiveAvgPool3d(1)

    def maps(self, x: Tensor, spent: Spent | None = None) -> Tensor:
        """(N, C, T, H, W) to (N, W, ...) before the mean."""
        x = self.stem(x)
        for block in self.stages:
            x = block(x, spent)
        return x

    def forward(self, x: Tensor, spent: Spent | None = None) -> Tensor:
        """(N, C, T, H, W) to (N, W)."""
        return self.pool(self.maps(x, spent)).flatten(1)


def body_of(config: VideoNetConfig, channels: int = 3) -> ResidualBody:
    """The network of some settings, at random weights."""
    if config.network == "i3d":
        body = ResidualBody(config, channels, picture)
        inflated(body)
        return body
    return ResidualBody(config, channels, factorised if config.network == "r2plus1d" else flat)


class VideoNetwork(ResidualNetwork):
    """Pixels of clips to what is added to their vectors, zero at the start.

    Of each frame K numbers are read: its pixels and, where bodies are read, a map a joint.
    """

    def __init__(self, config: VideoNetConfig, dim: int) -> None:
        super().__init__()
        self.config, pose, width = config, config.pose, config.sizes[0]
        self.body = body_of(config, 4 if pose in ("early", "both") else 3)
        self.late = LateFusion(width) if pose in ("late", "both") else None
        self.guide, self.bodies = None, None
        if pose == "guide":
            self.bodies, self.guide = (
                ResidualBody(config, JOINTS, flat, width=config.width // 2),
                Guide(),
            )
        # Differences of clips are small next to their mean, so they are brought to one scale.
        self.even = nn.ModuleList(nn.BatchNorm1d(size, affine=False) for size in config.sizes)
        self.leave = nn.ModuleList(zero_linear(size, dim) for size in config.sizes)
        self.register_labels(len(config.labels), dim)

    def features(self, inputs: Tensor, spent: Spent | None = None) -> Tensor:
        """(N, T, K) to (N, W).

        Args:
            inputs: What is read of the clips.
            spent: Gets the operations that were needed, where channels are spared.
        """
        side = self.config.size
        pixels, joints_flat = inputs.split((3 * side**2, inputs.shape[2] - 3 * side**2), dim=2)
        x = pixels.unflatten(2, (3, side, side)).transpose(1, 2)
        if self.config.pose == "none":
            return self.even[0](self.body(x, spent))
        joints = joints_flat.unflatten(2, (JOINTS, self.config.map_size, -1)).transpose(1, 2)
        if self.config.pose in ("early", "both"):
            x = torch.cat([x, one_map(joints, side)], dim=1)
        maps = self.body.maps(x, spent)
        if self.guide is not None and self.bodies is not None:
            body_maps = self.bodies.maps(joints)
            present = joints.flatten(1).any(dim=1)
            maps = self.guide(maps, body_maps, present)
            body_vectors = self.even[1](self.bodies.pool(body_maps).flatten(1)) * present[:, None]
            return torch.cat([self.even[0](self.body.pool(maps).flatten(1)), body_vectors], dim=1)
        pooled = self.body.pool(maps).flatten(1)
        late = 0 if self.late is None else self.late(maps.mean(dim=(3, 4)), joints)
        return self.even[0](pooled + late)

    def begun(self, features: Tensor, pooled: Tensor) -> Tensor:
        """(N, D) that the answers are added to: the encoder's own vectors."""
        return pooled

    def answers(self, features: Tensor) -> list[Tensor]:
        """(N, W) to (N, D) of each stream."""
        parts = features.split(self.config.sizes, dim=1)
        size = self.config.sizes[0]
        return [small_step(leave(x), size) for leave, x in zip(self.leave, parts, strict=True)]

    def answer(self, features: Tensor) -> Tensor:
        """(N, W) to (N, D): all streams answer."""
        return sum(self.answers(features)[1:], self.answers(features)[0])

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, D)."""
        return self.answer(self.features(inputs))
