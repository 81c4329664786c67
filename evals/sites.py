"""Federated training on joints: six people, or six shares of labels, who never send clips.

    python evals/sites.py --data DIR [--method skeleton-tower] [--seeds 5] [--rounds 8] [--local 3]
        [--clients by:subject dirichlet:0.1] [--rows NAME ...] [--people 1 2] [--cache DIR]
        [--json FILE]

Six subjects of UTD-MHAD. Two trials teach and two are asked: at seed 0 those with an odd number
teach, later as the seed draws them. The seed draws the start of the network too. DIR holds
``manifest.csv``. The method is a graph tower with two blocks, whose private part is its topology,
or with ``--method local-temporal`` a cheaper one, whose private part is its last map. Every row
trains for ``rounds * local`` epochs, chosen on the asked clips of two people (``--people``); those
of the others are asked afterwards. The terms were fixed before the first run.

``everybody`` is top-1 of the model on all asked clips; ``own`` and ``worst`` are the mean and the
least over clients of each client's model on asked clips of its own kind: its person, or its share
of each label. ``alone`` is the mean of six trainings. ``words`` is the frozen encoder, and
``prototypes`` the nearest mean of the clients' sums. The control that must fail has the labels of
the teaching clips shuffled. A result is kept in ``--json`` and is not measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of
from harness import Namespace, arguments, some, store, stored
from sensors import listed

from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.heads.support import SupportItem
from vlar.methods.federated.averaging import prototypes
from vlar.methods.federated.learner import Federated, Federation
from vlar.numeric import unit
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

TOWERS: dict[str, dict[str, Any]] = {"local-temporal": {}}
TOWERS["skeleton-tower"] = {
    "layout": "kinect20_utd", "people": 1, "frames": 16, "widths": [16, 32], "halved": [2],
    "slim": 1.0,
}  # fmt: skip
BATCH = 8  # a client has 54 clips
TERMS: dict[str, dict[str, float]] = {
    "averaged": {}, "proximal": {"proximal": 0.1}, "private": {"private": 4},
    "distil": {"distil": 1.0, "words": 0.5},
    "all": {"proximal": 0.1, "private": 4, "distil": 1.0, "words": 0.5},
}  # fmt: skip
ROWS = ("words", "prototypes", "alone", *TERMS, "together", "labels shuffled")


class Lab:
    """The clips, and a training task for each seed."""

    def __init__(self, given: Namespace) -> None:
        self.given, self.encoder = given, load_encoder("skeleton")
        clips, y, who = listed("utd", given.data, self.encoder)
        part, settings = registry.get("adapter", given.method), TOWERS[given.method]
        reading = part.reading(self.encoder, settings)
        file = given.cache / f"sites-{reading.fingerprint[:16]}.npy"
        features = array_of(
            file, lambda: np.stack([reading.encode([clip])[0].features for clip in clips])
        )
        rows = zip(clips, y, who, strict=True)
        items = [
            SupportItem(c.path, None, (label,), p, facts={"subject": p}) for c, label, p in rows
        ]
        self.labels = sorted(set(y))
        self.items, self.features = items, features
        self.fold(0)
        self._pool, self._kept = self.encoder.pool, dict[bytes, np.ndarray]()
        self.encoder.pool = self.pool  # of the same clips in every row of the table

    def fold(self, seed: int) -> None:
        """Half of the trials teach, the others are asked."""
        trials = np.random.default_rng(seed).permutation(4)[:2] + 1 if seed else (1, 3)
        paths = [item.path for item in self.items]
        teach = np.isin([int(path.stem.split("_")[2][1:]) for path in paths], trials)
        pairs = list(zip(self.items, teach, strict=True))
        self.taught = [item for item, taught in pairs if taught]
        asks = ~teach & np.isin([item.group for item in self.items], self.given.people)
        self.asked = [item for item, asked in zip(self.items, asks, strict=True) if asked]
        self.teaching, self.asking = self.features[teach], self.features[asks]
        self.truth = np.array([self.labels.index(item.label) for item in self.asked])

    def pool(self, features: np.ndarray) -> np.ndarray:
        """The encoder's vectors, each clip once."""
        keys = [clip.tobytes() for clip in features]
        for key, clip in zip(keys, features, strict=True):
            if key not in self._kept:
                self._kept[key] = self._pool(clip[None])[0]
        return np.stack([self._kept[key] for key in keys])

    def task(self, seed: int) -> TrainingTask:
        """The tower by its recipe, for the epochs of all rounds."""
        task = TrainingTask.by_recipe(self.encoder, self.given.method, seed=seed)
        numbers = task.numbers.replaced(epochs=self.given.rounds * self.given.local, batch=BATCH)
        return TrainingTask(task.encoder, task.method, numbers, task.recipe,
                            {**task.settings, **TOWERS[task.method]}, seed)  # fmt: skip

    def right(self, training: Any) -> np.ndarray:
        """(m,) whether a model answers each asked clip right."""
        parts = np.array_split(self.asking, 8)
        logits = np.concatenate([held_out_logits(training, part) for part in parts])
        return logits.argmax(axis=1) == self.truth

    def measure(self, row: str, clients: str, seed: int) -> dict[str, Any]:
        """One result."""
        how = Federated(clients, self.given.rounds, self.given.local, **TERMS.get(row, {}))
        teach, ask = (
            {name: rows for name, rows in how.groups(items, seed).items() if rows}
            for items in (self.taught, self.asked)
        )
        begin = time.process_time()
        more: dict[str, Any] = {}
        if row in ("words", "prototypes"):
            every = self._frozen(row, list(teach.values()))
            right = dict.fromkeys(teach, every)
        elif row == "alone":
            right = {name: self.right(self._plain(rows, seed)) for name, rows in teach.items()}
            every = np.mean(list(right.values()), axis=0)
        elif row == "together":
            every = self.right(self._plain(list(range(len(self.taught))), seed))
            right = dict.fromkeys(teach, every)
        else:
            dataset = Dataset.of(self.labels, self._items(row, seed))
            made = Federation(how, self.task(seed), dataset, self.teaching, teach)
            every = self.right(made.run())
            own: Callable[[str], np.ndarray] = lambda name: self.right(made.merged(name))  # noqa: E731
            right = {name: own(name) if how.private else every for name in teach}
            more = {"bytes_a_round": 2 * sum(t.nbytes for t in made.first.values()) * len(teach)}
        found = {
            name: float(answer[ask[name]].mean()) for name, answer in right.items() if name in ask
        }
        return {
            "everybody": float(every.mean()), "own": float(np.mean(list(found.values()))),
            "worst": min(found.values()), "clients": {n: len(rows) for n, rows in teach.items()},
            "own_each": found, **more, "cpu_s": round(time.process_time() - begin, 1),
        }  # fmt: skip

    def _items(self, row: str, seed: int) -> list[SupportItem]:
        if row != "labels shuffled":
            return self.taught
        order = np.random.default_rng(seed).permutation(len(self.taught))
        pairs = zip(self.taught, order, strict=True)
        return [SupportItem(i.path, None, self.taught[n].labels, i.group) for i, n in pairs]

    def _plain(self, rows: list[int], seed: int) -> Any:
        dataset = Dataset.of(self.labels, [self.taught[row] for row in rows])
        return train_on(self.task(seed), dataset, FeatureSource(self.teaching[rows]))[0]

    def _frozen(self, row: str, clients: list[list[int]]) -> np.ndarray:
        width = self.encoder.frame_dim
        vectors = self.encoder.pool(self.asking[..., :width])
        if row == "words":
            tower = registry.get("adapter", "local-temporal").attach(self.encoder)
            return (vectors @ tower.label_vectors(self.labels).T).argmax(axis=1) == self.truth
        own = self.encoder.pool(self.teaching[..., :width])
        y = np.array([self.labels.index(item.label) for item in self.taught])
        means = unit(prototypes([(own[rows], y[rows]) for rows in clients]))
        return (vectors @ means.T).argmax(axis=1) == self.truth


def main() -> None:
    """Measure what is missing, and print a table."""
    given = arguments(
        __doc__, "data", "json", method={"default": "skeleton-tower", "choices": TOWERS}, seeds=5,
        rounds=8, local=3, clients=some(["by:subject", "dirichlet:0.1"]),
        rows=some(list(ROWS), choices=ROWS), people=some(list("123456"), help="who is asked"),
        cache=Path("/tmp/vlar-sites"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(given.json, {})
    lab = Lab(given)
    how = f"{given.rounds} rounds of {given.local}, asked {' '.join(given.people)}"
    for seed in range(given.seeds):
        lab.fold(seed)
        for clients in given.clients:
            for row in given.rows:
                rows = results.setdefault(f"{given.method}, {clients}, {how}", {}).setdefault(
                    row, {}
                )
                if str(seed) in rows:
                    continue
                rows[str(seed)] = found = lab.measure(row, clients, seed)
                shown = {k: v for k, v in found.items() if k not in ("clients", "own_each")}
                print(f"{clients}, {row}, seed {seed}: {shown}", flush=True)
                store(given.json, results)
    for clients in given.clients:
        for row in given.rows:
            found = list(results[f"{given.method}, {clients}, {how}"][row].values())
            cells = [
                f"{name} {100 * np.mean(each):.1f} ± {100 * np.std(each):.1f}"
                for name in ("everybody", "own", "worst")
                for each in [[one[name] for one in found]]
            ]
            sent = f", {found[0]['bytes_a_round'] / 1e6:.2f} MB a round" if row in TERMS else ""
            print(f"{clients:14} {row:16} {'; '.join(cells)}{sent} ({len(found)} seeds)")


if __name__ == "__main__":
    main()
