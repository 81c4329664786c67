"""AdaFuse (Meng et al., ICLR 2021): each channel of each frame is kept, reused or skipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 1e-8
_SHARED_HIDDEN = 196_608  # over the width of a block, where blocks share their matrices
SKIP, REUSE, KEEP = 0, 1, 2


def one_hot(logits: Tensor, temperature: float, noise: float) -> Tensor:
    """Hard choices over the last axis, with the gradient of the soft ones.

    Args:
        logits: Logarithms of probabilities.
        temperature: Temperature of the soft choices.
        noise: Factor of Gumbel noise; 0 chooses the most probable.
    """
    if noise:
        uniform = torch.rand_like(logits).clamp_min(1e-20)
        logits = logits - noise * torch.log(-torch.log(uniform))
    soft = (logits / temperature).softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1)
    return hard - soft.detach() + soft


class _Policy(nn.Module):
    def __init__(self, enter: nn.Linear, leave: nn.Linear) -> None:
        super().__init__()
        self.gate_fc0, self.gate_fc1 = enter, leave
        self.gate_bn = nn.BatchNorm1d(enter.out_features)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.gate_bn(self.gate_fc0(x)))
        return self.gate_fc1(y).unflatten(-1, (-1, 3))


class _FusedBlock(nn.Module):
    def __init__(
        self, inputs: int, width: int, stride: int, policy: _Policy | None, config: dict[str, Any]
    ) -> None:
        super().__init__()
        self.shifts, self.tau = config["shift"], config["tau"]
        self.noise = float(config.get("noise", 1))
        self.frames = 1
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample0 = self.downsample1 = None
        if stride != 1 or inputs != 4 * width:
            self.downsample0 = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample1 = nn.BatchNorm2d(4 * width)
        if policy is not None:
            self.policy_net = policy
        self.gate: Tensor | None = None  # of the last call, (B T, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        moved = self._shifted(x) if self.shifts else x
        u = functional.relu(self.bn1(self.conv1(moved)))
        if hasattr(self, "policy_net"):
            means = moved.mean((2, 3))
            scores = self.policy_net(torch.cat([self._before(means), means], 1))
            logits = torch.log(scores.softmax(-1).clamp_min(_LEAST))
            gate = self.gate = one_hot(logits, self.tau, self.noise)
            keep, reuse = (gate[..., i, None, None] for i in (KEEP, REUSE))
            u = u * keep + self._before(u) * reuse
        y = functional.relu(self.bn2(self.conv2(u)))
        y = self.bn3(self.conv3(y))
        if self.downsample0 is not None and self.downsample1 is not None:
            return functional.relu(y + self.downsample1(self.downsample0(moved)))
        return functional.relu(y + x)

    def _before(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames))
        return torch.cat([torch.zeros_like(clips[:, :1]), clips[:, :-1]], 1).flatten(0, 1)

    def _shifted(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames))
        fold = clips.shape[2] // 8
        empty = torch.zeros_like(clips[:, :1, :fold])
        back = torch.cat([clips[:, 1:, :fold], empty], 1)
        on = torch.cat([empty, clips[:, :-1, fold : 2 * fold]], 1)
        return torch.cat([back, on, clips[:, :, 2 * fold :]], 2).flatten(0, 1)


class _Base(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        gated = config["gated_stages"]
        shared = len(gated) > 1
        if shared:
            self.gate_fc0s, self.gate_fc1s = nn.ModuleDict(), nn.ModuleDict()
        inputs = 64
        for stage, (depth, width) in enumerate(
            zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 1
        ):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                policy = None
                if stage in gated:
                    policy = self._policy(inputs, width, shared)
                blocks.append(_FusedBlock(inputs, width, stride, policy, config))
                inputs = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))

    def _policy(self, inputs: int, width: int, shared: bool) -> _Policy:
        hidden = _SHARED_HIDDEN // width // 1 if shared else 1024
        if not shared:
            return _Policy(nn.Linear(2 * inputs, hidden), nn.Linear(hidden, 3 * width))
        name = f"{2 * inputs}_{3 * width}"
        if name not in self.gate_fc0s:
            self.gate_fc0s[name] = nn.Linear(2 * inputs, hidden)
            self.gate_fc1s[name] = nn.Linear(hidden, 3 * width)
        enter, leave = self.gate_fc0s[name], self.gate_fc1s[name]
        assert isinstance(enter, nn.Linear)
        assert isinstance(leave, nn.Linear)
        return _Policy(enter, leave)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x.mean((2, 3))


class AdaFuse(nn.Module):
    """The network: (B, 3 T, H, W), channels frame by frame, -> (B, classes).

    Args:
        config: ``classes``, ``gated_stages``, ``shift``, ``tau``, ``noise`` (1: choices are drawn,
            as the release does also in use; 0: the most probable, as the paper).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.base_model = _Base(config)
        self.new_fc = nn.Linear(2048, config["classes"])

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, classes), the mean over frames."""
        frames = video.shape[1] // 3
        for module in self.modules():
            if isinstance(module, _FusedBlock):
                module.frames = frames
        features = self.base_model(video.reshape(-1, 3, *video.shape[2:]))
        return self.new_fc(features).unflatten(0, (-1, frames)).mean(1)

    def gates(self) -> list[Tensor]:
        """Choices (B T, c, 3) of each gated block in the last call: skip, reuse, keep."""
        blocks = [module for module in self.modules() if isinstance(module, _FusedBlock)]
        return [block.gate for block in blocks if block.gate is not None]
