"""Adaptation of a model to a support set: read, encode, choose, fit a head for its labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlar import registry
from vlar.adapters.base import training_type
from vlar.adapters.views import VIEWS
from vlar.encoders.base import FrameBlock
from vlar.encoders.bundle import BundleEncoder
from vlar.errors import UsageError
from vlar.heads.adapted_head import AdaptedHead, OneSensor
from vlar.heads.fewshot.balanced import BalancedHead
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.model_selection import (
    AUTO,
    Choice,
    choices,
    choose,
    fit_rejector,
    held_out_answers,
    held_out_confusions,
    held_out_logits,
    keep_right,
)
from vlar.heads.reject import Familiarity, Rejector
from vlar.heads.signatures import alone, names_sensors, plain_kind, signature
from vlar.heads.support import Support, SupportItem, read_support
from vlar.heads.targets import check_single
from vlar.language.clean import clean_label
from vlar.language.tree import Tree
from vlar.media.lookup import sensors_of
from vlar.model.adapt_report import AdaptReport, TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, check_memory, draw, read_complete, recording_hashes
from vlar.model.label_heads import label_tree
from vlar.model.method import AdaptTask, Method
from vlar.model.requests import (
    ADJUST,
    BALANCES,
    NO_BALANCE,
    SYNONYMS,
    AdaptRequest,
    Objectives,
    find_unlabelled,
)
from vlar.types import Float32, Float64, JsonDict

_log = logging.getLogger("vlar")
FAMILIARITY = Familiarity.name
TRAINED = "temporal"  # what auto trains where an objective is named


@dataclass(frozen=True)
class Adapted:
    """Result of an adaptation.

    Attributes:
        core: The core that the head scores clips of; a training puts an adapter into it.
        head: Scores clips over the labels of the support set; None where the core answers about
            any labels by itself.
        report: Facts of the learning.
    """

    core: ModelCore
    head: AdaptedHead | None
    report: AdaptReport


def adapt(core: ModelCore, request: AdaptRequest) -> Adapted:
    """Learn what a user asks for; see ``Model.adapt``.

    Args:
        core: Its encoder learns, or is asked.
        request: With what the user gives; what is read from it is filled in here.
    """
    method = _method(core, request)
    core = _in_training_type(core, method)
    unknown = SYNONYMS.get(request.unknown, request.unknown)
    for kind, name, names in (
        ("rejector", unknown, choices()),
        ("balance", request.balance, BALANCES),
    ):
        if name not in names:
            raise registry.unknown_name(kind, name, names)
    task = AdaptTask(
        method,
        None,
        (),
        _unlabelled(core, method, request),
        request.seed,
        unknown,
        request.balance,
        request.progress,
        request.start,
        request.before,
    )
    source = request.source
    if source is None:
        return remembering(learn(core, task), core, (), request.learned)
    support = (
        source
        if isinstance(source, Support)
        else read_support(source, core.modality, facts=method.facts)
    )
    items = support.items if request.shots is None else draw(support, request.shots, request.seed)
    above = label_tree(core, request.tree, support.labels)
    check_memory(core, items, f"{support.source}: ")
    _require_sensors(core, [item.path for item in (*items, *task.unlabelled)], support)
    if method.is_trained:
        method = replace(method, objectives=under(above, method.objectives))
        adapted = learn(core, replace(task, method=method, support=support, items=list(items)))
    else:
        check_single(support.labels, items, f"method {method.name!r}")
        examples = read_complete(core, support, items, request.progress)
        adapted = fit_examples(
            core, support.labels, examples, method.name, unknown, request.balance
        )
    groups = len({item.group for item in items})
    adapted = replace(
        adapted, report=replace(adapted.report, source=support.source.name, groups=groups)
    )
    return remembering(with_tree(adapted, above), core, items, request.learned)


def _method(core: ModelCore, request: AdaptRequest) -> Method:
    """The method of a request, which the encoder chooses where no clip has a label.

    Raises:
        UsageError: there is nothing that the method could learn from, or it has no use for a part
            of the request.
        UnknownNameError: it does not exist.
    """
    name, labelled = request.method, request.source is not None
    if not labelled and name in (AUTO, *registry.names("fewshot")):
        if request.free is None and request.learner is None:
            raise _nothing_to_learn_from()
        if name != AUTO:
            raise UsageError(
                f"method {name!r} is a closed form, which needs labelled examples; name an adapter "
                "to train, for example temporal, or give a support set"
            )
        name = "lora" if VIEWS["vit_blocks"].offered(core.encoder) else TRAINED
    elif name == AUTO and request.objectives:
        name = TRAINED
    method = Method.of(
        name,
        settings=request.settings,
        learner=request.learner,
        recipe=request.recipe,
        objectives=request.objectives,
    )
    if request.start is not None and not hasattr(method.adapter, "start_from"):
        raise UsageError(
            f"method {method.name!r} starts from no released file; --from {request.start} is for "
            "methods such as ctr-gcn, hd-gcn or skateformer"
        )
    if not labelled and request.free is None and not method.starts_alone:
        raise _nothing_to_learn_from()
    method.require_labels_alone(unlabelled=bool(request.free))
    return method


def _in_training_type(core: ModelCore, method: Method) -> ModelCore:
    """The core, loaded in float32 where the device chose less and the method trains in towers."""
    load = getattr(core.encoder, "in_float32", None)
    if load is None or training_type(method.name) is None:
        return core
    _log.info("%s trains inside towers: %s is loaded again, in float32", method.name, core.name)
    return ModelCore(load().encoder, templates=core.template_set)


def _nothing_to_learn_from() -> UsageError:
    return UsageError(
        "nothing to learn from: give a support set, or unlabelled clips with an objective that "
        "needs no labels (--unlabelled FOLDER --objective maxi --dictionary bank:kinetics400)"
    )


def _unlabelled(core: ModelCore, method: Method, request: AdaptRequest) -> Sequence[SupportItem]:
    """The clips without labels that a request names."""
    if not request.free:
        return ()
    return find_unlabelled(request.free, core.modality, facts=method.facts)


def _require_sensors(core: ModelCore, paths: Sequence[Path], support: Support) -> None:
    """Refuse a model of sensors of which no example has one.

    Raises:
        UsageError: the message names the sensor.
    """
    sensors = {name for name, _ in core.sampling.sensors}
    if not sensors:
        return
    for path in paths:
        sensors.difference_update(sensors_of(path))
        if not sensors:
            return
    raise UsageError(
        f"{support.source}: no example has the sensor {min(sensors)!r}, which model {core.name!r} "
        "reads; choose a model without it, or add its recordings"
    )


def learn(core: ModelCore, task: AdaptTask) -> Adapted:
    """Let the learner of a method carry out a task.

    Args:
        core: Its encoder is wrapped.
        task: With the examples and the unlabelled clips.

    Raises:
        UsageError: the learner has no use for a part of the task.
    """
    learner, remaining = registry.get("learner", task.method.learner).of(task)
    return learner.fit(core, remaining)


def remembering(
    adapted: Adapted, core: ModelCore, items: Sequence[SupportItem], learned: Sequence[str]
) -> Adapted:
    """The same with a report that keeps what the adapters around its encoder learned from.

    An encoder that learned from an example before recognises it too well. So a report states no
    accuracy on held-out examples where one of them comes from such a recording.

    Args:
        adapted: What was learned.
        core: What it was learned with.
        items: The examples.
        learned: Content hashes of the recordings that the core's adapters learned from.
    """
    trained = adapted.core.encoder is not core.encoder
    if not trained and not learned:
        return adapted
    hashes, before = recording_hashes(items), set(learned)
    repeated = sum(content_hash in before for content_hash in hashes)
    content_hashes = tuple(sorted(before.union(hashes if trained else ())))
    report = replace(adapted.report, learned=content_hashes)
    return replace(adapted, report=report.without_held_out(repeated) if repeated else report)


def under(tree: Tree | None, objectives: Objectives) -> Objectives:
    """The objectives with a label tree: those that read one get it, or ``tree`` is added."""
    if tree is None:
        return objectives
    settings_of: Mapping[str, JsonDict] = objectives if isinstance(objectives, Mapping) else {}
    named = {name: dict(settings_of.get(name, {})) for name in objectives}
    reading = [name for name in named if registry.get("objective", name).reads_tree]
    for name in reading or ["tree"]:
        named.setdefault(name, {}).setdefault("parents", dict(tree.parents))
    return named


def balanced(head: FewShotHead, y: Sequence[str], balance: str) -> FewShotHead:
    """The head of ``balance``: the same, or one that does not prefer labels with more examples.

    Args:
        head: Fitted.
        y: Labels of the examples that it learned from.
        balance: ``none`` or ``adjust``.
    """
    return BalancedHead.of(head, y) if balance == ADJUST else head


def with_tree(adapted: Adapted, tree: Tree | None) -> Adapted:
    """The same with a label tree that stays with the model; None leaves it.

    Raises:
        UsageError: the model answers about any labels.
    """
    if tree is None:
        return adapted
    if adapted.head is None:
        raise UsageError(
            "a label tree adds up labels that exclude each other, and this model answers about any "
            "labels; leave tree out, and give it to 'vlar classify'"
        )
    return replace(adapted, head=replace(adapted.head, tree=tree))


def fit_examples(
    core: ModelCore,
    labels: tuple[str, ...],
    examples: EncodedExamples,
    method: str = AUTO,
    unknown: str = FAMILIARITY,
    balance: str = NO_BALANCE,
) -> Adapted:
    """Fit a closed form to examples that are encoded.

    Args:
        core: What encoded them.
        labels: C labels, each with an example of its own.
        examples: With one label each.
        method: A closed form, or ``auto``.
        unknown: Registered name of the rejector.
        balance: ``adjust`` for a head that does not prefer labels with more examples.
    """
    blocks, features = core.encoder.frame_blocks, examples.features
    y = [item.label for item in examples.items]
    groups = [item.group for item in examples.items]
    concepts = core.encode_labels([clean_label(label) for label in labels])
    zero_shot = examples.vectors @ concepts.T
    head, choice = choose(
        features, blocks, y, zero_shot, labels=labels, groups=groups, method=method
    )
    held_out = held_out_logits(head, features, blocks, y, zero_shot, groups)
    head = balanced(head, y, balance)
    fitted = guarded(core, head, examples, features, concepts, unknown, choice, held_out=held_out)
    heads = _heads_of_sensors(core, labels, examples, method, unknown, balance)
    with_heads = fitted.head and replace(fitted.head, sensors=heads)
    return Adapted(core, with_heads, fitted.report)


def _heads_of_sensors(
    core: ModelCore, labels: tuple[str, ...], examples: EncodedExamples, *how: str
) -> dict[str, OneSensor]:
    """The heads that sensors of a bundle learn alone, of those with examples of all labels."""
    encoder, heads = core.encoder, dict[str, OneSensor]()
    if not isinstance(encoder, BundleEncoder) or len(encoder.parts) < 2:
        return heads
    for number, (part, places) in enumerate(zip(encoder.parts, encoder.places, strict=True)):
        rows = encoder.of_part(examples.encoded, number)
        items = [examples.items[row] for row in rows]
        if {item.label for item in items} != set(labels):
            continue
        examples_alone = EncodedExamples(items, list(rows.values()), ())
        head = fit_examples(ModelCore(part), labels, examples_alone, *how).head
        assert head is not None
        concepts = np.zeros((len(labels), encoder.dim), np.float32)
        concepts[:, places] = head.concepts
        heads[part.modality] = OneSensor(replace(head, concepts=concepts), part.feature_rows)
    return heads


def _curves(
    features: Float32,
    blocks: Sequence[FrameBlock],
    kind: str,
    y: Sequence[str],
    groups: Sequence[str],
    logits: Float64 | None,
) -> dict[str, tuple[float, float]]:
    """Centre and slope of the familiarity of examples with one sensor of a bundle, by sensor."""
    curves: dict[str, tuple[float, float]] = {}
    if not names_sensors(kind):
        return curves
    for sensor in dict.fromkeys(block.part for block in blocks if block.part):
        lone = alone(features, blocks, sensor)
        rows: list[int] = np.flatnonzero(lone.any(axis=(1, 2))).tolist()
        labels = [y[row] for row in rows]
        if len(set(labels)) < 2:
            continue
        named = [groups[row] for row in rows]
        shown = signature(lone[rows], blocks, kind)
        familiarity = Familiarity().fit(shown, labels, named)
        all_shown = set(labels) == set(y)
        held = logits[rows] if logits is not None and all_shown else None
        keep_right(familiarity, shown, labels, named, held)
        curves[sensor] = familiarity.centre, familiarity.slope
    return curves


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
    held_out: Float64 | None = None,
) -> Adapted:
    """A fitted head with a rejector, its examples and its report.

    Args:
        core: What encoded the examples.
        head: Fitted on them.
        examples: n examples.
        features: (n, T, F) float32 their frame features.
        concepts: (C, D) float32 concepts of the labels' texts.
        unknown: Registered name of the rejector, or ``auto``.
        choice: The closed forms that were tried; None where there were none.
        training: How the head was trained; None for a closed form.
        zero_shot: (n, C) similarities of the examples to the concepts, for a rejector that reads
            logits.
        held_out: (n, C) logits of the examples by heads that did not learn from them; None
            computes those of the closed forms.
    """
    blocks = core.encoder.frame_blocks
    y = [item.label for item in examples.items]
    groups = [item.group for item in examples.items]
    kind = head.kind if head.reads == "vector" else plain_kind(blocks)
    rows = signature(features, blocks, kind)
    familiarity = Familiarity().fit(rows, y, groups)
    logits: Float64 | None = None
    confused, tested = (), 0
    held: tuple[tuple[float, float], ...] = ()
    if held_out is not None:
        logits = head.adjusted(held_out)
        confused, tested = held_out_confusions(logits, head.labels, y, groups)
        held = held_out_answers(logits, head.labels, y, groups)
    elif head.closed_forms():
        logits = held_out_logits(head, features, blocks, y, zero_shot, groups)
    logits = None if logits is None else logits[:, np.argsort(head.labels)]
    rejector: Rejector = familiarity
    if unknown != FAMILIARITY:
        fitted = fit_rejector(unknown, rows, y, groups, logits)
        rejector = familiarity if fitted.name == FAMILIARITY else fitted
    keep_right(rejector, rows, y, groups, logits)
    columns = {label: number for number, label in enumerate(head.labels)}
    adapted = AdaptedHead(
        head=head,
        rejector=rejector,
        familiarity=familiarity,
        owners=np.array([columns[label] for label in y], np.int64),
        concepts=concepts,
        blocks=blocks,
        kind=kind,
        statistics=examples.statistics.with_features(features),
        curves=_curves(features, blocks, kind, y, groups, logits),
    )
    label_counts = Counter(y)
    counts = {label: label_counts[label] for label in head.labels}
    report = AdaptReport(
        counts,
        examples.failed,
        choice,
        training,
        confused,
        tested,
        synthetic=examples.synthetic,
        held=held,
        facts=examples.facts,
    )
    return Adapted(core, adapted, report)
