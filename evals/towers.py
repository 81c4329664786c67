"""Skeleton towers: every preset alone and weighed against ``auto``, with parameters and CPU time.

    python evals/towers.py --data DIR [--sets utd] [--methods NAME ...] [--seeds 0] [--set K=V ...]
        [--readouts texts classes] [--shuffled] [--choose] [--fold] [--changed] [--cache DIR]
        [--json FILE]

Odd subjects teach, even ones are asked; of NW-UCLA too. DIR holds ``manifest.csv``. Presets of
``skeleton-tower`` are found by the registry. A result is kept in ``--json`` for each set, preset,
seed and control, and is not measured again, so that a run may be stopped and go on. A method with
a class head stands under its name and "classes", one that moves texts under its name. Towers read
the joints of the set's own layout, and are trained by the recipe of ``vlar adapt``. ``stacked`` has
the factors that ``vlar adapt`` starts from; with ``--fold`` those that it finds, from one fold:
half of the people who teach are held out, which takes a training more. Seeds come one after the
other over all methods, so that a run that is stopped has about as many of each.

``--choose`` asks the last of the people who teach and never the even ones: settings and epochs were
chosen so. Controls that must fail: the frames of the asked clips shuffled, and their joints read in
the order of another layout, by the tower of the first seed (``--changed``: of every seed); with
``--shuffled`` that tower is also trained on shuffled labels. ``scene moved`` puts each asked clip
elsewhere, by up to a metre along each axis.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of
from harness import arguments, manifest, some, store, stored
from sensors import halves_of, listed, setting

import vlar
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.fewshot.stacking import fit_stacking
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.hyperparameters import divided
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask
from vlar.types import Clip, Float32

FAMILY = "skeleton-tower"
LAYOUTS = {
    "utd": "kinect20_utd",
    "msr": "kinect20_msr",
    "ucla": "kinect20",
    "ut": "kinect20",
    "sbu": "sbu15",
}
PEOPLE = {"sbu": 2}
OTHER_ORDER = {
    "kinect20_utd": "kinect20_msr",
    "kinect20_msr": "kinect20",
    "kinect20": "kinect20_utd",
}


@dataclass(frozen=True)
class Course:
    """Clips that teach and clips that are asked.

    Attributes:
        clips: n recordings.
        y: (n,) labels.
        who: (n,) subjects.
        teach: (n,) bool.
        ask: (n,) bool.
        held: (n,) bool, the teaching people who are held out for the weights.
    """

    clips: list[Clip]
    y: np.ndarray
    who: np.ndarray
    teach: np.ndarray
    ask: np.ndarray
    held: np.ndarray

    @property
    def labels(self) -> list[str]:
        """The labels, sorted."""
        return sorted(set(self.y.tolist()))


def presets() -> list[str]:
    """The tower and all presets of it."""
    found = [FAMILY]
    for name in registry.names("adapter"):
        made = registry.preset("adapter", name)
        while made is not None and made.of != FAMILY:
            made = registry.preset("adapter", made.of)
        if made is not None:
            found.append(name)
    return found


def course(name: str, data: Path, shuffled: bool, choosing: bool) -> Course:
    """The clips of a set; with ``shuffled`` the labels of those that teach are."""
    clips, y, who = listed(name, data, load_encoder("skeleton"))
    labels, people = np.array(y), np.array(who)
    teach = halves_of(labels, people)
    ask = ~teach
    order = sorted(set(people[teach].tolist()), key=int)
    if choosing:
        ask = teach & (people == order[-1])
        teach, order = teach & ~ask, order[:-1]
    held = teach & np.isin(people, order[1::2])
    if shuffled:
        labels[teach] = np.random.default_rng(0).permutation(labels[teach])
    return Course(clips, labels, people, teach, ask, held)


def fold_of_pairs(data: Path, fold: int, shuffled: bool) -> Course:
    """SBU with one of its published folds (1 to 5) asked; every second pair of the rest is held."""
    clips, y, who = listed("sbu", data, load_encoder("skeleton"))
    rows = [row for row in manifest(data) if row["path"].startswith("sbu/")]
    folds = [re.search(r"official fold (\d)", row["note"]) for row in rows]
    ask = np.array([match is not None and int(match[1]) == fold for match in folds])
    labels, pairs = np.array(y), np.array(who)
    held = ~ask & np.isin(pairs, sorted(set(pairs[~ask].tolist()))[1::2])
    if shuffled:
        labels[~ask] = np.random.default_rng(0).permutation(labels[~ask])
    return Course(clips, labels, pairs, ~ask, ask, held)


def controls(given: Course) -> dict[str, list[Clip]]:
    """The clips that are asked, changed so that a tower must fail."""
    random = np.random.default_rng(0)
    asked = [clip for clip, ask in zip(given.clips, given.ask, strict=True) if ask]
    other = {"layout": OTHER_ORDER[str(asked[0].meta["layout"])]}
    places = np.random.default_rng(1).uniform(-1, 1, (len(asked), asked[0].data.shape[-1]))
    return {
        "frames shuffled": [
            replace(c, data=c.data[random.permutation(len(c.data))]) for c in asked
        ],
        "other order of joints": [replace(c, meta={**c.meta, **other}) for c in asked],
        "scene moved": [
            replace(c, data=(c.data + v).astype(c.data.dtype))
            for c, v in zip(asked, places, strict=True)
        ],
    }


def encoded(clips: Sequence[Clip], reading: Encoder, file: Path) -> Float32:
    """(n, T, F) features of clips, from ``file`` where they were computed before."""
    return array_of(file, lambda: np.stack([reading.encode([c])[0].features for c in clips]))


def closed_logits(
    given: Course, features: Float32, blocks: Any, file: Path, fold: bool
) -> list[np.ndarray]:
    """Logits of ``auto`` on the clips that are asked; with ``fold`` also on those held out."""
    if file.exists():
        with np.load(file) as kept:
            return [kept[name] for name in sorted(kept.files)]
    found: list[np.ndarray] = []
    sides = (given.teach, given.ask), (given.teach & ~given.held, given.held)
    for rows, at in sides[: 1 + fold]:
        head, _ = choose(
            features[rows], blocks, given.y[rows].tolist(), labels=given.labels,
            groups=given.who[rows].tolist(),
        )  # fmt: skip
        found.append(head.logits(signature(features[at], blocks, head.kind)))
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, *found)
    return found


def residual_logits(training: Any, features: Float32) -> np.ndarray:
    """Cosines (m, C) of what a tower adds; the words of the encoder answer without examples."""
    tower, chunks = training.adapter, np.array_split(features, max(1, len(features) // 32))
    with torch.inference_mode():
        words = tower.network.concepts(training.classes)
        rows = [tower.network.residual(torch.from_numpy(tower.small(part))) for part in chunks]
        return (torch.nn.functional.normalize(torch.cat(rows), dim=1) @ words.T).double().numpy()


def measure(
    given: Course,
    method: str,
    settings: dict[str, Any],
    seed: int,
    file: Path,
    *,
    fold: bool,
    changed: bool,
) -> dict[str, Any]:
    """Top-1 of a tower alone and weighed with ``auto``, its parameters and CPU minutes.

    Args:
        given: Clips that teach and are asked.
        method: Registered name of the tower.
        settings: Those of the tower and of its training.
        seed: Of the training.
        file: Keeps features and the logits of ``auto``.
        fold: Find the factors on held-out people.
        changed: Ask the changed clips of ``controls`` too.
    """
    encoder = load_encoder("skeleton")
    of_tower, of_training = divided(settings)
    task = TrainingTask.by_recipe(encoder, method, settings=of_tower, seed=seed)
    task = replace(task, numbers=task.numbers.replaced(**of_training))
    reading = registry.get("adapter", method).reading(encoder, task.settings)
    cache = file.with_name(f"{reading.fingerprint[:16]}-{file.stem}")
    features = encoded(given.clips, reading, cache.with_suffix(".npy"))
    labels, y = given.labels, given.y
    right = np.array([labels.index(label) for label in y])

    def learned(rows: np.ndarray) -> tuple[Any, Any, float]:
        paths = [Path(str(row)) for row in np.flatnonzero(rows)]
        dataset = Dataset.single(labels, y[rows].tolist(), given.who[rows].tolist(), paths)
        begin = time.process_time()
        training, done = train_on(task, dataset, FeatureSource(features[rows]))
        return training, done, (time.process_time() - begin) / 60

    training, done, minutes = learned(given.teach)
    asked = held_out_logits(training, features[given.ask])
    own = features[..., : encoder.frame_dim]
    closed, *held_closed = closed_logits(given, own, encoder.frame_blocks, file, fold)
    held, truth = np.zeros((0, len(labels))), right[:0]
    if fold:
        part = learned(given.teach & ~given.held)[0]
        held, truth = held_out_logits(part, features[given.held]), right[given.held]
    weights = fit_stacking(held_closed[0] if fold else held, held, truth)
    stacked = weights.closed * closed + weights.trained * asked
    answers = {"alone": asked, "auto": closed, "stacked": stacked}
    if training.adapter.config.readout == "texts":
        answers["without the encoder"] = residual_logits(training, features[given.ask])
    for number, (name, clips) in enumerate(controls(given).items() if changed else ()):
        other = encoded(clips, reading, cache.with_name(f"{cache.name}-{number}.npy"))
        answers[name] = held_out_logits(training, other)
    found: dict[str, Any] = {
        name: round(100 * float((row.argmax(axis=1) == right[given.ask]).mean()), 2)
        for name, row in answers.items()
    }
    members = getattr(training.adapter.network, "bodies", [None])
    return {
        **found,
        "parameters": sum(p.numel() for _, p in training.named),
        "members": len(members),
        "epochs": task.numbers.epochs,
        "steps": done.steps,
        "factors": [weights.closed, weights.trained],
        "loss": round(done.epochs[-1].losses["total"], 4),
        "train_accuracy": round(done.epochs[-1].metrics["accuracy"], 3),
        "cpu_minutes": round(minutes, 2),
        "settings": {**settings, "recipe": dict(task.settings)},
    }


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    given = arguments(
        __doc__, "data", "json", sets=some(["utd"], choices=list(LAYOUTS)), methods={"nargs": "+"},
        seeds=some([0]), readouts=some(["texts", "classes"]),
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
        shuffled=(False, "the first seed also with shuffled labels"), choose=False,
        fold=(False, "factors from held-out people"),
        changed=(False, "changed clips for every seed"), cache=Path("/tmp/vlar-towers"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(
        given.json, {"vlar": vlar.__version__, "machine": platform.machine()}
    )
    methods = given.methods or presets()
    for name in given.sets:
        sides = [
            course(name, given.data, permuted, given.choose)
            for permuted in (False, True)[: 1 + given.shuffled]
        ]
        rows_of = product(given.seeds, methods, given.readouts, enumerate(sides))
        for seed, method, readout, (permuted, data) in rows_of:
            kind = "choose" if given.choose else "odd to even"
            kind += ", labels shuffled" if permuted else ""
            title = method if readout == "texts" else f"{method}, {readout}"
            rows = results.setdefault(name, {}).setdefault(kind, {}).setdefault(title, {})
            first = seed == given.seeds[0]
            if (str(seed) in rows and not given.choose) or (permuted and not first):
                continue
            settings = {"layout": LAYOUTS[name], "people": 1, "readout": readout}
            settings |= dict(given.settings)
            file = f"{name}-{kind.replace(', ', ' ').replace(' ', '-')}-{int(given.fold)}.npz"
            rows[str(seed)] = measure(
                data, method, settings, seed, given.cache / file, fold=given.fold,
                changed=(first or given.changed) and not permuted,
            )  # fmt: skip
            shown = {k: v for k, v in rows[str(seed)].items() if k != "settings"}
            print(f"{name}, {kind}, {title}, seed {seed}: {shown}", flush=True)
            store(given.json, results)


if __name__ == "__main__":
    main()
