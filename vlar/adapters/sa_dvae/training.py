"""The cycles by which the network of SA-DVAE is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlar.adapters.sa_dvae.config import SaDvaeConfig
from vlar.adapters.sa_dvae.network import Judge, SaDvaeNetwork

_RAMP, _LATE = 1 / 3, 0.8  # shares of a cycle after which divergences and crossed terms come in
_LATE_CYCLE = 2  # from which the divergence of texts and the total correlation count


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
        step: Of the cycle, from 0.
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
    described, rest = network.clips(s)
    text = network.texts(t)
    shared, other, words = (
        part.draw(shared=config.shared_noise) for part in (described, rest, text)
    )
    loss = _missed(s, network.clip_of(shared, other)) + _missed(t, network.text_of(words))
    loss = loss + weights.clips * (described.divergence() + rest.divergence())
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
        described, rest = network.clips(s)
        shared, other, words = described.draw(), rest.draw(), network.texts(t).draw()
    loss = judge.loss(shared, other) + judge.loss(words, other)
    judging.zero_grad()
    loss.backward()
    judging.step()
