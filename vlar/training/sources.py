"""Sources of a training's clips: features that were computed once, or recordings.

The two differ in their inputs, in how often an example can be held out, and in how held-out
examples are scored. Everything else is one path (``vlar.training.fit``).
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.adapters.base import Adapter
from vlar.errors import SupportError, TrainingError, explained
from vlar.heads.fewshot.base import make_problem
from vlar.heads.support import SupportItem
from vlar.model.core import ModelCore
from vlar.model.examples import FeatureCache, read_examples
from vlar.training.batches import Dataset, Unlabelled
from vlar.training.data import ClipLoader, FeatureLoader, RecordingLoader
from vlar.training.loop import Training, score
from vlar.training.progress import begin_stage
from vlar.training.trainable import Trainable
from vlar.types import Failure, Float32, Float64, ProgressCallback


def on_disk(rows: Iterable[Float32]) -> Float32 | None:
    """Rows of one shape as an array in a temporary file, which goes when the array does.

    Args:
        rows: Arrays of the same shape, float32; one is in memory at a time.

    Returns:
        (n, ...) float32 memory map; None without rows.

    Raises:
        TrainingError: the file cannot be written.
    """
    shape: tuple[int, ...] = ()
    count = 0
    fault = f"cannot keep features in {tempfile.gettempdir()}"
    with (
        explained(TrainingError, fault, "make room, or set TMPDIR to a folder that has some"),
        tempfile.TemporaryFile(prefix="vlar-") as file,
    ):
        for row in rows:
            shape, count = row.shape, count + 1
            file.write(np.ascontiguousarray(row, np.float32).data)
        file.flush()
        if count:
            return np.memmap(file, np.float32, mode="r+", shape=(count, *shape))
    return None


Rows = npt.NDArray[Any]
CHUNK = 64  # unlabelled clips that are in memory at a time


class TrainingSource(ABC):
    """The clips of n examples, and of unlabelled recordings."""

    @abstractmethod
    def loader(self, adapter: Adapter, dataset: Dataset, rows: Sequence[int]) -> ClipLoader:
        """Reads some of the examples for an adapter at its start.

        Args:
            adapter: A ``Trainable``.
            dataset: All n examples.
            rows: Numbers of those to train on.
        """

    @abstractmethod
    def unlabelled(self, adapter: Adapter) -> Unlabelled | None:
        """Reads the unlabelled recordings; called after ``loader``. None where there are none."""

    @abstractmethod
    def folds(self, dataset: Dataset, *, long: bool = False) -> list[Rows]:
        """(n,) bool masks of examples that are held out together, each example at most once.

        Args:
            dataset: All n examples.
            long: One training takes over a minute; there are at most two folds then.
        """

    @abstractmethod
    def held_out(self, training: Training, dataset: Dataset, held: Rows) -> tuple[Float32, Float64]:
        """Frame features (n, T, F) of all examples, and logits (m, C) of those held out."""


@dataclass
class FeatureSource(TrainingSource):
    """Frame features of the wrapped encoder.

    Attributes:
        features: (n, T, F) of the examples.
        free: (u, T, F) of the unlabelled recordings, in memory or on disk; None without any.
        free_paths: The u recordings.
        free_facts: u mappings of facts about them; empty where none are known.
    """

    features: Float32
    free: Float32 | None = None
    free_paths: Sequence[Path] = ()
    free_facts: Sequence[Mapping[str, str]] = ()

    def loader(self, adapter: Adapter, dataset: Dataset, rows: Sequence[int]) -> ClipLoader:
        assert isinstance(adapter, Trainable)
        features = self.features[list(rows)]
        adapter.fit_inputs(features)
        paths = [dataset.paths[row] for row in rows]
        return FeatureLoader(adapter.training_inputs(features), paths, adapter.input_widths)

    def unlabelled(self, adapter: Adapter) -> Unlabelled | None:
        if self.free is None:
            return None
        assert isinstance(adapter, Trainable)
        inputs = on_disk(
            row
            for start in range(0, len(self.free), CHUNK)
            for row in adapter.training_inputs(np.asarray(self.free[start : start + CHUNK]))
        )
        assert inputs is not None
        loader = FeatureLoader(inputs, self.free_paths, adapter.input_widths)
        return Unlabelled(loader, len(inputs), self.free_facts)

    def folds(self, dataset: Dataset, *, long: bool = False) -> list[Rows]:
        return halves(partition(dataset)) if long else partition(dataset)

    def held_out(self, training: Training, dataset: Dataset, held: Rows) -> tuple[Float32, Float64]:
        return self.features, held_out_logits(training, self.features[held])


@dataclass(frozen=True)
class FreeClips:
    """Unlabelled recordings that were encoded.

    Attributes:
        features: (u, T, F) on disk; None where no recording was given.
        paths: The u recordings.
        failed: Those that cannot be read.
        facts: u mappings of what their table holds about them.
    """

    features: Float32 | None
    paths: Sequence[Path]
    failed: Sequence[Failure]
    facts: Sequence[Mapping[str, str]] = ()


def read_on_disk(
    core: ModelCore,
    items: Sequence[SupportItem],
    progress: ProgressCallback | None = None,
    cache: FeatureCache | None = None,
) -> FreeClips:
    """Encode unlabelled recordings a few at a time; their features stay on disk.

    Args:
        core: What encodes them.
        items: The recordings.
        progress: Called as they are read.
        cache: Features that were computed before; None for none.

    Raises:
        SupportError: none of them can be read.
        TrainingError: the disk is full.
    """
    failed: list[Failure] = []
    paths: list[Path] = []
    facts: list[Mapping[str, str]] = []
    if not items:
        return FreeClips(None, paths, failed)
    begin_stage(progress, "reading clips without labels", len(items), "files")

    def counted(count: int = 0, total: int | None = None) -> None:
        if progress is not None and total is None:
            progress(count)

    def rows() -> Iterator[Float32]:
        for start in range(0, len(items), CHUNK):
            examples = read_examples(core, items[start : start + CHUNK], counted, cache)
            failed.extend(examples.failed)
            paths.extend(item.path for item in examples.items)
            facts.extend(item.told for item in examples.items)
            yield from (row.features for row in examples.encoded)

    features = on_disk(rows())
    if features is None:
        raise SupportError(f"no unlabelled clip can be read ({failed[0].message})")
    return FreeClips(features, paths, failed, facts)


@dataclass
class RecordingSource(TrainingSource):
    """Recordings that are decoded for every batch."""

    items: Sequence[SupportItem]
    free: Sequence[SupportItem] = ()

    def loader(self, adapter: Adapter, dataset: Dataset, rows: Sequence[int]) -> ClipLoader:
        return RecordingLoader([self.items[row] for row in rows], adapter)

    def unlabelled(self, adapter: Adapter) -> Unlabelled | None:
        if not self.free:
            return None
        facts = [item.told for item in self.free]
        return Unlabelled(RecordingLoader(self.free, adapter), len(self.free), facts)

    def folds(self, dataset: Dataset, *, long: bool = False) -> list[Rows]:
        """Two halves, however long a training takes."""
        return halves(partition(dataset))

    def held_out(self, training: Training, dataset: Dataset, held: Rows) -> tuple[Float32, Float64]:
        """Frame features of all examples by the trained adapter, and what it answers."""
        adapter = training.adapter
        core = ModelCore(adapter, templates=adapter.templates)
        examples = read_examples(core, self.items)
        if examples.failed:
            raise SupportError(f"{examples.failed[0].message}; it could be read before")
        concepts = core.encode_labels(dataset.texts)
        rows: list[Float32] = []
        for one in (examples.encoded[i] for i in held):
            words = concepts
            if one.context is not None:
                words = core.conditioned_queries(dataset.texts, one.context[None])[0]
            rows.append(one.vector @ words.T)
        return examples.features, adapter.logit_scale * np.array(rows, np.float64)


def held_out_logits(training: Training, features: Float32) -> Float64:
    """Logits (m, C) of features (m, T, F) that were not trained on."""
    import torch

    inputs = torch.from_numpy(training.method.training_inputs(features)).to(training.device)
    n_labels = len(training.dataset.labels)
    return score(training.method, inputs, training.classes, n_labels).double().numpy()


def halves(folds: list[Rows]) -> list[Rows]:
    """Two folds of many: they cost as much as one training, and hold out every example once."""
    return [np.any(folds[start::2], axis=0) for start in range(min(2, len(folds)))]


def partition(dataset: Dataset) -> list[Rows]:
    """(n,) bool masks that hold out each example once: the first folds of the closed forms."""
    folds = make_problem(dataset.y, None, dataset.labels, dataset.groups).folds
    parts: list[Rows] = []
    unused = np.ones(len(dataset), bool)
    for out in folds:
        if not unused.any():
            break
        parts.append(out)
        unused &= ~out
    return parts
