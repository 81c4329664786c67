"""STPrivacy (Li et al., ICCV 2023): a sparsifier anonymises a clip, recognisers read the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlar.methods.released.transformer import Layer, TubeEmbed


class _Predictor(nn.Module):
    """Logarithms of how probably a token is kept or dropped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 2),
            nn.LogSoftmax(-1),
        )

    def forward(self, x: Tensor, steps: int, decision: Tensor) -> Tensor:
        """Scores (B, N, 2), first keep, of tokens (B, N, D) and decisions (B, N, 1)."""
        y = self.in_conv(x).unflatten(1, (steps, -1))
        third = x.shape[-1] // 3
        score, step, clip = y[..., :third], y[..., third : 2 * third], y[..., 2 * third :]
        weight = decision.unflatten(1, (steps, -1))
        of_step = (step * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True)
        of_clip = (clip * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
        joined = torch.cat([score, of_step.expand_as(step), of_clip.expand_as(clip)], -1)
        return self.out_conv(joined).flatten(1, 2)


class _PrivacyTower(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, patch, tubelet = config["dim"], config["patch"], config["tubelet"]
        self.steps = config["frames"] // tubelet
        tokens = self.steps * (config["size"] // patch) ** 2
        self.patch_embed = TubeEmbed(width, tubelet, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.ModuleList(
            Layer(width, config["heads"], 4 * width) for _ in range(config["depth"])
        )


class Sparsifier(_PrivacyTower):
    """Tokens are dropped in stages, and a clip is painted from those that are kept."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        width = config["dim"]
        self.places, self.ratios = list(config["places"]), list(config["ratios"])
        self.patch, self.tubelet = config["patch"], config["tubelet"]
        self.side = config["size"] // self.patch
        self.score_predictor = nn.ModuleList(_Predictor(width) for _ in self.places)
        self.norm_recon = nn.LayerNorm(width, 1e-6)
        self.head_recon = nn.Linear(width, 3 * self.tubelet * self.patch**2)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Anonymised clips (B, 3, T, H, W), and what was kept, (B, N) of 0 and 1."""
        x = self.patch_embed(video) + self.pos_embed
        batch, tokens, width = x.shape
        per_step = tokens // self.steps
        index = torch.arange(tokens, device=x.device).expand(batch, -1)
        for number, block in enumerate(self.blocks):
            if number in self.places:
                stage = self.places.index(number)
                ones = torch.ones_like(x[..., :1])
                scores = self.score_predictor[stage](x, self.steps, ones)[..., 0]
                count = int(per_step * self.ratios[stage])
                by_step = scores.unflatten(1, (self.steps, -1))
                best = by_step.argsort(dim=-1, descending=True, stable=True)[..., :count]
                start = torch.arange(self.steps, device=x.device)[:, None] * by_step.shape[-1]
                chosen = (best + start).flatten(1)
                index = index.gather(1, chosen)
                x = x.gather(1, chosen[..., None].expand(-1, -1, width))
            x = block(x)
        patches = self.head_recon(self.norm_recon(x))
        places = index[..., None].expand_as(patches)
        painted = patches.new_zeros(batch, tokens, patches.shape[-1]).scatter(1, places, patches)
        mask = torch.zeros(batch, tokens, device=x.device).scatter(1, index, 1.0)
        return self.picture(painted), mask

    def training_form(self, video: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Painted clips, what was kept (B, N), and decisions (B, N) of each stage; none is removed.

        The most probable decision is taken, with the gradient of the soft one.
        """
        x = self.patch_embed(video) + self.pos_embed
        decision, stages = torch.ones_like(x[..., :1]), list[Tensor]()
        mask: Tensor | None = None
        for number, block in enumerate(self.blocks):
            if number in self.places:
                predictor = self.score_predictor[self.places.index(number)]
                soft = predictor(x, self.steps, decision).softmax(-1)
                hard = (soft[..., :1] >= soft[..., 1:]).to(soft)
                mask = decision = (hard - soft[..., :1].detach() + soft[..., :1]) * decision
                stages.append(decision[..., 0])
            x = block(x, mask)
        painted = self.head_recon(self.norm_recon(x))
        return self.picture(painted), decision[..., 0], stages

    def picture(self, patches: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) of patches (B, N, t p p 3), colour last."""
        t, p, side = self.tubelet, self.patch, self.side
        x = patches.view(len(patches), self.steps, side, side, t, p, p, 3)
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(len(patches), 3, self.steps * t, side * p, side * p)


class PrivateRecogniser(_PrivacyTower):
    """Logits of the tokens that are kept."""

    def __init__(self, config: dict[str, Any], classes: int) -> None:
        super().__init__(config)
        self.fc_norm = nn.LayerNorm(config["dim"], 1e-6)
        self.head_new = nn.Linear(config["dim"], classes)

    def forward(self, video: Tensor, kept: Tensor) -> Tensor:
        """Logits (B, classes); ``kept`` (B, N) has equally many ones in each clip."""
        x = self.patch_embed(video) + self.pos_embed
        x = x[kept.bool()].view(len(x), -1, x.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.head_new(self.fc_norm(x.mean(1)))

    def training_form(self, video: Tensor, kept: Tensor) -> Tensor:
        """Logits with all tokens, dropped ones masked; ``kept`` (B, N)."""
        x = self.patch_embed(video) + self.pos_embed
        mask = kept[..., None]
        for block in self.blocks:
            x = block(x, mask)
        mean = (x * mask).sum(1) / mask.sum(1)
        return self.head_new(self.fc_norm(mean))


class StPrivacy(nn.Module):
    """Sparsifier and both recognisers: (B, 3, T, H, W) -> (B, classes) of actions.

    Args:
        config: ``size``, ``patch``, ``tubelet``, ``frames``, ``dim``, ``depth``, ``heads``,
            ``places`` (blocks before which tokens are dropped), ``ratios`` (kept shares of all),
            ``classes``, ``attributes``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.sparsifier = Sparsifier(config)
        self.action = PrivateRecogniser(config, config["classes"])
        self.privacy = PrivateRecogniser(config, config["attributes"])

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, classes) of the anonymised clips."""
        return self.action(*self.sparsifier(video))

    def attributes(self, video: Tensor) -> Tensor:
        """Logits (B, attributes) that a privacy network reads from the anonymised clips."""
        return self.privacy(*self.sparsifier(video))

    def training_form(self, video: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits of actions, what was kept, and the decisions of each stage."""
        painted, mask, stages = self.sparsifier.training_form(video)
        return self.action.training_form(painted, mask), mask, stages
