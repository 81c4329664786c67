"""Labels without examples by a semantic map: four variants, two matchings, and their controls.

    python evals/semantic_map.py --data DIR [--cache DIR] [--splits 10] [--json OUT]

DIR holds ``videos/`` and ``clips/``, each with ``manifest.csv`` (path, readable_label, dataset,
group) and the clips it names. Of each target set, half of the labels are learned and the clips of
the other half are asked about, among the labels of that half, over random splits. No group of clips
is on both sides. Numbers are chosen on the other sets, by labels held out of them.

ridge       plain ridge regression, on the learned half
shared      the map with shared tasks, on the learned half
ridge more  ridge with the clips of all other sets, without labels of what is asked about
more        the map with the same clips
weighted    the same, weighted by KLIEP on label vectors (uniform weights are "more")
permuted    "weighted" with the vectors of the learned labels permuted: must be at chance

Top-1 in percent, mean over splits; "centred" subtracts the mean of the clips asked about from each
(which uses them all: transductive).
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cached import features_of
from harness import arguments, echo, store

import vlar
from vlar.encoders.sentence_tower import sentence_vectors
from vlar.methods.multitask_zero_shot.adapter import (
    MapNumbers,
    Multitask,
    choose_numbers,
    clip_statistics,
    overlapping,
)
from vlar.methods.multitask_zero_shot.map import SemanticMap, reduced, ridge
from vlar.methods.multitask_zero_shot.weights import bounded, effective_size, kliep
from vlar.numeric import unit

TARGETS = ("jhmdb", "ucf101", "something-something-v2")
FRESH = "J-HMDB (fresh source videos)"
NOT_COMPARED = ("chance", "zero-shot", "ridge")
PENALTIES = tuple(10.0**power for power in range(-4, 3))


@dataclass(frozen=True)
class Clips:
    """n clips: features (n, T, F), labels, sets and groups."""

    features: np.ndarray
    labels: np.ndarray
    sets: np.ndarray
    groups: np.ndarray


def load(
    data: Path, model: vlar.Model, cache: Path | None, sets: Collection[str] | None = None
) -> Clips:
    """All labelled clips of both folders, or those of some sets."""
    rows: list[dict[str, str]] = []
    features: list[np.ndarray] = []
    for folder in ("videos", "clips"):
        with (data / folder / "manifest.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                own = "jhmdb" if row["dataset"] == FRESH else row["dataset"]
                if sets is not None and own not in sets:
                    continue
                try:
                    found = features_of(data / folder, row["path"], model, cache)
                except vlar.VlarError as error:
                    print(error, file=sys.stderr)
                    continue
                features.append(found)
                rows.append(row)
    sets = ["jhmdb" if row["dataset"] == FRESH else row["dataset"] for row in rows]
    columns = [[row[name] for row in rows] for name in ("readable_label", "group")]
    return Clips(np.stack(features), np.array(columns[0]), np.array(sets), np.array(columns[1]))


def split(clips: Clips, sets: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows to learn from, rows to ask about, and the labels asked about."""
    here = np.isin(clips.sets, sets)
    labels = sorted(set(clips.labels[here]))
    drawn = np.random.default_rng(seed).permutation(len(labels))[: len(labels) // 2]
    asked = sorted(labels[place] for place in drawn)
    test = here & np.isin(clips.labels, asked)
    learn = here & ~test & ~np.isin(clips.groups, clips.groups[test])
    return np.flatnonzero(learn), np.flatnonzero(test), asked


def others(clips: Clips, name: str, asked: list[str], vectors: dict[str, np.ndarray]) -> np.ndarray:
    """Rows of all other sets whose labels are not asked about under another name."""
    labels = sorted(set(clips.labels[clips.sets != name]))
    rows, columns = (np.stack([vectors[label] for label in row]) for row in (labels, asked))
    cosines = rows @ columns.T
    same = {label for label, _ in overlapping(labels, asked, cosines)}
    kept = (clips.sets != name) & ~np.isin(clips.labels, sorted(same))
    return np.flatnonzero(kept)


def choose_ridge(x, z, columns) -> float:
    """The penalty of ridge with which labels left out of the fit are found best."""
    folds = np.arange(len(z)) % 4

    def rank(penalty: float) -> float:
        found: list[float] = []
        for fold in np.unique(folds):
            held = (folds == fold)[columns]
            names = np.flatnonzero(folds == fold)
            mean, middle = x[~held].mean(axis=0), z[columns[~held]].mean(axis=0)
            made = ridge(x[~held] - mean, z[columns[~held]] - middle, penalty)
            scores = unit((x[held] - mean) @ made.T) @ unit(z[names] - middle).T
            right = np.searchsorted(names, columns[held])
            mine = scores[np.arange(len(right)), right][:, None]
            found += (1 / (1 + (scores > mine).sum(axis=1))).tolist()
        return float(np.mean(found))

    return max(PENALTIES[::-1], key=lambda penalty: round(rank(penalty), 9))


def figures(video: np.ndarray, text: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Top-1 in percent of (n, D) vectors against (C, D) labels, plain and centred."""
    share = lambda rows: 100 * float(((unit(rows) @ text.T).argmax(axis=1) == truth).mean())  # noqa: E731
    return {"plain": share(video), "centred": share(video - video.mean(axis=0))}


@dataclass(frozen=True)
class Space:
    """Shared state of one target and one space of label vectors over all splits.

    Attributes:
        x: (n, d) statistics of all clips.
        vectors: Label vectors (k,) by label.
        numbers: Of the shared map, chosen on the labels of the other sets.
        penalty: Of ridge, chosen likewise.
    """

    x: np.ndarray
    vectors: dict[str, np.ndarray]
    numbers: MapNumbers
    penalty: float

    @staticmethod
    def of(model: vlar.Model, clips: Clips, x: np.ndarray, name: str, text: str) -> Space:
        labels = sorted(set(clips.labels))
        rows = Multitask.attach(model.encoder, {"text": text})._label_vectors(labels)
        vectors = dict(zip(labels, rows, strict=True))
        other = np.flatnonzero(clips.sets != name)
        learned, columns = np.unique(clips.labels[other], return_inverse=True)
        z = np.stack([vectors[label] for label in learned])
        away, middle = x[other] - x[other].mean(axis=0), z - z[columns].mean(axis=0)
        numbers = choose_numbers(away, middle, columns, np.ones(len(other)))
        small = reduced(x[other])[0], reduced(z)[0]
        return Space(x, vectors, numbers, choose_ridge(*small, columns))


def mapped(space: Space, clips: Clips, rows, test, asked, kind: str, seed: int | None = None):
    """Vectors of the clips and of the labels asked about, in both spaces; and the weights."""
    labels, columns = np.unique(clips.labels[rows], return_inverse=True)
    z = np.stack([space.vectors[label] for label in labels])
    if seed is not None:
        z = np.random.default_rng(seed).permutation(z)
    targets = np.stack([space.vectors[label] for label in asked])
    weights = np.ones(len(rows))
    if kind == "weighted":
        weights = bounded(kliep(z[columns], targets))
    share = weights / weights.sum()
    mean, middle = share @ space.x[rows], share @ z[columns]
    x, wanted = space.x[rows] - mean, z[columns] - middle
    away, asked_for = space.x[test] - mean, targets - middle
    if kind == "ridge":
        return {"": (away @ ridge(x, wanted, space.penalty).T, asked_for)}, weights
    number = space.numbers
    found = SemanticMap(number.q, number.penalty, number.penalty).fit(x, wanted, weights)
    gram = found.s.T @ found.s + 1e-6 * np.eye(found.s.shape[1])
    own = np.linalg.solve(gram, found.s.T @ asked_for.T).T
    both = {"": (found.transform(away), asked_for), "latent ": (found.latent(away), own)}
    return both, weights


def run(model: vlar.Model, clips: Clips, space: Space, name: str, seed: int, plain):
    """Figures of every variant on one split."""
    learn, test, asked = split(clips, [name], seed)
    if len({*clips.labels[learn]}) < 4 or len(asked) < 2:
        return None
    truth = np.array([asked.index(label) for label in clips.labels[test]])
    more = np.concatenate([learn, others(clips, name, asked, plain)])
    found: dict[str, Any] = {"chance": {"plain": 100 / len(asked)}}
    own = model.encoder.pool(clips.features[test])
    found["zero-shot"] = figures(own, model.encode_labels(asked), truth)
    for variant, rows, kind, shuffled in (
        ("ridge", learn, "ridge", None),
        ("shared", learn, "shared", None),
        ("ridge more", more, "ridge", None),
        ("more", more, "shared", None),
        ("weighted", more, "weighted", None),
        ("permuted", more, "weighted", seed),
    ):
        begin = time.process_time()
        both, weights = mapped(space, clips, rows, test, asked, kind, shuffled)
        one: dict[str, Any] = {"clips": float(len(rows)), "effective": effective_size(weights)}
        one["seconds"] = time.process_time() - begin
        for where, (video, text) in both.items():
            one |= {where + key: v for key, v in figures(video, unit(text), truth).items()}
        found[variant] = one
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits, and each variant's difference from ridge with its standard error."""
    table: dict[str, Any] = {}
    for variant in runs[0]:
        keys = [key for key, value in runs[0][variant].items() if isinstance(value, float)]
        rows = {key: np.array([one[variant][key] for one in runs]) for key in keys}
        table[variant] = {key: round(float(row.mean()), 2) for key, row in rows.items()}
        for key, row in rows.items():
            base = "centred" if "centred" in key else "plain"
            if variant not in NOT_COMPARED and key.split()[-1] in ("plain", "centred"):
                away = row - np.array([one["ridge"][base] for one in runs])
                error = float(away.std(ddof=1) / np.sqrt(len(away)))
                table[variant][f"{key} over ridge"] = [
                    round(float(away.mean()), 2),
                    round(error, 2),
                ]
    return table


def main() -> None:
    options = arguments(
        __doc__, "cache", "json",
        data={"type": Path, "required": True, "help": "folder with videos/ and clips/"}, splits=10,
        targets=list(TARGETS),
    )  # fmt: skip
    model = vlar.load("lite")
    clips = load(options.data, model, options.cache)
    every = sorted(set(clips.labels))
    plain = dict(zip(every, sentence_vectors(every), strict=True))
    x = clip_statistics(clips.features, model.encoder.frame_blocks).astype(np.float64)
    x = reduced(x)[0]  # all that 530 clips fill: angles and lengths stay
    results: list[dict[str, Any]] = []
    for name, text in itertools.product(options.targets, ("own", "sentences")):
        space = Space.of(model, clips, x, name, text)
        found = [run(model, clips, space, name, seed, plain) for seed in range(options.splits)]
        runs = [one for one in found if one is not None]
        if not runs:
            print(f"{name}: no split has groups apart", flush=True)
            continue
        table: dict[str, Any] = {"q": space.numbers.q, "penalty": space.numbers.penalty}
        table |= {"ridge penalty": space.penalty, **summary(runs)}
        results.append({"target": name, "text": text, "splits": len(runs), **table})
        print(f"{name}, label vectors: {text}, {len(runs)} splits", flush=True)
        for variant, row in table.items():
            echo(f"  {variant:10}", row)
    store(options.json, {"fingerprint": model.fingerprint, "results": results})


if __name__ == "__main__":
    main()
