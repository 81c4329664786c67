"""ActionMAE (Woo et al., AAAI 2023): a sensor that is lost is rebuilt from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from vlar.errors import UsageError
from vlar.methods.released.transformer import Layer


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class _Fusion(nn.Module):
    def __init__(self, sensors: Sequence[str], width: int, classes: int, kind: str) -> None:
        super().__init__()
        self.sensors = sensors
        self.fc: nn.Module = (
            nn.ModuleDict({name: nn.Linear(width, classes) for name in sensors})
            if kind == "sum"
            else nn.Linear(width * len(sensors), classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.fc, nn.ModuleDict):
            return self.fc(x[:, : len(self.sensors)].flatten(1))
        rows = [self.fc[name](x[:, i]) for i, name in enumerate(self.sensors)]
        return torch.stack(rows).sum(0)


class ActionMae(nn.Module):
    """The network on frames of several sensors: (B, T, 3, H, W) each -> (B, classes).

    Args:
        config: ``modalities`` in order, ``classes``, ``spatial_encoder``, ``dim``, ``heads``,
            ``depth``, ``mlp``, ``memory_tokens``, ``fusion`` (``sum`` or ``concat``).

    Raises:
        UsageError: the layers of a skeleton or of another fusion, whose names are not published.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.sensors = list(config["modalities"])
        if "skeleton" in self.sensors or config["fusion"] not in ("sum", "concat"):
            raise UsageError(
                f"actionmae with {self.sensors} and fusion {config['fusion']!r} cannot be built; "
                "use pictures (rgb, depth, ir) and fusion sum or concat"
            )
        width, heads, depth, hidden = (config[key] for key in ("dim", "heads", "depth", "mlp"))
        encoders = {
            name: models.get_model(config["spatial_encoder"], weights=None) for name in self.sensors
        }
        self.s_encoder = nn.ModuleDict(encoders)
        self.t_cls_token = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(1, 1, width)) for name in self.sensors}
        )
        self.t_encoder = nn.ModuleDict(
            {name: _Transformer(width, heads, depth, hidden) for name in self.sensors}
        )
        self.t_encoder_norm = nn.ModuleDict(
            {name: nn.LayerNorm(width, 1e-6) for name in self.sensors}
        )
        self.mem_token = nn.Parameter(torch.zeros(1, config["memory_tokens"], width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = _Transformer(width, heads, depth, hidden)
        self.encoder_norm = nn.LayerNorm(width, 1e-6)
        self.decoder = _Transformer(width, heads, depth, hidden)
        self.decoder_norm = nn.LayerNorm(width, 1e-6)
        self.decoder_pred = nn.Linear(width, width)
        self.fusion_module = _Fusion(self.sensors, width, config["classes"], config["fusion"])

    def tokens(self, **frames: Tensor) -> Tensor:
        """A vector for each sensor, (B, M, D), of ``src_NAME`` (B, T, 3, H, W)."""
        rows: list[Tensor] = []
        for name in self.sensors:
            x = frames[f"src_{name}"]
            network: Any = self.s_encoder[name]
            maps = network.maxpool(network.relu(network.bn1(network.conv1(x.flatten(0, 1)))))
            for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
                maps = stage(maps)
            vectors = maps.mean((2, 3)).unflatten(0, x.shape[:2])
            first = self.t_cls_token[name].expand(len(x), -1, -1)
            y = self.t_encoder[name](torch.cat([first, vectors], 1))
            rows.append(self.t_encoder_norm[name](y)[:, 0])
        return torch.stack(rows, 1)

    def answer(self, tokens: Tensor, kept: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Logits (B, classes) where only some sensors are there, and the rebuilt tokens (B, M, D).

        The evaluation of the release puts the outputs of kept sensors first, whatever they are, and
        reads memory tokens where nothing is lost; this does the same.

        Args:
            tokens: (B, M, D).
            kept: Numbers of the sensors that are there, in order.
        """
        batch, memory = len(tokens), self.mem_token.shape[1]
        first = self.mem_token.expand(batch, -1, -1)
        x = self.encoder(torch.cat([first, tokens[:, list(kept)]], 1))
        x = self.encoder_norm(x)
        lost = len(self.sensors) - len(kept)
        if not lost:
            return self.fusion_module(x), None
        masks = self.mask_token.expand(batch, lost, -1)
        y = self.decoder_norm(self.decoder(torch.cat([x, masks], 1)))
        rebuilt = self.decoder_pred(y[:, memory:])
        return self.fusion_module(rebuilt), rebuilt

    def rebuild_loss(self, tokens: Tensor, rebuilt: Tensor, lost: Sequence[int]) -> Tensor:
        """Mean squared error of lost tokens against the standardised ones."""
        target = tokens[:, list(lost)]
        centred = target - target.mean(-1, keepdim=True)
        target = centred / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return functional.mse_loss(rebuilt[:, list(lost)], target)

    def forward(self, **frames: Tensor) -> Tensor:
        """Logits (B, classes) where every sensor is there."""
        return self.answer(self.tokens(**frames), range(len(self.sensors)))[0]
