"""Words for a network of clips without texts: the map ``align``, by labels and by an image tower.

    python evals/align_words.py --videos DIR [--stills DIR] [--sets weizmann jhmdb utd]
        [--seeds 0 1 2] [--cache DIR] [--json evals/results/align_words.json]

The network is an R3D-18 from random weights (8 frames of 112 pixels), as no public ones are to be
had here. A seed draws the half of the groups that teaches (``compute.py``); asked are the others,
by words alone:

itself      the network without the map: its clips have no sentence, so the first label
labels      the map from all clips that teach, and with their labels shuffled
distilled   the map from what ``lite-objects`` answers by words about clips without labels
            (objective ``distill``; one labelled clip a label sets its temperature), and with its
            answers exchanged among clips; ``unlabelled_align.py`` asks it over their number
teacher     ``lite-objects`` by words; ``head`` a linear head on the network's features

A result is kept for each set and seed, and is not measured again.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cached import array_of
from compute import halved, head, prepared
from harness import arguments, some, store, stored

from vlar.encoders.base import load_encoder
from vlar.methods.align.adapter import Align
from vlar.methods.distill.objective import write_teacher
from vlar.training.batches import Dataset, Unlabelled
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet

NETWORK = "torchvision:r3d_18?random_init=true&frames=8"


def features_of(network: Any, given: dict[str, Any]) -> np.ndarray:
    """(n, rows, F) of the clips, from a file where they were computed before."""

    def one(clip: Any) -> np.ndarray:
        at = np.linspace(0, len(clip.data) - 1, network.n_frames).round().astype(int)
        part = replace(clip, data=clip.data[at], times_s=clip.times_s[at])
        return network.encode([part])[0].features

    file = given["cache"] / f"{given['name']}-r3d.npy"
    return array_of(file, lambda: np.stack([one(clip) for clip in given["clips"]]))


def trained(
    network: Any, given: dict[str, Any], features: np.ndarray, rows: np.ndarray, y: np.ndarray,
    seed: int, free: np.ndarray | None = None, told: np.ndarray | None = None,
) -> Align:  # fmt: skip
    """The map that learned from labelled rows, or from what a tower told about clips."""
    labels, paths = given["labels"], [clip.path for clip in given["clips"]]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapter = Align.attach(network)
    own = [paths[row] for row in rows]
    data = Dataset.single(labels, [labels[y[row]] for row in rows], [str(p) for p in own], own)
    loader = FeatureLoader(adapter.training_inputs(features[rows]), own)
    numbers = load_recipe("align/adapt")
    if free is None or told is None:
        Training(adapter, loader, data, numbers, seed=seed).run()
        return adapter
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tower.csv"
        write_teacher(file, paths, labels, told)
        others = FeatureLoader(adapter.training_inputs(features[free]), [paths[r] for r in free])
        settings = {"teachers": [str(file)], "ratio": len(free) / len(rows)}
        Training(
            adapter, loader, data, numbers, seed=seed,
            objectives=ObjectiveSet({"distill": settings}),
            unlabelled=Unlabelled(others, len(free)),
        ).run()  # fmt: skip
    return adapter


def measure(network: Any, whole: dict[str, Any], seed: int) -> dict[str, Any]:
    """Top-1 of each way on the groups that did not teach."""
    given, random = halved(whole, seed), np.random.default_rng(seed)
    features, labels, y = features_of(network, whole), given["labels"], given["y"]
    teach, ask, tower = random.permutation(given["teach"]), given["ask"], given["encoder"]
    words = tower.encode_text(labels)
    told = tower.logit_scale * tower.pool(given["features"]) @ words.T
    one = np.array([next(row for row in teach if y[row] == n) for n in sorted(set(y[teach]))])
    free = np.array([row for row in teach if row not in one])

    def top1(scores: np.ndarray) -> float:
        return round(100 * float((scores.argmax(axis=1) == y[ask]).mean()), 2)

    def asked(adapter: Any) -> float:
        return top1(adapter.pool(features[ask]) @ adapter.encode_text(labels).T)

    wrong = y.copy()
    wrong[teach] = random.permutation(y[teach])
    mixed = told.copy()
    mixed[teach] = told[random.permutation(teach)]
    flat = features.mean(axis=1)
    found = {
        "itself": asked(network),
        "labels": asked(trained(network, given, features, teach, y, seed)),
        "labels, shuffled": asked(trained(network, given, features, teach, wrong, seed)),
        "teacher": top1(told[ask]),
        "head": round(100 * float((head(flat[teach], y[teach]).predict(flat[ask])
                                   == y[ask]).mean()), 2),
    }  # fmt: skip
    for name, answers in (("distilled", told), ("distilled, shuffled", mixed)):
        found[name] = asked(trained(network, given, features, one, y, seed, free, answers))
    return {**found, "clips": len(ask), "labels of them": len(labels), "without labels": len(free)}


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    options = arguments(
        __doc__, "videos", "json", stills=(Path, "with the colour clips of UTD-MHAD"),
        sets=some(["weizmann", "jhmdb"]), seeds=some([0]), cache=Path("/tmp/vlar-compute"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(options.json, {})
    network, tower = load_encoder(NETWORK), load_encoder("lite-objects")
    for name in options.sets:
        folder = options.stills if name == "utd" else options.videos
        whole = prepared(name, folder, options.cache, tower)
        rows = results.setdefault(name, {})
        for seed in options.seeds:
            if str(seed) in rows:
                continue
            rows[str(seed)] = measure(network, whole, seed)
            print(f"{name}, seed {seed}: {rows[str(seed)]}", flush=True)
            store(options.json, results)


if __name__ == "__main__":
    main()
