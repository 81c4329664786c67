"""Training by episodes: a task of a few labels is drawn, and its queries are to be recognised.

Every draw depends on the seed and the episode alone, so that the same examples give the same
network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.relations.network import RelationNetwork
from vlar.training.augment import Random, random_for
from vlar.types import Float32

_START = 11  # what a draw is for: the parts that only training has
_NOISE = 0.02  # of the frames' length, so that equal clips differ


@dataclass(frozen=True)
class EpisodeNumbers:
    """How a relation network is trained.

    Attributes:
        episodes: Optimiser steps.
        ways: Labels of an episode at most.
        queries: Queries of each label at most.
        learning_rate: Of AdamW at the start; it falls to 0 as a cosine.
        weight_decay: Of AdamW.
        clip_norm: Largest norm of the gradient.
    """

    episodes: int = 150
    ways: int = 5
    queries: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip_norm: float = 5.0


@dataclass(frozen=True)
class Episode:
    """One task.

    Attributes:
        columns: Its labels.
        supports: Numbers of its support clips.
        queries: Numbers of its queries.
    """

    columns: tuple[int, ...]
    supports: tuple[int, ...]
    queries: tuple[int, ...]


def draw_episode(
    columns: Sequence[int], groups: Sequence[str], numbers: EpisodeNumbers, random: Random
) -> Episode:
    """Draw a task from n examples.

    A query is of another group (recording) than the supports of its label, where the label has two.
    A label with a single one has it on both sides; training moves its frames.

    Args:
        columns: n labels by number.
        groups: n groups.
        numbers: Sizes.
        random: Draws.
    """
    labels = sorted(set(columns))
    ways = random.choice(labels, min(numbers.ways, len(labels)), replace=False).tolist()
    supports: list[int] = []
    queries: list[int] = []
    for label in ways:
        rows = [row for row, column in enumerate(columns) if column == label]
        names = list(dict.fromkeys(groups[row] for row in rows))
        if len(names) == 1:
            supports += rows
            queries.append(int(random.choice(rows)))
            continue
        taken = set(random.permutation(names)[: int(random.integers(1, len(names)))].tolist())
        supports += [row for row in rows if groups[row] in taken]
        rest = [row for row in rows if groups[row] not in taken]
        queries += random.permutation(rest)[: numbers.queries].tolist()
    return Episode(tuple(ways), tuple(supports), tuple(queries))


def train_network(
    network: RelationNetwork,
    frames: Float32,
    columns: Sequence[int],
    groups: Sequence[str],
    numbers: EpisodeNumbers,
    *,
    seed: int = 0,
    on_episode: Callable[[int], None] | None = None,
) -> float:
    """Train a network in place.

    Args:
        network: At its start.
        frames: (n, T, F) float32 frames of the examples, as its head reads them.
        columns: n labels by number.
        groups: n groups (recordings).
        numbers: See ``EpisodeNumbers``.
        seed: Of every draw.
        on_episode: Called with the clips of each episode.

    Returns:
        Mean cross-entropy of the last tenth of the episodes.
    """
    inputs = torch.from_numpy(frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_for(seed, _START).integers(2**62)))
        network.begin(max(columns) + 1)
        network.train().requires_grad_(True)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=numbers.learning_rate, weight_decay=numbers.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, numbers.episodes)
        losses: list[float] = []
        for number in range(numbers.episodes):
            random = random_for(seed, number)
            torch.manual_seed(int(random.integers(2**62)))
            episode = draw_episode(columns, groups, numbers, random)
            losses.append(_step(network, optimiser, inputs, columns, episode, random, numbers))
            schedule.step()
            if on_episode is not None:
                on_episode(len(episode.supports) + len(episode.queries))
    network.end()
    network.eval().requires_grad_(False)
    return float(np.mean(losses[-max(1, numbers.episodes // 10) :]))


def _step(
    network: RelationNetwork,
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    columns: Sequence[int],
    episode: Episode,
    random: Random,
    numbers: EpisodeNumbers,
) -> float:
    supports = _moved(inputs[list(episode.supports)], random)
    queries = _moved(inputs[list(episode.queries)], random)
    place = {column: number for number, column in enumerate(episode.columns)}
    member = torch.zeros(len(supports), len(place))
    for row, clip in enumerate(episode.supports):
        member[row, place[columns[clip]]] = 1.0
    y = torch.tensor([place[columns[clip]] for clip in episode.queries])
    loss = F.cross_entropy(network(queries, supports, member), y)
    total = loss + network.further_losses(queries, supports, member, y)
    optimiser.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), numbers.clip_norm)
    optimiser.step()
    return float(loss.detach())


def _moved(frames: Tensor, random: Random) -> Tensor:
    """Clips (k, T, F) with times stretched a little, each by its own draw, and slight noise."""
    count = frames.shape[1]
    cut = random.uniform(0, 0.2, (len(frames), 1))
    begin = cut * random.random((len(frames), 1))
    place = (begin + (1 - cut) * np.linspace(0, 1, count)) * (count - 1)
    before = torch.from_numpy(np.floor(place).astype(np.int64))
    share = torch.from_numpy((place - np.floor(place)).astype(np.float32))[..., None]
    rows = torch.arange(len(frames))[:, None]
    after = (before + 1).clamp_max(count - 1)
    moved = frames[rows, before] * (1 - share) + frames[rows, after] * share
    noise = torch.from_numpy(random.standard_normal(moved.shape).astype(np.float32))
    return moved + _NOISE / moved.shape[-1] ** 0.5 * noise
