"""The batches of a training: which clips, in which order, with which targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from vlar.encoders.memory import CLIPS, fitting
from vlar.heads.support import SupportItem
from vlar.heads.targets import Targets
from vlar.language.clean import clean_label
from vlar.training.ahead import Ahead
from vlar.training.data import ClipLoader, FeatureLoader, LoadedClips, mix, random_for
from vlar.training.distributed import ALONE, Processes, load_shared
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.label_losses import (
    LabelParts,
    LabelTargets,
    LabelTask,
    OneLabel,
    SeveralLabels,
)
from vlar.training.objectives import ObjectiveSet
from vlar.training.trainable import TrainingBatch
from vlar.types import Float32


@dataclass(frozen=True)
class Dataset:
    """n labelled examples.

    Attributes:
        targets: What they show: one label each, several, or labels in parts.
        groups: n names; examples of one group are held out together.
        paths: n recordings.
        facts: n mappings of what else the support set holds about an example.
        scenes: (n, S) float32 how likely each of S places is; None where nobody asked.
    """

    targets: Targets
    groups: Sequence[str]
    paths: Sequence[Path]
    facts: Sequence[Mapping[str, str]] = field(default=())
    scenes: Float32 | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """C labels as the user spells them."""
        return self.targets.labels

    @property
    def columns(self) -> list[int]:
        """(n,) column of the single label of each example."""
        return self.targets.columns.tolist()

    @property
    def y(self) -> list[str]:
        """The single label of each example."""
        return [self.labels[column] for column in self.columns]

    @property
    def texts(self) -> list[str]:
        """The C labels as a text tower reads them."""
        return [clean_label(label) for label in self.labels]

    def label_parts(self) -> tuple[list[dict[str, str]], list[int]]:
        """Parts of each of the C labels, and number of examples of each part."""
        named = self.targets.parts.items()
        parts = [
            {name: part.values[part.of_label[column]] for name, part in named}
            for column in range(len(self.labels))
        ]
        return parts, self.targets.member.sum(axis=0).astype(int).tolist()

    def part(self, rows: Sequence[int]) -> Dataset:
        """Some of the examples."""
        return Dataset(
            self.targets.part(rows),
            [self.groups[i] for i in rows],
            [self.paths[i] for i in rows],
            [self.facts[i] for i in rows] if self.facts else (),
            None if self.scenes is None else self.scenes[list(rows)],
        )

    @staticmethod
    def of(labels: Sequence[str], items: Sequence[SupportItem]) -> Dataset:
        """The examples of a support set."""
        return Dataset(
            Targets.of(labels, items),
            [item.group for item in items],
            [item.path for item in items],
            [{"group": item.group, **item.parts, **item.told} for item in items],
        )

    @staticmethod
    def single(
        labels: Sequence[str], y: Sequence[str], groups: Sequence[str], paths: Sequence[Path]
    ) -> Dataset:
        """N examples with one label each."""
        rows = zip(paths, y, groups, strict=True)
        items = [SupportItem(path, None, (label,), group) for path, label, group in rows]
        return Dataset.of(labels, items)


def label_task(targets: Targets) -> LabelTask:
    """The task that fits the labels of a training set: its loss, accuracy and metrics."""
    if targets.form == "multi-hot":
        return SeveralLabels()
    if targets.form == "parts":
        return LabelParts(
            {name: torch.from_numpy(part.of_label) for name, part in targets.parts.items()}
        )
    return OneLabel()


def batch_targets(task: LabelTask, shown: Tensor, smoothing: float) -> LabelTargets:
    """Targets of the clips of a batch.

    Args:
        task: From ``label_task``.
        shown: (N, C), 1 where a clip shows a label, else 0.
        smoothing: Share that is spread over all labels, 0 to 1.
    """
    return task.targets(LabelTargets(shown), smoothing)


# What a draw is for.
_ORDER, _MIX, _FREE, _CHOICE, _CHANGE = 1, 2, 4, 5, 6


@dataclass(frozen=True)
class Unlabelled:
    """Unlabelled clips of a training; ``facts`` holds what their table has about each."""

    loader: ClipLoader
    count: int
    facts: Sequence[Mapping[str, str]] = ()


class BatchMaker:
    """Makes the batches of a training from the position in it alone.

    Where clips are read from disk, a thread reads, changes and mixes the next micro-batch while a
    step runs.

    Args:
        loader: Reads the clips.
        dataset: Their labels.
        numbers: The hyperparameters.
        seed: Seed of every draw.
        objectives: What is added to the training.
        unlabelled: Clips without labels; None for none.
        device: Where batches go.
        processes: Who shares the work of a step.
    """

    def __init__(
        self,
        loader: ClipLoader,
        dataset: Dataset,
        numbers: Hyperparameters,
        *,
        seed: int,
        objectives: ObjectiveSet,
        unlabelled: Unlabelled | None,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        objectives.check_unlabelled(unlabelled is not None or not dataset.targets.member.any())
        self.loader, self.dataset, self.numbers, self.seed = loader, dataset, numbers, seed
        self.labelled = bool(dataset.targets.member.any())
        self.objectives, self.unlabelled, self.device = objectives, unlabelled, device
        self.processes = processes
        self._reading, self._ahead, self._order = processes, None, (-1, list[int]())
        if not isinstance(loader, FeatureLoader):  # features lie in memory already
            self._reading, self._ahead = processes.apart(), Ahead(self._on_host)
        self.views = objectives.views()
        self.task, self.shown = label_task(dataset.targets), torch.tensor(dataset.targets.member)
        #: Clips of an optimiser step.
        self.size = min(numbers.batch, len(dataset))
        micro = numbers.micro_batch or numbers.batch
        #: Clips at a time.
        self.micro = min(micro, self.size, fitting(CLIPS, self.size))
        self.steps_per_epoch = max(1, len(dataset) // self.size)

    def order(self, epoch: int) -> list[int]:
        """Numbers of the clips of an epoch, in order."""
        least = self.steps_per_epoch * self.size
        chosen = self.objectives.order(epoch, random_for(self.seed, _CHOICE, epoch), least)
        if chosen is not None:
            return chosen
        return random_for(self.seed, _ORDER, epoch).permutation(len(self.dataset)).tolist()

    def rows(self, step: int) -> list[int]:
        """Numbers of the clips of an optimiser step, counted from 0."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, self.order(epoch)
        return self._order[1][number * self.size : (number + 1) * self.size]

    def take(self, step: int, part: int, end: int) -> TrainingBatch | None:
        """``make`` for the clips of a step, begun ahead; begins the next before step ``end``."""
        rows = self.rows(step)
        if self._ahead is None:
            return self.make(rows, step, part)
        place, following = (rows, step, part, self.micro), None
        later, begin = (step, part + self.micro) if part + self.micro < len(rows) else (step + 1, 0)
        epochs = step // self.steps_per_epoch, later // self.steps_per_epoch
        # An objective may choose the order of an epoch by what it learned before.
        if later < end and (epochs[0] == epochs[1] or not self.objectives):
            following = self.rows(later), later, begin, self.micro
        return self._on_device(self._ahead.take(place, following), step, part)

    def close(self) -> None:
        """Stop the reading ahead, at the next clip."""
        loaders = [self.loader, *([self.unlabelled.loader] if self.unlabelled else [])]
        for loader in loaders:
            loader.stopped = True
        if self._ahead is not None:
            self._ahead.close()
        for loader in loaders:
            loader.stopped = False

    def make(self, rows: Sequence[int], step: int, part: int) -> TrainingBatch | None:
        """One micro-batch; None where none of its clips can be read.

        Args:
            rows: The clips of the whole step.
            step: Optimiser step, counted from 0.
            part: Place in ``rows`` where the micro-batch begins.
        """
        return self._on_device(self._on_host(rows, step, part, self.micro), step, part)

    def _on_host(
        self, rows: Sequence[int], step: int, part: int, size: int
    ) -> TrainingBatch | None:
        """A micro-batch in memory that a GPU copies from without a detour."""
        chunk = rows[part : part + size]
        epoch = step // self.steps_per_epoch
        loaded = load_shared(
            self._reading, self.loader, chunk, self.numbers, self.seed, epoch, self.views
        )
        if not loaded.rows:
            return None
        batch = self._joined(loaded, self._free(step, part, len(chunk), len(rows)), step, part)
        return _mapped(batch, Tensor.pin_memory) if self.device.type == "cuda" else batch

    def _on_device(self, batch: TrainingBatch | None, step: int, part: int) -> TrainingBatch | None:
        if batch is None:
            return None
        batch = _mapped(batch, lambda tensor: tensor.to(self.device, non_blocking=True))
        if not self.objectives:
            return batch
        return self.objectives.change_batch(batch, random_for(self.seed, _CHANGE, step, part))

    def _free(self, step: int, part: int, size: int, wanted: int) -> LoadedClips | None:
        """The unlabelled clips that go with clips ``part`` to ``part + size`` of a step."""
        if self.unlabelled is None:
            return None
        per_step = math.ceil(self.objectives.unlabelled_per_clip * self.size)
        first, last = (per_step * end // wanted for end in (part, part + size))
        rows: list[int] = []
        for number in range(step * per_step + first, step * per_step + last):
            turn, index = divmod(number, self.unlabelled.count)
            order = random_for(self.seed, _FREE, turn).permutation(self.unlabelled.count)
            rows.append(int(order[index]))
        # The draws of an unlabelled clip differ from those of a labelled one of the same number.
        seed, loader = self.seed + _FREE, self.unlabelled.loader
        loaded = load_shared(self._reading, loader, rows, self.numbers, seed, step, self.views)
        return loaded if loaded.rows else None

    def _joined(
        self, loaded: LoadedClips, free: LoadedClips | None, step: int, part: int
    ) -> TrainingBatch:
        targets = batch_targets(self.task, self.shown[loaded.rows], self.numbers.label_smoothing)
        drawn = random_for(self.seed, _MIX, step, part)
        inputs, views, is_known, free_rows = loaded.inputs, loaded.views, None, ()
        if not self.labelled:
            is_known, free_rows = torch.zeros(len(inputs)).bool(), tuple(loaded.rows)
        else:
            inputs, targets = mix(inputs, targets, self.numbers, drawn)
        if free is not None:
            free_rows = tuple(free.rows)
            is_known = torch.arange(len(inputs) + len(free.rows)) < len(inputs)
            inputs = torch.cat([inputs, free.inputs])
            views = {name: torch.cat([x, free.views[name]]) for name, x in views.items()}
            targets = targets.padded(len(free.rows))
        return TrainingBatch(
            inputs,
            targets.labels.float(),
            self.task,
            {part: rows.float() for part, rows in targets.parts.items()},
            is_known,
            views,
            tuple(loaded.rows),
            [self.dataset.facts[row] for row in loaded.rows] if self.dataset.facts else (),
            free_rows,
            None if self.processes.alone else self.processes.spread,
            torch.nonzero(targets.labels.gt(0).any(dim=0))[:, 0].tolist(),
        )


def _mapped(batch: TrainingBatch, function: Callable[[Tensor], Tensor]) -> TrainingBatch:
    """The batch with a function of each of its tensors."""
    return replace(
        batch,
        inputs=function(batch.inputs),
        targets=function(batch.targets),
        parts={part: function(rows) for part, rows in batch.parts.items()},
        known=None if batch.known is None else function(batch.known),
        views={name: function(x) for name, x in batch.views.items()},
    )
