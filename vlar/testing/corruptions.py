"""The contract of a corruption, as a check; samples are a generated scene, or an example clip."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import UsageError
from vlar.evaluation.corruptions.base import SEVERITIES, Corruption, corrupt
from vlar.media.lookup import reader
from vlar.testing.contract import name_of, refused, registered, run
from vlar.testing.readers import example_of
from vlar.types import UInt8

# Frames, height and width of small videos, and the severity and seed with which they are tried.
_SMALL = ((1, 1, 1, 5, 0), (1, 7, 40, 1, 1), (2, 40, 3, 3, 2**32), (5, 16, 16, 5, 7))


@dataclass
class Samples:
    """A corruption and the samples of a clip of its sensor.

    Attributes:
        name: Its name.
        cls: Its class.
        data: ``Clip.data``.
        meta: ``Clip.meta``.
    """

    name: str
    cls: type[Corruption]
    data: Any
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def corrupted(self, severity: int, seed: int) -> Any:
        """The samples, corrupted."""
        return corrupt(self.data, self.name, severity, seed=seed, meta=self.meta)


def check_corruption(
    part: Any, *, samples: Any = None, meta: Mapping[str, Any] | None = None
) -> None:
    """Try a corruption on a clip of its sensor, at every severity.

    Args:
        part: The corruption: a class, or a registered name.
        samples: ``Clip.data`` of its sensor; default a generated scene of pictures, or of another
            sensor the example of its reader.
        meta: ``Clip.meta`` of the samples.

    Raises:
        AssertionError: it breaks the contract of ``vlar.evaluation.corruptions.base.Corruption``.
    """
    part = registry.get("corruption", part) if isinstance(part, str) else part
    cls: type[Corruption] = part if isinstance(part, type) else type(part)
    name = name_of("corruption", cls)
    with registered("corruption", name, cls):
        if samples is None:
            samples, meta = (scene(), {}) if cls.modality == "video" else _example(cls.modality)
        run("corruption", name, STEPS, Samples(name, cls, samples, meta or {}))


def scene(n_frames: int = 6, height: int = 48, width: int = 64, seed: int = 0) -> UInt8:
    """A coloured ground with texture, over which a square moves."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ground = np.stack([120 + 60 * np.sin(x / 5), 110 + 50 * np.cos(y / 4), 90 + x], axis=-1)
    ground = ground + random.normal(0, 12, ground.shape)
    frames = np.repeat(np.clip(ground, 0, 255).astype(np.uint8)[None], n_frames, axis=0)
    for number in range(n_frames):
        left = number * (width - 12) // max(n_frames - 1, 1)
        frames[number, height // 3 : height // 3 + 12, left : left + 12] = (220, 40, 60)
    return frames


def _example(modality: str) -> tuple[Any, Mapping[str, Any]]:
    source = reader(modality)
    with tempfile.TemporaryDirectory() as folder:
        path = example_of(source, Path(folder) / "a")
        clip = source.read_clip(path, None, source.every_sample(path, None))
    return clip.data, clip.meta or {}


def _levels(m: Samples) -> None:
    """Levels are five, different where graded, and documented, as tables of robustness need."""
    assert len(m.cls.levels) == len(SEVERITIES)
    assert (len(set(m.cls.levels)) == 1) == (not m.cls.graded)
    assert (m.cls.__doc__ or "").strip()


def _severity(m: Samples) -> None:
    """Severity 0 changes no byte and others do, and the clip itself stays."""
    before = m.data.copy()
    same = m.corrupted(0, 3)
    assert same.tobytes() == m.data.tobytes()
    assert same is not m.data
    for severity in SEVERITIES[2:]:
        assert not np.array_equal(m.corrupted(severity, 3), m.data), f"severity {severity}"
    assert m.data.tobytes() == before.tobytes()


def _seed(m: Samples) -> None:
    """The same seed gives the same bytes, so that a result can be had again."""
    for severity in SEVERITIES:
        first, second = (m.corrupted(severity, 7) for _ in range(2))
        assert first.tobytes() == second.tobytes(), f"severity {severity}"


def _shape(m: Samples) -> None:
    """Shape and type stay, for videos of any size too."""
    corrupted = m.corrupted(5, 0)
    assert corrupted.dtype == m.data.dtype
    assert corrupted.shape[1:] == m.data.shape[1:]
    for n_frames, height, width, severity, seed in _SMALL if m.cls.modality == "video" else ():
        shape = (n_frames, height, width, 3)
        frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        corrupted = corrupt(frames, m.name, severity, seed=seed)
        assert corrupted.shape == frames.shape, f"{corrupted.shape} of {frames.shape}"
        assert corrupted.dtype == np.uint8


def _refusals(m: Samples) -> None:
    """Samples of another shape and severities outside 0 to 5 are refused."""
    refused(UsageError, "", corrupt, np.zeros(0), m.name, 1, seed=0)
    for severity in (-1, 6, 2.5, True):
        refused(UsageError, "severity", corrupt, m.data, m.name, severity, seed=0)


STEPS = (_levels, _severity, _seed, _shape, _refusals)
