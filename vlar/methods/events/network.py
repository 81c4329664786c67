"""Networks of the event towers: spiking patches and points, blocks that mix them, the readout.

Letters: N clips, T moments, P places of a frame, M groups of K points, W width, D joint width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.methods.events.neurons import Neuron, linear_attention, selective_scan
from vlar.methods.events.points import RADIUS, complement, rate
from vlar.training.tower_network import (
    LABEL_GAIN,
    WAVES,
    ResidualNetwork,
    layers,
    positions,
    zero_linear,
)

BLOCKS = ("linear_attention", "scan", "near_far", "gated", "attention", "residual")
DROPS = ("none", "time", "area", "chance", "any")
_STEM = 4  # cells of a frame on a side that become one place
_GRID = (3, 8, 8)  # parts of time, height and width that the readout keeps apart


@dataclass(frozen=True)
class EventsConfig(Settings):
    """Settings of an event tower.

    Attributes:
        rep: ``frames`` of counts, or ``points``.
        block: ``linear_attention`` in windows, ``scan`` over the whole sequence in both directions,
            ``near_far`` for one after the other, ``gated`` for linear attention in windows with a
            gate and codes of place and time, ``attention`` over frames; ``residual`` on points.
        neuron: ``lif`` for spikes, ``none`` for rectifiers.
        drop: Events that a training leaves out at random: a span of ``time``, an ``area``, each by
            ``chance``, ``any`` of these or ``none``.
        shift: Cells by which a training moves frames at random.
        size: Cells of a frame on a side, a multiple of 4.
        width: Width of the network; on points of its first layers, the last are 8 times as wide.
        layers: Blocks, of frames.
        heads: Heads of attention.
        window: Frames of a window of ``linear_attention`` and ``gated``.
        states: States of a channel of ``scan``.
        points: Points of a clip.
        groups: Groups of points.
        neighbours: Points of a group.
        steps: Moments of the rate code.
        rates: ``expected`` values at every moment, or spikes ``drawn`` from a seed.
        threshold: Potential at which a neuron fires.
        dropout: Dropout of the readout in training, 0 to below 1.
        labels: The labels it was trained for.
    """

    rep: str = setting("frames", choices=("frames", "points"))
    block: str = setting("near_far", choices=BLOCKS)
    neuron: str = setting("lif", choices=("lif", "none"))
    drop: str = setting("chance", choices=DROPS)
    shift: int = setting(1, at_least=0, at_most=64)
    size: int = setting(32, at_least=4, at_most=128)
    width: int = setting(16, at_least=4, at_most=512)
    layers: int = setting(1, at_least=1, at_most=16)
    heads: int = setting(4, at_least=1, at_most=64)
    window: int = setting(4, at_least=1, at_most=64)
    states: int = setting(4, at_least=1, at_most=64)
    points: int = setting(1024, at_least=16, at_most=8192)
    groups: int = setting(64, at_least=1, at_most=1024)
    neighbours: int = setting(8, at_least=2, at_most=128)
    steps: int = setting(16, at_least=1, at_most=128)
    rates: str = setting("expected", choices=("expected", "drawn"))
    threshold: float = setting(0.5, above=0)
    dropout: float = setting(0.5, at_least=0, below=1)
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "event setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        self.require_multiple(self.width, self.heads)
        if (self.rep == "points") != (self.block == "residual"):
            advice = "'residual' for points" if self.rep == "points" else "another for frames"
            raise bad_setting(self.what, "block", self.block, advice)
        if self.block == "gated":
            self.require_multiple(self.width, 2 * self.heads)
        if self.size % _STEM:
            raise bad_setting(self.what, "size", self.size, f"a multiple of {_STEM}")
        for name in ("groups", "neighbours"):
            self.require_few(name, getattr(self, name), self.points, "points")


class ClipNorm(nn.Module):
    """Zero mean and deviation 1 of each clip over all its entries, then a gain a channel.

    A clip is the same alone and in company, in training as in use.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., W) to the same."""
        over = tuple(range(1, x.ndim))
        variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias


class Fire(nn.Sequential):
    """A norm and the neurons behind it: currents (N, T, ..., W) to spikes."""

    def __init__(self, width: int, config: EventsConfig) -> None:
        super().__init__(ClipNorm(width), Neuron(config.neuron, config.threshold))


class Near(nn.Module):
    """Spiking linear attention of the places of a few frames, (N, T, P, W)."""

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        width, self.heads, self.window = config.width, config.heads, config.window
        self.fire = Fire(width, config)
        self.into = nn.Linear(width, 3 * width)
        self.fire_q, self.fire_k = Fire(width, config), Fire(width, config)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Change of (N, T, P, W)."""
        q, k, v = self.into(self.fire(x)).chunk(3, dim=-1)
        q, k = 1 + F.elu(self.fire_q(q)), 1 + F.elu(self.fire_k(k))
        return self.leave(_in_windows(self.window, self.heads, q, k, v))


def _in_windows(
    moments: int, heads: int, q: Tensor, k: Tensor, v: Tensor, turn: Tensor | None = None
) -> Tensor:
    """Linear attention in windows of some moments, (N, T, P, W); ``turn`` (P, D / 2) by place."""
    attended = list[Tensor]()
    for window in zip(*(t.split(moments, dim=1) for t in (q, k, v)), strict=True):
        a, b, c = (t.flatten(1, 2).unflatten(-1, (heads, -1)).transpose(1, 2) for t in window)
        angles = None if turn is None else turn.repeat(window[0].shape[1], 1)
        x = linear_attention(a, b, c, angles).transpose(1, 2).flatten(2)
        attended.append(x.view(window[0].shape))
    return torch.cat(attended, dim=1)


class Gated(nn.Module):
    """Spiking linear attention with a gate, (N, T, P, W): the block of the released SpikMamba.

    Neighbours of a place come in by depthwise convolutions. Queries and keys are turned by row and
    column where they meet values, not where they are summed for the mean.
    """

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        width, self.heads, self.window = config.width, config.heads, config.window
        self.around, self.beside, self.values = (
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(3)
        )
        self.norm = ClipNorm(width)
        self.gate, self.enter = nn.Linear(width, width), nn.Linear(width, width)
        self.into = nn.Linear(width, 2 * width)
        self.fire_q, self.fire_k = Fire(width, config), Fire(width, config)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Change of (N, T, P, W)."""
        code = _over_maps(self.around, x)
        x = self.norm(x + code)
        v = F.silu(_over_maps(self.beside, self.enter(x)))
        q, k = self.into(v).chunk(2, dim=-1)
        q, k = 1 + F.elu(self.fire_q(q)), 1 + F.elu(self.fire_k(k))
        turn = _turns(x.shape[2], x.shape[3] // self.heads, x)
        attended = _in_windows(self.window, self.heads, q, k, v, turn) + _over_maps(self.values, v)
        return code + self.leave(attended * F.silu(self.gate(x)))


def _over_maps(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution over the square maps of (N, T, P, W)."""
    side = math.isqrt(x.shape[2])
    maps = x.flatten(0, 1).unflatten(1, (side, side)).movedim(-1, 1)
    return convolution(maps).movedim(1, -1).flatten(1, 2).unflatten(0, x.shape[:2])


def _turns(places: int, width: int, like: Tensor) -> Tensor:
    """(P, D / 2) unit complex numbers: angles of the row, then of the column; an odd one is 0."""
    side, waves = math.isqrt(places), width // 4
    count = torch.arange(max(side, waves), device=like.device, dtype=like.dtype)
    angle = count[:side, None] * 1e4 ** -(count[:waves] / waves)
    angles = torch.cat([angle.repeat_interleave(side, dim=0), angle.repeat(side, 1)], dim=-1)
    angles = F.pad(angles, (0, width // 2 - 2 * waves))
    return torch.polar(torch.ones_like(angles), angles)


class Far(nn.Module):
    """State-space scans of all places of all frames, forwards and backwards, (N, T, P, W)."""

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        width, self.states = config.width, config.states
        self.fire = Fire(width, config)
        self.into = nn.Linear(width, 2 * width + 2 * self.states)
        decay = torch.arange(1, self.states + 1, dtype=torch.float32).log()
        self.log_decay = nn.Parameter(decay.repeat(width, 1))
        self.fire_out = Fire(width, config)
        self.leave = nn.Linear(width, width)
        nn.init.constant_(self.into.bias[width : 2 * width], -3.0)  # steps of about 0.05

    def forward(self, x: Tensor) -> Tensor:
        """Change of (N, T, P, W)."""
        width = x.shape[-1]
        tokens = self.into(self.fire(x)).flatten(1, 2)
        value, step, b, c = tokens.split((width, width, self.states, self.states), dim=-1)
        tensors, decay = (value, F.softplus(step), b, c), -self.log_decay.exp()
        scanned = selective_scan(tensors[0], tensors[1], decay, *tensors[2:])
        turned = [tensor.flip(1) for tensor in tensors]
        back = selective_scan(turned[0], turned[1], decay, *turned[2:]).flip(1)
        return self.leave(self.fire_out((scanned + back + value).view(x.shape)))


class SpikingResidual(nn.Module):
    """Two layers behind neurons; what they find is added to the current, which has no spikes."""

    def __init__(self, width: int, config: EventsConfig) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            Fire(width, config),
            nn.Linear(width, width),
            Fire(width, config),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, ..., W) to the same."""
        return x + self.inner(x)


class NearFar(nn.Module):
    """Blocks of what is near and what is far, then of each place; no spikes on the identity."""

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        named = {
            "linear_attention": (Near,),
            "scan": (Far,),
            "near_far": (Near, Far),
            "gated": (Gated,),
        }
        self.mixers = nn.ModuleList(mixer(config) for mixer in named[config.block])
        self.alone = SpikingResidual(config.width, config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, P, W) to the same."""
        for mixer in self.mixers:
            x = x + mixer(x)
        return self.alone(x)


class Patches(nn.Module):
    """Spiking patches of event frames: two strided convolutions; a place is four cells wide."""

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        half = config.width // 2
        self.depth = 1 if config.block == "attention" else 2
        self.first = nn.Conv2d(2 * self.depth, half, 5, stride=2, padding=2)
        self.fire = Fire(half, config)
        self.second = nn.Conv2d(half, config.width, 3, stride=2, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, T, 2, S, S) counts to currents (N, T, S / 4, S / 4, W)."""
        frames = F.pad(frames, (0, 0) * 3 + (0, frames.shape[1] % self.depth))
        frames = frames.unflatten(1, (-1, self.depth)).flatten(2, 3)
        shape = frames.shape[:2]
        x = frames.clamp(min=0).sqrt()
        x = x / x.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt().clamp(min=1e-6)
        x = self.fire(self.first(x.flatten(0, 1)).unflatten(0, shape).movedim(2, -1))
        return self.second(x.movedim(-1, 2).flatten(0, 1)).unflatten(0, shape).movedim(2, -1)


class FrameReader(nn.Module):
    """Event frames to features of the frames and of the clip."""

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        width, self.config = config.width, config
        self.patches = Patches(config)
        self.attends = config.block == "attention"
        parts, height, along = _GRID
        self.out = parts * width * (1 if self.attends else height * along)
        self.fire = Fire(width, config)
        if self.attends:
            self.flat = nn.Linear(height * along * width // 4, width)
            self.time = nn.Linear(2 * WAVES, width, bias=False)
            self.blocks = layers(width, config.heads, config.layers, config.dropout)
        else:
            self.blocks = nn.ModuleList(NearFar(config) for _ in range(config.layers))
            if config.block == "gated":
                self.place = nn.Parameter(0.02 * torch.randn((config.size // _STEM) ** 2, width))
                self.time = nn.Linear(2 * WAVES, width, bias=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, 2 S S) to frames (N, T, W) and clips (N, out)."""
        size = self.config.size
        frames = inputs.unflatten(-1, (2, size, size))
        if self.training:
            frames = shifted(thinned_frames(frames, self.config.drop), self.config.shift)
        x = self.patches(frames)
        parts, height, along = _GRID
        if self.attends:
            x = self.fire(x).flatten(0, 1).movedim(-1, 1)
            x = F.adaptive_avg_pool2d(x, (height // 2, along // 2))
            x = self.flat(x.flatten(1)).unflatten(0, inputs.shape[:2])
            skip, x = x, x + self.time(positions(x))
            for block in self.blocks:
                x = block(x)
            return skip, F.adaptive_avg_pool1d(x.transpose(1, 2), parts).flatten(1)
        grid = x.shape[2:4]
        x = x.flatten(2, 3)
        if self.config.block == "gated":
            x = x + self.place + self.time(positions(x))[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.fire(x)
        cube = x.unflatten(2, grid).movedim(-1, 1)
        return x.mean(dim=2), F.adaptive_avg_pool3d(cube, _GRID).flatten(1)


class PointLayer(nn.Module):
    """A map of points, a norm of each channel in its clip, and neurons, (N, C, T, ...).

    Points are innermost. What is the same at all moments may be given once. Channels are normalised
    by themselves: rates of values and complements are large wherever the points are.
    """

    def __init__(self, inputs: int, outputs: int, config: EventsConfig) -> None:
        super().__init__()
        self.map = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm = nn.GroupNorm(outputs, outputs)
        self.neuron = Neuron(config.neuron, config.threshold)
        self.steps = config.steps if config.neuron == "lif" else 1

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (N, outputs, T, ...) of (N, inputs, T or 1, ...)."""
        current = self.norm(self.map(x.flatten(2))).unflatten(2, x.shape[2:])
        if x.shape[2] < self.steps:
            current = current.expand(-1, -1, self.steps, *x.shape[3:])
        return self.neuron(current.transpose(1, 2)).transpose(1, 2)


class PointResidual(nn.Module):
    """Layers of points whose spikes are added to the spikes that they read."""

    def __init__(self, config: EventsConfig, *widths: int) -> None:
        super().__init__()
        pairs = pairwise(widths)
        self.layers = nn.Sequential(*(PointLayer(one, two, config) for one, two in pairs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, ...) to the same."""
        return x + self.layers(x)


class PointReader(nn.Module):
    """Groups of points to features of the clip: a local part, a global part, one stage.

    Layers and widths are those of SpikePoint, each four of them twice as wide as the one before:
    offsets and centres enter apart, and are added behind the maximum over the points of a group.
    A narrow layer and cells take the place of the maximum over all groups, which learned nothing
    of strokes in few epochs.
    """

    def __init__(self, config: EventsConfig) -> None:
        super().__init__()
        self.config = config
        one, two, three, four = (config.width * 2**n for n in range(4))
        self.out = math.prod(_GRID) * two
        self.offsets, self.centres = (
            nn.Sequential(
                PointLayer(2 * inputs, one, config), PointResidual(config, one, one // 2, one)
            )
            for inputs in (4, 3)
        )
        self.merge = nn.Sequential(
            PointLayer(one, two, config),
            PointResidual(config, two, two),
            PointLayer(two, three, config),
            PointResidual(config, three, three),
            PointLayer(three, four, config),
        )
        self.narrow = PointLayer(four, two, config)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, M, 4 K + 3) to one frame (N, 1, W) and clips (N, out)."""
        config = self.config
        if self.training:
            inputs = thinned_groups(inputs, config.drop)
        points, centre = inputs.split((inputs.shape[-1] - 3, 3), dim=-1)
        points = points.unflatten(-1, (-1, 4))
        near = self.coded(points.permute(0, 3, 2, 1))  # (N, 8, T, K, M)
        x = self.offsets(near).amax(dim=3) + self.centres(self.coded(centre.transpose(1, 2)))
        rates = self.narrow(self.merge(x)).mean(dim=2).transpose(1, 2)
        # Each point brings its group's rates to its own cell: centres alone lose the strokes.
        place = centre[:, :, None] + RADIUS * points[..., :3]
        count = torch.tensor(_GRID, device=rates.device)
        time, y, x = ((place.flip(-1).clamp(-1, 0.999) + 1) / 2 * count).long().unbind(-1)
        cell = (time * _GRID[1] + y) * _GRID[2] + x
        mass = rates.new_zeros(*cell.shape[:2], math.prod(_GRID))
        mass.scatter_add_(2, cell, rates.new_ones(cell.shape))
        pooled = (mass.transpose(1, 2) @ rates).log1p()
        return rates.mean(dim=1, keepdim=True), pooled.flatten(1)

    def coded(self, values: Tensor) -> Tensor:
        """Values (N, C, ...) from -1 to 1 as rates (N, 2 C, T or 1, ...)."""
        config, shares = self.config, complement(values.clamp(-1, 1)).movedim(-1, 2).flatten(1, 2)
        if config.rates == "expected" or config.neuron == "none":
            return shares.unsqueeze(2)
        # The same draw in every use.
        seed = int(torch.randint(2**31, ())) if self.training else 0
        return rate(shares, config.steps, seed=seed).movedim(0, 2)


class EventsNetwork(ResidualNetwork):
    """Frames or groups of points to a residual of the clip's vector; zero at the start.

    Args:
        config: Sizes.
        dim: D.
    """

    def __init__(self, config: EventsConfig, dim: int) -> None:
        super().__init__()
        self.reader = (PointReader if config.rep == "points" else FrameReader)(config)
        self.drop = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(self.reader.out)
        self.leave = zero_linear(self.reader.out, dim)
        self.register_labels(len(config.labels), dim)

    def register_labels(self, count: int, dim: int) -> None:
        """Make the residuals of C labels, far from each other: texts of no motion are all alike."""
        super().register_labels(count, dim)
        axes = torch.linalg.qr(torch.randn(dim, dim))[0].repeat(-(-count // dim), 1)
        turns = torch.arange(len(axes)) // dim % 2  # each axis in both directions
        apart = axes * (1 - 2 * turns[:, None]) + 0.1 * torch.randn(len(axes), dim)
        with torch.no_grad():
            self.labels.copy_(apart[:count] * (0.5 / LABEL_GAIN))

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to what is added to the vectors, (N, D)."""
        return self.read(inputs)[0]

    def read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (N, D) and features of the frames (N, T, W)."""
        frames, clip = self.reader(inputs)
        moved = self.leave(self.drop(self.norm(clip)))
        return moved / self.leave.in_features**0.5, frames

    @torch.no_grad()
    def spikes(self, inputs: Tensor) -> Tensor:
        """(N,) spikes that all neurons fire on each clip; 0 without spiking neurons."""
        total = torch.zeros(len(inputs))

        def add(module: nn.Module, given: object, found: Tensor) -> None:
            total.add_(found.flatten(1).sum(dim=1))

        neurons = [m for m in self.modules() if isinstance(m, Neuron) and m.spiking]
        hooks = [neuron.register_forward_hook(add) for neuron in neurons]
        try:
            self.residual(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return total


# What a training changes


def _kind(drop: str) -> str:
    """The kind of drop of this batch."""
    return DROPS[1 + int(torch.randint(3, ()))] if drop == "any" else drop


def _outside(place: Tensor, most: float) -> Tensor:
    """Places (N, P) of 0 to 1 that are not in a random span of up to ``most`` of each clip."""
    length = most * torch.rand(len(place), 1)
    start = torch.rand(len(place), 1) * (1 - length)
    return (place < start) | (place >= start + length)


def thinned_frames(frames: Tensor, drop: str) -> Tensor:
    """Counts (N, T, 2, S, S) without a quarter of the time, a box, or up to half of the events."""
    kind = _kind(drop)
    n, moments, _, size, _ = frames.shape
    if kind == "time":
        share_s = (torch.arange(moments) / moments).expand(n, -1)
        return frames * _outside(share_s, 0.25)[:, :, None, None, None]
    if kind == "area":
        share_s = (torch.arange(size) / size).expand(n, -1)
        kept_mask = _outside(share_s, 0.4)[:, :, None] | _outside(share_s, 0.4)[:, None]
        return frames * kept_mask[:, None, None]
    if kind == "chance":
        kept_mask = (1 - 0.5 * torch.rand(n, 1, 1, 1, 1)).expand_as(frames)
        whole = frames.floor()  # mixed clips have parts of events too
        return torch.binomial(whole, kept_mask) + (frames - whole) * kept_mask
    return frames


def thinned_groups(groups: Tensor, drop: str) -> Tensor:
    """Groups (N, M, 4 K + 3); others of the clip take the place of those that are left out."""
    kind = _kind(drop)
    if kind == "none":
        return groups
    x, y, moment = ((groups[..., -3:] + 1) / 2).unbind(-1)
    if kind == "time":
        kept_mask = _outside(moment, 0.25)
    elif kind == "area":
        kept_mask = _outside(x, 0.4) | _outside(y, 0.4)
    else:
        kept_mask = torch.rand(moment.shape) >= 0.5 * torch.rand(len(groups), 1)
    kept_mask = kept_mask | ~kept_mask.any(dim=1, keepdim=True)
    other = kept_mask.float().multinomial(kept_mask.shape[1], replacement=True)
    rows = torch.where(kept_mask, torch.arange(kept_mask.shape[1]).expand_as(other), other)
    return groups.gather(1, rows[..., None].expand_as(groups))


def shifted(frames: Tensor, most: int) -> Tensor:
    """Frames (N, T, 2, S, S), each clip moved by up to ``most`` cells; what enters is empty."""
    if not most:
        return frames
    size, wide = frames.shape[-1], F.pad(frames, (most, most, most, most))
    corners = torch.randint(2 * most + 1, (len(frames), 2)).tolist()
    rows = [
        clip[..., y : y + size, x : x + size] for clip, (y, x) in zip(wide, corners, strict=True)
    ]
    return torch.stack(rows)
