"""Streams that got worse: source model, features recoloured, norms or all parameters adapted.

    python evals/online.py --data DIR [--sets utd weizmann jhmdb] [--seeds 5] [--fold report]
        [--streams NAME ...] [--forms NAME ...] [--labels N] [--rate R] [--momentum M]
        [--json evals/results/online.json]

DIR has ``videos/manifest.csv`` and ``modalities/manifest.csv``. Groups (people, films) are cut into
two folds. Settings are chosen on the fold ``choose``; the fold ``report`` asks the clips that
taught there. A tower answers alone: ``skeleton-tower`` on joints, ``temporal`` on pictures
(``lite-objects``). A stream holds each clip once, shuffled by the seed, all clean or all
with one corruption of severity 3. Forms:

source      the model as it was trained
features    frame features whitened and recoloured, without gradients
norms, all  one step a clip on scale and shift of the norms, or on all parameters
other       norms, with the statistics of a model of another task (labels in two groups)
sorted      norms, clips in the order of their labels, with and without the reset (``sorted-free``)

A result is kept in ``--json`` for each set, method, stream, form and seed, and not measured again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Namespace, arguments, manifest, some, store, stored

from vlar.adapters.statistics import Statistics
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.beside import Wrapper, copy_attributes
from vlar.evaluation.corruptions.base import corrupt
from vlar.heads.support import Support, SupportItem
from vlar.model.core import ModelCore
from vlar.model.model import Model
from vlar.training.fit import FitOptions, fit
from vlar.training.task import TrainingTask
from vlar.training.test_time import MOMENTUM, Online
from vlar.types import Clip, Encoded

METHODS = {"utd": "skeleton-tower", "weizmann": "temporal", "jhmdb": "temporal"}
PICTURES = ("gaussian-noise", "defocus-blur", "contrast", "jpeg")
STREAMS = {"utd": ("jitter",), "weizmann": PICTURES, "jhmdb": PICTURES}
FORMS = ("source", "features", "norms", "all", "other", "sorted", "sorted-free")
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "skeleton-tower": (
        {"layout": "kinect20_utd", "people": 1, "frames": 16},
        {"epochs": 25, "time_jitter": 0.0},
    ),
    "temporal": ({}, {"time_jitter": 0.0}),
}
FRAMES, SEVERITY = 12, 3


class Memo(Wrapper):
    """An encoder that encodes a clip once; clips are told apart by their paths and windows."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.rows = encoder, {}
        copy_attributes(self, encoder)
        if encoder.modality == "video":
            self.n_frames = FRAMES

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        for clip in clips:
            key = str(clip.path), clip.window
            if key not in self.rows:
                self.rows[key] = self.encoder.encode([clip])[0]
        return [self.rows[str(clip.path), clip.window] for clip in clips]


def rows_of(name: str, data: Path) -> list[dict[str, str]]:
    """Path, label, group and fold of the clips of a set."""
    if name == "utd":
        every = manifest(data / "modalities")
        every = [row for row in every if row["path"].startswith("utd_mhad/skeleton/")]
        every = [{**row, "path": str(data / "modalities" / row["path"])} for row in every]
    else:
        every = manifest(data / "videos", name)
        every = [{**row, "path": str(data / "videos" / row["path"])} for row in every]
    fold: dict[str, int] = {}
    for label in sorted({row["label"] for row in every}):
        for group in sorted({row["group"] for row in every if row["label"] == label}):
            taken = [
                fold[g] for g in {r["group"] for r in every if r["label"] == label} & set(fold)
            ]
            fold.setdefault(group, int(taken.count(0) > taken.count(1)))
    return [{**row, "fold": str(fold[row["group"]])} for row in every]


def trained(
    method: str, encoder: Encoder, rows: Sequence[dict[str, str]], epochs: int | None = None
) -> Model:
    """A tower that learned from clips and answers alone."""
    settings, numbers = SETTINGS[method]
    items = [SupportItem(Path(row["path"]), None, (row["label"],), row["group"]) for row in rows]
    task = TrainingTask.by_recipe(encoder, method, settings=settings)
    numbers = {**numbers, **({"epochs": epochs} if epochs else {})}
    task = replace(task, numbers=task.numbers.replaced(**numbers))
    labels = tuple(sorted({row["label"] for row in rows}))
    support = Support(labels, tuple(items), "evals/online.py")
    return Model.of(fit(task, ModelCore(encoder), support, items, FitOptions(stack=False)))


def views_of(model: Model, rows: Sequence[dict[str, str]], stream: str) -> list[list[Clip]]:
    """Two views of each clip, both with the same corruption."""
    part = Online(model)
    pairs = (part.views(part.sampler.sample(Path(row["path"]))[0]) for row in rows)
    return [[worse(clip, stream, n) for clip in pair] for n, pair in enumerate(pairs)]


def worse(clip: Clip, stream: str, seed: int) -> Clip:
    if stream == "clean":
        return clip
    data = corrupt(clip.data, stream, SEVERITY, seed=seed, meta=clip.meta)
    return replace(clip, data=data, path=Path(f"{clip.path}+{stream}"))


def online(model: Model, form: str, given: Namespace, other: Statistics) -> Online:
    rate, momentum = given.rate, given.momentum
    if form in ("features", "all"):
        return Online(model, form=form, momentum=momentum, rate=rate)
    statistics = other if form == "other" else None
    limits = {"reset": None} if form == "sorted-free" else {}
    return Online(model, statistics, momentum=momentum, rate=rate, **limits)


def measure(
    model: Model, form: str, views: list[list[Clip]], y: np.ndarray, seed: int,
    given: Namespace, other: Statistics,
) -> dict[str, Any]:  # fmt: skip
    """Accuracy over one stream, resets, the distance at its end and CPU seconds a clip."""
    order = np.random.default_rng(seed).permutation(len(y))
    if form.startswith("sorted"):
        order = order[np.argsort(y[order], kind="stable")]
    begin, right = time.process_time(), np.zeros(len(y), bool)
    if form == "source":
        answers = [model.classify(views[row][0]) for row in order]
        extra: dict[str, Any] = {}
    else:
        part = online(model, form, given, other)
        answers = [part.classify(views[row]) for row in order]
        extra = {"resets": part.resets}
        if form != "features":
            extra["distance"] = round(part.distance(), 4)
    for row, answer in zip(order, answers, strict=True):
        right[row] = answer.predictions[0].label == y[row]
    spent = (time.process_time() - begin) / len(y)
    return {"top1": round(100 * float(right.mean()), 2), **extra, "cpu_s": round(spent, 4)}


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    given = arguments(
        __doc__, "data", "json", sets=some(list(METHODS), choices=list(METHODS)),
        streams=some(["clean", "jitter", *PICTURES]), forms=some(list(FORMS), choices=FORMS),
        seeds=5, fold={"choices": ("choose", "report"), "default": "report"},
        labels=(int, "the first N labels of a set alone"), rate=float, momentum=MOMENTUM,
    )  # fmt: skip
    torch.set_num_threads(1)
    done: list[dict[str, Any]] = stored(given.json, {"rows": []})["rows"]
    for name in given.sets:
        rows = rows_of(name, given.data)
        few = sorted({row["label"] for row in rows})[: given.labels]
        rows = [row for row in rows if row["label"] in few]
        teach = [row for row in rows if (row["fold"] == "0") == (given.fold == "report")]
        ask = [row for row in rows if row not in teach]
        labels = {row["label"] for row in teach}
        ask = [row for row in ask if row["label"] in labels]
        encoder = Memo(load_encoder("skeleton" if name == "utd" else "lite-objects"))
        run(name, encoder, teach, ask, given, done)


def run(
    name: str, encoder: Encoder, teach: list[dict[str, str]],
    ask: list[dict[str, str]], given: Namespace, done: list[dict[str, Any]],
) -> None:  # fmt: skip
    """All streams and forms of one set."""
    method = METHODS[name]
    model = trained(method, encoder, teach)
    labels = sorted({row["label"] for row in teach})
    two = [{**row, "label": f"group {labels.index(row['label']) % 2}"} for row in teach]
    other = trained(method, encoder, two, epochs=5).adapted
    assert other is not None
    assert other.statistics is not None
    y = np.array([row["label"] for row in ask])
    wanted = [stream for stream in ("clean", *STREAMS[name]) if stream in given.streams]
    views = {stream: views_of(model, ask, stream) for stream in wanted}
    for seed, stream, form in itertools.product(range(given.seeds), wanted, given.forms):
        at = {"set": name, "method": method, "stream": stream, "form": form, "seed": seed}
        at |= {key: getattr(given, key) for key in ("fold", "labels", "rate", "momentum")}
        if any(at.items() <= row.items() for row in done) or (form == "source" and seed):
            continue
        found = measure(model, form, views[stream], y, seed, given, other.statistics)
        done.append({**at, "clips": len(y), **found})
        print(*done[-1].values(), flush=True)
        store(given.json, {"command": "python evals/online.py --data DIR", "rows": done})


if __name__ == "__main__":
    main()
