"""``source-free``: a ``local-temporal`` model adapts to unlabelled clips, without source clips.

The model is compared with itself on these clips, without a label: by the information of an answer
(entropy of the mean answer less the mean entropy, in shares of the most), and by the share of clips
on which the tower agrees with the closed form of the source. Where one of them falls the model
stays as it was.

Letters: n clips, T frames, F features of a frame, C labels, D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlar.errors import SupportError, UsageError
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.stacking import StackingHead
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.heads.support import Support, SupportItem
from vlar.heads.targets import Targets
from vlar.methods.atcon.adapter import LocalTemporal
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.method import AdaptTask
from vlar.numeric import softmax
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, answers, train
from vlar.training.learners import Learner
from vlar.training.sources import FeatureSource, read_on_disk
from vlar.training.task import TrainingTask
from vlar.types import Encoded, Float32, Float64

Int64 = npt.NDArray[np.int64]


@register("learner", "source-free", status="null here")
@dataclass(frozen=True)
class SourceFree(Learner):
    """Training of a copy of the model's tower on unlabelled clips alone; its classifier stays.

    Attributes:
        guard: Whether the old model stays where the adapted one is not better by its own measures.
    """

    from_labels: ClassVar[bool] = False
    guard: bool = True

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Adapt a model to unlabelled clips, by ``atcon`` unless the task names objectives.

        A closed form of the source stays in the answer, fitted to the clips with the labels that
        the adapted model gives them, if it gives all. What is ``unknown`` goes by these clips. The
        model is the old one where the new one is not better by its own measures.

        Raises:
            SupportError: fewer than two clips can be read.
            UsageError: the model has no such tower, or labelled clips or settings of it are given.
        """
        adapter = core.encoder
        if not isinstance(adapter, LocalTemporal) or not adapter.config.labels:
            raise UsageError(
                f"model {core.name!r} has no trained local-temporal tower for 'source-free'; make "
                "one (vlar adapt SOURCE --method local-temporal --out mine), and give --model mine"
            )
        plan = TrainingTask.of(adapter.encoder, task)
        if task.support is not None or plan.settings:
            what = min(plan.settings, default="labelled clips")
            raise UsageError(
                f"'source-free' adapts a tower as it is, from --unlabelled clips "
                f"alone, and got {what!r}; leave it out"
            )
        numbers = plan.numbers.replaced(ensemble=1.0)  # the end is not mixed with the source
        plan = replace(plan, numbers=numbers, objectives=plan.objectives or ("atcon",))
        base = ModelCore(adapter.encoder, templates=core.template_set)
        free = read_on_disk(base, task.unlabelled, task.progress)
        if free.features is None or len(free.paths) < 2:
            raise SupportError(f"{len(free.paths)} unlabelled clips can be read; give two or more")
        wrapped = type(adapter).attach(adapter.encoder, adapter.settings)
        wrapped.load_state_dict(adapter.state_dict())
        wrapped.frozen = True
        labels, paths = adapter.config.labels, list(free.paths)
        targets = Targets(labels, np.zeros((len(paths), len(labels)), np.float32))
        dataset = Dataset(targets, [str(path) for path in paths], paths, free.facts)
        options = FitOptions(unknown=task.unknown, stack=False, clips=task.progress)
        training, _ = train(
            replace(plan, unlabelled=()), wrapped, dataset, FeatureSource(free.features), options
        )
        before = _Answers.of(adapter, task.before, free.features)
        after = _Answers.of(wrapped, task.before, free.features)
        better = after.information >= before.information and after.agreement >= before.agreement
        note = f"{_measures(before, after)}; " + (
            "the adapted model is taken"
            if better or not self.guard
            else "that is not better, so the model stays"
        )
        columns = after.scores.argmax(axis=1)
        items = [
            SupportItem(path, None, (labels[column],), str(path))
            for path, column in zip(paths, columns, strict=True)
        ]
        pairs = zip(free.features, after.vectors, strict=True)
        rows = [Encoded(row, vector) for row, vector in pairs]
        examples = EncodedExamples(items, rows, tuple(free.failed))
        support = Support(labels, tuple(items), paths[0].parent)
        adapted = answers(plan, training, support, examples, options)
        report = replace(adapted.report, examples={}, recordings=len(paths), note=note)
        if self.guard and not better:
            return Adapted(core, task.before, report)
        if task.before is None or adapted.head is None:
            return replace(adapted, report=report)
        head = _refitted(task.before.head, free.features, adapter, columns)
        return replace(adapted, head=replace(adapted.head, head=head), report=report)


@dataclass(frozen=True)
class _Answers:
    """Answers of a tower about clips, and what they are worth without a label.

    Attributes:
        vectors: (n, D) of the clips.
        scores: (n, C) logits of the whole model.
        information: Entropy of the mean answer less the mean entropy, 0 to 1.
        entropy: Mean entropy of an answer, 0 to 1.
        agreement: Share of clips on which the answers of the tower and of the closed form of the
            source agree; of a model without one, those of the tower and of the encoder's words.
    """

    vectors: Float32
    scores: Float64
    information: float
    entropy: float
    agreement: float

    @staticmethod
    def of(tower: LocalTemporal, head: AdaptedHead | None, features: Float32) -> _Answers:
        """Answers of a tower, with the closed form of a model's head."""
        vectors = tower.pool(features)
        trained = tower.logit_scale * vectors @ tower.network.now().detach().numpy().T
        closed, scores = _closed(head, features, tower), trained.astype(np.float64)
        second = tower.encoder.pool(features) @ tower.network.get_buffer("words").numpy().T
        if closed is not None and head is not None:
            second = closed
            cosines = vectors @ head.concepts.T
            rows = signature(features, tower.encoder.frame_blocks, head.head.kind)
            scores = head.head.logits(rows, cosines)
        shares = softmax(scores)
        most = np.log(scores.shape[1])
        entropy = float(entr(shares).sum(axis=1).mean() / most)
        spread = float(entr(shares.mean(axis=0)).sum() / most)
        agreement = float((trained.argmax(axis=1) == second.argmax(axis=1)).mean())
        return _Answers(vectors, scores, spread - entropy, entropy, agreement)


def entr(shares: Float64) -> Float64:
    """``-p log p`` of shares from 0 to 1, 0 at 0."""
    return -shares * np.log(np.maximum(shares, 1e-300))


def _closed(head: AdaptedHead | None, features: Float32, tower: LocalTemporal) -> Float64 | None:
    """(n, C) logits of the closed form in a model's head; None without one."""
    if head is None or not isinstance(head.head, StackingHead) or head.head.closed is None:
        return None
    return head.head.closed.logits(signature(features, tower.encoder.frame_blocks, head.head.kind))


def _refitted(
    head: FewShotHead, features: Float32, tower: LocalTemporal, columns: Int64
) -> FewShotHead:
    """The head with its closed form fitted to clips (n, T, F) with labels (n,) of their own.

    A closed form needs a clip of every label; else that of the source stays.
    """
    if not isinstance(head, StackingHead) or head.closed is None:
        return head
    if len(set(columns.tolist())) < len(head.labels):
        return head
    named = [head.labels[column] for column in columns]
    closed, _ = choose(features, tower.encoder.frame_blocks, named, labels=head.labels)
    return StackingHead.of(closed, head.closed_weight, head.trained_weight)


def _measures(before: _Answers, after: _Answers) -> str:
    return (
        f"entropy of an answer {before.entropy:.2f} -> {after.entropy:.2f}, information "
        f"{before.information:.2f} -> {after.information:.2f}, agreement of tower and closed form "
        f"{before.agreement:.0%} -> {after.agreement:.0%}"
    )
