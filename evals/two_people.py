"""Towers of two people on SBU: eight interactions, by the published five folds.

    python evals/two_people.py --data DIR [--methods ensemble-1d] [--seeds 0 1 2 3 4] [--control]
        [--set K=V ...] [--inner] [--json FILE]

DIR holds ``manifest.csv`` and ``sbu/``. Each of the published folds is asked once, by towers with a
class head that the other four teach. A fold is of ordered pairs: the same two in the other order,
and each of them with somebody else, may teach. Joints are in metres. ``--inner`` asks what settings
are chosen by: two folds at a time are held out and three teach, so the choice for a fold is by
clips of the other four (``chosen by fold``, percent). ``others`` are the clips of all folds but 4,
by which epochs, frames and ``paired`` were chosen earlier. Lines on the same folds are the words of
the labels, ``auto`` and a ridge regression of the distances between the joints of the two; words
and ``auto`` once more where the first person faces the camera. ``swapped lines`` are answers of
words and ``auto`` to the two in the other order. ``stacked`` is ``auto`` and the tower at the
factors that ``vlar adapt`` starts from (1, 0.25). ``swapped`` are answers to the two people in the
other order, in percent equal to those before. ``--control``
shuffles the labels that teach in the first seed; it has to fail. A result is kept in ``--json`` for
each method, seed and fold with a digit a clip, and is not measured again.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, manifest, percent, some, store, stored
from sensors import setting
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.lookup import reader
from vlar.methods.skeleton_towers.joints import PER_JOINT
from vlar.metrics.intervals import paired
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.hyperparameters import divided
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask
from vlar.types import Clip, Float32

JOINTS, PLACES, FACTOR, CHOSEN = 15, 16, 0.25, 4


def listed(data: Path) -> tuple[list[Clip], np.ndarray, np.ndarray, np.ndarray]:
    """Clips, labels, pairs of people and folds of the manifest."""
    encoder = load_encoder("skeleton")
    rows = [row for row in manifest(data) if row["path"].startswith("sbu/")]
    paths = [data / row["path"] for row in rows]
    clips = [reader("skeleton").read_clip(path, None, encoder.sampling) for path in paths]
    official = [re.search(r"official fold (\d)", row["note"]) for row in rows]
    folds = np.array([int(found[1]) for found in official if found])
    return clips, *(np.array([row[key] for row in rows]) for key in ("label", "group")), folds


def distances(clips: list[Clip], y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Right answers (n,) by the distances between the joints of the two."""
    apart: list[np.ndarray] = []
    for clip in clips:
        points = np.nan_to_num(clip.data[np.linspace(0, len(clip.data) - 1, PLACES).astype(int)])
        apart.append(np.linalg.norm(points[:, 0, :, None] - points[:, 1, None], axis=-1).ravel())
    table, right = np.stack(apart), np.zeros(len(y), bool)
    for fold in np.unique(folds):
        teach, ask = folds != fold, folds == fold
        made = make_pipeline(StandardScaler(), RidgeClassifier(10.0)).fit(table[teach], y[teach])
        right[ask] = made.predict(table[ask]) == y[ask]
    return right


def closed(
    encoder: Encoder, clips: list[Clip], y: np.ndarray, who: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Answers (n,) by words, logits (n, C) of ``auto``, and what stays with people swapped."""
    labels, blocks = sorted(set(y.tolist())), encoder.frame_blocks
    other = [replace(clip, data=clip.data[:, ::-1]) for clip in clips]
    features, turned = (
        np.stack([row.features for row in encoder.encode(rows)]) for rows in (clips, other)
    )
    texts = encoder.encode_text(labels).T
    words, words_turned = ((encoder.pool(x) @ texts).argmax(axis=1) for x in (features, turned))
    logits, logits_turned = np.zeros((2, len(y), len(labels)))
    for fold in np.unique(folds):
        teach, ask = folds != fold, folds == fold
        head, _ = choose(
            features[teach], blocks, y[teach].tolist(), labels=labels, groups=who[teach].tolist()
        )
        logits[ask] = head.logits(signature(features[ask], blocks, head.kind))
        logits_turned[ask] = head.logits(signature(turned[ask], blocks, head.kind))
    same = logits.argmax(axis=1) == logits_turned.argmax(axis=1)
    return words, logits, {"auto": percent(same), "words": percent(words == words_turned)}


def swapped(features: Float32, plain: int) -> Float32:
    """Features with the two places of the people exchanged in what the tower reads."""
    own, more = np.split(features, [plain], axis=2)
    people = more.reshape(*more.shape[:2], 2, JOINTS * PER_JOINT)[:, :, ::-1]
    return np.concatenate([own, people.reshape(more.shape)], axis=2)


def digits(right: np.ndarray) -> str:
    """A digit a clip, 1 where it is right."""
    return "".join("01"[int(row)] for row in right)


class Towers:
    """Trainings on the clips of four folds.

    Args:
        clips: n recordings.
        y: (n,) labels.
        who: (n,) pairs.
        closed: (n, C) logits of ``auto`` where each clip is asked.
    """

    def __init__(
        self, clips: list[Clip], y: np.ndarray, who: np.ndarray, closed: np.ndarray
    ) -> None:
        self.clips, self.y, self.who, self.closed = clips, y, who, closed
        self.features: dict[str, Float32] = {}

    def measure(
        self, ask: np.ndarray, method: str, settings: dict[str, Any], seed: int, control: bool
    ) -> dict[str, Any]:
        """Right answers alone and stacked in a fold, and how many stay with people swapped."""
        encoder, labels = load_encoder("skeleton"), sorted(set(self.y.tolist()))
        own, numbers = divided(settings)[:2]
        task = TrainingTask.by_recipe(encoder, method, settings=own, seed=seed)
        task = replace(task, numbers=task.numbers.replaced(**numbers))
        if method not in self.features:
            reading = registry.get("adapter", method).reading(encoder, task.settings)
            rows = [reading.encode([clip])[0].features for clip in self.clips]
            self.features[method] = np.stack(rows)
        features, taught = self.features[method], self.y[~ask]
        if control:
            taught = np.random.default_rng(seed).permutation(taught)
        paths = [Path(str(row)) for row in np.flatnonzero(~ask)]
        dataset = Dataset.single(labels, taught.tolist(), self.who[~ask].tolist(), paths)
        begin = time.process_time()
        training, done = train_on(task, dataset, FeatureSource(features[~ask]))
        minutes = (time.process_time() - begin) / 60
        right = np.array([labels.index(label) for label in self.y[ask]])
        asked = held_out_logits(training, features[ask])
        other = held_out_logits(training, swapped(features[ask], encoder.frame_dim))
        both = self.closed[ask] + FACTOR * asked
        return {
            "alone": digits(asked.argmax(axis=1) == right),
            "stacked": digits(both.argmax(axis=1) == right),
            "swapped": percent(asked.argmax(axis=1) == other.argmax(axis=1)),
            "parameters": sum(p.numel() for _, p in training.named),
            "steps": done.steps,
            "train_accuracy": round(done.epochs[-1].metrics["accuracy"], 3),
            "cpu_minutes": round(minutes, 2),
        }


def figures(
    seeds: dict[str, dict[str, Any]], auto: np.ndarray, folds: np.ndarray, who: np.ndarray
) -> dict[str, Any]:
    """Top-1 and its standard error over seeds; intervals of the gain by pairs of people."""
    whole = [rows for rows in seeds.values() if len(rows) == len(set(folds.tolist()))]
    found: dict[str, Any] = {"seeds": len(whole)}
    sides = {"all": folds > 0, "others": folds != CHOSEN}
    for kind in ("alone", "stacked") if whole else ():
        table = np.zeros((len(whole), len(folds)))
        for row, by_fold in zip(table, whole, strict=True):
            for fold, result in by_fold.items():
                row[folds == int(fold)] = [int(digit) for digit in result[kind]]
        for side, rows in sides.items():
            tops = 100 * table[:, rows].mean(axis=1)
            error = float(tops.std(ddof=1)) / len(tops) ** 0.5 if len(tops) > 1 else 0.0
            found[f"{kind}, {side}"] = {"mean": percent(tops / 100), "error": round(error, 1)}
        gain = paired(table.mean(axis=0), auto.astype(float), who.tolist())
        if gain:
            ends = gain.difference.low, gain.difference.high
            found[f"{kind} - auto"] = [round(100 * end, 1) for end in ends]
    return found


def inner(seeds: dict[str, dict[str, Any]], folds: np.ndarray) -> dict[str, float]:
    """Percent right, for each fold, in the other four: none of its clips taught or was asked."""
    found: dict[str, float] = {}
    for fold in np.unique(folds).tolist():
        right: list[int] = []
        for row in seeds.values():
            for pair, result in row.items():
                out = [int(part) for part in pair.split()]
                asked = folds[np.isin(folds, out)]
                if fold in out:
                    right += [
                        int(digit)
                        for digit, one in zip(result["alone"], asked, strict=True)
                        if one != fold
                    ]
        if right:
            found[str(fold)] = percent(right)
    return found


def main() -> None:
    """Measure what is missing, and print the figures over the folds."""
    given = arguments(
        __doc__, "data", "json", methods=some(["ensemble-1d"]), seeds=some(range(5)),
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
        control=(False, "shuffle the labels that teach"),
        inner=(False, "hold out two folds at a time, by which settings are chosen"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(given.json, {"rows": {}, "figures": {}})
    clips, y, who, folds = listed(given.data)
    named, now = np.array(sorted(set(y.tolist()))), load_encoder("skeleton")
    right = {"distances": distances(clips, y, folds)}
    before = now.before()
    assert before is not None
    for encoder, view in ((before, ", the first faces the camera"), (now, "")):
        words, logits, same = closed(encoder, clips, y, who, folds)
        right |= {f"words{view}": named[words] == y, f"auto{view}": named[logits.argmax(1)] == y}
        results["swapped lines"] = same
    results["lines"] = {
        name: {"all": percent(row), "others": percent(row[folds != CHOSEN])}
        for name, row in right.items()
    }
    results["clips"] = len(y)
    print(f"{len(y)} clips, chance {100 / len(set(y)):.1f}, lines: {results['lines']}", flush=True)
    towers = Towers(clips, y, who, logits)
    settings = {"layout": "sbu15", "people": 2, "readout": "classes", **dict(given.settings)}
    seeds = given.seeds[:1] if given.control else given.seeds
    held = list(combinations(sorted(set(folds.tolist())), 1 + given.inner))
    for seed, method, out in product(seeds, given.methods, held):
        name = " ".join([method, *(f"{k}={v}" for k, v in given.settings)])
        name += ", labels shuffled" * given.control
        place = "inner" if given.inner else "rows"
        rows = results.setdefault(place, {}).setdefault(name, {}).setdefault(str(seed), {})
        fold = " ".join(map(str, out))
        if fold in rows:
            continue
        ask = np.isin(folds, out)
        rows[fold] = towers.measure(ask, method, settings, seed, given.control)
        print(name, seed, fold, rows[fold], flush=True)
        store(given.json, results)
    for name, rows in results.get("inner", {}).items():
        results.setdefault("chosen by fold", {})[name] = inner(rows, folds)
    for name, rows in results["rows"].items():
        results["figures"][name] = figures(rows, right["auto"], folds, who)
    print(results["figures"], flush=True)
    store(given.json, results)


if __name__ == "__main__":
    main()
