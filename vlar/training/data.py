"""Clip loaders: they give the training loop clips by number, changed as an epoch asks for."""

from __future__ import annotations

import copy
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V  # noqa: N812 - as torch names its own

from vlar.encoders.base import Encoder, Preprocess
from vlar.errors import VlarError
from vlar.heads.support import SupportItem
from vlar.media.base import Request
from vlar.media.lookup import reader
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.label_losses import LabelTargets
from vlar.training.trainable import Trainable
from vlar.types import Clip, Failure, Float32, Window

Random = np.random.Generator
_ASPECT = np.log(4 / 3)
_STRENGTH = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue


def random_for(*key: int) -> Random:
    """A generator that depends on the key alone."""
    return np.random.default_rng(np.random.SeedSequence(key))


def window_share(numbers: Hyperparameters, random: Random) -> tuple[float, float]:
    """Start and end of a training clip in its window, as shares of its length."""
    cut = random.uniform(0, numbers.time_jitter)
    begin = random.uniform(0, cut)
    return begin, 1 - cut + begin


def clip_pixels(
    frames: Any, size: Preprocess, numbers: Hyperparameters, random: Random | None
) -> Tensor:
    """Frames of one clip as an encoder reads them, changed the same way in all frames.

    Args:
        frames: (T, H, W, 3) uint8.
        size: Size, mean and deviation.
        numbers: Which changes.
        random: Draws them; None gives the clip as in use.

    Returns:
        (T, 3, height, width) float32, normalised.
    """
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    size_px = [size.height, size.width]
    if random is None:
        x = x if size.fit == "squash" else _centre(x, size.height / size.width)
    else:
        x = _crop(x, numbers.crop, size.height / size.width, random)
    x = V.resize(x, size_px, InterpolationMode.BICUBIC, antialias=True)
    if random is not None:
        x = _recolour(x, numbers, random)
    return V.normalize(V.to_dtype(x, torch.float32, scale=True), list(size.mean), list(size.std))


def clips_of_pixels(pixels: Tensor, size: Preprocess) -> list[Clip]:
    """Normalised pixels (N, T, 3, height, width) as N clips of a second."""
    mean, std = (torch.tensor(constants).view(3, 1, 1) for constants in (size.mean, size.std))
    frames = (pixels.detach().cpu() * std + mean).clamp(0, 1).mul(255).round().byte()
    times_s = np.linspace(0, 1, frames.shape[1])
    rows = frames.permute(0, 1, 3, 4, 2).numpy()
    return [Clip(Path("batch"), Window(0.0, 1.0), "video", data, times_s) for data in rows]


def _centre(x: Tensor, shape: float) -> Tensor:
    height, width = x.shape[-2:]
    return V.center_crop(x, [min(height, round(width * shape)), min(width, round(height / shape))])


def _crop(x: Tensor, least: float, shape: float, random: Random) -> Tensor:
    """A box of random size, place and proportions (Szegedy et al. 2015)."""
    height, width = x.shape[-2:]
    area = random.uniform(least, 1) * min(height, width * shape) * min(width, height / shape)
    stretch = np.exp(random.uniform(-_ASPECT, _ASPECT))
    rows = min(height, max(1, round(float(np.sqrt(area * shape / stretch)))))
    columns = min(width, max(1, round(float(np.sqrt(area / shape * stretch)))))
    top = int(random.integers(0, height - rows + 1))
    x_low = int(random.integers(0, width - columns + 1))
    return V.crop(x, top, x_low, rows, columns)


def _recolour(x: Tensor, numbers: Hyperparameters, random: Random) -> Tensor:
    flip, colour, grey = (random.random() for _ in range(3))
    factors = random.uniform(-1, 1, 4) * _STRENGTH
    if numbers.flip and flip < 0.5:
        x = V.horizontal_flip(x)
    if colour < numbers.colour:
        x = V.adjust_brightness(x, 1 + factors[0])
        x = V.adjust_contrast(x, 1 + factors[1])
        x = V.adjust_saturation(x, 1 + factors[2])
        x = V.adjust_hue(x, factors[3])
    return V.rgb_to_grayscale(x, 3) if grey < numbers.grey else x


def moved_times(x: Tensor, numbers: Hyperparameters, random: Random) -> Tensor:
    """Inputs (T, K) of one clip with its ends and its pace moved, order kept."""
    count = len(x)
    begin, end = window_share(numbers, random)
    pace = float(np.exp(random.uniform(-numbers.time_jitter, numbers.time_jitter)))
    positions = begin + (end - begin) * np.linspace(0, 1, count) ** pace
    return x[torch.from_numpy(np.rint(positions * (count - 1)).astype(np.int64))]


def mix(
    inputs: Tensor, targets: LabelTargets, numbers: Hyperparameters, random: Random
) -> tuple[Tensor, LabelTargets]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019), one draw for the whole batch.

    Args:
        inputs: (N, T, 3, height, width) pixels or (N, T, K) features.
        targets: Targets of the N clips.
        numbers: Which of them, and how much.
        random: Draws them.
    """
    boxes = numbers.cutmix if inputs.ndim == 5 else 0.0
    if len(inputs) < 2 or not (numbers.mixup or boxes) or random.random() >= numbers.mix_share:
        return inputs, targets
    other = torch.from_numpy(random.permutation(len(inputs)))
    if boxes and (not numbers.mixup or random.random() < 0.5):
        inputs, share = _pasted(inputs, other, random.beta(boxes, boxes), random)
    else:
        share = random.beta(numbers.mixup, numbers.mixup)
        inputs = share * inputs + (1 - share) * inputs[other]
    return inputs, targets.mixed(other, share)


def _pasted(inputs: Tensor, other: Tensor, share: float, random: Random) -> tuple[Tensor, float]:
    height, width = inputs.shape[-2:]
    side = np.sqrt(1 - share)
    y, x = random.integers(height), random.integers(width)
    top, bottom = (int(np.clip(y + sign * height * side / 2, 0, height)) for sign in (-1, 1))
    x_low, right = (int(np.clip(x + sign * width * side / 2, 0, width)) for sign in (-1, 1))
    mixed = inputs.clone()
    mixed[..., top:bottom, x_low:right] = inputs[other][..., top:bottom, x_low:right]
    return mixed, 1 - (bottom - top) * (right - x_low) / (height * width)


@dataclass(frozen=True)
class ClipView:
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


Views = Mapping[str, ClipView]


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


class ClipLoader(ABC):
    """A training set's clips."""

    paths: Sequence[Path]  # the n recordings
    failed: dict[int, Failure]
    stopped: bool = False  # another thread waits for the end of reading

    @abstractmethod
    def read(
        self, rows: Sequence[int], numbers: Hyperparameters, randoms: Sequence[Random | None]
    ) -> Iterable[Any]:
        """Read each clip before its changes; a ``Failure`` where it cannot be read."""

    @abstractmethod
    def changed(self, clip: Any, numbers: Hyperparameters, random: Random | None) -> Tensor:
        """Inputs (T, ...) of a clip with the changes that ``random`` draws; None for no changes."""

    def load(
        self,
        rows: Sequence[int],
        numbers: Hyperparameters,
        seed: int,
        epoch: int,
        views: Views | None = None,
    ) -> LoadedClips:
        """The clips with these numbers as this epoch reads them, and further views of them.

        A recording that cannot be read is left out, now and later.
        """
        rows = [row for row in rows if row not in self.failed]
        randoms = [random_for(seed, epoch, row) if numbers.augment else None for row in rows]
        good: list[int] = []
        inputs: list[Tensor] = []
        others: dict[str, list[Tensor]] = {name: [] for name in views or {}}
        clips = self.read(rows, numbers, randoms)
        for row, random, clip in zip(rows, randoms, clips, strict=True):
            if self.stopped:
                break
            if isinstance(clip, Failure):
                self.failed[row] = clip
                continue
            good.append(row)
            inputs.append(self.changed(clip, numbers, random))
            for name, view in (views or {}).items():
                draw = view.random(name, seed, epoch, row)
                x = self.changed(clip, replace(numbers, **view.changes), draw)
                others[name].append(view.reorder(x, draw) if view.reorder else x)
        if not good:
            return LoadedClips(good, torch.zeros(0))
        stacked = {name: torch.stack(view) for name, view in others.items()}
        return LoadedClips(good, torch.stack(inputs), stacked)


class RecordingLoader(ClipLoader):
    """Clips read from disk for every batch; reading runs ahead in threads."""

    def __init__(self, items: Sequence[SupportItem], encoder: Encoder) -> None:
        self.items, self.encoder, self.failed = items, encoder, {}
        self.paths = [item.path for item in items]

    def read(
        self, rows: Sequence[int], numbers: Hyperparameters, randoms: Sequence[Random | None]
    ) -> Iterable[Clip | Failure]:
        requests = self._requests(rows, numbers, randoms)
        return reader(self.encoder.modality).read(requests, self.encoder.sampling)

    def changed(self, clip: Clip, numbers: Hyperparameters, random: Random | None) -> Tensor:
        """Pictures as the encoder reads them; samples of other sensors as they are."""

        def draw(frames: Any, size: Preprocess, colours: bool = True) -> Tensor:
            how = numbers if colours else replace(numbers, colour=0.0, grey=0.0)
            return clip_pixels(frames, size, how, copy.deepcopy(random))

        inputs = (
            self.encoder.clip_inputs(clip, draw) if isinstance(self.encoder, Trainable) else None
        )
        if inputs is not None:
            return inputs
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


class FeatureLoader(ClipLoader):
    """Inputs computed once from the frozen encoder's frame features.

    Args:
        inputs: (n, T, K) from ``Trainable.training_inputs``.
        paths: The n recordings.
        widths: Widths of the input blocks that may be set to zero; what follows them never is.
    """

    def __init__(self, inputs: Float32, paths: Sequence[Path], widths: Sequence[int] = ()) -> None:
        self.inputs, self.paths, self.widths, self.failed = inputs, paths, widths, {}

    def read(
        self, rows: Sequence[int], numbers: Hyperparameters, randoms: Sequence[Random | None]
    ) -> Iterable[Float32]:
        return [self.inputs[row] for row in rows]

    def changed(self, clip: Float32, numbers: Hyperparameters, random: Random | None) -> Tensor:
        """Inputs with their times moved, and perhaps one block set to zero."""
        x = torch.from_numpy(clip)
        if random is None:
            return x
        x = moved_times(x, numbers, random)
        if len(self.widths) > 1 and random.random() < numbers.block_dropout:
            starts = np.cumsum([0, *self.widths])
            block = int(random.integers(len(self.widths)))
            x[:, starts[block] : starts[block + 1]] = 0
        return x
