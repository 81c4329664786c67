"""Training sets: what the loop asks for clips by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vlar.encoders.base import Encoder
from vlar.errors import UsageError, VlarError
from vlar.fewshot.support import SupportItem
from vlar.training.augment import clip_pixels, moved_times, random_for, window_share
from vlar.training.hyperparameters import Plan
from vlar.types import Failure, Float32, Window
from vlar.video import ClipRequest, probe, read_clips


@dataclass(frozen=True)
class Loaded:
    """Clips that could be read.

    Attributes:
        rows: Which of the asked ones, in order.
        inputs: (N, T, ...) of them.
    """

    rows: list[int]
    inputs: Tensor


class Examples(Protocol):
    """A training set.

    Attributes:
        failed: Clips that could not be read, by number.
    """

    failed: dict[int, Failure]

    @property
    def columns(self) -> Sequence[int]:
        """(n,) label of each clip."""
        ...

    @property
    def paths(self) -> Sequence[Path]:
        """The n videos."""
        ...

    def load(self, rows: Sequence[int], plan: Plan, seed: int, epoch: int) -> Loaded:
        """The clips with these numbers as this epoch sees them."""
        ...


@dataclass
class Videos:
    """Clips read from disk for every batch, decoded ahead in threads."""

    items: Sequence[SupportItem]
    columns: Sequence[int]
    encoder: Encoder
    failed: dict[int, Failure] = field(default_factory=dict[int, Failure])

    @property
    def paths(self) -> list[Path]:
        """The videos."""
        return [item.path for item in self.items]

    def load(self, rows: Sequence[int], plan: Plan, seed: int, epoch: int) -> Loaded:
        """Decode and change; a video that cannot be read is left out, now and in future."""
        rows = [row for row in rows if row not in self.failed]
        randoms = [random_for(seed, epoch, row) if plan.augment else None for row in rows]
        size = self.encoder.preprocess
        if size is None:
            raise UsageError(f"encoder {self.encoder.name!r} takes no pictures to train on")
        clips = read_clips(
            self._requests(rows, plan, randoms), shorter_side=2 * max(size.height, size.width)
        )
        good: list[int] = []
        pixels: list[Tensor] = []
        for row, random, clip in zip(rows, randoms, clips, strict=True):
            if isinstance(clip, Failure):
                self.failed[row] = clip
                continue
            good.append(row)
            pixels.append(clip_pixels(clip.data, size, plan, random))
        return Loaded(good, torch.stack(pixels) if pixels else torch.zeros(0))

    def _requests(
        self,
        rows: Sequence[int],
        plan: Plan,
        randoms: Sequence[np.random.Generator | None],
    ) -> Iterator[ClipRequest]:
        for row, random in zip(rows, randoms, strict=True):
            item = self.items[row]
            window = item.window
            if random is not None and plan.time_jitter:
                begin, end = window_share(plan, random)
                whole = window or _whole(item.path)
                if whole is not None:
                    window = Window(
                        whole.start_s + begin * whole.duration_s,
                        whole.start_s + end * whole.duration_s,
                    )
            yield ClipRequest(item.path, window, self.encoder.n_frames)


@dataclass
class Features:
    """Inputs that were computed once from the frozen encoder's frame features.

    Attributes:
        inputs: (n, T, K) from ``Trainable.training_inputs``.
        silent: Widths of the input blocks that may be dropped; what follows them never is.
    """

    inputs: Float32
    columns: Sequence[int]
    paths: Sequence[Path]
    silent: Sequence[int] = ()
    failed: dict[int, Failure] = field(default_factory=dict[int, Failure])

    def load(self, rows: Sequence[int], plan: Plan, seed: int, epoch: int) -> Loaded:
        """Take the clips and move their times."""
        clips = [torch.from_numpy(self.inputs[row]) for row in rows]
        if plan.augment:
            randoms = [random_for(seed, epoch, row) for row in rows]
            pairs = zip(clips, randoms, strict=True)
            clips = [self._silenced(moved_times(x, plan, r), plan, r) for x, r in pairs]
        return Loaded(list(rows), torch.stack(clips))

    def _silenced(self, x: Tensor, plan: Plan, random: np.random.Generator) -> Tensor:
        if len(self.silent) > 1 and random.random() < plan.block_dropout:
            starts = np.cumsum([0, *self.silent])
            block = int(random.integers(len(self.silent)))
            x[:, starts[block] : starts[block + 1]] = 0
        return x


def _whole(path: Path) -> Window | None:
    try:
        return Window(0.0, probe(path).duration_s)
    except VlarError:
        return None  # reading it will say why
