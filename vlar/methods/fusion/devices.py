"""``devices``: masked spectrograms of body-worn devices, and a graph of them (EVI-MAE, 2024).

Letters: N clips, D devices, T rows, R columns of a spectrogram, P numbers of a patch, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.methods.fusion.losses import info_nce, masked_error
from vlar.methods.fusion.tokens import (
    Fused,
    FusionBlock,
    FusionConfig,
    InputsOfPart,
    Seen,
    TokenAttention,
    folded,
    masked,
)
from vlar.training.tower_network import WAVES, layers, positions

_WINDOW = 16  # rows of a Fourier transform
_HIDDEN, _HIDDEN_ELSEWHERE, _HIDDEN_NODES = 0.75, 0.9, 0.5
_CONTRAST = 0.01


def device_mix(h: Tensor, epsilon: float | Tensor) -> Tensor:
    """Sum over a complete graph of devices: ``(1 + epsilon) h_i + sum of the others``.

    Xu et al., "How powerful are graph neural networks", 2019, equation 4.1 before its MLP.

    Args:
        h: (N, D, W); a device that is missing is zero.
        epsilon: Weight of a node itself, less one.

    Returns:
        (N, D, W); of one device ``(1 + epsilon) h``.
    """
    return (1 + epsilon) * h + (h.sum(dim=1, keepdim=True) - h)


def spectrogram(signals: Tensor, hop: int) -> Tensor:
    """Signals (N, C, T, D) to log amplitudes (N, D, R, P) in Hann windows, R = T / hop.

    P holds the channels, each with 9 frequencies. The ends are reflected.
    """
    count = -(-signals.shape[2] // hop)
    x = signals.permute(0, 3, 1, 2).flatten(0, 1)
    short = max(count * hop, _WINDOW) - x.shape[-1]
    x = F.pad(x, (_WINDOW // 2, _WINDOW // 2 + short), mode="replicate")
    x = x.unfold(-1, _WINDOW, hop)[:, :, :count]
    power = torch.fft.rfft(x * torch.hann_window(_WINDOW, device=x.device)).abs()
    rows = power.clamp_min(1e-3).log().transpose(1, 2).flatten(2)
    return rows.unflatten(0, (len(signals), signals.shape[3]))


class MaskedPatches(nn.Module):
    """An encoder of patches over time that learns by predicting hidden ones (masked autoencoder).

    Hidden patches are not attended; a decoder with mask tokens predicts them.
    """

    def __init__(self, inputs: int, share: float, config: FusionConfig) -> None:
        super().__init__()
        width, self.share = config.width, share
        self.norm = nn.LayerNorm(inputs, elementwise_affine=False)
        self.enter, self.time = nn.Linear(inputs, width), nn.Linear(2 * WAVES, width, bias=False)
        self.lost = nn.Parameter(0.02 * torch.randn(width))
        self.encoder = layers(width, config.heads, config.layers, config.dropout)
        self.decoder = layers(width, config.heads, 1, 0.0)
        self.leave = nn.Linear(width, inputs)

    def forward(self, patches: Tensor, hide: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (n, R, W) of patches (n, R, P), predicted patches, and those hidden (n, R)."""
        chance = torch.rand(patches.shape[:2], device=patches.device)
        count = min(round(self.share * patches.shape[1]), patches.shape[1] - 1) if hide else 0
        hidden = chance.argsort(dim=1).argsort(dim=1) < count
        time = self.time(positions(patches))
        encoded = masked(self.encoder, self.enter(self.norm(patches)) + time, hidden)
        if not hide:
            return encoded, patches, hidden
        x = torch.where(hidden[..., None], self.lost, encoded) + time
        for layer in self.decoder:
            x = layer(x)
        return encoded, self.leave(x), hidden


class Devices(FusionBlock):
    """Spectrograms of the devices of an IMU next to the tokens of other sensors.

    One encoder reads every device. A graph adds what the other devices hold, so it adds nothing to
    one device alone. With ``pretraining`` only these losses count: hidden patches of every sensor,
    devices predicted from the others, and the contrast of both sensors.
    """

    def __init__(self, config: FusionConfig, parts: Sequence[InputsOfPart]) -> None:
        super().__init__(config, parts)
        sensors = [part.sensor for part in parts]
        self.number = sensors.index("imu") if "imu" in sensors else len(parts) - 1
        part = parts[self.number]
        patch = (part.channels or part.width) * (_WINDOW // 2 + 1)
        self.patches = nn.ModuleList(
            MaskedPatches(patch, _HIDDEN, config)
            if number == self.number
            else MaskedPatches(part.width * config.fold, _HIDDEN_ELSEWHERE, config)
            for number, part in enumerate(parts)
        )
        width = config.width
        self.epsilon, self.node = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(width))
        self.graph = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.fuse = TokenAttention(config, parts)

    def forward(self, seen: Seen) -> Fused:
        """Fuse the tokens; in pre-training the losses are those of what is hidden."""
        rows, losses = [], dict[str, Tensor]()
        for number, inputs in enumerate(seen.inputs):
            is_inertial = number == self.number
            if is_inertial:
                rows_out, loss = self.device_rows(inputs, seen.kept[:, number], losses)
            else:
                rows_out, loss = self.other_rows(number, inputs, seen.kept[:, number])
            rows.append(rows_out + seen.rows[:, number])
            if self.pretraining:
                losses[f"hidden {number}"] = self.config.hidden * loss
        tokens = torch.stack(rows, dim=1)
        both = seen.kept.all(dim=1)
        if self.pretraining and len(rows) > 1 and int(both.sum()) > 1:
            means = [row[both].mean(dim=1) for row in rows]
            pairs = [
                info_nce(means[self.number], m) for n, m in enumerate(means) if n != self.number
            ]
            losses["contrast"] = _CONTRAST * torch.stack(pairs).mean()
        return Fused(self.fuse.read(tokens, seen.kept), losses)

    def other_rows(self, number: int, inputs: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, R, W) of another sensor, and the error of its hidden patches."""
        patches = folded(inputs, self.config.fold)
        tokens, predicted, hidden = self.patches[number](patches, self.pretraining)
        return tokens, masked_error(predicted, patches, hidden & kept[:, None])

    def device_rows(
        self, inputs: Tensor, kept: Tensor, losses: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The mean token of the devices that are there (N, R, W), and the error of patches."""
        signals = self.parts[self.number].map(inputs)
        present = signals.abs().amax(dim=(1, 2)) > 0  # (N, D): what a device lacks is zero
        present = present & kept[:, None]
        wave = spectrogram(signals, self.config.fold)
        shape = wave.shape[:2]
        tokens, predicted, hidden = self.patches[self.number](wave.flatten(0, 1), self.pretraining)
        error = masked_error(predicted, wave.flatten(0, 1), hidden & present.flatten()[:, None])
        tokens = tokens.unflatten(0, shape) * present[..., None, None]
        nodes = tokens.mean(dim=2)
        tokens = (tokens + self.added(nodes)[:, :, None]) * present[..., None, None]
        if self.pretraining:
            losses["graph"] = self.config.graph * self.hidden_nodes(nodes, present)
        return tokens.sum(dim=1) / present.sum(dim=1).clamp_min(1)[:, None, None], error

    def added(self, nodes: Tensor) -> Tensor:
        """Addition of the other devices to each node (N, D, W); exactly 0 of one device."""
        mixed = device_mix(nodes, self.epsilon)
        return self.graph(mixed) - self.graph((1 + self.epsilon) * nodes)

    def hidden_nodes(self, nodes: Tensor, there: Tensor) -> Tensor:
        """Mean ``(1 - cos)³`` of masked nodes predicted from the others; 0 of one device."""
        several = there & (there.sum(dim=1, keepdim=True) > 1)
        lost = several & (torch.rand(there.shape, device=nodes.device) < _HIDDEN_NODES)
        lost = lost & ~(lost.sum(1, keepdim=True) == there.sum(1, keepdim=True))
        masked = torch.where(lost[..., None], self.node, nodes)
        away = 1 - F.cosine_similarity(
            self.graph(device_mix(masked, self.epsilon)), nodes.detach(), dim=-1
        )
        return away[lost].pow(3).mean() if bool(lost.any()) else away.sum() * 0.0
