"""From a support set to a head that has its labels: read, encode, choose, fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vlar import registry
from vlar.errors import SupportError, UsageError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.base import FewShotHead
from vlar.fewshot.model_selection import AUTO, Choice, choose, held_out_logits, methods
from vlar.fewshot.reject.base import Rejector
from vlar.fewshot.reject.familiarity import Familiarity
from vlar.fewshot.report import AdaptReport, TrainingReport
from vlar.fewshot.request import AdaptRequest, Objectives
from vlar.fewshot.signature_kinds import plain_kind
from vlar.fewshot.support import Support, SupportItem, read_support
from vlar.fewshot.targets import Targets
from vlar.fewshot.temporal_features import signature
from vlar.fewshot.unlabelled import find_unlabelled
from vlar.model.core import EncodedSpan, ModelCore
from vlar.sensors import ViewSampler
from vlar.text.clean import clean_label
from vlar.types import Encoded, Failure, Float32, Float64, ProgressCallback

FAMILIARITY = Familiarity.name


@dataclass(frozen=True)
class Adapted:
    """What adapting gives.

    Attributes:
        core: The core that the head scores clips of; a training puts an adapter into it.
        head: Scores clips over the labels of the support set.
        report: How it was learned.
    """

    core: ModelCore
    head: AdaptedHead
    report: AdaptReport


def adapt(
    core: ModelCore,
    source: str | Path | Support,
    method: str = AUTO,
    shots: int | None = None,
    seed: int = 0,
    unknown: str = FAMILIARITY,
    progress: ProgressCallback | None = None,
    objectives: Objectives = (),
    unlabelled: str | Path | None = None,
) -> Adapted:
    """Learn from a support set; see ``Model.adapt``."""
    trained = _is_trained(method)
    if unknown not in registry.names("rejector"):
        raise registry.unknown_name("rejector", unknown, registry.names("rejector"))
    modality = core.modality
    support = source if isinstance(source, Support) else read_support(source, modality)
    items = list(support.items) if shots is None else _draw(support, shots, seed)
    if trained:
        free = find_unlabelled(unlabelled, modality) if unlabelled else ()
        request = AdaptRequest(
            support, items, method, seed, unknown, objectives=objectives, unlabelled=free,
            progress=progress,
        )  # fmt: skip
        learner = registry.get("learner", registry.get("adapter", method).learner)
        return learner().fit(core, request)
    if objectives or unlabelled:
        raise UsageError(
            f"method {method!r} is a closed form, which has no objectives and uses no unlabelled "
            "clips; name an adapter to train, for example temporal"
        )
    targets = Targets.of(support.labels, items)
    targets.require_single(f"method {method!r}")
    found = read_complete(core, support, items, progress)
    return _fit(core, support.labels, found, method, unknown)


def _is_trained(method: str) -> bool:
    """Whether a method is trained rather than a closed form.

    Raises:
        UnknownNameError: it is neither.
    """
    closed, trained = registry.names("fewshot"), registry.names("adapter")
    if method in (AUTO, *closed):
        return False
    if method not in trained:
        raise registry.unknown_name("method", method, (AUTO, *methods(), *trained))
    return True


@dataclass(frozen=True)
class EncodedExamples:
    """The examples of a support set that could be read, encoded.

    Attributes:
        items: n examples.
        encoded: n rows; a row from a cache of features has no context tokens.
        failed: The examples that could not be read.
    """

    items: Sequence[SupportItem]
    encoded: Sequence[Encoded]
    failed: tuple[Failure, ...]

    @property
    def features(self) -> Float32:
        """(n, T, F) float32 frame features."""
        return np.stack([each.features for each in self.encoded])

    @property
    def vectors(self) -> Float32:
        """(n, D) float32 unit vectors."""
        return np.stack([each.vector for each in self.encoded])


class FeatureCache(Protocol):
    """Frame features that were computed before."""

    def get(self, item: SupportItem) -> Float32 | None:
        """(T, F) of an example, or None."""
        ...

    def put(self, item: SupportItem, features: Float32) -> None:
        """Store (T, F) of an example."""
        ...


def read_examples(
    core: ModelCore,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None = None,
    cache: FeatureCache | None = None,
    *,
    sampler: ViewSampler | None = None,
) -> EncodedExamples:
    """Read and encode examples, in batches across recordings.

    Args:
        core: What encodes them.
        items: Recordings and spans.
        progress: Called once with the total, then after each example.
        cache: Features that need no encoding; the rest is stored in it.
        sampler: Reads the views of each example; None reads one view each, as methods learn from.
    """
    if progress is not None:
        progress(0, total=len(items))
    cached = [_cached(core, cache.get(item) if cache else None) for item in items]
    missing = ((i.path, i.window) for i, had in zip(items, cached, strict=True) if had is None)
    sampler = sampler or core.view_sampler.one_view
    spans = core.encode_spans(sampler.sample_each(missing))
    used: list[SupportItem] = []
    encoded: list[Encoded] = []
    failed: list[Failure] = []
    for item, had in zip(items, cached, strict=True):
        row = had or next(spans)
        if isinstance(row, Failure):
            failed.append(row)
        else:
            used.append(item)
            encoded.append(row.encoded if isinstance(row, EncodedSpan) else row)
            if cache is not None and had is None:
                cache.put(item, encoded[-1].features)
        if progress is not None:
            progress(1)
    return EncodedExamples(used, encoded, tuple(failed))


def read_complete(
    core: ModelCore,
    support: Support,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None = None,
    cache: FeatureCache | None = None,
) -> EncodedExamples:
    """``read_examples`` of a support set, in which every label keeps an example.

    Raises:
        SupportError: a label has no example that can be read.
    """
    examples = read_examples(core, items, progress, cache)
    check_complete(support, examples)
    return examples


def _cached(core: ModelCore, features: Float32 | None) -> Encoded | None:
    if features is None:
        return None
    return Encoded(features, core.encoder.pool(features[None])[0])


def check_complete(support: Support, examples: EncodedExamples) -> None:
    """Refuse examples in which a label of the support set has none left.

    Raises:
        SupportError: the message names the label and the first failure.
    """
    there = {label for item in examples.items for label in item.labels}
    lost = sorted(set(support.labels) - there)
    if lost:
        raise SupportError(
            f"{support.source}: no example of {lost[0]!r} can be read "
            f"({examples.failed[0].message}); replace the broken recordings"
        )


def _fit(
    core: ModelCore,
    labels: tuple[str, ...],
    examples: EncodedExamples,
    method: str,
    unknown: str,
) -> Adapted:
    blocks, features = core.encoder.frame_blocks, examples.features
    y = [item.label for item in examples.items]
    groups = [item.group for item in examples.items]
    concepts = core.encode_queries([clean_label(label) for label in labels])
    zero_shot = examples.vectors @ concepts.T
    head, choice = choose(
        features, blocks, y, zero_shot, labels=labels, groups=groups, method=method
    )
    return guarded(core, head, examples, features, concepts, unknown, choice, None, zero_shot)


def guarded(
    core: ModelCore,
    head: FewShotHead,
    examples: EncodedExamples,
    features: Float32,
    concepts: Float32,
    unknown: str = FAMILIARITY,
    choice: Choice | None = None,
    training: TrainingReport | None = None,
    zero_shot: Float32 | None = None,
) -> Adapted:
    """A fitted head with a rejector, its examples and its report.

    Args:
        core: What encoded the examples.
        head: Fitted on them.
        examples: n examples.
        features: (n, T, F) float32 their frame features.
        concepts: (C, D) float32 concepts of the labels' texts.
        unknown: Registered name of the rejector.
        choice: The closed forms that were tried; None where there were none.
        training: How the head was trained; None for a closed form.
        zero_shot: (n, C) similarities of the examples to the concepts, for a rejector that reads
            logits.
    """
    blocks = core.encoder.frame_blocks
    y = [item.label for item in examples.items]
    groups = [item.group for item in examples.items]
    kind = head.kind if head.reads == "vector" else plain_kind(blocks)
    rows = signature(features, blocks, kind)
    familiarity = Familiarity().fit(rows, y, groups)
    rejector: Rejector = familiarity
    if unknown != FAMILIARITY:
        rejector = registry.get("rejector", unknown)()
        logits: Float64 | None = None
        if rejector.reads == "logits":
            if not head.closed_forms():
                raise UsageError(
                    f"rejector {unknown!r} reads the logits of held-out examples, which this "
                    f"method cannot give; use {FAMILIARITY!r}"
                )
            logits = held_out_logits(head, features, blocks, y, zero_shot, groups)
        rejector.fit(rows, y, groups, logits)
    adapted = AdaptedHead(
        head=head,
        rejector=rejector,
        familiarity=familiarity,
        owners=np.array([head.labels.index(label) for label in y], np.int64),
        concepts=concepts,
        blocks=blocks,
        kind=kind,
    )
    counts = {label: y.count(label) for label in head.labels}
    return Adapted(core, adapted, AdaptReport(counts, examples.failed, choice, training))


def _draw(support: Support, shots: int, seed: int) -> list[SupportItem]:
    """At most ``shots`` examples a label, from different groups as far as there are enough."""
    random = np.random.default_rng(seed)
    drawn: list[SupportItem] = []
    for label in support.labels:
        items = [item for item in support.items if label in item.labels and item not in drawn]
        order = [items[i] for i in random.permutation(len(items))]
        seen: dict[str, int] = {}
        ranked: list[tuple[int, SupportItem]] = []
        for item in order:
            ranked.append((seen.setdefault(item.group, 0), item))
            seen[item.group] += 1
        ranked.sort(key=lambda pair: pair[0])
        drawn += [item for _, item in ranked[:shots]]
    return drawn
