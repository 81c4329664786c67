"""The network of the prompt experts: a causal transformer that reads prompts, then frames.

Letters: N clips, T frames, K inputs of a frame, E experts, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import Settings, bad_setting, setting
from vlar.registry import unknown_name
from vlar.training.tower_network import (
    WAVES,
    layers,
    positions,
    register_directions,
    small_step,
    zero_linear,
)

PROMPTS = ("flow", "people", "text")
_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class PlarConfig(Settings):
    """Settings of the adapter.

    Attributes:
        experts: E, prompts that are learned; each clip has a mix of its own.
        tokens: Vectors of an expert.
        width: Width of the transformer.
        layers: Its layers.
        heads: Heads of its attention.
        components: Principal directions kept of each block of the frame features.
        dropout: Dropout of every layer in training, 0 to below 1.
        prompts: Other guides of the features: ``flow`` (frames with brighter moving regions),
            ``people`` (frames in which bodies are brighter), ``text`` (the everyday actions nearest
            to the clip). Each of the first two encodes the frames once more.
        strength: Increase of brightness, as a share of a pixel's value.
        balance: Weight of the loss that keeps all experts in use.
        blocks: Blocks of the frame features to read; empty means all.
    """

    experts: int = setting(8, at_least=1, at_most=256)
    tokens: int = setting(4, at_least=1, at_most=256)
    width: int = setting(64, at_least=1, at_most=4096)
    layers: int = setting(1, at_least=1, at_most=64)
    heads: int = setting(4, at_least=1, at_most=4096)
    components: int = setting(32, at_least=1, at_most=4096)
    dropout: float = setting(0.3, at_least=0, below=1)
    prompts: tuple[str, ...] = ("flow",)
    strength: float = setting(0.5, above=0, at_most=1)
    balance: float = setting(0.01, at_least=0, at_most=100)
    blocks: tuple[str, ...] = ()

    what: ClassVar[str] = "plar setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        for name in self.prompts:
            if name not in PROMPTS:
                raise unknown_name(f"value of {self.what} 'prompts'", name, PROMPTS)
        if len(set(self.prompts)) < len(self.prompts):
            raise bad_setting(self.what, "prompts", list(self.prompts), "each of them once")
        self.require_few(
            "layers",
            self.layers * self.width**2,
            _MOST_WEIGHTS,
            "fewer layers, or less width: layers * width**2",
        )
        self.require_multiple(self.width, self.heads)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The prompts that are drawn into the frames."""
        return tuple(name for name in self.prompts if name != "text")


class PlarNetwork(nn.Module):
    """Frame inputs to a residual of the clip's vector; exactly zero at the start.

    Args:
        config: Sizes.
        n_inputs: K.
        dim: D.
        fitted: Per block the width of its entries; the projections to K are stored here.
    """

    def __init__(self, config: PlarConfig, n_inputs: int, dim: int, fitted: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        register_directions(self, fitted, config.components)
        width = config.width
        self.enter = nn.Linear(n_inputs, width)
        self.time = nn.Linear(2 * WAVES, width, bias=False)
        #: How far each prompt moves the frames towards those it is drawn into.
        self.gates = nn.Parameter(torch.zeros(len(config.pictures)))
        self.experts = nn.Parameter(0.02 * torch.randn(config.experts, config.tokens, width))
        self.look = nn.LayerNorm(n_inputs)
        self.router = nn.Linear(n_inputs, config.experts, bias=False)
        nn.init.normal_(self.router.weight, std=0.01)
        self.words = nn.Linear(dim, width) if "text" in config.prompts else None
        self.layers = layers(width, config.heads, config.layers, config.dropout)
        self.norm = nn.LayerNorm(2 * width)
        self.drop = nn.Dropout(config.dropout)
        self.leave = zero_linear(2 * width, dim)

    def route(self, frames: Tensor) -> Tensor:
        """Frames (N, T, K) to the share (N, E) of each expert; rows sum to 1."""
        return self.router(self.look(frames.mean(dim=1))).softmax(dim=-1)

    def prompted(self, frames: Tensor, away: Tensor) -> Tensor:
        """Frames (N, T, K), moved by what each prompt changes in them, ``away`` (N, P, T, K)."""
        return frames + torch.einsum("p,nptk->ntk", self.gates, away)

    def residual(self, frames: Tensor, away: Tensor, text: Tensor | None) -> Tensor:
        """Term that is added to the clips' vectors, (N, D).

        Args:
            frames: (N, T, K).
            away: (N, P, T, K), prompted frames less the frames, for each drawn prompt.
            text: (N, D) of the text prompt; None without one.
        """
        shares = self.route(frames)
        prompts = torch.einsum("ne,etw->ntw", shares, self.experts)
        if self.words is not None and text is not None:
            prompts = torch.cat([prompts, self.words(text)[:, None]], dim=1)
        x = self.enter(self.drop(self.prompted(frames, away)))
        x = torch.cat([prompts, x + self.time(positions(x))], dim=1)
        mask = causal(prompts.shape[1], frames.shape[1]).to(x.device)
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        tokens = x[:, prompts.shape[1] :]
        read = torch.cat([tokens[:, -1], tokens.mean(dim=1)], dim=-1)
        moved = self.leave(self.drop(self.norm(read)))
        return small_step(moved, self.leave.in_features)

    def vectors(
        self, frames: Tensor, away: Tensor, pooled: Tensor, text: Tensor | None = None
    ) -> Tensor:
        """Clip vectors (N, D) of unit length from the encoder's own ones (N, D)."""
        return F.normalize(pooled + self.residual(frames, away, text), dim=-1)


def causal(n_prompts: int, n_frames: int) -> Tensor:
    """(n_prompts + n_frames)² bool, True where a token must not look: prompts at frames, and frames
    at later ones.
    """
    count = n_prompts + n_frames
    mask = torch.ones(count, count, dtype=torch.bool).triu(1)
    mask[:n_prompts, :n_prompts] = False
    return mask


def balance_loss(shares: Tensor) -> Tensor:
    """0 where all experts are used alike on average, up to E - 1 where one takes all.

    Args:
        shares: (N, E), rows that sum to 1.
    """
    return shares.shape[1] * shares.mean(dim=0).square().sum() - 1
