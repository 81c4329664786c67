"""Gradient checkpointing: the same gradients bit for bit, and less that is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar import registry
from vlar.adapters.trainable import TrainingBatch
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.block_view import recomputing
from vlar.errors import UsageError
from vlar.methods.temporal.adapter import Temporal
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.loop import Training

LABELS = ["riding a bike", "cooking"]
SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "dropout": 0.2, "towers": "both"},
    "tuned": {"n_frames": 4},
    "tc-clip": {"n_frames": 4},
    "froster": {"n_frames": 4},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


@pytest.mark.parametrize("method", SETTINGS)
def test_gradients_are_the_same_and_less_is_kept(method: str, encoder: Any):
    torch.manual_seed(0)
    part = registry.get("adapter", method)
    settings = {k: v for k, v in SETTINGS[method].items() if k != "n_frames" or method != "froster"}
    adapter = part.attach(encoder, settings)
    assert adapter.recomputes
    classes, named = adapter.training_classes(LABELS), adapter.trainable()
    adapter.module.train()
    pixels = torch.randn(2, adapter.n_frames, 3, 32, 32)
    batch = TrainingBatch(pixels, torch.eye(2))

    def step(again: bool) -> tuple[int, list[np.ndarray]]:
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        torch.manual_seed(1)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, recomputing(again):
            loss = adapter.training_step(batch, classes).losses["total"]
        size = kept
        loss.backward()
        found = [p.grad.numpy().copy() for _, p in named if p.grad is not None]
        for _, parameter in named:
            parameter.grad = None
        return size, found

    plain, plain_grads = step(False)
    again, again_grads = step(True)
    assert again < 0.7 * plain
    assert len(plain_grads) == len(again_grads) > 0
    for one, other in zip(plain_grads, again_grads, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_method_without_towers_refuses_it(tmp_path: Path):
    features, dataset = ordered_clips(8)
    adapter = Temporal.attach(FakeEncoder(), {"blocks": ["look"]})
    adapter.fit_inputs(features)
    loader = FeatureLoader(adapter.training_inputs(features), dataset.paths)
    numbers = Hyperparameters(gradient_checkpointing=True)
    with pytest.raises(UsageError, match="'temporal' has no blocks that could be computed again"):
        Training(adapter, loader, dataset, numbers)
