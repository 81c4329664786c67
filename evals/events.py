"""Event towers on real recordings of an event camera: digits in saccades.

    python evals/events.py --data ../shared/modalities [--minutes 7] [--json FILE]

``evals/lists/events_split.csv`` has the parts: ``fit`` and ``choose`` teach (settings were chosen
by training on the first and asking the second), ``test`` is asked. N-MNIST is not an action set:
three saccades before a still digit. Of objects and gestures there is one recording a label here, so
that no figure by recording can be given.

Compared are a ridge on counts in three spans of time, ``auto`` on the base encoder, and every
preset with and without spikes, the trained similarity alone. Controls on the same model: spans of
time exchanged, polarity removed, x and y exchanged, time reversed; and labels shuffled in training.
Runs that a result file holds are not made again; ``--minutes`` ends a call before the next run.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, manifest, store, stored

import vlar
from vlar.heads.model_selection import AUTO
from vlar.heads.support import SupportItem
from vlar.methods.events.representations import frames
from vlar.model.adapt import fit_examples
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.types import Clip

HERE = Path(__file__).parent
DATA = "n_mnist"
PRESETS = ("spikmamba", "event-transact", "spikepoint")
PENALTY = 0.1  # of the ridge, of the mean eigenvalue; chosen on the choose part
CONTRAST = {"frame-contrast": {"weight": 0.1}}


@dataclass(frozen=True)
class Run:
    """One training and what is asked of it."""

    method: str
    neuron: str = ""
    seed: int = 0
    contrast: bool = False
    shuffled: bool = False

    @property
    def name(self) -> str:
        """Key in the result file."""
        extra = ["contrast"] * self.contrast + ["labels shuffled"] * self.shuffled
        parts = [DATA, self.method, self.neuron, *extra]
        return f"{'/'.join(filter(None, parts))}, seed {self.seed}"


def spans_exchanged(events: np.ndarray) -> np.ndarray:
    """The third thirds of the time first: events keep their place in their third."""
    third = max(int(events["t"].max()) // 3 + 1, 1)
    moved = events.copy()
    moved["t"] = (events["t"] + third) % (3 * third)
    return moved


def reversed_time(events: np.ndarray) -> np.ndarray:
    """The film backwards: what became brighter becomes darker."""
    moved = events.copy()
    moved["t"], moved["p"] = events["t"].max() - events["t"], ~events["p"]
    return moved


def one_polarity(events: np.ndarray) -> np.ndarray:
    """All events as if brighter."""
    moved = events.copy()
    moved["p"] = True
    return moved


def exchanged(events: np.ndarray) -> np.ndarray:
    """x and y exchanged, on a square sensor."""
    moved = events.copy()
    moved["x"], moved["y"] = events["y"], events["x"]
    return moved


CONTROLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "spans of time exchanged": spans_exchanged,
    "time reversed": reversed_time,
    "polarity removed": one_polarity,
    "x and y exchanged": exchanged,
}


def changed(clip: Clip, change: Callable[[np.ndarray], np.ndarray]) -> Clip:
    """The clip with other events, in the order of time."""
    events = change(clip.data)
    events = events[np.argsort(events["t"], kind="stable")]
    return replace(clip, data=events, times_s=events["t"] * 1e-6)


class Recordings:
    """Clips of the sets, their labels and parts."""

    def __init__(self, folder: Path) -> None:
        labels = {row["path"]: row["label"] for row in manifest(folder)}
        with (HERE / "lists" / "events_split.csv").open(newline="") as file:
            rows = [(row["path"], row["part"]) for row in csv.DictReader(file)]
        self.folder, self._clips = folder, dict[str, Clip]()
        self.rows = [(path, labels[path], part) for path, part in rows]

    def clip(self, path: str) -> Clip:
        """A recording, read once."""
        if path not in self._clips:
            self._clips[path] = vlar.read_clip(self.folder / path)
        return self._clips[path]

    def split(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Paths and labels to learn from, and to ask."""
        learn = [(path, label) for path, label, part in self.rows if part != "test"]
        return learn, [(path, label) for path, label, part in self.rows if part == "test"]


def percent(found: Sequence[str], right: Sequence[str]) -> float:
    """Share of right answers in percent."""
    return round(100 * float(np.mean([a == b for a, b in zip(found, right, strict=True)])), 1)


def ridge(learn: list[Clip], y: list[str], asked: list[Clip]) -> list[str]:
    """Answers of a ridge on the square root of counts in three spans of time."""
    rows = [
        np.stack([np.sqrt(frames(c.data, 3, size=c.meta["size"])).ravel() for c in clips])
        for clips in (learn, asked)
    ]
    mean = rows[0].mean(axis=0)
    a, b = (part - mean for part in rows)
    labels = sorted(set(y))
    target = np.array([[label == own for label in labels] for own in y], float)
    gram = a @ a.T
    gram += PENALTY * np.trace(gram) / len(gram) * np.eye(len(gram))
    found = b @ (a.T @ np.linalg.solve(gram, target - target.mean(axis=0))) + target.mean(axis=0)
    return [labels[row] for row in found.argmax(axis=1)]


def auto(model: vlar.Model, learn: list[Clip], y: list[str], asked: list[Clip]) -> list[str]:
    """Answers of ``vlar adapt`` on the base encoder."""
    items = [
        SupportItem(c.path, None, (label,), str(c.path)) for c, label in zip(learn, y, strict=True)
    ]
    examples = EncodedExamples(items, model.encoder.encode(learn), ())
    made = fit_examples(ModelCore(model.encoder), tuple(sorted(set(y))), examples, AUTO)
    assert made.head is not None
    best = made.head.scores(model.encoder.encode(asked)).probability.argmax(axis=1)
    return [made.head.labels[row] for row in best]


def measure(run: Run, data: Recordings, model: vlar.Model) -> dict[str, Any]:
    """Figures of one run."""
    learn, asked = data.split()
    y, right = [label for _, label in learn], [label for _, label in asked]
    clips, test = ([data.clip(path) for path, _ in part] for part in (learn, asked))
    if run.method in ("ridge", "auto"):
        made = ridge(clips, y, test) if run.method == "ridge" else auto(model, clips, y, test)
        return {"top1": percent(made, right), "learned": len(y), "asked": len(right)}
    if run.shuffled:
        y = np.random.default_rng(run.seed).permutation(y).tolist()
    task = TrainingTask.by_recipe(
        model.encoder, run.method, settings={"neuron": run.neuron}, seed=run.seed,
        objectives=CONTRAST if run.contrast else (),
    )  # fmt: skip
    begin = time.process_time()
    source = task.attach().source
    features = np.stack([row.features for row in source.encode(clips)])
    encoded = time.process_time()
    paths = [clip.path for clip in clips]
    dataset = Dataset.single(sorted(set(y)), y, [str(path) for path in paths], paths)
    adapter: Any = train_on(task, dataset, FeatureSource(features))[0].adapter
    end = time.process_time()
    words = ModelCore(adapter, templates=adapter.templates).encode_labels(dataset.texts)

    def answers(given: list[Clip]) -> tuple[float, np.ndarray]:
        rows = np.stack([row.features for row in source.encode(given)])
        best = (adapter.pool(rows) @ words.T).argmax(axis=1)
        return percent([dataset.labels[row] for row in best], right), rows

    top1, rows = answers(test)
    return {
        "top1": top1,
        "learned": len(y),
        "asked": len(right),
        "parameters": sum(p.numel() for p in adapter.network.parameters()),
        "cpu_s": round(end - encoded, 1),
        "encoding_cpu_s": round(encoded - begin, 1),
        "spikes a clip": round(float(adapter.spikes(rows[:20]).mean())),
        "controls": {
            name: answers([changed(clip, change) for clip in test])[0]
            for name, change in CONTROLS.items()
        },
    }


def runs(seeds: int) -> Iterator[Run]:
    """Runs to make, the most telling first."""
    yield from (Run(method) for method in ("ridge", "auto"))
    for seed in range(seeds):
        for method in PRESETS:
            yield from (Run(method, neuron, seed) for neuron in ("lif", "none"))
        yield Run("event-transact", "none", seed, contrast=True)
        if not seed:
            yield from (Run(method, "lif", shuffled=True) for method in PRESETS)


def table(result: dict[str, Any]) -> None:
    """Print means over seeds, and which towers stay below the ridge."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in result.items():
        parts = [p for p in name.split("/") if not p.startswith("seed")]
        groups.setdefault("/".join(parts), []).append(row)
    for name, rows in sorted(groups.items()):
        top1 = np.array([row["top1"] for row in rows])
        line = np.mean([row["top1"] for row in groups.get(f"{name.split('/')[0]}/ridge", rows)])
        text = f"{name:50} {top1.mean():5.1f} ± {top1.std():4.1f} ({len(rows)})"
        if "controls" in rows[0]:
            cpu_s, spikes = (
                np.mean([row[key] for row in rows]) for key in ("cpu_s", "spikes a clip")
            )
            text += f"  {rows[0]['parameters']:,} parameters, {cpu_s:.0f} s, {spikes:,.0f} spikes; "
            text += ", ".join(
                f"{key} {np.mean([r['controls'][key] for r in rows]):.1f}" for key in CONTROLS
            )
            text += "  below the ridge: null here" if top1.mean() < line else ""
        print(text)


def main() -> None:
    """Make the runs that are missing, and print all."""
    given = arguments(__doc__, "data", "json", seeds=3, minutes=float("inf"))
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * given.minutes
    model, data = vlar.load("events"), Recordings(given.data)
    result: dict[str, Any] = stored(given.json, {})
    for run in runs(given.seeds):
        if run.name in result or time.monotonic() > end:
            continue
        result[run.name] = measure(run, data, model)
        print(run.name, result[run.name], flush=True)
        store(given.json, result)
    table(result)


if __name__ == "__main__":
    main()
