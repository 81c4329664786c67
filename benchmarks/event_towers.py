"""Cost of what event towers are made of: the selective scan, and a training against a bare loop.

    python benchmarks/event_towers.py [--length 1024] [--rounds 5] [--methods spikmamba ...]

One thread, process CPU time, medians of rounds in which every form has its turn. The scan runs
forward and backward next to the loop-free cumulative form that it replaces, which divides by
products of decays and overflows where they are small, and next to the recurrence step by step. The
bare loop draws a batch, calls the same training step, and steps AdamW.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vlar
from vlar import registry
from vlar.adapters.trainable import TrainingBatch
from vlar.methods.events.neurons import selective_scan
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training

SCAN_BAR, TRAINING_BAR = 1.5, 1.15
CLIPS, BATCH = 64, 16


def cumulative(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan by two cumulative sums, without a loop."""
    exponent = (delta.unsqueeze(-1) * a).cumsum(dim=1)
    inputs = (delta * x).unsqueeze(-1) * b.unsqueeze(2)
    found = exponent.exp() * (inputs * (-exponent).exp()).cumsum(dim=1)
    return (found @ c.unsqueeze(-1)).squeeze(-1)


def recurrence(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan step by step."""
    h, found = x.new_zeros(len(x), x.shape[2], a.shape[1]), list[Tensor]()
    for t in range(x.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * a) * h + step * b[:, t, None] * x[:, t, :, None]
        found.append((h @ c[:, t, :, None]).squeeze(-1))
    return torch.stack(found, dim=1)


def interleaved(forms: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each form; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        for name, form in forms.items():
            begin = time.process_time()
            form()
            if number:
                seconds[name].append(time.process_time() - begin)
    return {name: round(1000 * median(each), 1) for name, each in seconds.items()}


def scans(length: int, rounds: int) -> dict[str, float]:
    """Milliseconds of the three forms at L = ``length``, forward and backward."""
    shape = (8, length, 32)
    x, delta = torch.randn(shape, requires_grad=True), (0.02 * torch.rand(shape)).requires_grad_()
    a = -torch.rand(32, 4)
    b, c = (torch.randn(8, length, 4, requires_grad=True) for _ in range(2))
    forms = {"scan": selective_scan, "cumulative": cumulative, "recurrence": recurrence}
    return interleaved(
        {
            name: lambda f=form: f(x, delta, a, b, c).sum().backward()
            for name, form in forms.items()
        },
        rounds,
    )


def trainings(method: str, rounds: int) -> dict[str, float]:
    """Milliseconds of one epoch by vlar's loop and by a bare one."""
    encoder = vlar.load("events").encoder
    random = np.random.default_rng(0)
    labels = [f"label {n}" for n in range(8)]
    y = [labels[n % 8] for n in range(CLIPS)]
    dataset = Dataset.single(labels, y, y, [Path(f"{n}") for n in range(CLIPS)])
    numbers = load_recipe("event-tower/adapt").replaced(epochs=10_000, batch=BATCH)

    def attached() -> tuple[Any, Any]:
        made: Any = registry.get("adapter", method).attach(encoder)
        wide = random.uniform(-1, 1, (CLIPS, made.feature_rows, made.frame_dim))
        return made, made.training_inputs(wide.astype(np.float32))

    ours, inputs = attached()
    training = Training(ours, FeatureLoader(inputs, dataset.paths), dataset, numbers)
    bare, _ = attached()
    classes = bare.training_classes(labels)
    optimiser = torch.optim.AdamW([p for _, p in bare.trainable()], lr=1e-3)
    bare.module.train()
    targets = torch.from_numpy(dataset.targets.member)

    def epoch() -> None:
        order = torch.randperm(CLIPS)
        for rows in order.split(BATCH):
            batch = TrainingBatch(torch.from_numpy(inputs[rows.numpy()]), targets[rows])
            optimiser.zero_grad()
            bare.training_step(batch, classes).losses["total"].backward()
            optimiser.step()

    return interleaved(
        {"vlar": lambda: training.advance(CLIPS // BATCH), "bare loop": epoch}, rounds
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both, and fail where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--methods", nargs="*", default=["spikmamba", "event-transact", "spikepoint"]
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = scans(given.length, given.rounds)
    ratio = found["scan"] / found["cumulative"]
    print(json.dumps({"length": given.length, "ms": found, "scan / cumulative": round(ratio, 2)}))
    missed = ratio > SCAN_BAR
    for method in given.methods:
        found = trainings(method, given.rounds)
        ratio = found["vlar"] / found["bare loop"]
        print(json.dumps({"method": method, "ms": found, "vlar / bare": round(ratio, 3)}))
        missed |= ratio > TRAINING_BAR
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
