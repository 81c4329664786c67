"""Labels without examples by their descriptions (CoCo), term by term.

    python evals/many_descriptions.py --data DIR [--cache DIR] [--splits 6] [--json OUT]

DIR is as for ``semantic_map.py``. Half of the labels of a pool are learned and the clips of the
other half are asked about, among its labels, over random halves; no group of clips is on both
sides. Descriptions are those of the packaged banks (all kinds but contrast). Even splits are
"choose", odd ones "report"; numbers were chosen on the former alone.

names         the encoder's zero-shot answer by the names of labels
auto          what ``vlar classify`` does: names and descriptions, block by block
mean          names and the mean of the descriptions, by CoCo before it is trained
classes       trained to align clips with label texts
instances     and with single descriptions
cycle         and with the cycle over the names of the labels asked about (transductive on names)
only          "instances", labels by their descriptions alone
permuted      "instances" with descriptions permuted among labels: must fall below "instances"
shuffled      "mean" with descriptions permuted among labels: must fall below "names"

Top-1 in percent; the interval is over clips (bootstrap), the standard error over splits.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, echo, store
from semantic_map import Clips, load, split
from words_features import remember_texts

import vlar
from vlar.language.descriptions import descriptions_of
from vlar.language.labels import parse_labels
from vlar.methods.coco.adapter import Coco
from vlar.model.label_heads import label_vectors
from vlar.training.batches import Dataset
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

POOLS = {"jhmdb": ("jhmdb",), "jhmdb + ucf101": ("jhmdb", "ucf101"), "ucf101": ("ucf101",)}
TRAINED = {
    "classes": {"instances": 0.0, "cycle": 0.0},
    "instances": {"cycle": 0.0},
    "cycle": {},
    "only": {"cycle": 0.0, "names": 0.0},
    "permuted": {"cycle": 0.0},
}


def told(labels: list[str]) -> dict[str, list[str]]:
    """The descriptions of labels in the packaged banks."""
    found = descriptions_of(labels)
    return {
        label: [text for kind, texts in row.items() if kind != "contrast" for text in texts]
        for label, row in zip(labels, found, strict=True)
    }


def permuted(described: dict[str, list[str]], seed: int) -> dict[str, list[str]]:
    """The same descriptions, each set with another label."""
    labels = sorted(described)
    order = np.roll(np.random.default_rng(seed).permutation(len(labels)), 1)
    start = np.random.default_rng(seed).permutation(len(labels))
    return {labels[a]: described[labels[b]] for a, b in zip(start, order, strict=True)}


def trained(model: vlar.Model, clips: Clips, rows, settings: dict[str, Any], seed: int) -> Coco:
    """The adapter trained on some clips."""
    labels = sorted(set(clips.labels[rows]))
    paths = [Path(str(row)) for row in rows]
    dataset = Dataset.single(
        labels, clips.labels[rows].tolist(), clips.groups[rows].tolist(), paths
    )
    task = TrainingTask.by_recipe(model.encoder, "coco", settings=settings, seed=seed)
    training, _ = train_on(task, dataset, FeatureSource(clips.features[rows]))
    assert isinstance(training.adapter, Coco)
    return training.adapter


def run(
    model: vlar.Model, clips: Clips, sets: tuple[str, ...], seed: int, settings: dict[str, Any]
):
    """Rightness of each clip (n,), by recipe, on one split."""
    learn, test, asked = split(clips, sets, seed)
    truth = np.array([asked.index(label) for label in clips.labels[test]])
    learned = sorted(set(clips.labels[learn]))
    described = told([*asked, *learned])
    own = {label: described[label] for label in asked}
    wrong = {
        **permuted(own, seed),
        **permuted({label: described[label] for label in learned}, seed),
    }
    features = clips.features[test]
    vectors = model.encoder.pool(features)
    start = Coco.attach(model.encoder, settings)

    def right(video: np.ndarray, text: np.ndarray) -> np.ndarray:
        return (video @ text.T).argmax(axis=1) == truth

    def by(adapter: Coco, texts: dict[str, list[str]]) -> np.ndarray:
        words = adapter.encode_described(asked, [texts[label] for label in asked])
        return right(adapter.pool(features), words)

    found = {
        "names": right(vectors, model.encode_labels(asked)),
        "auto": right(vectors, label_vectors(model, parse_labels(asked))[0]),
        "mean": by(start, own),
        "shuffled": by(start, wrong),
    }
    seconds = {}
    with tempfile.TemporaryDirectory() as place:
        for name, terms in TRAINED.items():
            texts = wrong if name == "permuted" else described
            file = Path(place) / f"{name}.json"
            file.write_text(json.dumps({label: t for label, t in texts.items() if t}))
            given = {**settings, **terms, "bank": str(file)}
            given |= {"unseen": asked} if name == "cycle" else {}
            begin = time.process_time()
            adapter = trained(model, clips, learn, given, seed)
            seconds[name] = round(time.process_time() - begin, 1)
            found[name] = by(adapter, texts)
    return found, len(asked), seconds


def main() -> None:
    options = arguments(
        __doc__, "cache", "json",
        data={"type": Path, "required": True, "help": "folder with videos/ and clips/"}, splits=6,
        half={"choices": ["choose", "report", "all"], "default": "all"}, pools=list(POOLS),
        set={"nargs": "*", "default": [], "metavar": "KEY=JSON", "help": "CoCo settings"},
    )  # fmt: skip
    settings = {key: json.loads(value) for key, value in (one.split("=", 1) for one in options.set)}
    model = vlar.load("lite")
    remember_texts(model.encoder)
    sets = {name for pool in options.pools for name in POOLS[pool]}
    clips = load(options.data, model, options.cache, sets)
    seeds = range(options.splits)
    if options.half != "all":
        seeds = range(options.half == "report", 2 * options.splits, 2)
    results: list[dict[str, Any]] = []
    for pool in options.pools:
        runs = [run(model, clips, POOLS[pool], seed, settings) for seed in seeds]
        table: dict[str, Any] = {"pool": pool, "half": options.half, "splits": len(runs)}
        table["chance"] = round(100 / runs[0][1], 1)
        names = np.array([one[0]["names"].mean() for one in runs])
        for recipe in runs[0][0]:
            share = np.array([one[0][recipe].mean() for one in runs])
            away = 100 * (share - names)
            error = float(away.std(ddof=1) / np.sqrt(len(away))) if len(away) > 1 else 0.0
            table[recipe] = {
                "top1": round(100 * float(share.mean()), 1),
                "over names": round(float(away.mean()), 1),
                "error": round(error, 1),
            }
        table["seconds"] = runs[-1][2]
        results.append(table)
        print(pool, options.half, settings, flush=True)
        for key, value in table.items():
            echo(f"  {key:10}", value)
    content = {"fingerprint": model.fingerprint, "settings": settings, "results": results}
    store(options.json, content)


if __name__ == "__main__":
    main()
