"""Another model for a library at once: first hits and stated probabilities as rows are encoded.

Clips encoded whole by ``lite`` stand for a library's rows; its vectors hold those of
``lite-objects``. A map is learned on a few clips as ``vlar index upgrade --lazy`` does it, and
every label is asked. ``turned`` is a made model that shares no block: 512 random rectified sums of
objects. ``same`` is the share of labels whose first hit is that of rows that are all
encoded, ``off`` the mean stated probability of the first hits less that of the same rows encoded.
Encoded are the clips that teach; then, label by label, the best N mapped rows of each; and, each
label alone, its best tenth. Controls: clips and vectors in shuffled pairs teach, and a map of
random numbers. Three draws of the clips that teach are averaged.

``lite-hands`` and a network of random weights (``openclip``) are measured on every twelfth clip,
with 16 windows that teach: what random weights see has no names, so its first hits are noise.

    python evals/lazy_upgrade.py --videos DIR --cache DIR [--json FILE] [--windows 20 64 200]

Rows that the file has already are not measured again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cached import array_of, features_of, file_of, vectors_of
from harness import arguments, echo, manifest, percent, store, stored

import vlar
from vlar.language.bank import load_bank
from vlar.library.mapping import LinearMap, Mapping, Sample, completed, learned
from vlar.media.video.decode import read_clip
from vlar.numeric import unit
from vlar.pose.features import POSE_WIDTH

DRAWS = 3
CONTROLS = ("", "shuffled", "random")
TOUCHED = (0, 1, 3, 10)
PAIRS = (("lite-objects", "lite"), ("lite", "lite-objects"), ("turned", "lite-objects"))
RANDOM = "openclip:ViT-S-32-alt?random_init=true"
FEW = (("lite", "lite-hands"), ("lite-hands", "lite"), ("lite-objects", RANDOM))
EVERY, TAUGHT = 12, 16
OBJECTS = 1000  # numbers of the first block


def main() -> None:
    """Print a row for each pair of models and number of windows, and write them as JSON."""
    given = arguments(__doc__, "videos", "cache", "json", windows=[20, 64, 200])
    rows = manifest(given.videos)
    labels = sorted({row["readable_label"] for row in rows})
    full = vectors_of(vlar.load("lite"), given.videos, [row["path"] for row in rows], given.cache)
    found: dict[str, Any] = stored(given.json, {}) | {"rows": len(rows), "labels": len(labels)}
    plan = [
        (old, new, windows, control)
        for old, new in PAIRS
        for windows in (given.windows if old != "lite" else given.windows[:1])
        for control in (CONTROLS if windows == 64 and old != "lite" else ("",))
    ]
    plan += [(old, new, TAUGHT, control) for old, new in FEW for control in CONTROLS]
    worlds: dict[tuple[str, str], World] = {}
    for old, new, windows, control in plan:
        name = f"{old} -> {new}, {windows} windows{control and f', {control}'}"
        if name in found:
            continue
        if (old, new) not in worlds:
            chosen = rows[::EVERY] if (old, new) in FEW else rows
            all_vectors = full[:: EVERY if (old, new) in FEW else 1]
            vectors = {
                model: few_of(model, given.videos, [row["path"] for row in chosen], given.cache)
                if model in ("lite-hands", RANDOM)
                else of(model, all_vectors)
                for model in (old, new)
            }
            asked = sorted({row["readable_label"] for row in chosen})
            worlds[old, new] = World(
                vlar.load(new).words, vectors[old], vectors[new], asked, *shared_of(old, new, full)
            )
        world = worlds[old, new]
        drawn = [world.measured(windows, seed, control) for seed in range(DRAWS)]
        found[name] = {key: percent([row[key] for row in drawn]) for key in drawn[0]}
        if (old, new) in FEW:
            found[name] |= {"rows": len(world.new), "labels": len(world.labels)}
        echo(name, found[name])
        store(given.json, found)


def of(name: str, full: np.ndarray) -> np.ndarray:
    """Vectors (N, D) of a model from those of ``lite``."""
    objects = unit(full[:, :OBJECTS])
    if name == "turned":
        sums = objects @ np.random.default_rng(0).normal(size=(OBJECTS, 512))
        return unit(np.maximum(sums - sums.mean(), 0))
    return full if name == "lite" else objects


def few_of(name: str, videos: Path, paths: list[str], cache: Path | None) -> np.ndarray:
    """Vectors (N, D) of clips by a model of ``FEW``; hands are added to features of ``lite``."""
    model = vlar.load(name)
    if name == RANDOM:
        return vectors_of(model, videos, paths, cache)
    hands = model.words.encoder

    def vector(path: str) -> np.ndarray:
        features = features_of(videos, path, vlar.load("lite"), cache)
        clip = read_clip(videos / path, None, model.words.sampling)
        bodies = features[:, -POSE_WIDTH:]
        more = hands.body.hands.features(clip.data, clip.times_s, bodies)
        return hands.pool(np.concatenate([features, more], axis=1)[None])[0]

    named = {path: cache and file_of(cache, f"hands {path}") for path in paths}
    rows = [array_of(file, lambda path=path: vector(path)) for path, file in named.items()]
    return np.stack(rows).astype(np.float16).astype(np.float32)


def shared_of(old: str, new: str, full: np.ndarray) -> tuple[int, int | None]:
    """Number of columns that are copied, and the column that no text reads."""
    lite = len(full.T)
    if "lite-hands" in (old, new):
        return lite - 1, lite - 1
    shared = {"lite-objects": OBJECTS, "lite": lite, "turned": 0}[old] if new != RANDOM else 0
    return shared, lite - 1 if new == "lite" else None


@dataclass
class World:
    """Rows of a library, encoded by both models, and the labels that are asked."""

    model: Any
    old: np.ndarray
    new: np.ndarray
    labels: list[str]
    blocks: int
    silent: int | None

    def __post_init__(self) -> None:
        self.words = self.model.encode_queries(self.labels)
        self.right = self.probabilities(self.new)
        self.first = self.right.argmax(axis=1)
        self.shared = np.arange(self.new.shape[1]) < self.blocks

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(C, N) of every label and row."""
        rows = [self.model.match_probability(vectors, word) for word in self.words]
        return np.asarray(rows, np.float64)

    def measured(self, windows: int, seed: int, control: str) -> dict[str, float]:
        """Shares from 0 to 1 with one draw of the clips that teach."""
        weight = np.float32(1 if self.shared.all() else np.sqrt(0.5))
        copied = np.zeros_like(self.new)
        if OBJECTS < self.blocks < self.new.shape[1]:
            copied[:, : self.blocks] = self.old[:, : self.blocks]
        elif self.blocks:
            copied[:, :OBJECTS] = weight * unit(self.old[:, :OBJECTS])
        encoded = np.zeros(len(self.new), bool)
        if not self.shared.all():
            draw = np.random.default_rng(seed)
            chosen = draw.permutation(len(self.new))[:windows]
            linear, mapping = self.taught(chosen, control, draw)
            mapped = completed(linear(self.old), copied, self.shared, self.silent)
            expected = mapping.scaled(self.probabilities(mapped))
            encoded[chosen] = True
        else:
            expected = self.probabilities(unit(copied))
        rows: dict[str, float] = {}
        for touched in TOUCHED:
            for column in range(len(self.labels) if touched else 0):
                mixed = np.where(encoded, self.right[column], expected[column])
                best = np.argsort(-mixed, kind="stable")
                encoded[best[:touched]] = True
            mixed = np.where(encoded, self.right, expected)
            first = mixed.argmax(axis=1)
            pairs = np.arange(len(first)), first
            stated = self.model.moment(mixed[pairs]) - self.model.moment(self.right[pairs])
            rows |= {
                f"encoded, {touched} touched": float(encoded.mean()),
                f"same, {touched} touched": float((first == self.first).mean()),
                f"off, {touched} touched": float(stated.mean()),
            }
            if not touched:
                chosen = mixed[np.arange(len(first)), self.first]
                before = (mixed > chosen[:, None]).sum(axis=1)
                alone = (before < 0.1 * len(self.new)) | encoded[self.first]
                rows["same, a tenth for each alone"] = float(alone.mean())
        return rows

    def taught(
        self, chosen: np.ndarray, control: str, draw: np.random.Generator
    ) -> tuple[LinearMap, Mapping]:
        """The map and its facts from some rows."""
        old = self.old[draw.permutation(chosen) if control == "shuffled" else chosen]
        sample = Sample(old, self.new[chosen], chosen, self.shared, self.silent)
        linear, mapping = learned(
            sample, self.model, load_bank("everyday_actions").texts, "before", ("objects",)
        )
        if control == "random":
            noise = draw.normal(size=linear.coefficients.shape)
            scale = np.linalg.norm(linear.coefficients) / np.linalg.norm(noise)
            linear = replace(linear, coefficients=noise * scale)
        return linear, mapping


if __name__ == "__main__":
    main()
