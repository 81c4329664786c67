"""What is to be learned, and the adapter that learns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlar import registry
from vlar.adapters.base import Adapter, Trainable
from vlar.encoders.base import Encoder
from vlar.errors import UsageError
from vlar.fewshot.support import SupportItem
from vlar.text.clean import clean_label
from vlar.types import JsonDict


@dataclass(frozen=True)
class Task:
    """A training set without its pictures.

    Attributes:
        labels: C labels as the user spells them.
        y: n labels.
        groups: n groups, held out as one.
        paths: n videos.
    """

    labels: tuple[str, ...]
    y: Sequence[str]
    groups: Sequence[str]
    paths: Sequence[Path]

    @property
    def columns(self) -> list[int]:
        """(n,) columns of the labels."""
        return [self.labels.index(label) for label in self.y]

    @property
    def texts(self) -> list[str]:
        """The C labels as a text tower reads them."""
        return [clean_label(label) for label in self.labels]

    def part(self, rows: Sequence[int]) -> Task:
        """Some of the examples."""
        return Task(
            self.labels,
            [self.y[i] for i in rows],
            [self.groups[i] for i in rows],
            [self.paths[i] for i in rows],
        )

    @staticmethod
    def of(labels: Sequence[str], items: Sequence[SupportItem]) -> Task:
        """The task of a support set."""
        return Task(
            tuple(labels),
            [item.label for item in items],
            [item.group for item in items],
            [item.path for item in items],
        )


def attach(
    method: str, encoder: Encoder, settings: JsonDict | None = None, *, seed: int = 0
) -> Adapter:
    """A method's adapter at its start, checked to be one that can be trained.

    What the start draws is drawn from the seed: a training that is begun again begins the same.

    Raises:
        UnknownNameError: no adapter has this name.
        ModelError: the encoder does not offer what it needs.
        UsageError: it has no training.
    """
    import torch

    part = registry.get("adapter", method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter: Adapter = part.attach(encoder, settings)
    if not isinstance(adapter, Trainable):
        raise UsageError(f"adapter {method!r} has no training; see docs/adapters.md")
    return adapter
