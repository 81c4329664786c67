"""Training by episodes: a task of a few labels is drawn, and its queries are to be recognised.

Every draw depends on the seed and the episode alone, so that the same examples give the same
network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.errors import UsageError
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.mixture import MixtureHead
from vlar.heads.fewshot.stacking import StackingWeights, fit_stacking
from vlar.heads.model_selection import Choice, choose
from vlar.heads.signatures import parse_kind, signature, terms
from vlar.methods.relations.adapter import RelationAdapter
from vlar.methods.relations.head import RelationHead
from vlar.methods.relations.network import RelationNetwork
from vlar.model.adapt import Adapted, balanced, guarded
from vlar.model.adapt_report import TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.data import Random, random_for
from vlar.training.learners import Learner
from vlar.training.progress import TrainingCost
from vlar.training.sources import halves, partition
from vlar.types import Float32

_START = 11  # what a draw is for: the parts that only training has
_NOISE = 0.02  # of the frames' length, so that equal clips differ


@dataclass(frozen=True)
class EpisodeNumbers:
    """Hyperparameters of a relation network's training.

    Attributes:
        episodes: Optimiser steps.
        ways: Labels of an episode at most.
        queries: Queries of each label at most.
        learning_rate: Learning rate of AdamW at the start; it falls to 0 as a cosine.
        weight_decay: Weight decay of AdamW.
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
        drawn = set(random.permutation(names)[: int(random.integers(1, len(names)))].tolist())
        supports += [row for row in rows if groups[row] in drawn]
        others = [row for row in rows if groups[row] not in drawn]
        queries += random.permutation(others)[: numbers.queries].tolist()
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
        seed: Seed of every draw.
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
    columns_of = {column: number for number, column in enumerate(episode.columns)}
    member = torch.zeros(len(supports), len(columns_of))
    for row, clip in enumerate(episode.supports):
        member[row, columns_of[columns[clip]]] = 1.0
    y = torch.tensor([columns_of[columns[clip]] for clip in episode.queries])
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
    positions = (begin + (1 - cut) * np.linspace(0, 1, count)) * (count - 1)
    before = torch.from_numpy(np.floor(positions).astype(np.int64))
    share = torch.from_numpy((positions - np.floor(positions)).astype(np.float32))[..., None]
    rows = torch.arange(len(frames))[:, None]
    after = (before + 1).clamp_max(count - 1)
    moved = frames[rows, before] * (1 - share) + frames[rows, after] * share
    noise = torch.from_numpy(random.standard_normal(moved.shape).astype(np.float32))
    return moved + _NOISE / moved.shape[-1] ** 0.5 * noise


@register("learner", "episodic", status="null here")
class EpisodicLearner(Learner):
    """Train a relation network by episodes; weigh it against closed forms on held-out examples."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Train a relation network; the core stays unchanged, the head holds the network.

        Raises:
            UsageError: objectives or unlabelled clips are given.
        """
        if task.objectives or task.unlabelled or task.support is None:
            raise UsageError(
                f"method {task.method.name!r} is trained by episodes, which have no objectives and "
                "use no unlabelled clips; leave them out, or use method 'temporal'"
            )
        attach_relation(core, task)  # a wrong setting is found before clips are read
        examples = read_complete(core, task.support, task.items, task.progress)
        dataset = Dataset.of(task.support.labels, examples.items)
        dataset.targets.require_single(f"method {task.method.name!r}")
        begin, numbers = time.process_time(), EpisodeNumbers()
        folds = partition(dataset)
        once = numbers.episodes
        cost = TrainingCost(f"{task.method} by episodes", once, task.progress, len(folds) * once)
        cost.start()
        trainer = _Trainer(core, task, examples.features, dataset, numbers, cost)
        relation, loss = trainer.trained(np.arange(len(dataset)))
        weights = trainer.weights(halves(folds) if cost.is_long() else folds)
        closed, choice = trainer.closed(np.arange(len(dataset)))
        head = trainer.joined(closed, relation, weights)
        report = TrainingReport(
            method=task.method.name,
            recipe="episodes",
            steps=numbers.episodes,
            parameters=sum(p.numel() for p in relation.network.parameters()),
            loss=loss,
            seconds=round(time.process_time() - begin, 1),
            closed_weight=weights.closed,
            trained_weight=weights.trained,
            held_out=None if np.isnan(weights.accuracy) else weights.accuracy,
        )
        concepts = core.encode_labels(dataset.texts)
        head = balanced(head, dataset.y, task.balance)
        return guarded(
            core, head, examples, examples.features, concepts, task.unknown, choice, report
        )


def attach_relation(core: ModelCore, task: AdaptTask) -> RelationAdapter:
    """The adapter of a task at its start.

    Raises:
        UsageError: the method is not a relation network.
    """
    part = task.adapter
    if not issubclass(part, RelationAdapter):
        raise UsageError(f"method {task.method.name!r} is not trained by episodes; use trx")
    return part.attach(core.encoder, task.settings, seed=task.seed)


class _Trainer:
    """Fits the network and the closed forms to some of the examples."""

    def __init__(
        self,
        core: ModelCore,
        task: AdaptTask,
        features: Float32,
        dataset: Dataset,
        numbers: EpisodeNumbers,
        cost: TrainingCost,
    ) -> None:
        self.core, self.task, self.features = core, task, features
        self.dataset, self.numbers, self.cost = dataset, numbers, cost
        self.blocks = core.encoder.frame_blocks

    def trained(self, rows: np.ndarray) -> tuple[RelationHead, float]:
        """A head with a network trained on these examples, and its last loss."""
        adapter, part = attach_relation(self.core, self.task), self.dataset.part(rows.tolist())
        head: RelationHead = adapter.head()
        signatures = signature(self.features[rows], self.blocks, head.kind)
        head.fit(signatures, part.y, labels=self.dataset.labels)
        loss = train_network(
            head.network,
            head.frames(signatures),
            part.columns,
            part.groups,
            self.numbers,
            seed=self.task.seed,
            on_episode=lambda clips: self.cost(1),
        )
        return head, loss

    def closed(self, rows: np.ndarray) -> tuple[FewShotHead, Choice]:
        """The closed forms on these examples."""
        part = self.dataset.part(rows.tolist())
        return choose(
            self.features[rows],
            self.blocks,
            part.y,
            labels=self.dataset.labels,
            groups=part.groups,
        )

    def weights(self, folds: list[np.ndarray]) -> StackingWeights:
        """Factors on the closed forms and on the network, from the folds held out in turn."""
        shape = (len(self.dataset), len(self.dataset.labels))
        closed, trained = (np.full(shape, np.nan) for _ in range(2))
        for out in folds:
            fit_rows, held = np.flatnonzero(~out), np.flatnonzero(out)
            if len({self.dataset.y[row] for row in fit_rows}) < shape[1]:
                continue  # a label would be left without an example
            for logits, head in (
                (closed, self.closed(fit_rows)[0]),
                (trained, self.trained(fit_rows)[0]),
            ):
                rows = signature(self.features[held], self.blocks, head.kind)
                logits[held] = head.logits(rows)
        scored = ~np.isnan(closed[:, 0])
        target = np.array(self.dataset.columns)[scored]
        return fit_stacking(closed[scored], trained[scored], target)

    def joined(
        self, closed: FewShotHead, relation: RelationHead, weights: StackingWeights
    ) -> FewShotHead:
        """Both heads as one, without one that has no weight."""
        members = [(weights.closed * w, h) for w, h in _members(closed)]
        members = [(w, h) for w, h in (*members, (weights.trained, relation)) if w > 0]
        if not members:  # neither helps: the network alone, as it was asked for
            return relation
        names = dict.fromkeys(name for _, head in members for name in parse_kind(head.kind))
        vectors = terms(self.features[:1], self.blocks, tuple(names))
        widths = {name: vector.shape[1] for name, vector in vectors.items()}
        return MixtureHead.of(members, widths, sharpness=sum(weight for weight, _ in members))


def _members(head: FewShotHead) -> list[tuple[float, FewShotHead]]:
    return list(head.members) if isinstance(head, MixtureHead) else [(1.0, head)]
