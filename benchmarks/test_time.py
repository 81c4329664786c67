"""Cost of answers that adapt to a stream, against ``classify`` by the same model.

    python benchmarks/test_time.py [--rounds 5] [--recordings 12] [--slim 0.25]

Process CPU time on one thread, medians of interleaved rounds. The model is a skeleton tower of
0.1 M weights, trained for two epochs on made recordings of 40 to 100 frames. The last table has
that training with and without the statistics.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tc_clip import interleaved, table

import vlar
from vlar.adapters.statistics import Statistics
from vlar.heads.support import read_support
from vlar.media.readers.skeleton import standing
from vlar.model.core import ModelCore
from vlar.model.model import Model
from vlar.training import fit as fitting
from vlar.training.fit import FitOptions, fit
from vlar.training.task import TrainingTask
from vlar.training.test_time import Online


def recordings(folder: Path, count: int) -> list[Path]:
    """Random walks around a standing person, of two labels."""
    paths: list[Path] = []
    for number in range(count):
        random = np.random.default_rng(number)
        steps = 0.01 * random.normal(size=(40 + 5 * (number % 12), 20, 3)).cumsum(axis=0)
        path = folder / f"label {number % 2}" / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"layout": "kinect20", "unit": "m", "rate_hz": 30.0}
        np.savez(path, facts=np.array(json.dumps(facts)), points=(standing() + steps)[:, None])
        paths.append(path)
    return paths


@contextmanager
def nothing(*_: Any) -> Any:
    yield Statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=12)
    parser.add_argument("--slim", type=float, default=0.25)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        paths = recordings(Path(place), given.recordings)
        support = read_support(place, "skeleton")
        encoder = vlar.load("skeleton").encoder
        task = TrainingTask.by_recipe(encoder, "skeleton-tower", settings={"slim": given.slim})
        task = replace(task, numbers=task.numbers.replaced(epochs=2))

        def learn() -> Model:
            core, options = ModelCore(encoder), FitOptions(stack=False)
            return Model.of(fit(task, core, support, support.items, options))

        model = learn()
        weights = sum(p.numel() for p in model.encoder.network.parameters())  # type: ignore
        forms = {form: Online(model, form=form) for form in ("features", "norms", "all")}
        arms: dict[str, Any] = {"classify": lambda _: model.classify(paths)}
        for form, online in forms.items():
            arms[f"--online-form {form}"] = lambda _, o=online: list(o.classify_each(paths))
        title = f"{len(paths)} recordings, {weights:,} weights"
        table(title, interleaved(arms, given.rounds), "classify")
        spent: dict[str, list[float]] = {"adapt": [], "without statistics": []}
        kept = fitting.gathering
        for _ in range(given.rounds):
            for name, gather in (("adapt", kept), ("without statistics", nothing)):
                fitting.gathering, begin = gather, time.process_time()
                learn()
                spent[name].append(1e3 * (time.process_time() - begin))
        rows = {name: (float(np.median(s)), float(np.median(s))) for name, s in spent.items()}
        table("training of two epochs (CPU twice)", rows, "without statistics")


if __name__ == "__main__":
    main()
