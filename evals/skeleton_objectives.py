"""Objectives on a skeleton tower: rare labels, and performers that are exchanged.

    python evals/skeleton_objectives.py [rare] [subject] --data DIR [--seeds 3] [--epochs 25]
        [--method skeleton-tower] [--cache DIR] [--json FILE]

Odd subjects of UTD-MHAD teach, even ones are asked. DIR holds ``manifest.csv``. The tower answers
alone, by the texts of its labels.

rare       labels with 12 to 1 examples, in an order drawn by the seed: BRL with mixed bodies, with
           time cut, plain, and plain with adjusted logits; macro accuracy, and that of the third of
           the labels with the fewest examples. The control has the labels of the examples shuffled.
subject    5 examples a label, with and without ``exchange`` by the column ``subject``; the control
           has the subjects shuffled.

A result is kept in ``--json`` for each method and seed and is not measured again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from cached import array_of
from harness import Namespace, arguments, manifest, store, stored
from objectives import table

from vlar.encoders.base import load_encoder
from vlar.heads.fewshot.balanced import logit_adjust
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.metrics.classification import macro_accuracy
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

PREFIX = "utd_mhad/skeleton/"
LAYOUT, FRAMES, MOST, IMBALANCE, SHOTS = "kinect20_utd", 16, 12, 10.0, 5


def main() -> None:
    given = arguments(
        __doc__, "data", "cache", "json",
        questions={"positional": True, "nargs": "*", "default": ["rare", "subject"]}, seeds=3,
        epochs=25, method="skeleton-tower",
    )  # fmt: skip
    lab = Lab(given)
    for seed in range(given.seeds):
        for question in given.questions:
            {"rare": rare, "subject": subject}[question](lab, seed)
    for question in given.questions:
        table(lab.of(question), ("macro", "few") if question == "rare" else ("top1",))


class Lab:
    """Clips with the joints that the tower reads, trainings, and what was measured before."""

    def __init__(self, given: Namespace) -> None:
        self.given, self.encoder = given, load_encoder("skeleton")
        rows = [row for row in manifest(given.data) if row["path"].startswith(PREFIX)]
        self.paths = [given.data / row["path"] for row in rows]
        self.y, self.who = (np.array([row[key] for row in rows]) for key in ("label", "group"))
        self.teach = np.array([int(name.lstrip("s")) % 2 == 1 for name in self.who])
        self.labels = sorted(set(self.y.tolist()))
        source = self.task(0, {}).attach().source
        file = given.cache and given.cache / f"joints_{source.fingerprint[:24]}.npy"

        def make() -> np.ndarray:
            wanted = self.encoder.sampling
            clips = [reader("skeleton").read_clip(path, None, wanted) for path in self.paths]
            return np.stack([row.features for row in source.encode(clips)])

        self.features = array_of(file, make)
        self.rows: list[dict[str, Any]] = stored(given.json, {"rows": []})["rows"]

    def task(self, seed: int, objectives: dict[str, Any]) -> TrainingTask:
        task = TrainingTask.by_recipe(
            self.encoder, self.given.method, seed=seed, objectives=objectives,
            settings={"layout": LAYOUT, "people": 1, "frames": FRAMES},
        )  # fmt: skip
        return replace(task, numbers=task.numbers.replaced(epochs=self.given.epochs))

    def of(self, question: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["question"] == question]

    def measured(self, question: str, method: str, seed: int) -> bool:
        return any((row["method"], row["seed"]) == (method, seed) for row in self.of(question))

    def keep(self, question: str, method: str, seed: int, **row: Any) -> None:
        self.rows.append({"question": question, "method": method, "seed": seed, **row})
        command = "python evals/skeleton_objectives.py --data DIR"
        facts = {"command": command, "tower": self.given.method, "epochs": self.given.epochs}
        store(self.given.json, {**facts, "rows": self.rows})

    def logits(
        self, rows: np.ndarray, y: np.ndarray, seed: int, objectives: dict[str, Any],
        who: np.ndarray | None = None,
    ) -> tuple[np.ndarray, float]:  # fmt: skip
        """Logits of the clips that are asked, and the CPU seconds of the training."""
        people = self.who[rows] if who is None else who
        items = [
            SupportItem(self.paths[row], None, (label,), str(one), facts={"subject": str(one)})
            for row, label, one in zip(rows, y, people, strict=True)
        ]
        dataset = Dataset.of(self.labels, items)
        start = time.process_time()
        source = FeatureSource(self.features[rows])
        training = train_on(self.task(seed, objectives), dataset, source)[0]
        seconds = time.process_time() - start
        return held_out_logits(training, self.features[~self.teach]), seconds

    def truth(self) -> np.ndarray:
        return np.array([self.labels.index(label) for label in self.y[~self.teach]])


def rare(lab: Lab, seed: int) -> None:
    random = np.random.default_rng(seed)
    ranked = random.permutation(len(lab.labels))
    share = IMBALANCE ** (-np.arange(len(ranked)) / (len(ranked) - 1))
    counts = np.zeros(len(ranked))
    counts[ranked] = np.maximum(1, np.round(MOST * share))
    drawn: list[int] = []
    for number, label in enumerate(lab.labels):
        own = random.permutation(np.flatnonzero(lab.teach & (lab.y == label)))
        drawn += own[: int(counts[number])].tolist()
        counts[number] = min(counts[number], len(own))
    rows, truth = np.array(drawn), lab.truth()
    fewest = np.isin(truth, ranked[-len(ranked) // 3 :])
    shuffled = random.permutation(lab.y[rows])
    while len(set(shuffled.tolist())) < len(lab.labels):
        shuffled = random.permutation(lab.y[rows])
    settings: dict[str, tuple[dict[str, Any], np.ndarray]] = {
        "plain": ({}, lab.y[rows]),
        "brl, bodies mixed": ({"brl": {}}, lab.y[rows]),
        "brl, time cut": ({"brl": {"bodies": False}}, lab.y[rows]),
        "brl, labels shuffled": ({"brl": {}}, shuffled),
    }
    for name, (objectives, y) in settings.items():
        if lab.measured("rare", name, seed):
            continue
        logits, seconds = lab.logits(rows, y, seed, objectives)
        answers = {name: logits}
        if name == "plain":
            answers["plain, logits adjusted"] = logit_adjust(logits, counts)
        for method, each in answers.items():
            right = each.argmax(axis=1) == truth
            macro = macro_accuracy(right, truth)
            few = macro_accuracy(right[fewest], truth[fewest])
            lab.keep("rare", method, seed, macro=macro, few=few, n=len(rows), cpu_s=seconds)


def subject(lab: Lab, seed: int) -> None:
    random = np.random.default_rng(seed)
    drawn: list[int] = []
    for label in lab.labels:
        own = random.permutation(np.flatnonzero(lab.teach & (lab.y == label)))
        turn = [int((lab.who[own[:at]] == lab.who[row]).sum()) for at, row in enumerate(own)]
        drawn += own[np.argsort(turn, kind="stable")[:SHOTS]].tolist()
    rows = np.array(drawn)
    settings: dict[str, tuple[dict[str, Any], np.ndarray]] = {
        "without exchange": ({}, lab.who[rows]),
        "exchange": ({"exchange": {"column": "subject"}}, lab.who[rows]),
        "exchange, subjects shuffled": (
            {"exchange": {"column": "subject"}}, random.permutation(lab.who[rows]),
        ),
    }  # fmt: skip
    for name, (objectives, who) in settings.items():
        if lab.measured("subject", name, seed):
            continue
        logits, seconds = lab.logits(rows, lab.y[rows], seed, objectives, who)
        top1 = float((logits.argmax(axis=1) == lab.truth()).mean())
        lab.keep("subject", name, seed, top1=top1, n=len(rows), cpu_s=seconds)


if __name__ == "__main__":
    main()
