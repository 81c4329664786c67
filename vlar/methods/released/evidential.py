"""DEAR's heads (Bao et al., ICCV 2021): evidence for each class, and branches against biases."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _SlowConvNorm(nn.Module):
    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Debias(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        wide = 2 * channels

        def in_time() -> _SlowConvNorm:
            conv = nn.Conv3d(channels, wide, 3, (1, 2, 2), (0, 1, 1), bias=False)
            return _SlowConvNorm(conv, nn.BatchNorm3d(wide))

        self.f1_conv3d, self.f2_conv3d = in_time(), in_time()
        flat = nn.Conv2d(channels, wide, 3, 2, 1, bias=False)
        self.f3_conv2d = _SlowConvNorm(flat, nn.BatchNorm2d(wide))
        self.f1_fc, self.f2_fc, self.f3_fc = (nn.Linear(wide, classes) for _ in range(3))


def evidence(logits: Tensor) -> Tensor:
    """Parameters alpha (N, C) of a Dirichlet distribution."""
    return logits.clamp(-10, 10).exp() + 1


def _log_loss(alpha: Tensor, labels: Tensor) -> Tensor:
    right = alpha.gather(1, labels[:, None])[:, 0]
    return (alpha.sum(1).log() - right.log()).mean()


def _dependence(a: Tensor, b: Tensor) -> Tensor:
    """HSIC of two sets of rows, biased; 0 for fewer than four."""
    if len(a) < 4:
        return a.new_zeros(())

    def centred(x: Tensor) -> Tensor:
        squares = (x[:, None] - x[None]).square().sum(-1)
        kernel = torch.exp(-squares / (2 * x.shape[1]))
        return kernel - kernel.mean(0, keepdim=True)

    return torch.trace(centred(a) @ centred(b)) / (len(a) - 1) ** 2


class DearHeads(nn.Module):
    """The two heads on the last map of a video network: (B, ch, T, h, w) -> (B, classes).

    Args:
        config: ``channels``, ``classes``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(config["channels"], config["classes"])})
        self.debias_head = _Debias(config["channels"], config["classes"])

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, classes); values of the map below 0 count as 0."""
        return self.cls_head["fc_cls"](functional.relu(features).mean((2, 3, 4)))

    def uncertainty(self, logits: Tensor) -> Tensor:
        """Share (B, 1) of the evidence that is missing: high for what was never learned."""
        return logits.shape[1] / evidence(logits).sum(1, keepdim=True)

    def losses(
        self, features: Tensor, labels: Tensor, progress: float, order: Tensor
    ) -> dict[str, Tensor]:
        """Terms of the training loss, whose sum is minimised.

        Args:
            features: (B, ch, T, h, w), T at least 3.
            labels: (B,) int64.
            progress: Epochs done of all, 0 to 1.
            order: (T,) a random order of the frames.
        """
        logits = self(features)
        features = functional.relu(features)
        alpha = evidence(logits)
        total = alpha.sum(1)
        best, unsure = (alpha / total[:, None]).amax(1), logits.shape[1] / total
        right = (logits.argmax(1) == labels).to(best)
        weight = 0.01 * torch.exp(torch.tensor(-log(0.01) * progress))
        sure = -best * torch.log(1 - unsure + 1e-10)
        doubt = -(1 - best) * torch.log(unsure + 1e-10)
        alphas = [evidence(z) for z in self.branches(features, order)]
        one, two, three = (0.1 * _log_loss(a, labels) for a in alphas)
        return {
            "loss_cls": _log_loss(alpha, labels),
            "loss_avu": (weight * right * sure + (1 - weight) * (1 - right) * doubt).mean(),
            "loss_unbias_cls": one,
            "loss_bias1_cls": two,
            "loss_bias2_cls": three,
            "loss_bias1_hsic": -0.1 * _dependence(alphas[0], alphas[1]),
            "loss_bias2_hsic": -0.1 * _dependence(alphas[0], alphas[2]),
        }

    def branches(self, features: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the unbiased branch, of the one without order, and of the one of frames."""
        head, batch = self.debias_head, len(features)
        one = head.f1_fc(head.f1_conv3d(features).mean((2, 3, 4)))
        two = head.f2_fc(head.f2_conv3d(features[:, :, order]).mean((2, 3, 4)))
        frames = features.transpose(1, 2).flatten(0, 1)
        flat = head.f3_conv2d(frames).mean((2, 3)).view(batch, features.shape[2], -1).mean(1)
        return one, two, head.f3_fc(flat)
