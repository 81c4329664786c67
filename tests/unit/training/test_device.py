"""Steps on an accelerator: the host waits for none, and NaN is found all the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState

from tests.fake_device import DEVICE, Counts, fake_device
from tests.unit.encoders.clip import models
from tests.unit.training.plain_trainings import LABELS, MemoryLoader
from vlar.encoders.base import load_encoder
from vlar.errors import TrainingError
from vlar.training.batches import Dataset
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.progress import MEASURED_STEPS, Trained
from vlar.training.task import attach

METHODS = ["tc-clip", "ez-clip", "froster", "lora"]
BATCH = 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return folder


def training(
    method: str, base: Path, steps: int, device: str = DEVICE, broken: int | None = None, **how: Any
) -> Training:
    """One epoch of some steps."""
    settings = {} if method == "froster" else {"n_frames": 4}
    adapter = attach(method, load_encoder(f"openclip:{base}", device=device), settings)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(steps * BATCH, 4, 3, 32, 32, generator=generator)
    if broken is not None:
        pixels[broken] = torch.nan
    loader, labels = MemoryLoader(pixels), [LABELS[i % 2] for i in range(len(pixels))]
    dataset = Dataset.single(LABELS, labels, [str(i) for i in range(len(labels))], loader.paths)
    numbers = replace(
        load_recipe("general/adapt"), epochs=1, batch=BATCH, micro_batch=None, warmup_epochs=0,
        mixup=0.0, cutmix=0.0,
    )  # fmt: skip
    return Training(adapter, loader, dataset, numbers, seed=1, **how)


def counted(method: str, base: Path, steps: int) -> tuple[Counts, Trained]:
    with fake_device() as counts:
        run = training(method, base, steps)
        assert run.device.type == DEVICE
        counts.syncs, counts.lines = 0, type(counts.lines)()
        return counts, run.run()


@pytest.mark.parametrize("method", METHODS)
def test_the_host_waits_for_no_step(method: str, base: Path):
    short, _ = counted(method, base, MEASURED_STEPS + 1)
    longer, trained = counted(method, base, MEASURED_STEPS + 2)
    assert longer.syncs == short.syncs, longer.lines - short.lines
    assert short.syncs >= MEASURED_STEPS  # those of the first steps, and of the end of an epoch
    on_cpu = training(method, base, MEASURED_STEPS + 2, "cpu").run()
    for name, value in on_cpu.epochs[0].losses.items():
        assert trained.epochs[0].losses[name] == pytest.approx(value, rel=1e-4)
    assert trained.epochs[0].metrics == on_cpu.epochs[0].metrics


def test_a_training_on_the_cpu_follows_one_on_a_device(base: Path, monkeypatch: pytest.MonkeyPatch):
    AcceleratorState._reset_state(True)
    # Accelerate 1.15 does not know a backend that is registered; 1.16 does.
    monkeypatch.setattr(PartialState, "default_device", torch.device("meta"))
    with fake_device():
        first = training("lora", base, 1)
        first.run()
        assert first.accelerator.device.type == "meta"
    assert training("lora", base, 1, "cpu").run().epochs
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("every", [0, 1, 4])
def test_nan_stops_and_no_checkpoint_holds_later_weights(every: int, base: Path, tmp_path: Path):
    keep = CheckpointConfig(tmp_path, "key", every)
    with fake_device():
        run = training("lora", base, 11, broken=5, checkpoints=keep)
        step = next(n for n in range(11) if 5 in run.batches.rows(n))
        assert step > MEASURED_STEPS
        with pytest.raises(TrainingError) as caught:
            run.run()
    message = caught.value.message
    assert re.search(rf"loss 'total' is nan at step {step + 1}, on the clips .*\b5\.mp4", message)
    saved = [int(file.stem[5:]) for file in sorted(tmp_path.glob("step-*.pt"))]
    assert saved[-1:] == ([step // every * every] if every else [])
