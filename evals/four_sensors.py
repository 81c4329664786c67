"""Four sensors of one take: every subset of them from few examples, people apart.

    python evals/four_sensors.py QUESTION --shared DIR [--seeds 5] [--json FILE]

DIR holds ``modalities``. Of UTD-MHAD sixty takes (five actions, six people) have colour, joints,
IMU and depth, lined up by their share of the take. Each seed holds out two other people and draws
1, 3 and 5 takes a label of the rest. Every row is kept and is not measured again. Questions:

``subsets``  each method learns from whole takes, and is asked about all fifteen subsets of sensors;
             ``auto`` is a closed form of each sensor, averaged over those there. Control: joints
             next to the three other sensors of another action
``distill``  a student of colour alone, or of the IMU alone, learns labels, or the answers of a
             teacher with the other sensors (``auto`` of as many takes) on all takes that teach.
             The temperature is chosen on one of the people who teach. Of equal cost: labels for
             twice the epochs. Control: the teacher's answers about takes of other actions
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of, file_of
from harness import arguments, manifest, some
from videos import Lab

from vlar.encoders.base import load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.methods.distill.objective import write_teacher
from vlar.methods.fusion.learner import Pretrained, PretrainedTask
from vlar.model.core import ModelCore
from vlar.numeric import log_softmax, softmax
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

SENSORS = ("video", "skeleton", "imu", "depth")
FILES = {
    "video": "rgb/{}_color.mp4", "skeleton": "skeleton/{}_skeleton.mat",
    "imu": "inertial/{}_inertial.mat", "depth": "depth_half/{}_depth.mat",
}  # fmt: skip
METHODS = ("auto", "action-mae", "m-mixer", "masked-imu", "fusion", "mmg", "tim", "deformable")
TEMPERATURES = (1.0, 4.0)
SUBSETS = [s for count in range(1, 5) for s in combinations(range(4), count)]
Head = Callable[[np.ndarray], np.ndarray]


class Takes:
    """Features of the sixty takes, and what part of them is which sensor's."""

    def __init__(self, lab: Lab) -> None:
        self.encoder: Any = load_encoder("bundle:lite+skeleton+imu+depth")
        root = lab.given.shared / "modalities" / "utd_mhad"
        rows = [
            (Path(row["path"]).name.removesuffix("_color.mp4"), row["label"], row["group"])
            for row in manifest(lab.given.shared / "modalities")
            if row["path"].startswith("utd_mhad/rgb/")
        ]
        rows = [
            row for row in rows if all((root / f.format(row[0])).exists() for f in FILES.values())
        ]
        self.names, self.y, self.who = (np.array(column) for column in zip(*rows, strict=True))
        self.labels = sorted(set(self.y.tolist()))
        cache, made_by = lab.given.cache, self.encoder.fingerprint
        self.features = np.stack([
            array_of(file_of(cache, f"{name} {made_by}"), partial(self._read, root, name))
            for name in self.names
        ])  # fmt: skip
        ends = np.cumsum([0, *(part.frame_dim for part in self.encoder.parts)])
        self.columns = [slice(*pair) for pair in pairwise(ends)]

    def _read(self, root: Path, name: str) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            parts = {
                sensor: BundlePart(root / file.format(name), by_share=sensor != "video")
                for sensor, file in FILES.items()
            }
            path = write_bundle(Path(folder) / f"{name}.bundle.json", parts)
            clip = reader("bundle").read_clip(path, None, self.encoder.sampling)
            return self.encoder.encode([clip])[0].features

    def part(self, number: int) -> np.ndarray:
        """Features of a sensor, as its own encoder gives them."""
        return np.ascontiguousarray(self.features[..., self.columns[number]])

    def only(self, rows: np.ndarray, sensors: Sequence[int]) -> np.ndarray:
        """Features of takes as if the other sensors had not been recorded."""
        x = self.features[rows].copy()
        for number, columns in enumerate(self.columns):
            if number not in sensors:
                x[..., columns] = 0
                x[..., number - len(SENSORS)] = 0
        return x

    def split(self, seed: int, shots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Takes that teach with labels, all of the same people, and those that are asked."""
        random = np.random.default_rng(seed)
        held = random.permutation(sorted(set(self.who.tolist())))[:2]
        places = np.flatnonzero(~np.isin(self.who, held))
        drawn = [
            random.permutation(places[self.y[places] == label])[:shots] for label in self.labels
        ]
        return np.concatenate(drawn), places, np.flatnonzero(np.isin(self.who, held))

    def exchanged(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Takes whose sensors but joints are of another action."""
        random, x = np.random.default_rng(seed), self.features[rows].copy()
        other = [random.choice(rows[self.y[rows] != self.y[row]]) for row in rows]
        for number in (0, 2, 3):
            x[..., self.columns[number]] = self.features[other][..., self.columns[number]]
        return x


def auto(takes: Takes, encoder: Any, rows: np.ndarray, features: np.ndarray) -> Head:
    """Logits of the closed form that ``vlar adapt`` chooses."""
    words = ModelCore(encoder).encode_labels(takes.labels)
    head, _ = choose(
        features, encoder.frame_blocks, takes.y[rows].tolist(), encoder.pool(features) @ words.T,
        labels=takes.labels, groups=[str(row) for row in rows],
    )  # fmt: skip
    return lambda x: head.logits(
        signature(x, encoder.frame_blocks, head.kind), encoder.pool(x) @ words.T
    )


def trained(
    takes: Takes, encoder: Any, method: str, rows: np.ndarray, features: np.ndarray, seed: int,
    free: np.ndarray | None = None, longer: int = 1, **more: Any,
) -> Head:  # fmt: skip
    """Logits of a trained adapter alone."""
    task = TrainingTask.by_recipe(encoder, method, seed=seed, **more)
    task = replace(task, numbers=task.numbers.replaced(epochs=longer * task.numbers.epochs))
    if method == "masked-imu":
        seen = features if free is None else np.concatenate([features, free])
        state = Pretrained(40).pretrain(task, task.attach(), seen)
        task = PretrainedTask(
            encoder, method, task.numbers, task.recipe, task.settings, seed, state=state
        )
        free = None
    paths = [Path(f"/free/{number}") for number in range(0 if free is None else len(free))]
    dataset = Dataset.single(
        takes.labels, takes.y[rows].tolist(), [str(row) for row in rows],
        [Path(f"/take/{row}") for row in rows],
    )  # fmt: skip
    adapter: Any = train_on(task, dataset, FeatureSource(features, free, paths))[0].adapter
    words = ModelCore(adapter, templates=adapter.templates).encode_labels(takes.labels)
    return lambda x: adapter.logit_scale * adapter.pool(x) @ words.T


def top1(takes: Takes, scores: np.ndarray, rows: np.ndarray) -> float:
    """Share of right answers in percent."""
    answers = np.array(takes.labels)[scores.argmax(axis=1)]
    return round(100 * float((answers == takes.y[rows]).mean()), 1)


def subsets(lab: Lab, takes: Takes, seed: int) -> None:
    """All subsets of the sensors, from whole takes."""
    for shots in lab.given.shots:
        rows, places, asked = takes.split(seed, shots)
        for method in lab.given.methods:
            key = {"question": "subsets", "method": method, "shots": shots, "seed": seed}
            if lab.measured(**key):
                continue
            begin, features = time.process_time(), takes.features[rows]
            rest = takes.features[np.setdiff1d(places, rows)]
            head = (
                auto(takes, takes.encoder, rows, features)
                if method == "auto"
                else trained(takes, takes.encoder, method, rows, features, seed,
                             rest if method == "masked-imu" else None)
            )  # fmt: skip
            found = {
                "+".join(SENSORS[n] for n in chosen): top1(
                    takes, head(takes.only(asked, chosen)), asked
                )
                for chosen in SUBSETS
            }
            for count in (1, 2, 3):
                names = [name for name in found if name.count("+") == count - 1]
                found[f"mean of {count}"] = round(float(np.mean([found[n] for n in names])), 1)
            found["other takes"] = top1(takes, head(takes.exchanged(asked, seed)), asked)
            lab.keep(key, **found, cpu_s=round(time.process_time() - begin, 1))


def distill(lab: Lab, takes: Takes, seed: int) -> None:
    """A student of one sensor, and a teacher of the others."""
    for student, shots in product(map(SENSORS.index, lab.given.students), lab.given.shots):
        part, x = takes.encoder.parts[student], takes.part(student)
        rows, places, asked = takes.split(seed, shots)
        answers = teacher(takes, rows, student)
        temperature = 0.0
        for name in ("auto", "labels", "labels, twice the epochs", "teacher", "teacher exchanged"):
            key = {"question": "distill", "student": SENSORS[student], "of": name,
                   "shots": shots, "seed": seed}  # fmt: skip
            if lab.measured(**key):
                continue
            begin, more = time.process_time(), {}
            if name == "auto":
                head = auto(takes, part, rows, x[rows])
            elif name.startswith("labels"):
                longer = 2 if name != "labels" else 1
                head = trained(takes, part, "fusion", rows, x[rows], seed, longer=longer)
            else:
                if "exchanged" in name:
                    random = np.random.default_rng(seed)
                    other = [random.choice(places[takes.y[places] != y]) for y in takes.y]
                    answers = answers[other]
                temperature = temperature or chosen(takes, part, rows, places, student, seed)
                more["temperature"] = temperature
                head = taught(takes, part, rows, places, x, answers, seed, **more)
            lab.keep(key, top1=top1(takes, head(x[asked]), asked), **more,
                     teacher=top1(takes, answers[asked], asked),
                     cpu_s=round(time.process_time() - begin, 1))  # fmt: skip


def teacher(takes: Takes, rows: np.ndarray, student: int) -> np.ndarray:
    """Log shares (60, C) of ``auto`` of joints, IMU or colour, without the student's sensor."""
    shares = [
        softmax(auto(takes, takes.encoder.parts[n], rows, takes.part(n)[rows])(takes.part(n)))
        for n in range(3)
        if n != student
    ]
    return np.log(np.mean(shares, axis=0))


def chosen(
    takes: Takes, part: Any, rows: np.ndarray, places: np.ndarray, student: int, seed: int
) -> float:
    """The temperature whose student is likeliest on one of the people who teach."""
    person = takes.who == sorted(set(takes.who[places].tolist()))[0]
    rest, held = rows[~person[rows]], places[person[places]]
    answers, x, losses = teacher(takes, rest, student), takes.part(student), {}
    columns = [takes.labels.index(label) for label in takes.y[held]]
    for temperature in TEMPERATURES:
        head = taught(
            takes, part, rest, places[~person[places]], x, answers, seed, temperature=temperature
        )
        losses[temperature] = -float(log_softmax(head(x[held]))[range(len(held)), columns].mean())
    return min(losses, key=losses.__getitem__)


def taught(
    takes: Takes, part: Any, rows: np.ndarray, places: np.ndarray, x: np.ndarray,
    answers: np.ndarray, seed: int, *, temperature: float,
) -> Head:  # fmt: skip
    """A student of labels and of a teacher's answers on all takes that teach."""
    rest = np.setdiff1d(places, rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "teacher.csv"
        paths = [*(Path(f"/take/{row}") for row in rows)]
        paths += [Path(f"/free/{number}") for number in range(len(rest))]
        write_teacher(file, paths, takes.labels, answers[[*rows, *rest]])
        how = {"distill": {"teachers": [str(file)], "ratio": 2.0, "supervised": 1.0,
                           "temperature": temperature}}  # fmt: skip
        return trained(takes, part, "fusion", rows, x[rows], seed, x[rest], objectives=how)


def main() -> None:
    """Measure what is missing."""
    questions = {"subsets": subsets, "distill": distill}
    given = arguments(
        __doc__, "shared", "json", question={"positional": True, "choices": list(questions)},
        seeds=5, first=(0, "first seed"), methods=some(METHODS), shots=some([1, 3, 5]),
        students=some(["video", "imu"]), cache=Path("/tmp/vlar-videos"),
    )  # fmt: skip
    torch.set_num_threads(1)
    lab = Lab(given)
    takes = Takes(lab)
    for seed in range(given.first, given.seeds):
        questions[given.question](lab, takes, seed)


if __name__ == "__main__":
    main()
