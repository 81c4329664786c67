"""Short trainings without objectives, the same as those behind ``tests/golden/training``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar.adapters.base import Adapter
from vlar.encoders.base import load_encoder
from vlar.methods.temporal.adapter import Temporal
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, LoadedClips
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.task import attach
from vlar.types import Failure

METHODS: Mapping[str, dict[str, Any]] = {
    "temporal": {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]},
    "ez-clip": {"n_frames": 4, "prompt_dropout": 0.1, "drop": 0.1},
    "lora": {"rank": 2, "dropout": 0.1},
    "tc-clip": {"n_frames": 4},
}
LABELS = ("riding a bike", "cooking", "opening the door")


class MemoryLoader:
    """Pixels from memory, unchanged; a view is the pixels with their time reversed."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels
        self.failed: dict[int, Failure] = {}

    @property
    def paths(self) -> list[Path]:
        """Made up."""
        return [Path(f"{i}.mp4") for i in range(len(self.pixels))]

    def load(
        self, rows: Sequence[int], numbers: Any, seed: int, epoch: int, views: Any = None
    ) -> LoadedClips:
        """See ``ClipLoader``."""
        x = self.pixels[list(rows)]
        return LoadedClips(list(rows), x, {name: x.flip(1) for name in views or {}})


def weights(
    method: str, objectives: ObjectiveSet | None = None, **how: Any
) -> dict[str, np.ndarray]:
    """The adapter's parameters after a few steps.

    Args:
        method: One of ``METHODS``.
        objectives: What is added to the training.
        how: Further arguments of ``Training``; ``numbers`` replaces hyperparameters.
    """
    return (_temporal if method == "temporal" else _clip)(method, objectives, **how).state_dict()


def _temporal(
    method: str, objectives: ObjectiveSet | None, numbers: Any = None, **how: Any
) -> Adapter:
    features, dataset = ordered_clips(24)
    adapter = Temporal.attach(FakeEncoder(), METHODS[method])
    adapter.fit_inputs(features)
    inputs = adapter.training_inputs(features)
    recipe = load_recipe("temporal/adapt")
    numbers = replace(
        recipe, **{"epochs": 3, "batch": 8, "micro_batch": 4, "warmup_epochs": 1, **(numbers or {})}
    )
    loader = FeatureLoader(inputs, dataset.paths, adapter.input_widths)
    Training(adapter, loader, dataset, numbers, seed=1, objectives=objectives, **how).run()
    return adapter


def _clip(method: str, objectives: ObjectiveSet | None, numbers: Any = None, **how: Any) -> Adapter:
    with tempfile.TemporaryDirectory() as folder:
        models.save_openclip(Path(folder), models.openclip_config(quick_gelu=True))
        adapter = attach(method, load_encoder(f"openclip:{folder}"), METHODS[method])
    pixels = torch.randn(6, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loader = MemoryLoader(pixels)
    y = [LABELS[i % 3] for i in range(6)]
    dataset = Dataset.single(LABELS, y, [str(i) for i in range(6)], loader.paths)
    recipe = load_recipe("general/adapt")
    numbers = replace(
        recipe,
        **{"epochs": 2, "batch": 3, "micro_batch": None, "warmup_epochs": 1, "mixup": 0.4}
        | {"cutmix": 1.0}
        | (numbers or {}),
    )
    Training(adapter, loader, dataset, numbers, seed=1, objectives=objectives, **how).run()
    return adapter
