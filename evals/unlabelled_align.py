"""Words of a network without texts, learned from an image tower, over the number of clips.

    python evals/unlabelled_align.py --videos DIR --cache DIR [--seeds 5] [--json FILE]

The adapter ``align`` learns by ``distill`` what ``--teacher`` answers about clips without labels.
Of each label with three recordings one clip is held out and one is known; the known one only sets
the teacher's temperature. All other clips are unlabelled, also those of labels that are not asked.
Accuracy is that of the held-out clips, by their words alone. Does it flatten with more clips, and
do fewer but cleaner clips, those that the teacher is surest of, do better than more of them? The
control teaches the rows of the teacher about other clips. A second run goes on where one stopped.

The student's weights are random unless ``--model`` names some.
"""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cached import features_of
from harness import Namespace, arguments, store

import vlar
from vlar.encoders.base import Encoder
from vlar.methods.distill.objective import write_teacher
from vlar.numeric import softmax
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

STUDENT = "torchvision:r2plus1d_18?random_init=true&frames=8&size=64"
LEAST = 3  # recordings of a label


class Clips:
    """All clips of a folder: what the student reads of them, and what the teacher answers."""

    def __init__(self, videos: Path, cache: Path | None, student: str, teacher: str) -> None:
        rows = list(csv.DictReader((videos / "manifest.csv").open(encoding="utf-8", newline="")))
        self.label = np.array([row["readable_label"] for row in rows])
        self.group = np.array([row["group"] for row in rows])
        self.paths = [(videos / row["path"]).resolve() for row in rows]
        self.labels = [name for name in sorted({*self.label}) if self._recordings(name) >= LEAST]
        own, other = vlar.load(student), vlar.load(teacher)
        self.encoder: Encoder = own.encoder
        self.features = np.stack([features_of(videos, row["path"], own, cache) for row in rows])
        shown = [features_of(videos, row["path"], other, cache) for row in rows]
        vectors = np.concatenate([other.encoder.pool(each[None]) for each in shown])
        words = other.core.encode_labels(self.labels)
        self.logits = other.encoder.logit_scale * (vectors @ words.T).astype(np.float64)

    def _recordings(self, label: str) -> int:
        return len({*self.group[self.label == label]})

    def drawn(self, random: np.random.Generator) -> tuple[list[int], list[int], list[int]]:
        """Known clips, one a label, held-out ones of other recordings, and all the rest."""
        known: list[int] = []
        held: list[int] = []
        for label in self.labels:
            own = random.permutation(np.flatnonzero(self.label == label))
            known.append(int(own[0]))
            held.append(int(next(row for row in own if self.group[row] != self.group[own[0]])))
        beside = {*self.group[held]}
        rest = [row for row in range(len(self.label)) if self.group[row] not in beside]
        return known, held, [row for row in random.permutation(rest) if row not in known]


def accuracy(
    clips: Clips, known: list[int], held: list[int], free: list[int], seed: int, shuffled: bool
) -> float:
    """Percent right of the held-out clips, by words, after a distillation."""
    random, rows = np.random.default_rng(seed), [*known, *free]
    taught = clips.logits[rows]
    taught = taught[random.permutation(len(rows))] if shuffled else taught
    y, paths = clips.label[known].tolist(), [clips.paths[row] for row in known]
    dataset = Dataset.single(tuple(clips.labels), y, [str(path) for path in paths], paths)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "teacher.csv"
        write_teacher(file, [clips.paths[row] for row in rows], clips.labels, taught)
        task = TrainingTask.by_recipe(
            clips.encoder, "align", seed=seed,
            objectives={"distill": {"teachers": [str(file)], "ratio": len(free) / len(known)}},
        )  # fmt: skip
        task = replace(task, numbers=task.numbers.replaced(epochs=150, batch=len(rows)))
        some = clips.features[free] if free else None
        source = FeatureSource(clips.features[known], some, [clips.paths[row] for row in free])
        adapter = train_on(task, dataset, source)[0].adapter
    words = vlar.Model(adapter).core.encode_labels(clips.labels)
    found = (adapter.pool(clips.features[held]) @ words.T).argmax(axis=1)
    return 100 * float(np.mean([clips.labels[i] == clips.label[row]
                                for i, row in zip(found, held, strict=True)]))  # fmt: skip


def main(given: Namespace) -> None:
    torch.set_num_threads(1)
    clips = Clips(given.videos, given.cache, given.model, given.teacher)
    done: dict[str, float] = {}
    if given.json and given.json.exists():
        done = json.loads(given.json.read_text("utf-8"))["results"]
    for seed in range(given.seeds):
        known, held, rest = clips.drawn(np.random.default_rng(seed))
        sure = softmax(clips.logits[rest]).max(axis=1)
        cleanest = [rest[at] for at in np.argsort(-sure, kind="stable")]
        right = clips.logits[held].argmax(axis=1) == np.arange(len(held))
        done[f"teacher, no clips, seed {seed}"] = 100 * float(right.mean())
        for count in [0, *given.clips, len(rest)]:
            ways = {"any": rest, "cleanest": cleanest, "any, rows shuffled": rest}
            for name, order in ways.items():
                key = f"{name}, {count if count < len(rest) else 'all'} clips, seed {seed}"
                if key in done or (name == "cleanest" and not 0 < count < len(rest)):
                    continue
                free = order[:count]
                done[key] = accuracy(clips, known, held, free, seed, "shuffled" in name)
                print(f"{key}: {done[key]:.1f}", flush=True)
                _write(given, done)
    for name in dict.fromkeys(key.rpartition(", seed")[0] for key in done):
        own = [value for key, value in done.items() if key.startswith(f"{name}, seed")]
        error = np.std(own, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0.0
        print(f"{name}: {np.mean(own):.1f} ± {error:.1f} ({len(own)} seeds)")
    print(f"chance {100 / len(clips.labels):.1f}, {len(clips.labels)} labels")
    _write(given, done)


def _write(given: Namespace, done: dict[str, float]) -> None:
    command = f"python evals/unlabelled_align.py --model {given.model} --seeds {given.seeds}"
    store(given.json, {"command": command, "results": done})


if __name__ == "__main__":
    main(arguments(
        __doc__, "videos", "cache", "json", model=STUDENT, teacher="lite", clips=[15, 30, 60],
        seeds=5,
    ))  # fmt: skip
