"""Towers of two people on SBU: interactions, with pairs of people left out, and people swapped.

    python evals/two_people.py --data DIR [--methods ista-net chase] [--folds 1 2 3] [--control]
        [--set K=V ...] [--seed 0] [--json FILE]

DIR holds ``manifest.csv`` and ``sbu/``. Folds are the official ones, of which 1 to 3 are one here:
no pair of people teaches and is asked. Lines on the same folds are ``auto`` and ridge regressions:
joints of both people, of one, and distances between the joints of the two. The words of the labels
alone are the line of the control, as towers add to a vector of those. A tower is asked three
times: as recorded, with person A and B of the file swapped, and with the places of the two swapped
behind the order of their motion. ``--control`` shuffles the labels that teach; it has to fail.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, manifest, some, store, stored
from sensors import setting
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.lookup import reader
from vlar.methods.skeleton_towers.joints import PER_JOINT
from vlar.model.core import ModelCore
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.hyperparameters import divided
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask
from vlar.types import Clip, Float32

FOLDS = {"1": 1, "2": 1, "3": 1, "4": 2, "5": 3}
JOINTS, PLACES = 15, 8


def listed(data: Path) -> tuple[list[Clip], np.ndarray, np.ndarray, np.ndarray]:
    """Clips, labels, pairs of people and folds of the manifest."""
    encoder = load_encoder("skeleton")
    rows = [row for row in manifest(data) if row["path"].startswith("sbu/")]
    paths = [data / row["path"] for row in rows]
    clips = [reader("skeleton").read_clip(path, None, encoder.sampling) for path in paths]
    official = [re.search(r"official fold (\d)", row["note"]) for row in rows]
    folds = np.array([FOLDS[found[1]] for found in official if found])
    return clips, *(np.array([row[key] for row in rows]) for key in ("label", "group")), folds


def joints_of(clips: list[Clip]) -> np.ndarray:
    """(n, PLACES, 2, 15, 2 or 3) joints at even times, both people in the frame of the first."""
    found: list[np.ndarray] = []
    for clip in clips:
        at = np.linspace(0, len(clip.data) - 1, PLACES).round().astype(int)
        points = np.nan_to_num(clip.data[at])
        found.append(points - points[:1, :1, 2:3])
    return np.stack(found)


def lines(
    clips: list[Clip], y: np.ndarray, who: np.ndarray, folds: np.ndarray
) -> dict[str, dict[str, float]]:
    """Top-1 of ridge regressions and of ``auto``, over all folds and of each."""
    points = joints_of(clips)
    apart = np.linalg.norm(points[:, :, 0, :, None] - points[:, :, 1, None], axis=-1)
    tables = {"joints of both": points, "joints of one": points[:, :, 0], "distances": apart}
    encoder, labels = load_encoder("skeleton"), sorted(set(y.tolist()))
    blocks = encoder.frame_blocks
    encoded = encoder.encode(clips)
    features = np.stack([row.features for row in encoded])
    words = np.stack([row.vector for row in encoded]) @ ModelCore(encoder).encode_labels(labels).T
    right = {name: np.zeros(len(y), bool) for name in (*tables, "auto")}
    for fold in np.unique(folds):
        teach, ask = folds != fold, folds == fold
        for name, table in tables.items():
            rows = table.reshape(len(table), -1)
            made = make_pipeline(StandardScaler(), RidgeClassifier(10.0)).fit(rows[teach], y[teach])
            right[name][ask] = made.predict(rows[ask]) == y[ask]
        head, _ = choose(
            features[teach], blocks, y[teach].tolist(), labels=labels, groups=who[teach].tolist()
        )
        asked = head.logits(signature(features[ask], blocks, head.kind)).argmax(axis=1)
        right["auto"][ask] = np.array(labels)[asked] == y[ask]
    right["words, no examples"] = np.array(labels)[words.argmax(axis=1)] == y
    parts = {"all": folds > 0, **{str(fold): folds == fold for fold in np.unique(folds)}}
    return {
        name: {part: round(100 * float(row[rows].mean()), 1) for part, rows in parts.items()}
        for name, row in right.items()
    }


def swapped(features: Float32, plain: int) -> Float32:
    """Features with the two places of the people exchanged in what the tower reads."""
    own_, more = np.split(features, [plain], axis=2)
    people = more.reshape(*more.shape[:2], 2, JOINTS * PER_JOINT)[:, :, ::-1]
    return np.concatenate([own_, people.reshape(more.shape)], axis=2)


def measure(
    clips: list[Clip], y: np.ndarray, who: np.ndarray, ask: np.ndarray, method: str,
    settings: dict[str, Any], seed: int, control: bool,
) -> dict[str, Any]:  # fmt: skip
    """Top-1 of a fold as recorded and with people swapped, and how far logits moved by it."""
    encoder = load_encoder("skeleton")
    own, numbers = divided(settings)[:2]
    task = TrainingTask.by_recipe(encoder, method, settings=own, seed=seed)
    task = replace(task, numbers=task.numbers.replaced(**numbers))
    reading = registry.get("adapter", method).reading(encoder, task.settings)
    features = np.stack([reading.encode([clip])[0].features for clip in clips])
    other = [replace(clip, data=clip.data[:, ::-1]) for clip in np.array(clips, object)[ask]]
    turned = np.stack([reading.encode([clip])[0].features for clip in other])
    labels = sorted(set(y.tolist()))
    taught = y[~ask]
    if control:
        taught = np.random.default_rng(seed).permutation(taught)
    paths = [Path(str(row)) for row in np.flatnonzero(~ask)]
    dataset = Dataset.single(labels, taught.tolist(), who[~ask].tolist(), paths)
    begin = time.process_time()
    training, done = train_on(task, dataset, FeatureSource(features[~ask]))
    spent = (time.process_time() - begin) / 60
    right = np.array([labels.index(label) for label in y[ask]])
    asked = {
        "recorded": features[ask],
        "file swapped": turned,
        "places swapped": swapped(features[ask], encoder.frame_dim),
    }
    logits = {name: held_out_logits(training, rows) for name, rows in asked.items()}
    top = {name: rows.argmax(axis=1) for name, rows in logits.items()}
    return {
        "clips": int(ask.sum()),
        "right": {name: int((rows == right).sum()) for name, rows in top.items()},
        "same": {name: int((rows == top["recorded"]).sum()) for name, rows in top.items()},
        "moved": {
            name: round(float(np.abs(rows - logits["recorded"]).max()), 4)
            for name, rows in logits.items()
        },
        "parameters": sum(p.numel() for _, p in training.named),
        "train_accuracy": round(done.epochs[-1].metrics["accuracy"], 3),
        "cpu_minutes": round(spent, 2),
        "settings": {**settings, "recipe": dict(task.settings)},
    }


def main() -> None:
    """Measure what is missing, and print the sums over the folds."""
    given = arguments(
        __doc__, "data", "json", methods=some(["ista-net", "chase"]), folds=some([1, 2, 3]),
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
        control=(False, "shuffle the labels that teach"), seed=0,
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(given.json, {})
    clips, y, who, folds = listed(given.data)
    results["lines"] = results.get("lines") or lines(clips, y, who, folds)
    print(f"{len(y)} clips, chance {100 / len(set(y)):.1f}, lines: {results['lines']}", flush=True)
    settings = {"layout": "sbu15", "people": 2, **dict(given.settings)}
    for method in given.methods:
        name = " ".join([method, *(f"{k}={v}" for k, v in given.settings)])
        rows = results.setdefault(name + " (labels shuffled)" * given.control, {})
        for fold in given.folds:
            if str(fold) not in rows:
                ask = folds == fold
                rows[str(fold)] = measure(
                    clips, y, who, ask, method, settings, given.seed, given.control
                )
            shown = {k: v for k, v in rows[str(fold)].items() if k != "settings"}
            print(f"{name}, fold {fold}: {shown}", flush=True)
            store(given.json, results)
        count = sum(row["clips"] for row in rows.values())
        for asked in ("recorded", "file swapped", "places swapped"):
            share = sum(row["right"][asked] for row in rows.values()) / count
            print(f"{name}, {count} clips, {asked}: {100 * share:.1f}", flush=True)


if __name__ == "__main__":
    main()
