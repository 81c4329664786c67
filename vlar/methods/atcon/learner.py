"""``source-free``: a ``local-temporal`` model adapts to unlabelled clips, without source clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlar.errors import SupportError, UsageError
from vlar.heads.support import Support, SupportItem
from vlar.heads.targets import Targets
from vlar.methods.atcon.adapter import LocalTemporal
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, answers, train
from vlar.training.learners import Learner
from vlar.training.sources import FeatureSource, read_on_disk
from vlar.training.task import TrainingTask
from vlar.types import Encoded


@register("learner", "source-free", status="in the spirit")
class SourceFree(Learner):
    """Training of a copy of the model's tower on unlabelled clips alone; its classifier stays."""

    from_labels = False

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Adapt a model to unlabelled clips, by ``atcon`` unless the task names objectives.

        What is ``unknown`` goes by these clips, with the labels that the adapted model gives them.

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
        vectors = wrapped.pool(free.features)
        columns = (vectors @ wrapped.network.now().detach().numpy().T).argmax(axis=1)
        items = [
            SupportItem(path, None, (labels[column],), str(path))
            for path, column in zip(paths, columns, strict=True)
        ]
        rows = [Encoded(row, vector) for row, vector in zip(free.features, vectors, strict=True)]
        examples = EncodedExamples(items, rows, tuple(free.failed))
        support = Support(labels, tuple(items), paths[0].parent)
        adapted = answers(plan, training, support, examples, options)
        report = replace(adapted.report, examples={}, recordings=len(paths))
        return replace(adapted, report=report)
