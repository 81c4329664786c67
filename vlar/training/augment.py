"""Changes of clips and features in training; the same for all frames of a clip.

Everything is drawn from a generator made for one clip of one epoch, or for one batch, so a resumed
training draws the same as one that was never stopped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V  # noqa: N812 - as torch names its own

from vlar.encoders.base import Preprocess
from vlar.losses.label_task import LabelTargets
from vlar.training.hyperparameters import Hyperparameters

Random = np.random.Generator
_ASPECT = np.log(4 / 3)
_STRENGTH = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue


def random_for(*key: int) -> Random:
    """A generator that depends on the key alone."""
    return np.random.default_rng(np.random.SeedSequence(key))


def window_share(numbers: Hyperparameters, random: Random) -> tuple[float, float]:
    """Where a training clip begins and ends in its window, as shares of its length."""
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
    wanted = [size.height, size.width]
    if random is None:
        x = x if size.fit == "squash" else _centre(x, size.height / size.width)
    else:
        x = _crop(x, numbers.crop, size.height / size.width, random)
    x = V.resize(x, wanted, InterpolationMode.BICUBIC, antialias=True)
    if random is not None:
        x = _recolour(x, numbers, random)
    return V.normalize(V.to_dtype(x, torch.float32, scale=True), list(size.mean), list(size.std))


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
    left = int(random.integers(0, width - columns + 1))
    return V.crop(x, top, left, rows, columns)


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
    place = begin + (end - begin) * np.linspace(0, 1, count) ** pace
    return x[torch.from_numpy(np.rint(place * (count - 1)).astype(np.int64))]


def mix(
    inputs: Tensor, targets: LabelTargets, numbers: Hyperparameters, random: Random
) -> tuple[Tensor, LabelTargets]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019), one draw for the whole batch.

    Args:
        inputs: (N, T, 3, height, width) pixels or (N, T, K) features.
        targets: Of the N clips.
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
    left, right = (int(np.clip(x + sign * width * side / 2, 0, width)) for sign in (-1, 1))
    mixed = inputs.clone()
    mixed[..., top:bottom, left:right] = inputs[other][..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
