"""``compositional``: pairs of verb and object, trained, with closed forms of verbs and objects."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlar.adapters.base import Adapter
from vlar.encoders.protocols import ComposedLabels
from vlar.errors import UsageError
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.components import ComponentsHead
from vlar.heads.model_selection import choose
from vlar.heads.signatures import parse_kind, terms
from vlar.heads.support import Support
from vlar.language.clean import clean_label
from vlar.language.labels import PARTS
from vlar.model.adapt import Adapted, guarded
from vlar.model.adapt_report import TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples, read_complete
from vlar.model.method import AdaptTask
from vlar.model.requests import NO_BALANCE
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.learners import Learner
from vlar.training.progress import Trained, TrainingCost
from vlar.training.sources import FeatureSource, read_on_disk
from vlar.training.task import TrainingTask
from vlar.types import Failure

# Factors on the log probabilities of closed forms and on the scaled similarity, chosen on Weizmann
# (``evals/compositions.py --mixtures``). They are not fitted to held-out examples, which would all
# be of pairs that have examples: that is where closed forms do best, and other pairs are asked for.
CLOSED, TRAINED = 0.25, 0.5


@register("learner", "compositional", status="in the spirit")
class CompositionalLearner(Learner):
    """Train an adapter that scores pairs; join it with closed forms of verbs and objects."""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Learn verbs and objects from examples.

        Raises:
            UsageError: a label has no verb or no object, or examples are to be balanced.
        """
        support = _checked(task)
        examples = read_complete(core, support, task.items, task.progress)
        begin = time.process_time()
        learned = learn_pairs(core, task, examples, support.labels)
        report = TrainingReport(
            method=task.method.name,
            recipe=learned.recipe,
            steps=learned.trained.steps,
            parameters=learned.parameters,
            loss=learned.trained.epochs[-1].losses["total"] if learned.trained.epochs else 0.0,
            seconds=round(time.process_time() - begin, 1),
            closed_weight=CLOSED,
            trained_weight=TRAINED,
        )
        made_core = ModelCore(learned.adapter, templates=learned.adapter.templates)
        concepts = made_core.encode_labels([clean_label(label) for label in learned.head.labels])
        examples = replace(examples, failed=(*examples.failed, *learned.failed))
        return guarded(
            made_core,
            learned.head,
            examples,
            examples.features,
            concepts,
            task.unknown,
            None,
            report,
        )


@dataclass(frozen=True)
class LearnedPairs:
    """Result of the learning of verbs and objects.

    Attributes:
        adapter: The trained adapter, which scores pairs.
        head: Its scores with closed forms of verbs and of objects.
        trained: Result of the training.
        parameters: Number of trained numbers.
        recipe: Name of the recipe.
        failed: Recordings without labels that could not be read.
    """

    adapter: Adapter
    head: ComponentsHead
    trained: Trained
    parameters: int
    recipe: str
    failed: Sequence[Failure]


def learn_pairs(
    core: ModelCore, task: AdaptTask, examples: EncodedExamples, labels: Sequence[str]
) -> LearnedPairs:
    """Learn from encoded examples; nothing is read but recordings without labels.

    Args:
        core: The encoder that encoded them.
        task: The method, and what is asked of the adaptation.
        examples: n examples with a verb and an object each.
        labels: C labels.
    """
    dataset = Dataset.of(labels, examples.items)
    dataset.targets.require_single(f"method {task.method.name!r}")
    plan = TrainingTask.of(core.encoder, task)
    free = read_on_disk(core, task.unlabelled, task.progress)
    source = FeatureSource(examples.features, free.features, free.paths)
    passes = plan.numbers.passes(len(dataset))
    cost = TrainingCost(f"{task.method} by {plan.recipe}", passes, task.progress)
    cost.start()
    training, trained = train_on(plan, dataset, source, on_step=cost)
    adapter = training.adapter
    assert isinstance(adapter, ComposedLabels)
    head = _head(core, examples, dataset, adapter.pair_scale)
    return LearnedPairs(
        adapter=adapter,
        head=head,
        trained=trained,
        parameters=sum(p.numel() for _, p in training.named),
        recipe=plan.recipe,
        failed=free.failed,
    )


def _head(
    core: ModelCore, examples: EncodedExamples, dataset: Dataset, scale: float
) -> ComponentsHead:
    """Closed forms of verbs and of objects, and the trained similarity, as one."""
    features, blocks = examples.features, core.encoder.frame_blocks
    closed: dict[str, FewShotHead] = {}
    for part in PARTS:
        y = [item.parts[part] for item in examples.items]
        if len(set(y)) > 1:  # a part of a single word needs none
            closed[part], _ = choose(features, blocks, y, groups=dataset.groups)
    names = dict.fromkeys(name for head in closed.values() for name in parse_kind(head.kind))
    term_names = terms(features[:1], blocks, tuple(names))
    widths = {name: vector.shape[1] for name, vector in term_names.items()}
    pair = {item.label: (item.parts["verb"], item.parts["object"]) for item in examples.items}
    return ComponentsHead.of(
        dataset.labels,
        [pair[label] for label in dataset.labels],
        closed,
        widths,
        closed_weight=CLOSED,
        trained_weight=TRAINED * scale,
    )


def _checked(task: AdaptTask) -> Support:
    if task.support is None:
        raise UsageError(f"method {task.method.name!r} learns from labelled clips; give some")
    if task.balance != NO_BALANCE:
        raise UsageError(
            f"method {task.method.name!r} does not balance labels (balance {task.balance!r}); "
            "leave the balance out"
        )
    for item in task.items:
        missing = [part for part in PARTS if part not in item.parts]
        if missing:
            raise UsageError(
                f"{task.support.source}: method {task.method.name!r} learns verbs and objects "
                f"apart, and the examples have no {missing[0]!r}; give a CSV with the columns "
                "path,verb,object"
            )
    return task.support
