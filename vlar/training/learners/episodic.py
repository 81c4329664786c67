"""``episodic``: a comparison of clips trained by tasks drawn from the support set."""

from __future__ import annotations

import time

import numpy as np

from vlar import registry
from vlar.adapters.relations.adapter import RelationAdapter
from vlar.errors import UsageError
from vlar.fewshot import Choice, FewShotHead, choose, signature
from vlar.fewshot.heads.mixture import MixtureHead
from vlar.fewshot.heads.relation import RelationHead
from vlar.fewshot.heads.stacking import StackingWeights, fit_stacking
from vlar.fewshot.report import TrainingReport
from vlar.fewshot.request import AdaptRequest
from vlar.fewshot.temporal_features import parse_kind, terms
from vlar.model.adapt import Adapted, balanced, guarded
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete
from vlar.registry import register
from vlar.training.cost import TrainingCost
from vlar.training.dataset import Dataset
from vlar.training.episodes import EpisodeNumbers, train_network
from vlar.training.learners.base import Learner
from vlar.training.sources import halves, partition
from vlar.types import Float32


@register("learner", "episodic")
class EpisodicLearner(Learner):
    """Train a relation network by episodes; weigh it against closed forms on held-out examples."""

    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """See ``Learner``; the core stays as it is, the head holds the network.

        Raises:
            UsageError: objectives or unlabelled clips are given.
        """
        if request.objectives or request.unlabelled or request.support is None:
            raise UsageError(
                f"method {request.method!r} is trained by episodes, which have no objectives and "
                "use no unlabelled clips; leave them out, or use method 'temporal'"
            )
        attach_relation(core, request)  # a wrong setting is found before clips are read
        examples = read_complete(core, request.support, request.items, request.progress)
        dataset = Dataset.of(request.support.labels, examples.items)
        dataset.targets.require_single(f"method {request.method!r}")
        begin, numbers = time.process_time(), EpisodeNumbers()
        folds = partition(dataset)
        once = numbers.episodes
        cost = TrainingCost(
            f"{request.method} by episodes", once, request.progress, len(folds) * once
        )
        cost.start()
        trainer = _Trainer(core, request, examples.features, dataset, numbers, cost)
        relation, loss = trainer.trained(np.arange(len(dataset)))
        weights = trainer.weights(halves(folds) if cost.is_long() else folds)
        closed, choice = trainer.closed(np.arange(len(dataset)))
        head = trainer.joined(closed, relation, weights)
        report = TrainingReport(
            method=request.method,
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
        head = balanced(head, dataset.y, request.balance)
        return guarded(
            core, head, examples, examples.features, concepts, request.unknown, choice, report
        )


def attach_relation(core: ModelCore, request: AdaptRequest) -> RelationAdapter:
    """The adapter of a request at its start.

    Raises:
        UsageError: the method is not a relation network.
    """
    part = registry.get("adapter", request.method)
    if not issubclass(part, RelationAdapter):
        raise UsageError(f"method {request.method!r} is not trained by episodes; use trx")
    return part.attach(core.encoder, request.settings, seed=request.seed)


class _Trainer:
    """Fits the network and the closed forms to some of the examples."""

    def __init__(
        self,
        core: ModelCore,
        request: AdaptRequest,
        features: Float32,
        dataset: Dataset,
        numbers: EpisodeNumbers,
        cost: TrainingCost,
    ) -> None:
        self.core, self.request, self.features = core, request, features
        self.dataset, self.numbers, self.cost = dataset, numbers, cost
        self.blocks = core.encoder.frame_blocks

    def trained(self, rows: np.ndarray) -> tuple[RelationHead, float]:
        """A head with a network trained on these examples, and its last loss."""
        adapter, part = attach_relation(self.core, self.request), self.dataset.part(rows.tolist())
        head: RelationHead = adapter.head()
        signatures = signature(self.features[rows], self.blocks, head.kind)
        head.fit(signatures, part.y, labels=self.dataset.labels)
        loss = train_network(
            head.network,
            head.frames(signatures),
            part.columns,
            part.groups,
            self.numbers,
            seed=self.request.seed,
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
            kept, held = np.flatnonzero(~out), np.flatnonzero(out)
            if len({self.dataset.y[row] for row in kept}) < shape[1]:
                continue  # a label would be left without an example
            for logits, head in ((closed, self.closed(kept)[0]), (trained, self.trained(kept)[0])):
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
