"""ISTA-Net (Wen et al., IROS 2023, arXiv 2307.07469), by names of the files that are saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _norm(inputs: int, outputs: int, kernel: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    pad = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(nn.Conv3d(inputs, outputs, kernel, padding=pad), nn.BatchNorm3d(outputs))


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


class _Position(nn.Module):
    """Sinusoids of the number of a token, the same for all its entries."""

    pe: Tensor

    def __init__(self, channels: int, slots: int, columns: int, tokens: int) -> None:
        super().__init__()
        rates = 10_000 ** (-torch.arange(0, channels, 2) / channels)
        angles = torch.arange(tokens)[None] * rates[:, None]
        code = torch.stack([angles.sin(), angles.cos()], 1).flatten(0, 1)  # (C, U)
        table = code[None, :, None, None].expand(1, channels, slots, columns, tokens)
        self.register_buffer("pe", table.clone())


class TokenBlock(nn.Module):
    """Attention between tokens without a softmax, a pair convolution and one over frames."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        shape: tuple[int, int, int],
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        heads, (k_t, k_u) = config["num_heads"], config["kernel_size"]
        slots, columns, tokens = shape
        self.heads, self.scale = heads, width * slots * columns
        self.alpha = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.M = nn.Parameter(torch.full((1, heads, tokens, tokens), 1 / tokens))
        self.pes = _Position(inputs, slots, columns, tokens)
        self.to_qkvs = nn.Conv3d(inputs, 2 * heads * width, 1)
        self.proj = _norm(heads * inputs, outputs, (1, 1, k_u))
        self.FFN = _norm(outputs, outputs)
        self.TA = _norm(outputs, outputs, (k_t, 1, 1))
        differs = inputs != outputs
        self.residual = _norm(inputs, outputs) if differs else None
        self.residual_TA = _norm(outputs, outputs) if differs else None

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, C', w_t, P, U) of (N, C, w_t, P, U)."""
        clips = x.shape[0]
        both = self.to_qkvs(x + self.pes.pe)
        query, key = both.view(clips, 2, self.heads, -1, *x.shape[2:]).unbind(1)
        inner = torch.einsum("nhdtpu,nhdtpw->nhuw", query, key) / self.scale
        weights = self.alpha * torch.tanh(inner) + self.M
        y = torch.einsum("nctpu,nhuw->nhctpw", x, weights).flatten(1, 2)
        skip = x if self.residual is None else self.residual(x)
        y = _leaky(self.proj(y) + skip)
        y = _leaky(self.FFN(y) + skip)
        return _leaky(self.TA(y) + (y if self.residual_TA is None else self.residual_TA(y)))


class IstaNet(nn.Module):
    """The network: (N, M, T, V, C) -> (N, classes).

    Args:
        config: ``window_size`` (frames, joints, people of a token), ``num_frames``,
            ``num_joints``, ``num_persons``, ``num_heads``, ``kernel_size`` (time, tokens),
            ``config`` (in, out, width a head), ``num_classes``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.window = tuple(config["window_size"])
        sizes = (config["num_frames"], config["num_joints"], config["num_persons"])
        counts = [-(-size // window) for size, window in zip(sizes, self.window, strict=True)]
        shape = (
            self.window[0],
            self.window[1] * self.window[2],
            counts[0] * counts[1] * counts[2],
        )
        layers = config["config"]
        self.embed = _norm(config.get("in_channels", 3), layers[0][0])
        self.blocks = nn.ModuleList(
            TokenBlock(layer[0], layer[1], layer[2], shape, config) for layer in layers
        )
        self.fc = nn.Linear(layers[-1][1], config["num_classes"])

    def tokens(self, x: Tensor) -> Tensor:
        """Tokens (N, C, w_t, P, U) of clips (N, M, T, V, C); their entries are spread evenly."""
        x = x.permute(0, 4, 2, 3, 1)  # (N, C, T, V, M)
        for axis, window in enumerate(self.window, 2):
            lacking = -x.shape[axis] % window
            if lacking:
                x = torch.cat([x, *[x.narrow(axis, x.shape[axis] - 1, 1)] * lacking], axis)
        (a, b, d), (n, c, t, v, m) = self.window, x.shape
        x = x.reshape(n, c, a, t // a, b, v // b, d, m // d)
        return x.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(n, c, a, b * d, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of clips (N, M, T, V, C)."""
        x = _leaky(self.embed(self.tokens(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3, 4)))
