"""CPU time of a training of `fusion` against a bare loop of the same network, interleaved.

    python benchmarks/fusion_training.py [--method fusion] [--rounds 5] [--clips 256] [--epochs 4]

Random features of joints and IMU. The bare loop has the same network, batches, loss, optimiser and
limit of the gradient, and nothing else: no drawn parts, changed times, averages or reports.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.encoders.base import load_encoder
from vlar.methods.fusion.adapter import Fusion
from vlar.training.batches import Dataset
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

LABELS = ("wave", "clap", "squat", "throw")


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--method", default="fusion")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    encoder = load_encoder("bundle:skeleton+imu")
    shape = given.clips, encoder.feature_rows, encoder.frame_dim
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    features[..., -2:] = 1
    paths = [Path(str(row)) for row in range(given.clips)]
    y = [LABELS[row % len(LABELS)] for row in range(given.clips)]
    dataset = Dataset.single(LABELS, y, [str(path) for path in paths], paths)
    task = TrainingTask.by_recipe(encoder, given.method)
    numbers = task.numbers.replaced(epochs=given.epochs)

    def started() -> tuple[Fusion, torch.Tensor]:
        adapter = task.attach()
        assert isinstance(adapter, Fusion)
        adapter.fit_inputs(features)
        return adapter, torch.from_numpy(adapter.training_inputs(features))

    def ours() -> float:
        from vlar.training.loop import Training

        adapter, _ = started()
        loader = FeatureSource(features).loader(adapter, dataset, range(given.clips))
        training = Training(adapter, loader, dataset, numbers)
        begin = time.process_time()
        training.run()
        return time.process_time() - begin

    def bare() -> float:
        adapter, inputs = started()
        classes = adapter.training_classes(list(LABELS))
        network = adapter.network.train()
        parameters = [parameter for _, parameter in adapter.trainable()]
        optimiser = torch.optim.AdamW(parameters, lr=numbers.learning_rate)
        target = torch.tensor(dataset.columns)
        begin = time.process_time()
        for _ in range(given.epochs):
            order = torch.randperm(given.clips)
            for rows in order[: given.clips // numbers.batch * numbers.batch].split(numbers.batch):
                small, pooled = adapter.split_inputs(inputs[rows])
                fused, losses = network.fused(small, network.there(small))
                vectors = F.normalize(pooled[:, 0] + network.moved(fused), dim=1)
                logits = adapter.logit_scale * vectors @ network.concepts(classes).T
                loss = sum(losses.values(), F.cross_entropy(logits, target[rows]))
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
        return time.process_time() - begin

    torch.set_num_threads(1)
    pairs = [(bare(), ours()) for _ in range(given.rounds)]
    medians = [statistics.median(each) for each in zip(*pairs, strict=True)]
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"bare loop {medians[0]:.2f} s, vlar {medians[1]:.2f} s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
