"""Two variational autoencoders, one of clips and one of texts, that share a space.

Li et al., "SA-DVAE: improving zero-shot skeleton-based action recognition by disentangled
variational autoencoders", ECCV 2024. A clip is a part that texts describe and a part that they do
not. Letters: n clips, S entries of a clip, R width of the shared part, I of the other, K entries of
a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with a diagonal covariance.

    Attributes:
        mean: (n, R).
        log_variance: (n, R).
    """

    mean: Tensor
    log_variance: Tensor

    def draw(self, *, shared: bool = False) -> Tensor:
        """(n, R) a sample; with ``shared`` one number of noise a row."""
        size = (len(self.mean), 1) if shared else self.mean.shape
        return self.mean + torch.randn(size) * (self.log_variance / 2).exp()

    def divergence(self) -> Tensor:
        """Mean over rows of the divergence from the standard normal distribution."""
        variance = self.log_variance.exp()
        rows = self.mean.square() + variance - 1 - self.log_variance
        return rows.sum(dim=1).mean() / 2


class SaDvaeNetwork(nn.Module):
    """Linear encoders and decoders: (S + 2 K + 2 R + I + 4 ...) as the paper has them.

    At S = 256, R = 160, I = 8 and K = 1024 it has 622,480 weights: every mean and every variance is
    a linear map of its own, with a bias.

    Args:
        clip: S.
        latent: R.
        irrelevant: I.
        text: K.
        positive: End the decoders in a rectifier.
    """

    def __init__(
        self, clip: int, latent: int, irrelevant: int, text: int, *, positive: bool = False
    ) -> None:
        super().__init__()
        self.latent = latent
        self.shared_mean, self.shared_variance = nn.Linear(clip, latent), nn.Linear(clip, latent)
        self.other_mean = nn.Linear(clip, irrelevant)
        self.other_variance = nn.Linear(clip, irrelevant)
        self.text_mean, self.text_variance = nn.Linear(text, latent), nn.Linear(text, latent)
        self.clip_decoder = nn.Linear(latent + irrelevant, clip)
        self.text_decoder = nn.Linear(latent, text)
        self._last = F.relu if positive else nn.Identity()

    def clips(self, s: Tensor) -> tuple[Gaussian, Gaussian]:
        """The described and the other part of clips (n, S)."""
        shared = Gaussian(self.shared_mean(s), self.shared_variance(s))
        return shared, Gaussian(self.other_mean(s), self.other_variance(s))

    def texts(self, t: Tensor) -> Gaussian:
        """The part that texts (n, K) describe."""
        return Gaussian(self.text_mean(t), self.text_variance(t))

    def clip_of(self, shared: Tensor, other: Tensor) -> Tensor:
        """Clips (n, S) of a described (n, R) and another part (n, I)."""
        return self._last(self.clip_decoder(torch.cat([shared, other], dim=1)))

    def text_of(self, shared: Tensor) -> Tensor:
        """Texts (n, K) of a described part (n, R)."""
        return self._last(self.text_decoder(shared))


class Judge(nn.Module):
    """Tells described and other parts that belong together from parts of different clips.

    Its logit is high for pairs of one clip. A total-correlation penalty on it drives both parts
    apart (Kim and Mnih, "Disentangling by factorising", 2018).
    """

    def __init__(self, latent: int, irrelevant: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent + irrelevant, latent), nn.ReLU(), nn.Linear(latent, 1)
        )

    def forward(self, shared: Tensor, other: Tensor) -> Tensor:
        """(n,) logits of pairs."""
        return self.layers(torch.cat([shared, other], dim=1))[:, 0]

    def loss(self, shared: Tensor, other: Tensor) -> Tensor:
        """Cross-entropy of pairs as they are against pairs that are shuffled."""
        mixed = self(shared[torch.randperm(len(shared))], other[torch.randperm(len(other))])
        joint = self(shared, other)
        return (F.softplus(-joint).mean() + F.softplus(mixed).mean()) / 2
