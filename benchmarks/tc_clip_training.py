"""Training of TC-CLIP on a ViT-B/16: next to a plain loop, in two processes, and resumed.

    python benchmarks/tc_clip_training.py [--rounds 3] [--part speed|processes] [--out FILE]

Random weights, clips of 4 frames of 224 px read from disk, batches of 2, 1 thread a process. The
plain loop reads, computes and steps by the same functions, one after the other; CPU time is what
compares on a shared machine. Two processes are connected by gloo. Another seed is the control.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlar.adapters.trainable import TrainingBatch
from vlar.encoders.base import load_encoder
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.training.batches import Dataset, batch_targets
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import RecordingLoader
from vlar.training.distributed import ALONE, Processes, started
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.task import attach
from vlar.types import Window

_MODEL = "openclip:ViT-B-16-quickgelu?random_init=true"
_LABELS = "moving right", "standing still"
_STEPS = 4  # two epochs of two batches
_NUMBERS = replace(
    load_recipe("tc-clip/few-shot"), epochs=2, batch=2, micro_batch=None, warmup_epochs=0,
    learning_rate=1e-3, mixup=0.0, cutmix=0.0, schedule="constant", clip_norm=1.0,
)  # fmt: skip


def items(folder: Path) -> list[SupportItem]:
    """Four windows of one video."""
    path = folder / "example.mp4"
    path = path if path.exists() else reader("video").example(folder)
    return [
        SupportItem(path, Window(i / 2, (i + 1) / 2), (_LABELS[i % 2],), str(i)) for i in range(4)
    ]


def build(
    folder: Path,
    encoder: Any,
    seed: int = 0,
    keep: Path | None = None,
    processes: Processes = ALONE,
) -> Training:
    rows = items(folder)
    adapter = attach("tc-clip", encoder, {"n_frames": 4}, seed=0)
    checkpoints = None if keep is None else CheckpointConfig(keep, every=1)
    loader, dataset = RecordingLoader(rows, adapter), Dataset.of(_LABELS, rows)
    return Training(
        adapter, loader, dataset, _NUMBERS, seed=seed, checkpoints=checkpoints, processes=processes
    )


def plain(run: Training) -> None:
    """The same steps, one thing after the other."""
    numbers, parameters = run.numbers, [parameter for _, parameter in run.named]
    groups = numbers.groups(run.named, numbers.learning_rate, numbers.weight_decay)
    optimiser = torch.optim.AdamW(groups, betas=numbers.betas, eps=numbers.epsilon)
    for step in range(_STEPS):
        epoch, number = divmod(step, run.steps_per_epoch)
        rows = run.batches.order(epoch)[number * numbers.batch : (number + 1) * numbers.batch]
        loaded = run.loader.load(rows, numbers, run.seed, epoch)
        shown = run.batches.shown[loaded.rows]
        targets = batch_targets(run.batches.task, shown, numbers.label_smoothing)
        optimiser.zero_grad()
        batch = TrainingBatch(loaded.inputs, targets.labels.float())
        run.method.training_step(batch, run.classes).losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, numbers.clip_norm)
        optimiser.step()
    run.finish()


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Largest difference of two weights."""
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def speed(folder: Path, rounds: int) -> dict[str, Any]:
    """CPU and wall time of the steps of both loops, in turns, and the distance of their weights."""
    encoder = load_encoder(_MODEL)
    cpu: dict[str, list[float]] = {"plain": [], "vlar": []}
    wall: dict[str, list[float]] = {"plain": [], "vlar": []}
    weights: dict[str, dict[str, np.ndarray]] = {}
    for turn in range(-1, rounds):  # the first one warms up
        for name in ("plain", "vlar") if turn % 2 else ("vlar", "plain"):
            run = build(folder, encoder)
            start = time.process_time(), time.perf_counter()
            plain(run) if name == "plain" else run.run()
            if turn >= 0:
                cpu[name].append((time.process_time() - start[0]) / _STEPS)
                wall[name].append((time.perf_counter() - start[1]) / _STEPS)
            weights[name] = run.adapter.state_dict()
    other = build(folder, encoder, seed=1)
    other.run()
    ratios = [ours / theirs for ours, theirs in zip(cpu["vlar"], cpu["plain"], strict=True)]
    return {
        "rounds": rounds,
        "cpu_s_a_step": {name: round(statistics.median(times), 3) for name, times in cpu.items()},
        "wall_s_a_step": {name: round(statistics.median(times), 3) for name, times in wall.items()},
        "cpu_ratio_of_rounds": [round(ratio, 4) for ratio in ratios],
        "cpu_ratio": round(statistics.median(ratios), 4),
        "largest_difference_of_weights": distance(weights["vlar"], weights["plain"]),
        "of_another_seed": distance(other.adapter.state_dict(), weights["plain"]),
    }


def worker(folder: Path, out: Path, seed: int, keep: Path | None, stop: int | None) -> None:
    """A training in one of the processes that the environment names."""
    with started() as processes:
        run = build(folder, load_encoder(_MODEL), seed, keep, processes)
        arrays: dict[str, np.ndarray] = {}
        if keep is None:
            run.advance(1)
            arrays = {
                f"gradient {name}": tensor.grad.numpy().copy()
                for name, tensor in run.named
                if tensor.grad is not None
            }
        trained = run.run(stop_after=stop)
        arrays["loss"] = np.array([epoch.losses["total"] for epoch in trained.epochs])
        if processes.first:
            np.savez(out, **arrays, **run.adapter.state_dict())
        print(json.dumps({"steps": trained.steps, "resumed_at": trained.resumed_at}))


def trained(folder: Path, name: str, count: int = 1, **options: Any) -> dict[str, np.ndarray]:
    """Weights of a training in processes of its own."""
    command = [sys.executable, __file__, "--worker", str(folder), "--name", name]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    children = [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                **{key: str(value) for key, value in shared.items()},
                **{"MASTER_ADDR": "127.0.0.1", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            },
        )
        for rank in range(count)
    ]
    codes = [child.wait() for child in children]
    if any(codes):
        raise SystemExit(f"a process of {name} failed")
    return dict(np.load(folder / f"{name}.npz"))


def processes(folder: Path) -> dict[str, Any]:
    """Two processes against one, and a training that stops after an epoch against the whole.

    AdamW divides a gradient near 0 by its own size, so gradients and losses are what compares.
    """
    whole, two = trained(folder, "one"), trained(folder, "two", 2)
    other = trained(folder, "other", seed=1)
    trained(folder, "cut", keep=folder / "steps", stop=1)
    resumed = trained(folder, "resumed", keep=folder / "steps")
    gradients = {name: array for name, array in whole.items() if name.startswith("gradient ")}
    largest = max(float(np.abs(array).max()) for array in gradients.values())
    weights = [name for name in resumed if name != "loss"]

    def compared(arrays: dict[str, np.ndarray]) -> dict[str, float]:
        apart = {name: arrays[name] for name in gradients}
        losses = np.abs(arrays["loss"] / whole["loss"] - 1)
        return {
            "gradients_of_the_first_step_of_the_largest": distance(apart, gradients) / largest,
            "losses_relative": float(losses.max()),
        }

    return {
        "two_processes": compared(two),
        "control_another_seed": compared(other),
        "resumed_equal": all(np.array_equal(resumed[name], whole[name]) for name in weights),
        "another_seed_equal": all(np.array_equal(other[name], whole[name]) for name in weights),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=["speed", "processes"])
    parser.add_argument("--out", type=Path)
    for option in ("--worker", "--name", "--keep", "--stop", "--seed"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        folder, stop = Path(options.worker), None if options.stop is None else int(options.stop)
        keep = None if options.keep is None else Path(options.keep)
        worker(folder, folder / f"{options.name}.npz", int(options.seed or 0), keep, stop)
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        items(Path(work))
        if options.part != "processes":
            results["speed"] = speed(Path(work), options.rounds)
        if options.part != "speed":
            results["processes"] = processes(Path(work))
    text = json.dumps(results, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
