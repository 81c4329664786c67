"""Small networks over the frames of colour, from few takes, people apart.

    python evals/colour_takes.py QUESTION --shared DIR [--seeds 5] [--shots 1 3] [--json FILE]

Colour of the sixty takes of ``four_sensors.py`` by `lite`; ``temporal`` alone learns 1 or 3 takes a
label of four people, and is asked about two others. ``auto`` is the closed form without a network.

``starts``  after "Optimizing ViViT training", 16 or 32 frames: ``random``; ``zero``: what a layer
            adds is zero; ``copied``: layers that learned the joints of the same takes; ``from 8
            frames``: half of the epochs on 8 frames, then positions are interpolated. Control:
            labels of the takes shuffled
``csvr``    epochs on all takes of these people without labels, then as many on those with labels,
            32 frames; key frames from the packets of the files. Control: key frames of other takes
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from four_sensors import FILES, Takes, auto, top1
from harness import arguments, some
from videos import Lab

from vlar.methods.temporal.adapter import Temporal
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

STARTS = ("random", "zero", "copied", "from 8 frames", "labels shuffled")
MOST = 64  # rows of the features of a take
plain = Temporal.fit_inputs


def zero(network: Any) -> None:
    """Zeros in place of what the layers add."""
    for layer in network.layers:
        for part in (layer.self_attn.out_proj, layer.linear2):
            torch.nn.init.zeros_(part.weight)
            torch.nn.init.zeros_(part.bias)


def trained(
    takes: Takes, number: int, x: np.ndarray, rows: np.ndarray, y: np.ndarray, seed: int,
    begin: Callable[[Any], None] | None = None, share: float = 1.0,
    objectives: Any = (), free: np.ndarray | None = None, **settings: Any,
) -> Any:  # fmt: skip
    """A temporal adapter of one sensor after some share of the epochs."""

    def fit_inputs(self: Temporal, features: np.ndarray) -> None:
        plain(self, features)
        if begin is not None:
            begin(self.network)
            self.refresh()

    Temporal.fit_inputs = fit_inputs  # type: ignore[method-assign]
    task = TrainingTask.by_recipe(
        takes.base.parts[number], "temporal", seed=seed, settings=settings, objectives=objectives
    )
    numbers = task.numbers.replaced(epochs=max(1, round(share * task.numbers.epochs)))
    paths = np.array([takes.root / FILES["video"].format(name) for name in takes.names])
    dataset = Dataset.single(
        takes.labels, y.tolist(), [str(row) for row in rows], paths[rows].tolist()
    )
    source = FeatureSource(x)
    if free is not None:
        source = FeatureSource(x, takes.part(0)[free, ::2], paths[free].tolist())
    return train_on(replace(task, numbers=numbers), dataset, source)[0].adapter


def start(takes: Takes, form: str, frames: int, rows: np.ndarray, seed: int) -> Any:
    """An adapter trained from the start of a form."""
    x, y, step = takes.part(0)[rows], takes.y[rows], MOST // frames
    if form == "labels shuffled":
        y = np.random.default_rng(seed).permutation(y)
    if form == "copied":
        joints = trained(takes, 1, takes.part(1)[rows, ::step], rows, y, seed)
        state = joints.network.layers.state_dict()
        return trained(
            takes, 0, x[:, ::step], rows, y, seed, lambda n: n.layers.load_state_dict(state)
        )
    if form == "from 8 frames":
        few = trained(takes, 0, x[:, :: MOST // 8], rows, y, seed, share=0.5, positions=8)
        state = {k: v for k, v in few.network.state_dict().items() if k != "labels"}
        return trained(
            takes, 0, x[:, ::step], rows, y, seed, lambda n: n.load_state_dict(state, strict=False),
            0.5, positions=8,
        )  # fmt: skip
    return trained(takes, 0, x[:, ::step], rows, y, seed, zero if form == "zero" else None)


def starts(lab: Lab, takes: Takes, seed: int, shots: int) -> None:
    """Accuracy and cost of each start."""
    rows, _, asked = takes.split(seed, shots)
    for frames in lab.given.frames:
        x = takes.part(0)[:, :: MOST // frames]
        key = {"frames": frames, "shots": shots, "seed": seed}
        if not lab.measured(start="auto", **key):
            head = auto(takes, takes.base.parts[0], rows, x[rows])
            lab.keep({"start": "auto", **key}, top1=top1(takes, head(x[asked]), asked))
        for form in STARTS:
            if not lab.measured(start=form, **key):
                begin = time.process_time()
                adapter = start(takes, form, frames, rows, seed)
                spent = round(time.process_time() - begin, 1)
                right, fits = (answered(takes, adapter, x[part], part) for part in (asked, rows))
                lab.keep({"start": form, **key}, top1=right, taught=fits, cpu_s=spent)


def csvr(lab: Lab, takes: Takes, seed: int, shots: int) -> None:
    """The terms without labels first, and what they are compared with at equal epochs."""
    rows, places, asked = takes.split(seed, shots)
    free, x = np.setdiff1d(places, rows), takes.part(0)[:, ::2]
    early = {"alone": 0.5, "ratio": 4.0}
    only = {**early, "poses": 0.0, "frames": 0.0}
    forms: dict[str, tuple[Any, float]] = {
        "supervised": ({}, 1.0), "supervised, twice the epochs": ({}, 2.0),
        "csvr": ({"csvr": early}, 2.0), "key frames alone": ({"csvr": only}, 2.0),
        "shuffled key frames": ({"csvr": {**only, "shuffled": True}}, 2.0),
    }  # fmt: skip
    for name, (objectives, share) in forms.items():
        key = {"method": name, "shots": shots, "seed": seed}
        if not lab.measured(**key):
            adapter = trained(
                takes, 0, x[rows], rows, takes.y[rows], seed, share=share, objectives=objectives,
                free=free if objectives else None,
            )  # fmt: skip
            lab.keep(key, top1=answered(takes, adapter, x[asked], asked))


def answered(takes: Takes, adapter: Any, x: np.ndarray, rows: np.ndarray) -> float:
    """Top-1 in percent of a trained adapter alone."""
    concepts = ModelCore(adapter, templates=adapter.templates).encode_labels(takes.labels)
    return top1(takes, adapter.pool(x) @ concepts.T, rows)


def main() -> None:
    """Measure what is missing."""
    questions = {"starts": starts, "csvr": csvr}
    given = arguments(
        __doc__, "shared", "json", question={"positional": True, "choices": list(questions)},
        seeds=5, shots=some([1, 3]), frames=some([16, 32]), cache=Path("/tmp/vlar-videos"),
    )  # fmt: skip
    torch.set_num_threads(1)
    lab = Lab(given)
    takes = Takes(lab, "fusion")
    for seed in range(given.seeds):
        for shots in given.shots:
            questions[given.question](lab, takes, seed, shots)


if __name__ == "__main__":
    main()
