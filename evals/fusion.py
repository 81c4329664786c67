"""Several sensors of one take: what a second one adds, and what remains where one is missing.

    python evals/fusion.py QUESTION --data DIR [--methods mmg ...] [--seeds 5] [--json FILE]

UTD-MHAD, joints and IMU of the same takes, lined up by share of the take. Half of the eight people
teach, the others are asked: at seed 0 odd and even ones, later as the seed draws them. The seed
draws the start of a network too. Every row is kept and is not measured again. Questions:

``sensors``   all takes with both sensors; tested with both and with each alone, next to ``auto``
``transfer``  joints are labelled, the IMU is asked; unlabelled takes with both, or without
``episodes``  a third of the labels is new: 1, 3 or 5 takes of each in one sensor, asked in another,
              by the nearest mean of vectors of a network that learned the other labels, or of a
              linear link that learned from the same takes without labels
``masked``    the IMU alone from 5 takes a label, with a first training on hidden patches or not
``distill``   a student of the IMU learns from labels, from teachers of joints and IMU, or from both

Of equal cost are ``fusion`` of twice the epochs to ``mmg``, three times the epochs without a first
training to ``masked``, twice the epochs of labels to a teacher. Controls: labels shuffled; the IMU
of another take next to the joints; pairs of different takes, in ``episodes`` of different labels;
answers of a teacher about others.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Namespace, arguments, manifest, some, store, stored

from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import available_terms, signature
from vlar.library.mapping import ridge
from vlar.media.bundle import BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.methods.distill.objective import write_teacher
from vlar.methods.fusion.learner import Pretrained, PretrainedTask
from vlar.metrics.calibration import expected_calibration_error
from vlar.model.core import ModelCore
from vlar.numeric import softmax, unit
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

METHODS = ("auto", "mmg", "fusion, twice the epochs", "mmg, labels shuffled")
FREE_WEIGHT = {"consistency": {"weight": 0.0}}
Head = Callable[[np.ndarray], np.ndarray]


class Lab:
    """Takes with both sensors, as a bundle has them."""

    def __init__(self, given: Namespace) -> None:
        self.given, self.encoder = given, load_encoder("bundle:skeleton+imu")
        root = given.data / "utd_mhad"
        rows = [row for row in manifest(given.data) if "/skeleton/" in row["path"]]
        rows = [row for row in rows if row["path"].startswith("utd_mhad/")]
        both = [(given.data / r["path"], self._imu(root, Path(r["path"]).name), r) for r in rows]
        both = [(joints, imu, row) for joints, imu, row in both if imu.is_file()]
        self.y = np.array([row["label"] for *_, row in both])
        self.who = np.array([row["group"] for *_, row in both])
        self.imu_paths = [imu for _, imu, _ in both]
        self.fold(0)
        self.labels = sorted(set(self.y.tolist()))
        self.features = self._features([pair[:2] for pair in both])
        self.vectors = self.encoder.pool(self.features)
        self.rows: list[dict[str, Any]] = stored(given.json, [])

    def fold(self, seed: int) -> None:
        """Half of the people teach."""
        people = sorted(set(self.who.tolist()))
        half = np.random.default_rng(seed).permutation(people)[::2] if seed else people[::2]
        self.teach = np.isin(self.who, half)

    @staticmethod
    def _imu(root: Path, name: str) -> Path:
        return root / "inertial" / name.replace("_skeleton", "_inertial")

    def _features(self, pairs: Sequence[tuple[Path, Path]]) -> np.ndarray:
        file = self.given.cache / f"bundle_{self.encoder.fingerprint[:24]}.npy"
        if file.is_file():
            return np.load(file)
        found: list[np.ndarray] = []
        with tempfile.TemporaryDirectory() as folder:
            for number, (joints, imu) in enumerate(pairs):
                parts = {"skeleton": BundlePart(joints.resolve()),
                         "imu": BundlePart(imu.resolve(), by_share=True)}  # fmt: skip
                path = write_bundle(Path(folder) / f"{number}.bundle.json", parts)
                clip = reader("bundle").read_clip(path, None, self.encoder.sampling)
                found += [row.features for row in self.encoder.encode([clip])]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.stack(found))
        return np.stack(found)

    def part(self, features: np.ndarray, number: int) -> np.ndarray:
        """Features of a part alone, as its own encoder gives them."""
        ends = np.cumsum([0, *(part.frame_dim for part in self.encoder.parts)])
        return features[..., ends[number] : ends[number + 1]]

    def without(self, features: np.ndarray, number: int) -> np.ndarray:
        """The same takes with a part missing."""
        found = features.copy()
        self.part(found, number)[:] = 0
        found[..., -len(self.encoder.parts) + number] = 0
        return found

    def tests(self) -> dict[str, np.ndarray]:
        """The tested takes: whole, with each sensor alone, and with another take's IMU."""
        whole = self.features[~self.teach]
        other = whole.copy()
        self.part(other, 1)[:] = self.part(whole, 1)[
            np.roll(np.arange(len(whole)), len(whole) // 2)
        ]
        return {"both": whole, "joints": self.without(whole, 1), "imu": self.without(whole, 0),
                "another take's imu": other}  # fmt: skip

    @property
    def truth(self) -> np.ndarray:
        return np.array([self.labels.index(label) for label in self.y[~self.teach]])

    def drawn(self, shots: int | None, seed: int) -> np.ndarray:
        """Numbers of the takes that teach."""
        random, places = np.random.default_rng(seed), np.flatnonzero(self.teach)
        if shots is None:
            return places
        own = [
            random.choice(places[self.y[places] == label], shots, False) for label in self.labels
        ]
        return np.concatenate(own)

    def dataset(self, rows: np.ndarray, y: np.ndarray, labels: Sequence[str] | None) -> Dataset:
        return Dataset.single(
            labels or self.labels, y.tolist(), self.who[rows].tolist(),
            [self.imu_paths[row] for row in rows],
        )  # fmt: skip

    def measured(self, **key: Any) -> bool:
        return any(all(row.get(k) == v for k, v in key.items()) for row in self.rows)

    def keep(self, key: dict[str, Any], **row: Any) -> None:
        self.rows.append({**key, **row})
        print(*self.rows[-1].values(), flush=True)
        store(self.given.json, {"rows": self.rows})


def trained(
    lab: Lab, method: str, rows: np.ndarray, features: np.ndarray, seed: int,
    free: np.ndarray | None = None, encoder: Encoder | None = None, *, first: int = 40,
    longer: int = 1, shuffled: bool = False, labels: Sequence[str] | None = None, **more: Any,
) -> tuple[Head, float]:  # fmt: skip
    """Logits of the trained adapter alone, and the CPU seconds of its training."""
    begin = time.process_time()
    adapter = fitted(lab, method, rows, features, seed, free, encoder, first=first, longer=longer,
                     shuffled=shuffled, labels=labels, **more)  # fmt: skip
    words = ModelCore(adapter, templates=adapter.templates).encode_labels(lab.labels)
    seconds = time.process_time() - begin
    return (lambda x: adapter.logit_scale * adapter.pool(x) @ words.T), round(seconds, 1)


def fitted(
    lab: Lab, method: str, rows: np.ndarray, features: np.ndarray, seed: int,
    free: np.ndarray | None, encoder: Encoder | None, *, first: int, longer: int, shuffled: bool,
    labels: Sequence[str] | None, **more: Any,
) -> Any:  # fmt: skip
    """The trained adapter; without ``labels`` of all."""
    paths = [Path(f"free {n}") for n in range(0 if free is None else len(free))]
    task = TrainingTask.by_recipe(encoder or lab.encoder, method, seed=seed, **more)
    task = replace(task, numbers=task.numbers.replaced(epochs=longer * task.numbers.epochs))
    if method == "masked-imu":
        seen = features if free is None else np.concatenate([features, free])
        state = Pretrained(first).pretrain(task, task.attach(), seen)
        task = PretrainedTask(task.encoder, method, task.numbers, task.recipe, task.settings,
                              seed, state=state)  # fmt: skip
        free = None
    if free is not None and not task.objectives:
        task = replace(task, objectives=FREE_WEIGHT)
    source = FeatureSource(features, free, paths)
    y = np.random.default_rng(seed).permutation(lab.y[rows]) if shuffled else lab.y[rows]
    return train_on(task, lab.dataset(rows, y, labels), source)[0].adapter


def auto(lab: Lab, encoder: Encoder, rows: np.ndarray, features: np.ndarray) -> Head:
    """Logits of the closed form that ``vlar adapt`` chooses."""
    words = ModelCore(encoder).encode_labels(lab.labels)
    head, _ = choose(
        features, encoder.frame_blocks, lab.y[rows].tolist(), encoder.pool(features) @ words.T,
        labels=lab.labels, groups=lab.who[rows].tolist(),
    )  # fmt: skip

    def logits(x: np.ndarray) -> np.ndarray:
        return head.logits(signature(x, encoder.frame_blocks, head.kind), encoder.pool(x) @ words.T)

    return logits


def top1(scores: np.ndarray, truth: np.ndarray) -> float:
    return round(100 * float((scores.argmax(axis=1) == truth).mean()), 1)


def sensors(lab: Lab, seed: int) -> None:
    """Every method with both sensors and with each alone."""
    tests, truth, rows = lab.tests(), lab.truth, np.flatnonzero(lab.teach)
    features = lab.features[rows]
    for method in lab.given.methods:
        key = {"question": "sensors", "method": method, "seed": seed}
        if lab.measured(**key):
            continue
        begin = time.process_time()
        if method == "auto":
            head = auto(lab, lab.encoder, rows, features)
        else:
            name, _, how = method.partition(", ")
            own: Any = {"twice the epochs": {"longer": 2}, "labels shuffled": {"shuffled": True}}
            head, _ = trained(lab, name, rows, features, seed, **own.get(how, {}))
        found = {name: top1(head(x), truth) for name, x in tests.items()}
        lab.keep(key, **found, cpu_s=round(time.process_time() - begin, 1))


def transfer(lab: Lab, seed: int) -> None:
    """Joints are labelled, the IMU is asked about the same labels."""
    random, places = np.random.default_rng(seed), np.flatnonzero(lab.teach)
    order = random.permutation(places)
    named, pairs = order[: len(order) // 2], lab.features[order[len(order) // 2 :]]
    wrong = pairs.copy()
    lab.part(wrong, 1)[:] = lab.part(pairs, 1)[random.permutation(len(pairs))]
    x = lab.tests()["imu"]
    for name, free in (("pairs", pairs), ("pairs of different takes", wrong)):
        key = {"question": "transfer", "free": name, "seed": seed}
        if not lab.measured(**key):
            labelled = lab.without(lab.features[named], 1)
            head, seconds = trained(lab, "mmg", named, labelled, seed, free)
            asked = {"imu": x, "joints": lab.tests()["joints"]}
            found = {sensor: top1(head(rows), lab.truth) for sensor, rows in asked.items()}
            lab.keep(key, **found, cpu_s=seconds)


def episodes(lab: Lab, seed: int) -> None:
    """New labels from a few takes in one sensor, asked in another; their people are others too."""
    random = np.random.default_rng(seed)
    order = random.permutation(lab.labels).tolist()
    base, new = sorted(order[: 2 * len(order) // 3]), order[2 * len(order) // 3 :]
    rows = np.flatnonzero(lab.teach & np.isin(lab.y, base))
    places = {label: np.flatnonzero(lab.teach & (lab.y == label)) for label in new}
    ask = np.flatnonzero(~lab.teach & np.isin(lab.y, new))
    features = lab.features[rows]
    wrong = features.copy()
    others = [random.choice(np.flatnonzero(lab.y[rows] != label)) for label in lab.y[rows]]
    lab.part(wrong, 1)[:] = lab.part(features, 1)[others]
    arms: dict[str, Any] = {
        "frozen": None, "linear link": None, "fusion, twice the epochs": ("fusion", features, 2),
        "mmg": ("mmg", features, 1), "mmg, pairs of different labels": ("mmg", wrong, 1),
    }  # fmt: skip
    draws = [{label: random.permutation(places[label]) for label in new} for _ in range(20)]
    for name, how in arms.items():
        key = {"question": "episodes", "method": name, "seed": seed}
        if lab.measured(**key):
            continue
        begin, pool = time.process_time(), lab.encoder.pool
        if how:
            method, x, longer = how
            pool = fitted(lab, method, rows, x, seed, None, None, first=0, longer=longer,
                          shuffled=False, labels=base).pool  # fmt: skip
        seen = linked(lab, rows) if name == "linear link" else {
            "both": pool(lab.features),
            "joints": pool(lab.without(lab.features, 1)),
            "imu": pool(lab.without(lab.features, 0)),
        }  # fmt: skip
        found: dict[str, float] = {}
        pairs = ("joints", "imu"), ("imu", "joints"), ("both", "both"), ("imu", "imu")
        for shots, (taught, asked) in product((1, 3, 5), pairs):
            right = [
                np.mean(nearest(seen[taught], draw, shots, seen[asked][ask]) == lab.y[ask])
                for draw in draws
            ]
            found[f"{taught} to {asked}, {shots}"] = round(100 * float(np.mean(right)), 1)
        lab.keep(key, **found, cpu_s=round(time.process_time() - begin, 1))


def linked(lab: Lab, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Vectors of joints, and those that a ridge expects by the IMU, learned from pairs alone."""
    joints, imu = lab.encoder.parts
    kind = "+".join(available_terms(imu.frame_blocks))
    x = signature(lab.part(lab.features, 1), imu.frame_blocks, kind)
    vectors = joints.pool(lab.part(lab.features, 0))
    mean, coefficients = ridge(x[rows], vectors[rows])
    found = unit(vectors - vectors[rows].mean(axis=0)), unit((x - mean) @ coefficients)
    return {"joints": found[0], "imu": found[1], "both": unit(found[0] + found[1])}


def nearest(taught: np.ndarray, draw: dict[str, np.ndarray], shots: int, x: np.ndarray) -> Any:
    """(m,) label whose mean of its first drawn vectors is nearest to each of x (m, D)."""
    means = np.stack([taught[rows[:shots]].mean(0) for rows in draw.values()])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return np.array(list(draw))[(x @ means.T).argmax(axis=1)]


def masked(lab: Lab, seed: int) -> None:
    """The IMU alone from five takes a label, after a first training on all takes or without."""
    imu = lab.encoder.parts[1]
    rows = lab.drawn(5, seed)
    rest = np.setdiff1d(np.flatnonzero(lab.teach), rows)
    own, free = lab.part(lab.features[rows], 1), lab.part(lab.features[rest], 1)
    x = lab.part(lab.tests()["both"], 1)
    settings: dict[str, Any] = {
        "auto": {},
        "hidden patches first": {},
        "labels alone, three times the epochs": {"first": 0, "longer": 3},
        "labels alone, shuffled": {"first": 0, "shuffled": True},
    }
    for name, how in settings.items():
        key, seconds = {"question": "masked", "of": name, "seed": seed}, 0.0
        if lab.measured(**key):
            continue
        if name == "auto":
            head = auto(lab, imu, rows, own)
        else:
            head, seconds = trained(lab, "masked-imu", rows, own, seed, free, imu, **how)
        lab.keep(key, imu=top1(head(x), lab.truth), cpu_s=seconds)


def distill(lab: Lab, seed: int) -> None:
    """A student of the IMU; each take's teacher did not learn from its subject."""
    imu, places = lab.encoder.parts[1], np.flatnonzero(lab.teach)
    rows = lab.drawn(5, seed)
    rest = np.setdiff1d(places, rows)
    answers = np.zeros((len(lab.y), len(lab.labels)))
    both = {"supervised": 1.0}
    named: dict[str, Any] = {
        "labels, twice the epochs": {}, "teacher": {}, "teacher and labels": both,
        "teacher's rows shuffled": {}, "auto": {},
    }  # fmt: skip
    keys = [(name, {"question": "distill", "student of": name, "seed": seed}, how)
            for name, how in named.items()]  # fmt: skip
    if all(lab.measured(**key) for _, key, _ in keys):
        return
    for who in np.unique(lab.who[places]):  # the teacher has all takes of the others, both sensors
        out = places[lab.who[places] == who]
        kept = places[lab.who[places] != who]
        heads = [auto(lab, p, kept, lab.part(lab.features[kept], n))
                 for n, p in enumerate(lab.encoder.parts)]  # fmt: skip
        answers[out] = np.log(
            sum(softmax(h(lab.part(lab.features[out], n))) for n, h in enumerate(heads))
            / len(heads)
        )
    shown = np.array([lab.labels.index(label) for label in lab.y[places]])
    lab.keep({"question": "teacher", "seed": seed}, top1=top1(answers[places], shown))
    x, own = lab.part(lab.tests()["both"], 1), lab.part(lab.features, 1)
    for name, key, how in keys:
        if lab.measured(**key):
            continue
        with tempfile.TemporaryDirectory() as folder:
            more: dict[str, Any] = {}
            free = None
            if name.startswith("labels"):
                more["longer"] = 2
            elif name != "auto":
                told = answers[[*rows, *rest]]
                if "shuffled" in name:
                    told = np.random.default_rng(seed).permutation(told)
                file = Path(folder) / "teacher.csv"
                paths = [*(lab.imu_paths[row] for row in rows),
                         *(Path(f"free {n}") for n in range(len(rest)))]  # fmt: skip
                write_teacher(file, paths, lab.labels, told)
                more["objectives"] = {"distill": {"teachers": [str(file)], "ratio": 2.0, **how}}
                free = own[rest]
            head, seconds = (
                (auto(lab, imu, rows, own[rows]), 0.0) if name == "auto"
                else trained(lab, "fusion", rows, own[rows], seed, free, imu, **more)
            )  # fmt: skip
        shares = softmax(head(x))
        right = shares.argmax(axis=1) == lab.truth
        ece = expected_calibration_error(shares.max(axis=1), right)
        lab.keep(key, imu=top1(shares, lab.truth), ece=round(float(ece), 3), cpu_s=seconds)


def main() -> None:
    """Measure one question and keep every row."""
    questions = {
        "sensors": sensors,
        "transfer": transfer,
        "episodes": episodes,
        "masked": masked,
        "distill": distill,
    }
    given = arguments(
        __doc__, "data", "json", question={"positional": True, "choices": list(questions)},
        methods=some(METHODS), seeds=5, first=(0, "first seed"),
        cache=Path(tempfile.gettempdir()) / "vlar-fusion",
    )  # fmt: skip
    torch.set_num_threads(1)
    lab = Lab(given)
    for seed in range(given.first, given.seeds):
        lab.fold(seed)
        questions[given.question](lab, seed)


if __name__ == "__main__":
    main()
