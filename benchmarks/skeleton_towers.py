"""Cost of skeleton towers in vlar, against the same network in a bare loop of torch.

    python benchmarks/skeleton_towers.py [--methods NAME ...] [--rounds 3] [--slim 1] [--frames 64]

Process CPU time on one thread, medians of interleaved rounds. Training: one epoch of 32 clips in
batches of 16 through the loop of vlar, and the same network, batches, optimiser and limit of the
gradient without it. A clip: ``classify`` of a recording by the tower, against ``classify`` by its
encoder plus the bare forward of the network. Recordings are made of random walks of joints.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import Arm, interleaved

import vlar
from vlar.adapters.trainable import TrainingBatch
from vlar.media.readers.skeleton import SkeletonReader
from vlar.model.model import Model
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.task import attach

CLIPS, BATCH, LABELS = 32, 16, [f"label {n}" for n in range(8)]


def tower_of(method: str, settings: dict[str, Any]) -> Any:
    return attach(method, vlar.load("skeleton").encoder, settings)


def inputs_of(tower: Any) -> np.ndarray:
    """(n, T, K + D) what a training reads, of clips with one person in sight."""
    random = np.random.default_rng(0)
    config, rows = tower.config, tower.feature_rows
    joints = np.zeros((CLIPS, rows, config.people, config.joints, 4), np.float32)
    steps = random.normal(size=(CLIPS, rows, config.joints, 3)).astype(np.float32)
    joints[:, :, 0, :, :3] = 0.05 * steps.cumsum(axis=1)
    joints[:, :, 0, :, 3] = 1
    pooled = np.repeat(random.normal(size=(CLIPS, 1, tower.dim)), rows, axis=1)
    pooled /= np.linalg.norm(pooled, axis=2, keepdims=True)
    return np.concatenate([joints.reshape(CLIPS, rows, -1), pooled.astype(np.float32)], axis=2)


def trainings(method: str, settings: dict[str, Any]) -> dict[str, Arm]:
    """An epoch by vlar's loop, and the same steps without it."""
    y = [LABELS[row % len(LABELS)] for row in range(CLIPS)]
    paths = [Path(str(row)) for row in range(CLIPS)]
    dataset = Dataset.single(LABELS, y, [str(row) for row in range(CLIPS)], paths)
    numbers = load_recipe("skeleton-tower/adapt").replaced(epochs=1000, batch=BATCH)
    tower = tower_of(method, settings)
    inputs = inputs_of(tower)
    ours = Training(tower, FeatureLoader(inputs, paths), dataset, numbers)
    bare = tower_of(method, settings)
    classes = bare.training_classes(LABELS)
    network = bare.network
    parameters = [p for _, p in bare.trainable()]
    groups = numbers.groups(bare.trainable(), numbers.learning_rate, numbers.weight_decay)
    optimiser = torch.optim.AdamW(groups)
    network.train()
    small = torch.from_numpy(inputs[..., : -bare.dim])
    pooled = torch.from_numpy(np.ascontiguousarray(inputs[:, 0, -bare.dim :]))
    target = torch.arange(CLIPS) % len(LABELS)

    def plain(_: int) -> None:
        for start in range(0, CLIPS, BATCH):
            rows = slice(start, start + BATCH)
            optimiser.zero_grad()
            reading = network.read(small[rows])
            words = network.concepts(classes)
            vectors = F.normalize(pooled[rows] + reading.residuals, dim=-1)
            logits = bare.logit_scale * vectors @ words.T
            of = target[rows].repeat(len(reading.residuals))
            loss = F.cross_entropy(
                logits.flatten(0, 1), of, label_smoothing=numbers.label_smoothing
            )
            # The further losses of a paper are part of its network.
            batch = TrainingBatch(small[rows], F.one_hot(target[rows], len(LABELS)).float())
            (loss + sum(bare.further(reading, batch, logits.mean(dim=0)).values())).backward()
            torch.nn.utils.clip_grad_norm_(parameters, numbers.clip_norm)
            optimiser.step()

    return {"bare loop": plain, "vlar's loop": lambda _: ours.advance(ours.steps_per_epoch)}


def answers(method: str, settings: dict[str, Any], file: Path) -> dict[str, Arm]:
    """A recording by the tower, by its encoder, and the forward alone."""
    tower = tower_of(method, settings)
    encoder = vlar.load("skeleton")
    torch.nn.init.normal_(tower.network.leave[0].weight)
    tower.refresh()
    model = Model(tower)
    clip = vlar.read_clip(file)
    small = torch.from_numpy(tower.small(tower.source.encode([clip])[0].features[None]))

    def forward(_: int) -> None:
        with torch.inference_mode():
            tower.network.residual(small)

    return {
        "encoder's classify": lambda _: encoder.classify(file, LABELS),
        "bare forward": forward,
        "tower's classify": lambda _: model.classify(file, LABELS),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["skeleton-tower", "hd-gcn"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slim", type=float, default=0.25)
    parser.add_argument("--frames", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"slim": given.slim, "frames": given.frames}
    print(f"widths x {given.slim}, {given.frames} frames; CPU ms, medians of {given.rounds} rounds")
    heads = ("bare epoch", "vlar", "ratio", "encoder", "forward", "tower", "ratio")
    print(f"{'':16}" + "".join(f"{head:>11}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        file = SkeletonReader().example(Path(folder))
        for method in given.methods:
            row = interleaved(trainings(method, settings), given.rounds)
            bare, ours = row["bare loop"][0], row["vlar's loop"][0]
            row = interleaved(answers(method, settings, file), 4 * given.rounds)
            encoder, forward, tower = (cpu for cpu, _ in row.values())
            ratios = ours / bare, tower / (encoder + forward)
            found = bare, ours, ratios[0], encoder, forward, tower, ratios[1]
            print(f"{method:16}" + "".join(f"{number:11.2f}" for number in found), flush=True)


if __name__ == "__main__":
    main()
