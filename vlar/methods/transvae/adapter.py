"""``transvae``: the domain of a clip in a static latent, the action in dynamic latents.

Letters: N clips, T frames, G segments, K inputs of a frame, S and Z widths of the static and of a
dynamic latent, R scales, E width of a relation, D width of the shared space.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import Settings, setting
from vlar.registry import register
from vlar.training.tower_network import ResidualNetwork, register_directions, zero_linear
from vlar.training.towers import ResidualTower
from vlar.types import Float32

_SUBSETS = 3  # of each scale


@dataclass(frozen=True)
class TransVaeConfig(Settings):
    """Settings: widths, segments that frames are averaged into, directions kept of each block."""

    width: int = setting(64, at_least=1, at_most=2048)
    static: int = setting(32, at_least=1, at_most=2048)
    dynamic: int = setting(32, at_least=1, at_most=2048)
    segments: int = setting(8, at_least=2, at_most=16)
    components: int = setting(32, at_least=1, at_most=4096)
    dropout: float = setting(0.5, at_least=0, below=1)
    labels: tuple[str, ...] = ()
    what: ClassVar[str] = "transvae setting"


class Latents(NamedTuple):
    """Means and logarithms of variances: static (N, S), dynamic (N, G, Z), and its prior."""

    static: Tensor
    static_variance: Tensor
    dynamic: Tensor
    dynamic_variance: Tensor
    prior: Tensor
    prior_variance: Tensor


class TransVaeNetwork(ResidualNetwork):
    """A sequence of frames to latents, back to frames, and to the vector that answers."""

    own: Tensor

    def __init__(self, config: TransVaeConfig, n_inputs: int, dim: int, sizes: list[int]) -> None:
        super().__init__()
        register_directions(self, sizes, config.components)
        self.register_buffer("own", torch.ones(()))  # of the encoder's vector; 0 when fitted
        self.config, width, z = config, config.width, config.dynamic
        self.enter = nn.Sequential(
            nn.Linear(n_inputs, width), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.both_ways = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.static = nn.Linear(2 * width, 2 * config.static)
        self.forward_ways = nn.RNN(2 * width, width, batch_first=True)
        self.dynamic = nn.Linear(width, 2 * z)
        self.before = nn.LSTM(z, width, num_layers=2, batch_first=True)
        self.prior = nn.Linear(width, 2 * z)
        self.decoder = nn.Sequential(
            nn.Linear(z + config.static, width), nn.ReLU(), nn.Linear(width, n_inputs)
        )
        self.scales = range(2, min(config.segments, 6) + 1)
        self.relate = nn.ModuleList(nn.Linear(scale * z, width) for scale in self.scales)
        self.drop = nn.Dropout(config.dropout)
        self.leave = zero_linear(width, dim)
        self.register_labels(len(config.labels), dim)

    def moments(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to the means (N, G, K) of segments."""
        pooled = F.adaptive_avg_pool1d(inputs.transpose(1, 2), self.config.segments)
        return pooled.transpose(1, 2)

    def latents(self, moments: Tensor) -> Latents:
        """Latents of (N, G, K)."""
        hidden, (ends, _) = self.both_ways(self.enter(moments))
        static = self.static(torch.cat([ends[0], ends[1]], dim=-1)).chunk(2, dim=-1)
        mean, variance = self.dynamic(self.forward_ways(hidden)[0]).chunk(2, dim=-1)
        past = F.pad(mean, (0, 0, 1, 0))[:, :-1]
        prior, prior_variance = self.prior(self.before(past)[0]).chunk(2, dim=-1)
        return Latents(static[0], static[1], mean, variance, prior, prior_variance)

    def decode(self, static: Tensor, dynamic: Tensor) -> Tensor:
        """(N, S) and (N, G, Z) to moments (N, G, K)."""
        spread = static[:, None].expand(-1, dynamic.shape[1], -1)
        return self.decoder(torch.cat([dynamic, spread], dim=-1))

    def relations(self, dynamic: Tensor) -> Tensor:
        """Ordered subsets of (N, G, Z) at each scale to (N, R, E)."""
        relations: list[Tensor] = []
        for scale, layer in zip(self.scales, self.relate, strict=True):
            subsets = list(combinations(range(dynamic.shape[1]), scale))
            step = max(1, len(subsets) // _SUBSETS)
            rows = [dynamic[:, list(s)].flatten(1) for s in subsets[::step][:_SUBSETS]]
            relations.append(torch.relu(layer(self.drop(torch.stack(rows, dim=1)))).mean(dim=1))
        return torch.stack(relations, dim=1)

    def residual(self, inputs: Tensor) -> Tensor:
        """(N, T, K) to (N, D), by the dynamic latents alone."""
        dynamic = self.latents(self.moments(inputs)).dynamic
        return self.leave(self.drop(self.relations(dynamic).mean(dim=1)))


@register("adapter", "transvae", status="null here")
class TransVae(ResidualTower):
    """A sequential autoencoder whose dynamic latents answer; the static one takes the domain.

    Wei et al., "Unsupervised video domain adaptation: a disentanglement perspective" (TranSVAE),
    2023. Until it is fitted the vectors are the encoder's own; then the dynamic latents alone make
    them. The objective of the same name separates the latents.

    Reference: Wei et al., "Unsupervised video domain adaptation for action recognition: a
    disentanglement perspective" (TranSVAE), NeurIPS 2023.
    Example: ``vlar adapt support/ --unlabelled more/ --out moved --method transvae --objective
    transvae``.
    """

    method, config_type = "transvae", TransVaeConfig
    network: TransVaeNetwork
    config: TransVaeConfig

    def build(self) -> TransVaeNetwork:
        """The network at its start."""
        return TransVaeNetwork(self.config, self.n_inputs, self.dim, self.input_sizes)

    def fit_inputs(self, features: Float32) -> None:
        super().fit_inputs(features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.start_seed)
            nn.init.xavier_uniform_(self.network.leave.weight)
        self.network.own.zero_()
        self.refresh()

    def pooled(self, features: Float32) -> Float32:
        """The encoder's own vectors, zero once the latents answer."""
        return self.source.pool(features) * self.network.own.numpy()
