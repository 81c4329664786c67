"""The cycles by which the network of SA-DVAE is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.methods.aligned.text_map_adapter import ALWAYS, CHOSEN, NEVER, MappedConfig

_RAMP, _LATE = 1 / 3, 0.8  # shares of a cycle after which divergences and crossed terms come in
_LATE_CYCLE = 2  # from which the divergence of texts and the total correlation count


@dataclass(frozen=True)
class SaDvaeConfig(MappedConfig):
    """Common space of clips and texts, and its training.

    The paper trains 10 cycles of 1700 steps at 3.4e-5 on tens of thousands of clips; the defaults
    are for hundreds.

    Attributes:
        components: Entries of a clip that the network reads: principal directions of the training
            clips.
        latent: Width of the part that clips share with texts.
        irrelevant: Width of the part of a clip that no text describes.
        cycles: Cycles of the schedule.
        steps: Steps of a cycle.
        batch: Clips of a step.
        rate: Rate of Adam.
        divergence: Greatest factor on the divergences and on the total correlation.
        cross: Factor on the crossed reconstructions.
        judge_every: Steps between those that train the discriminator.
        positive: End the decoders in a rectifier, for features that are never negative.
        gate: See ``MappedConfig``; the paper's gate is considered here unless another is asked for.
        shared_noise: Draw one number a clip instead of one an entry, as the published code does.
    """

    components: int = setting(256, at_least=1, at_most=4096)
    latent: int = setting(160, at_least=1, at_most=4096)
    irrelevant: int = setting(8, at_least=1, at_most=1024)
    cycles: int = setting(5, at_least=1, at_most=1000)
    steps: int = setting(200, at_least=5, at_most=100_000)
    batch: int = setting(32, at_least=2, at_most=4096)
    rate: float = setting(1e-3, above=0, at_most=1)
    divergence: float = setting(0.02, at_least=0)
    cross: float = setting(1.0, at_least=0)
    judge_every: int = setting(5, at_least=1)
    positive: bool = False
    shared_noise: bool = False
    gate: str = setting(CHOSEN, choices=(CHOSEN, ALWAYS, NEVER))
    what: ClassVar[str] = "SA-DVAE setting"


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
    """Discriminator between matching described and other parts and parts of different clips.

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


@dataclass(frozen=True)
class Factors:
    """Factors on the terms of the loss at one step.

    Attributes:
        clips: On the divergences of both parts of clips.
        texts: On the divergence of texts, and on the total correlation.
        cross: On the crossed reconstructions.
    """

    clips: float
    texts: float
    cross: float


def factors(config: SaDvaeConfig, cycle: int, step: int) -> Factors:
    """The factors of a step: nought at first, a ramp, and crossed terms in the last fifth.

    Args:
        config: The settings.
        cycle: From 0.
        step: Step of the cycle, from 0.
    """
    done = step / max(config.steps - 1, 1)
    clips = max(0.0, (done - _RAMP) / (1 - _RAMP)) * config.divergence
    late = max(0.0, (done - _LATE) / (1 - _LATE))
    texts = late * config.divergence if cycle >= min(_LATE_CYCLE, config.cycles - 1) else 0.0
    return Factors(clips, texts, config.cross if done >= _LATE else 0.0)


def train(
    network: SaDvaeNetwork, s: Tensor, t: Tensor, columns: Tensor, config: SaDvaeConfig
) -> list[float]:
    """Train on clips (n, S) and the texts (C, K) of their labels (n,); the loss of each cycle.

    Labels are drawn evenly. Draws are torch's own: seed it before.
    """
    judge = Judge(config.latent, config.irrelevant)
    adam = torch.optim.Adam(network.parameters(), config.rate)
    judging = torch.optim.Adam(judge.parameters(), config.rate)
    chance = 1.0 / torch.bincount(columns).double()[columns]
    losses: list[float] = []
    for cycle in range(config.cycles):
        total = 0.0
        for step in range(config.steps):
            rows = torch.multinomial(chance, config.batch, replacement=True)
            weights = factors(config, cycle, step)
            loss = _loss(network, judge, s[rows], t[columns[rows]], weights, config)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += float(loss.detach())
            if step % config.judge_every == 0:
                _train_judge(network, judge, judging, s[rows], t[columns[rows]])
        losses.append(total / config.steps)
    return losses


def _loss(
    network: SaDvaeNetwork,
    judge: Judge,
    s: Tensor,
    t: Tensor,
    weights: Factors,
    config: SaDvaeConfig,
) -> Tensor:
    described, hidden = network.clips(s)
    text = network.texts(t)
    shared, other, words = (
        part.draw(shared=config.shared_noise) for part in (described, hidden, text)
    )
    loss = _missed(s, network.clip_of(shared, other)) + _missed(t, network.text_of(words))
    loss = loss + weights.clips * (described.divergence() + hidden.divergence())
    loss = loss + weights.texts * text.divergence()
    if weights.texts:
        loss = loss + weights.texts * judge(shared, other).mean()
    if weights.cross:
        crossed = _missed(s, network.clip_of(words, other)) + _missed(t, network.text_of(shared))
        loss = loss + weights.cross * crossed
    return loss


def _missed(wanted: Tensor, found: Tensor) -> Tensor:
    """Mean over rows of the squared distance."""
    return (wanted - found).square().sum(dim=1).mean()


def _train_judge(
    network: SaDvaeNetwork, judge: Judge, judging: torch.optim.Optimizer, s: Tensor, t: Tensor
) -> None:
    with torch.no_grad():
        described, hidden = network.clips(s)
        shared, other, words = described.draw(), hidden.draw(), network.texts(t).draw()
    loss = judge.loss(shared, other) + judge.loss(words, other)
    judging.zero_grad()
    loss.backward()
    judging.step()
