"""Clip loaders: they give the training loop clips by number, changed as an epoch asks for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.base import Encoder
from vlar.errors import VlarError
from vlar.fewshot.support import SupportItem
from vlar.sensors.base import Request
from vlar.sensors.lookup import reader
from vlar.training.augment import Random, clip_pixels, moved_times, random_for, window_share
from vlar.training.hyperparameters import Hyperparameters
from vlar.types import Clip, Failure, Float32, Window


@dataclass(frozen=True)
class View:
    """Another view of the same clips, for objectives that compare views.

    A view is drawn from the frames that were read for a clip: they are read once.

    Attributes:
        changes: Hyperparameters that replace the training's: ``{"crop": 0.3, "colour": 1.0}``.
        reorder: Changes the frames (T, ...) of one clip afterwards; None leaves them.
    """

    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reorder: Callable[[Tensor, Random], Tensor] | None = None

    def random(self, name: str, seed: int, epoch: int, row: int) -> Random:
        """Draws the changes of one clip, apart from those of other views."""
        return random_for(seed, epoch, row, zlib.crc32(name.encode()))


Views = Mapping[str, View]


@dataclass(frozen=True)
class LoadedClips:
    """Clips that could be read.

    Attributes:
        rows: Their numbers, in the order that was asked for.
        inputs: (N, T, ...), as the training reads them.
        views: (N, T, ...) by name of a view.
    """

    rows: list[int]
    inputs: Tensor
    views: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class ClipLoader(Protocol):
    """A training set's clips.

    Attributes:
        failed: Clips that could not be read, by number.
    """

    failed: dict[int, Failure]

    @property
    def paths(self) -> Sequence[Path]:
        """The n recordings."""
        ...

    def load(
        self,
        rows: Sequence[int],
        numbers: Hyperparameters,
        seed: int,
        epoch: int,
        views: Views | None = None,
    ) -> LoadedClips:
        """The clips with these numbers as this epoch reads them, and further views of them."""
        ...


@dataclass
class RecordingLoader:
    """Clips read from disk for every batch; reading runs ahead in threads.

    Attributes:
        items: The n examples.
        encoder: Tells the sensor and how clips are sampled.
    """

    items: Sequence[SupportItem]
    encoder: Encoder
    failed: dict[int, Failure] = field(default_factory=dict[int, Failure])

    @property
    def paths(self) -> list[Path]:
        """The recordings."""
        return [item.path for item in self.items]

    def load(
        self,
        rows: Sequence[int],
        numbers: Hyperparameters,
        seed: int,
        epoch: int,
        views: Views | None = None,
    ) -> LoadedClips:
        """Read and change; a recording that cannot be read is left out, now and later."""
        rows = [row for row in rows if row not in self.failed]
        randoms = [random_for(seed, epoch, row) if numbers.augment else None for row in rows]
        sensor = reader(self.encoder.modality)
        clips = sensor.read(self._requests(rows, numbers, randoms), self.encoder.sampling)
        good: list[int] = []
        inputs: list[Tensor] = []
        others: dict[str, list[Tensor]] = {name: [] for name in views or {}}
        for row, random, clip in zip(rows, randoms, clips, strict=True):
            if isinstance(clip, Failure):
                self.failed[row] = clip
                continue
            good.append(row)
            inputs.append(self._inputs(clip, numbers, random))
            for name, view in (views or {}).items():
                draw = view.random(name, seed, epoch, row)
                changed = replace(numbers, **view.changes)
                x = self._inputs(clip, changed, draw)
                others[name].append(view.reorder(x, draw) if view.reorder else x)
        return _stacked(good, inputs, others)

    def _inputs(self, clip: Clip, numbers: Hyperparameters, random: Random | None) -> Tensor:
        """Pictures as the encoder reads them; samples of other sensors as they are."""
        if self.encoder.preprocess is None:
            return torch.from_numpy(np.nan_to_num(clip.data.astype(np.float32)))
        return clip_pixels(clip.data, self.encoder.preprocess, numbers, random)

    def _requests(
        self, rows: Sequence[int], numbers: Hyperparameters, randoms: Sequence[Random | None]
    ) -> Iterator[Request]:
        for row, random in zip(rows, randoms, strict=True):
            item = self.items[row]
            window = item.window
            if random is not None and numbers.time_jitter:
                begin, end = window_share(numbers, random)
                whole = window or self._whole(item.path)
                if whole is not None:
                    window = Window(
                        whole.start_s + begin * whole.duration_s,
                        whole.start_s + end * whole.duration_s,
                    )
            yield item.path, window

    def _whole(self, path: Path) -> Window | None:
        try:
            return Window(0.0, reader(self.encoder.modality).probe(path).duration_s)
        except VlarError:
            return None  # reading it raises the error that names the cause


@dataclass
class FeatureLoader:
    """Inputs computed once from the frozen encoder's frame features.

    Attributes:
        inputs: (n, T, K) from ``Trainable.training_inputs``.
        paths: The n recordings.
        widths: Widths of the input blocks that may be set to zero; what follows them never is.
    """

    inputs: Float32
    paths: Sequence[Path]
    widths: Sequence[int] = ()
    failed: dict[int, Failure] = field(default_factory=dict[int, Failure])

    def load(
        self,
        rows: Sequence[int],
        numbers: Hyperparameters,
        seed: int,
        epoch: int,
        views: Views | None = None,
    ) -> LoadedClips:
        """Take the clips and move their times."""
        clips = [torch.from_numpy(self.inputs[row]) for row in rows]
        if numbers.augment:
            randoms = [random_for(seed, epoch, row) for row in rows]
            clips = [self._moved(x, numbers, r) for x, r in zip(clips, randoms, strict=True)]
        others: dict[str, list[Tensor]] = {name: [] for name in views or {}}
        for name, view in (views or {}).items():
            changed = replace(numbers, **view.changes)
            for row in rows:
                draw = view.random(name, seed, epoch, row)
                x = self._moved(torch.from_numpy(self.inputs[row]), changed, draw)
                others[name].append(view.reorder(x, draw) if view.reorder else x)
        return _stacked(list(rows), clips, others)

    def _moved(self, x: Tensor, numbers: Hyperparameters, random: Random) -> Tensor:
        x = moved_times(x, numbers, random)
        if len(self.widths) > 1 and random.random() < numbers.block_dropout:
            starts = np.cumsum([0, *self.widths])
            block = int(random.integers(len(self.widths)))
            x[:, starts[block] : starts[block + 1]] = 0
        return x


def _stacked(
    rows: list[int], clips: Sequence[Tensor], views: Mapping[str, Sequence[Tensor]]
) -> LoadedClips:
    if not rows:
        return LoadedClips(rows, torch.zeros(0))
    return LoadedClips(
        rows,
        torch.stack(list(clips)),
        {name: torch.stack(list(each)) for name, each in views.items()},
    )
