"""AR-Net (Meng et al., ECCV 2020): a size, or a skip, for each frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from vlar.methods.released.ada_fuse import one_hot

_LEAST = 1e-8
SIZES = 4  # actions that answer: three networks and the policy itself
SKIPS = (1, 2, 4)  # frames that the other actions cover


class ArNet(nn.Module):
    """The network: the same clips at four sizes (B, 3 T, s, s) -> (B, classes).

    Args:
        config: ``classes``, ``hidden``, ``tau``, ``noise`` (1: choices are drawn, as the release
            does also in use; 0: the most probable, as the paper).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        classes, hidden = config["classes"], config["hidden"]
        self.tau, self.noise = config["tau"], float(config.get("noise", 1))
        networks: list[Any] = [
            models.get_model(f"resnet{depth}", weights=None) for depth in (50, 34, 18)
        ]
        widths = [network.fc.in_features for network in networks]
        for network in networks:
            network.fc = nn.Dropout(0.5)
        self.base_model_list = nn.ModuleList(networks)
        self.new_fc_list = nn.ModuleList(nn.Linear(width, classes) for width in widths)
        self.lite_backbone = models.get_model("mobilenet_v2", weights=None)
        self.lite_backbone.classifier = nn.Dropout(0.5)
        self.rnn = nn.LSTMCell(1280, hidden)
        self.linear = nn.Linear(hidden, SIZES + len(SKIPS))
        self.lite_fc = nn.Linear(hidden, classes)

    def policy(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Choices (B, T, 7) and the policy's own logits (B, T, classes) of clips (B, 3 T, s, s)."""
        frames = video.shape[1] // 3
        pictures = video.reshape(-1, 3, *video.shape[2:])
        features = self.lite_backbone(pictures).unflatten(0, (-1, frames))
        batch = len(features)
        h = c = features.new_zeros(batch, self.rnn.hidden_size)
        skips = features.new_zeros(batch)
        choices: list[Tensor] = []
        answers: list[Tensor] = []
        for t in range(frames):
            before = h
            h, c = self.rnn(features[:, t], (h, c))
            logits = torch.log(self.linear(h).softmax(-1).clamp_min(_LEAST))
            answers.append(self.lite_fc(h))
            choice = one_hot(logits, self.tau, self.noise)
            if t:
                skipping = (skips > 0.5)[:, None]
                h = torch.where(skipping, before, h)  # the release does not restore c
                choice = torch.where(skipping, choices[-1], choice)
            lengths = choice.new_tensor([0] * SIZES + list(SKIPS))
            chosen = (choice.detach() * lengths).sum(1)
            skips = torch.where((skips < 0.5) & (chosen > 0.5), chosen, skips)
            skips = (skips - 1).clamp_min(0)
            choices.append(choice)
        return torch.stack(choices, 1), torch.stack(answers, 1)

    def forward(self, video_0: Tensor, video_1: Tensor, video_2: Tensor, video_3: Tensor) -> Tensor:
        """Logits (B, classes); ``video_0`` to ``video_3`` from the largest size to the least."""
        choices, answers = self.policy(video_3)
        frames = answers.shape[1]
        rows: list[Tensor] = []
        sized = zip(
            self.base_model_list, self.new_fc_list, (video_0, video_1, video_2), strict=True
        )
        for network, head, video in sized:
            pictures = video.reshape(-1, 3, *video.shape[2:])
            rows.append(head(network(pictures)).unflatten(0, (-1, frames)))
        logits = torch.stack([*rows, answers], 2)  # (B, T, 4, classes)
        weights = choices[..., :SIZES]
        total = (weights[..., None] * logits).sum((1, 2))
        return total / weights.sum((1, 2)).clamp_min(1)[:, None]
