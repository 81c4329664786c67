"""Use of order: forward against reversed playback of real clips, two labels.

    python evals/playback.py --videos DIR --cache DIR [--pool gmdcsa24] [--labels fall_down]

Every clip is there twice, as it is and with its frames reversed before they are encoded. Two thirds
of the clips (by group) are trained on, both ways each; the others are classified. A method that
uses the set of frames, not their order, cannot be right more often than one time in two.

Rows: the temporal adapter as it is; on objects and appearance alone,
frame by frame pictures without any flow; the same with the frames of every clip shuffled, in
training and in test; and the closed forms on the mean of the frames. ``auto`` is listed for
completeness: its signatures hold flow and cosine transforms over time, so it may use order.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from cached import array_of, file_of
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.media.video.decode import read_clip
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource, held_out_logits
from vlar.training.task import TrainingTask

LABELS = ("forward", "reversed")
STILL = ("objects", "appearance")


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache!", "json", pool="gmdcsa24",
        labels=(["fall_down"], "none: all of the pool"), seeds=5,
    )  # fmt: skip
    model = vlar.load()
    features, groups, paths = _load(options, model)
    print(f"{options.pool}: {len(features)} clips, each forward and reversed", flush=True)
    found: dict[str, list[float]] = {}
    seconds: list[float] = []
    for seed in range(options.seeds):
        train, test = _split(groups, seed)
        task, seen = _task(train, groups, paths), features[train].reshape(-1, *features.shape[2:])
        asked = features[test].reshape(-1, *features.shape[2:])
        target = np.tile([0, 1], len(test))
        start = time.process_time()
        for name, right in _answers(model, task, seen, asked, target, seed):
            found.setdefault(name, []).append(right)
        seconds.append(time.process_time() - start)
        print(
            seed, {name: round(100 * values[-1], 1) for name, values in found.items()}, flush=True
        )
    rows = [
        {
            "method": name,
            "right": round(100 * float(np.mean(values)), 1),
            "std": round(100 * float(np.std(values)), 1),
            "seeds": [round(100 * value, 1) for value in values],
        }
        for name, values in found.items()
    ]
    for row in rows:
        print(f"{row['method']:52s}{row['right']:5.1f} +- {row['std']:.1f}")
    settings = {
        "command": "python evals/playback.py --videos DIR",
        "model": "lite with lite-motion" if model.n_frames > 16 else "lite",
        "pool": options.pool,
        "labels": options.labels,
        "clips": len(features),
        "asked": int(len(test) * 2),
        "cpu_s_per_seed": round(float(np.mean(seconds)), 1),
    }
    store(options.json, {**settings, "results": rows})


def _load(options: Namespace, model: vlar.Model) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """(n, 2, T, F) features of clips forward and reversed, their groups and paths."""
    rows = manifest(options.videos, options.pool)
    rows = [row for row in rows if not options.labels or row["label"] in options.labels]
    options.cache.mkdir(parents=True, exist_ok=True)
    paths = [options.videos / row["path"] for row in rows]
    features = [
        [_features(path, model, options.cache, reverse=way) for way in (False, True)]
        for path in paths
    ]
    return np.array(features, np.float32), np.array([row["group"] for row in rows]), paths


def _features(path: Path, model: vlar.Model, cache: Path, *, reverse: bool) -> np.ndarray:
    key = f"{path} {model.fingerprint} {model.n_frames}" + (" reversed" if reverse else "")

    def make() -> np.ndarray:
        clip = read_clip(path, None, model.n_frames, shorter_side=model.shorter_side)
        if reverse:
            clip = replace(clip, data=np.ascontiguousarray(clip.data[::-1]))
        return model.encode([clip])[0].features

    return array_of(file_of(cache, key), make)


def _split(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    names = np.random.default_rng(seed).permutation(sorted(set(groups)))
    chosen = np.isin(groups, names[: round(len(names) * 2 / 3)])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _task(rows: np.ndarray, groups: np.ndarray, paths: list[Path]) -> Dataset:
    twice = np.repeat(rows, 2)
    return Dataset.single(
        LABELS,
        [LABELS[i % 2] for i in range(len(twice))],
        [str(groups[i]) for i in twice],
        [paths[i] for i in twice],
    )


def _answers(model, task, seen, asked, target, seed):
    def temporal(name, train, test, settings):
        recipe = TrainingTask.by_recipe(model.encoder, "temporal", settings=settings, seed=seed)
        training, _ = train_on(recipe, task, FeatureSource(train))
        logits = held_out_logits(training, test)
        return name, float((logits.argmax(axis=1) == target).mean())

    still = {"blocks": list(STILL)}
    yield temporal("temporal", seen, asked, None)
    yield temporal("temporal, objects and appearance", seen, asked, still)
    random = np.random.default_rng(seed)
    mixed = [_shuffled(rows, random) for rows in (seen, asked)]
    yield temporal("temporal, objects and appearance, frames shuffled", *mixed, still)
    for method, kinds in (("ridge", ("mean",)), ("prototype", ("mean",)), ("auto", None)):
        blocks = model.encoder.frame_blocks
        head, _ = choose(
            seen, blocks, task.y, labels=LABELS, groups=task.groups, method=method, kinds=kinds
        )
        scores = head.logits(signature(asked, blocks, head.kind))
        name = f"{method}, " + ("mean of the frames" if kinds else "all signatures")
        yield name, float((scores.argmax(axis=1) == target).mean())


def _shuffled(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.stack([row[random.permutation(len(row))] for row in rows])


if __name__ == "__main__":
    main()
