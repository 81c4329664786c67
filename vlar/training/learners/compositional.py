"""``compositional``: pairs of verb and object, trained, with closed forms of verbs and objects."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.encoders.composed import ComposedLabels, Pair
from vlar.errors import UsageError
from vlar.fewshot import FewShotHead, choose, signature
from vlar.fewshot.heads.components import PARTS, ComponentsHead
from vlar.fewshot.heads.stacking import StackingWeights, fit_stacking
from vlar.fewshot.report import TrainingReport
from vlar.fewshot.request import NO_BALANCE, AdaptRequest
from vlar.fewshot.support import Support
from vlar.fewshot.temporal_features import parse_kind, terms
from vlar.model.adapt import Adapted, guarded
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, read_complete
from vlar.numeric import log_softmax
from vlar.registry import register
from vlar.training.cost import TrainingCost
from vlar.training.dataset import Dataset
from vlar.training.learners.base import Learner
from vlar.training.loop import Training
from vlar.training.results import Trained
from vlar.training.sources import FeatureSource, partition, read_on_disk
from vlar.training.stacking import train_on
from vlar.training.task import TrainingTask
from vlar.types import Float64

Rows = npt.NDArray[np.intp]
_FOLDS = 3
_MOST_PAIRS = 4096


@register("learner", "compositional")
class CompositionalLearner(Learner):
    """Train an adapter that scores pairs; weigh it against closed forms of verbs and objects.

    The weights are fitted on examples held out of both, among every verb with every object.
    """

    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """See ``Learner``.

        Raises:
            UsageError: a label has no verb or no object, or examples are to be balanced.
        """
        support = _checked(request)
        examples = read_complete(core, support, request.items, request.progress)
        dataset = Dataset.of(support.labels, examples.items)
        dataset.targets.require_single(f"method {request.method!r}")
        begin = time.process_time()
        trainer = _Trainer(core, request, examples, dataset)
        weights = trainer.weights()
        training, trained = trainer.trained(np.arange(len(dataset)))
        adapter = training.adapter
        assert isinstance(adapter, ComposedLabels)
        closed = trainer.closed(np.arange(len(dataset)))
        head = trainer.head(closed, weights, adapter.pair_scale)
        report = TrainingReport(
            method=request.method,
            recipe=trainer.task.recipe,
            steps=trained.steps,
            parameters=sum(p.numel() for _, p in training.named),
            loss=trained.epochs[-1].losses["total"] if trained.epochs else 0.0,
            seconds=round(time.process_time() - begin, 1),
            closed_weight=weights.closed,
            trained_weight=weights.trained,
            held_out=None if np.isnan(weights.accuracy) else weights.accuracy,
        )
        made = ModelCore(adapter, templates=adapter.templates)
        concepts = made.encode_labels(dataset.texts)
        examples = replace(examples, failed=(*examples.failed, *trainer.failed))
        return guarded(
            made, head, examples, examples.features, concepts, request.unknown, None, report
        )


def _checked(request: AdaptRequest) -> Support:
    if request.support is None:
        raise UsageError(f"method {request.method!r} learns from labelled clips; give some")
    if request.balance != NO_BALANCE:
        raise UsageError(
            f"method {request.method!r} does not balance labels (balance {request.balance!r}); "
            "leave the balance out"
        )
    for item in request.items:
        missing = [part for part in PARTS if part not in item.parts]
        if missing:
            raise UsageError(
                f"{request.support.source}: method {request.method!r} learns verbs and objects "
                f"apart, and the examples have no {missing[0]!r}; give a CSV with the columns "
                "path,verb,object"
            )
    return request.support


@dataclass
class _Trainer:
    """Fits the adapter and the closed forms to some of the examples."""

    core: ModelCore
    request: AdaptRequest
    examples: EncodedExamples
    dataset: Dataset

    def __post_init__(self) -> None:
        request = self.request
        self.task = TrainingTask.by_recipe(
            self.core.encoder,
            request.method,
            recipe=request.recipe,
            settings=request.settings,
            seed=request.seed,
            objectives=request.objectives,
            unlabelled=request.unlabelled,
        )
        self.features = self.examples.features
        free = read_on_disk(self.core, request.unlabelled, request.progress)
        self.failed = free.failed
        self.source = FeatureSource(self.features, free.features, free.paths)
        self.pairs = [_pair(item.parts) for item in self.examples.items]
        words = [sorted({pair[at] for pair in self.pairs}) for at in range(len(PARTS))]
        # Of very many words only the pairs that are shown are compared.
        every = math.prod(map(len, words)) <= _MOST_PAIRS
        self.every = sorted(itertools.product(words[0], words[1]) if every else set(self.pairs))
        folds = partition(self.dataset)
        self.folds = [np.any(folds[at::_FOLDS], axis=0) for at in range(min(_FOLDS, len(folds)))]
        passes = sum(self.task.numbers.passes(int((~out).sum())) for out in self.folds)
        passes += self.task.numbers.passes(len(self.dataset))
        self.cost = TrainingCost(
            f"{request.method} by {self.task.recipe}", passes, request.progress
        )

    def trained(self, rows: Rows) -> tuple[Training, Trained]:
        """The adapter trained on some of the examples, of which each label keeps one or goes."""
        items = [self.examples.items[row] for row in rows]
        labels = sorted({item.label for item in items})
        part = Dataset.of(labels, items)
        free = self.source
        source = FeatureSource(self.features[rows], free.free, free.free_paths)
        return train_on(self.task, part, source, on_step=self.cost)

    def closed(self, rows: Rows) -> dict[str, FewShotHead]:
        """The closed forms of some of the examples, by part; none for a part of one word."""
        blocks, found = self.core.encoder.frame_blocks, dict[str, FewShotHead]()
        groups = list(self.dataset.groups)
        held_together = [groups[row] for row in rows.tolist()]
        for at, part in enumerate(PARTS):
            y = [self.pairs[row][at] for row in rows.tolist()]
            if len(set(y)) > 1:
                found[part], _ = choose(self.features[rows], blocks, y, groups=held_together)
        return found

    def weights(self) -> StackingWeights:
        """Factors on the closed forms and on the similarity, from the folds held out in turn."""
        self.cost.start()
        n, place = len(self.pairs), {pair: column for column, pair in enumerate(self.every)}
        closed, trained = (np.full((n, len(self.every)), np.nan) for _ in range(2))
        for out in self.folds:
            kept, held = np.flatnonzero(~out), np.flatnonzero(out)
            if self._words(kept) != self._words(np.arange(n)) or not len(held):
                continue  # a verb or an object would be left without an example
            adapter = self.trained(kept)[0].adapter
            closed[held] = self._closed_logits(self.closed(kept), held)
            trained[held] = self._similarity(adapter, held)
        scored = ~np.isnan(closed[:, 0])
        target = np.array([place[pair] for pair in self.pairs])[scored]
        return fit_stacking(closed[scored], trained[scored], target)

    def _words(self, rows: Rows) -> list[set[str]]:
        return [{self.pairs[row][at] for row in rows} for at in range(len(PARTS))]

    def _closed_logits(self, heads: dict[str, FewShotHead], rows: Rows) -> Float64:
        total = np.zeros((len(rows), len(self.every)))
        for part, head in heads.items():
            own = signature(self.features[rows], self.core.encoder.frame_blocks, head.kind)
            columns = [head.labels.index(pair[PARTS.index(part)]) for pair in self.every]
            total += log_softmax(head.logits(own))[:, columns]
        return total

    def _similarity(self, adapter: Adapter, rows: Rows) -> Float64:
        assert isinstance(adapter, ComposedLabels)
        context = adapter.context(self.features[rows])
        return adapter.pair_scale * adapter.pair_similarity(context, self.every).astype(np.float64)

    def head(
        self, closed: dict[str, FewShotHead], weights: StackingWeights, scale: float
    ) -> ComponentsHead:
        """Both as one."""
        labels, trained = self.dataset.labels, weights.trained * scale
        first = {item.label: _pair(item.parts) for item in self.examples.items}
        pairs = [first[label] for label in labels]
        names = dict.fromkeys(name for head in closed.values() for name in parse_kind(head.kind))
        found = terms(self.features[:1], self.core.encoder.frame_blocks, tuple(names))
        widths = {name: vector.shape[1] for name, vector in found.items()}
        return ComponentsHead.of(
            *(labels, pairs, closed, widths), closed_weight=weights.closed, trained_weight=trained
        )


def _pair(parts: Mapping[str, str]) -> Pair:
    return parts["verb"], parts["object"]
