"""CPU time of a round of six clients, and of an epoch without labels.

    python benchmarks/federated_round.py [--repeats 5] [--json FILE]

One interleaved run on made-up features of 240 clips. A round of ``federated`` (six clients, two
local epochs, the mean) is compared with the sum of six plain trainings on the same clips. Epochs of
``source-free`` are compared with those of the plain loop on the same ``local-temporal`` tower. The
least of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlar.encoders.base import load_encoder
from vlar.methods.atcon.adapter import LocalTemporal
from vlar.methods.federated.learner import Federated, Federation
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.task import TrainingTask

CLIPS, CLIENTS, EPOCHS, LONG = 240, 6, 2, 10
LABELS = [f"label {n}" for n in range(8)]


def dataset(count: int) -> Dataset:
    """Labels of made-up clips."""
    y = [LABELS[n % len(LABELS)] for n in range(count)]
    return Dataset.single(
        LABELS, y, [str(n) for n in range(count)], [Path(str(n)) for n in range(count)]
    )


def made(method: str) -> tuple[TrainingTask, np.ndarray]:
    """A task on the lite encoder and features for it."""
    encoder = load_encoder("lite")
    task = TrainingTask.by_recipe(encoder, method)
    task = replace(task, numbers=task.numbers.replaced(epochs=EPOCHS, batch=20))
    random = np.random.default_rng(0)
    shape = CLIPS, encoder.feature_rows, encoder.frame_dim
    return task, random.normal(size=shape).astype(np.float32)


def rounds() -> dict[str, Callable[[], Any]]:
    """A federation of one round, and the trainings of its clients alone."""
    task, features = made("temporal")
    clients = {str(c): list(range(c, CLIPS, CLIENTS)) for c in range(CLIENTS)}
    how = Federated(rounds=1, local_epochs=EPOCHS)
    federation = Federation(how, task, dataset(CLIPS), features, clients)
    adapter: Any = federation.adapter
    inputs = adapter.training_inputs(features)

    def alone() -> None:
        for rows in clients.values():
            loader = FeatureLoader(inputs[rows], [Path("x")] * len(rows), adapter.input_widths)
            Training(adapter, loader, federation.dataset.part(rows), task.numbers).run()

    return {"a round of six clients": federation.run, "six trainings alone": alone}


def epochs() -> dict[str, Callable[[], Any]]:
    """Epochs on unlabelled clips by ``atcon``, and with labels by the plain loop."""
    task, features = made("local-temporal")
    task = replace(task, numbers=task.numbers.replaced(epochs=LONG))  # labels are found once in ten
    adapter = LocalTemporal.attach(task.encoder, {"labels": []})
    adapter.fit_inputs(features)
    inputs, labelled, free = adapter.training_inputs(features), dataset(CLIPS), dataset(CLIPS)
    free.targets.member[:] = 0

    def run(data: Dataset, objectives: tuple[str, ...], frozen: bool) -> None:
        adapter.frozen = frozen
        loader = FeatureLoader(inputs, data.paths)
        Training(adapter, loader, data, task.numbers, objectives=ObjectiveSet(objectives)).run()

    return {
        "epochs of source-free": lambda: run(free, ("atcon",), True),
        "epochs of the plain loop": lambda: run(labelled, (), False),
    }


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for pair, bar in ((rounds(), 1.1), (epochs(), 1.2)):
        least = dict.fromkeys(pair, float("inf"))
        for _ in range(given.repeats):
            for name, work in pair.items():
                begin = time.process_time()
                work()
                least[name] = min(least[name], time.process_time() - begin)
        one, two = least.values()
        print(f"{least}: {one / two:.2f} times (bar {bar})", flush=True)
        found |= {**least, f"{next(iter(pair))}, times": one / two}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
