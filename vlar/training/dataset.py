"""The examples of a training without their recordings: labels, targets, groups, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.fewshot.support import SupportItem
from vlar.fewshot.targets import Targets
from vlar.text.clean import clean_label
from vlar.types import Float32

if TYPE_CHECKING:
    from torch import Tensor

    from vlar.losses.label_task import LabelTargets, LabelTask


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
        """What each of the C labels is made of, and how many examples show it."""
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
            [{"group": item.group, **item.parts, **item.facts} for item in items],
        )

    @staticmethod
    def single(
        labels: Sequence[str], y: Sequence[str], groups: Sequence[str], paths: Sequence[Path]
    ) -> Dataset:
        """N examples with one label each.

        Args:
            labels: C labels in column order.
            y: n labels.
            groups: n names of groups.
            paths: n recordings.
        """
        rows = zip(paths, y, groups, strict=True)
        items = [SupportItem(path, None, (label,), group) for path, label, group in rows]
        return Dataset.of(labels, items)


def label_task(targets: Targets) -> LabelTask:
    """The task that fits the labels of a training set: its loss, accuracy and metrics."""
    import torch

    from vlar.losses.label_task import LabelParts, OneLabel, SeveralLabels

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
    from vlar.losses.label_task import LabelTargets

    return task.targets(LabelTargets(shown), smoothing)
