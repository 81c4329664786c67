"""Gain of unlabelled clips and a dictionary of actions for the offline encoder (MAXI).

    python evals/maxi.py --shared DIR --cache DIR [--json OUT]

DIR holds ``videos`` and ``clips``, each with a ``manifest.csv`` (path, readable_label, dataset,
group). Of the clips of J-HMDB, UCF101, HMDB51 and Kinetics one half by group is tuned on, without
its labels; the other half is reported. In each of the seeds half of the label names (with 100 other
actions of Kinetics as distractors) are the dictionary. The held-out clips are answered in two
lists: labels of the dictionary, and those it lacks.

base      the encoder, with descriptions
hard      the guessed labels as if they were right: cross-entropy on their names
maxi      bags of texts (``--objective maxi``)
shuffled  the same with bags exchanged among the guessed labels: it must not gain

Figures are top-1 in percent: mean over the seeds, and the gain over base with its standard error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import words_features as wf
from harness import Namespace, arguments

import vlar
from vlar.heads.targets import Targets
from vlar.language.bank import load_bank
from vlar.language.clean import clean_label
from vlar.language.labels import parse_labels
from vlar.methods.maxi.objective import Maxi
from vlar.model.core import ModelCore
from vlar.model.label_heads import label_vectors
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, train
from vlar.training.hyperparameters import for_no_labels, load_recipe
from vlar.training.objectives import TrainingContext
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

DISTRACTORS = 100
BLOCKS = {"all": ("objects", "appearance", "motion", "direction", "pose")}


@register("objective", "maxi-shuffled")
class Shuffled(Maxi):
    """The control: each guessed label has the name and the bag of another one."""

    name: ClassVar[str] = "maxi-shuffled"

    def begin(self, context: TrainingContext) -> None:
        """Exchange the guesses before the bags are filled."""
        super().begin(context)
        guessed = sorted(set(self.guesses.values()))
        other = dict(zip(guessed, np.roll(guessed, len(guessed) // 2).tolist(), strict=True))
        bag_of = {guess: self._bags[row] for row, guess in self.guesses.items()}
        self.guesses = {row: other[guess] for row, guess in self.guesses.items()}
        self._bags = {row: bag_of[guess] for row, guess in self.guesses.items()}
        self._read_texts(context)


def main() -> None:
    options = arguments(__doc__, "shared", "cache!", "json", seeds=list(range(5)), epochs=20)
    model = vlar.load("lite")
    wf.remember_texts(model.encoder)
    clips = wf.rows(options.shared, wf.POOLS)
    fit_half, held_half = wf.halves(clips)
    width = model.encoder.frame_dim
    features = {clip: wf.clip_features(clip, model, options.cache)[:, :width] for clip in clips}
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        world = World(model, fit_half, held_half, features, seed)
        for name, row in world.results(options).items():
            found.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 1) for key, value in row.items()}, flush=True)
    settings = {"fingerprint": model.fingerprint, "seeds": options.seeds, "epochs": options.epochs}
    settings |= {"fit": len(fit_half), "held": len(held_half)}
    wf.report("top1", found, lambda _: "base", options.json, settings)


class World:
    """One seed: which labels the dictionary has, what is tuned on, what is reported."""

    def __init__(
        self,
        model: vlar.Model,
        fit_half: list[wf.Row],
        held_half: list[wf.Row],
        features: Mapping[wf.Row, np.ndarray],
        seed: int,
    ) -> None:
        self.model, self.seed = model, seed
        random = np.random.default_rng(seed)
        labels = sorted({clip.label for clip in (*fit_half, *held_half)})
        inside = set(random.permutation(labels)[: len(labels) // 2].tolist())
        texts = {clean_label(label) for label in labels}
        others = [e.text for e in load_bank("kinetics400").entries if e.text not in texts]
        self.dictionary = [*sorted(inside), *random.permutation(others)[:DISTRACTORS].tolist()]
        self.fit = [clip for clip in fit_half if clip.label in inside]
        self.features = np.stack([features[clip] for clip in self.fit])
        self.held = {
            "in dictionary": [clip for clip in held_half if clip.label in inside],
            "not in it": [clip for clip in held_half if clip.label not in inside],
        }
        self.rows = {
            name: np.stack([features[c] for c in part]) for name, part in self.held.items()
        }

    def results(self, options: Namespace) -> dict[str, dict[str, float]]:
        """Top-1 of each condition in each list."""
        core = ModelCore(self.model.encoder)
        found = {"base": self.score(core)}
        for name, blocks in BLOCKS.items():
            for way in ("hard", "maxi", "shuffled"):
                adapter = self.tuned(way, blocks, options.epochs)
                found[f"{way}, {name} blocks"] = self.score(ModelCore(adapter))
        return found

    def tuned(self, way: str, blocks: tuple[str, ...], epochs: int) -> object:
        """The temporal adapter after its training."""
        objective = {"hard": "maxi", "maxi": "maxi", "shuffled": "maxi-shuffled"}[way]
        settings = {"dictionary": ", ".join(f'"{text}"' for text in self.dictionary)}
        numbers = for_no_labels(load_recipe("temporal/adapt").replaced(epochs=epochs))
        task = TrainingTask(
            self.model.encoder, "temporal", numbers, "temporal/adapt", {"blocks": list(blocks)},
            self.seed, {objective: settings},
        )  # fmt: skip
        if way == "hard":
            return self.hard(task)
        adapter = task.attach()
        shown = np.zeros((len(self.fit), len(self.dictionary)), np.float32)
        train(
            task,
            adapter,
            self.dataset(shown),
            FeatureSource(self.features),
            FitOptions(stack=False),
        )
        return adapter

    def hard(self, task: TrainingTask) -> object:
        """Cross-entropy on the guessed labels of the surest clips."""
        core = ModelCore(self.model.encoder)
        concepts = label_vectors(core, parse_labels(self.dictionary))[0]
        cosine = core.encoder.pool(self.features) @ concepts.T
        kept = np.argsort(-cosine.max(axis=1))[: round(0.9 * len(cosine))]
        guessed = np.unique(cosine[kept].argmax(axis=1))
        shown = np.eye(len(cosine[0]), dtype=np.float32)[cosine.argmax(axis=1)][:, guessed]
        numbers = replace(task.numbers, mixup=0.0)
        task = replace(task, objectives=(), numbers=numbers)
        adapter = task.attach()
        dataset = self.dataset(shown, [self.dictionary[i] for i in guessed]).part(kept.tolist())
        train(task, adapter, dataset, FeatureSource(self.features[kept]), FitOptions(stack=False))
        return adapter

    def dataset(self, shown: np.ndarray, labels: list[str] | None = None) -> Dataset:
        """The clips that are tuned on."""
        paths = [clip.folder / clip.path for clip in self.fit]
        targets = Targets(tuple(labels or self.dictionary), shown)
        return Dataset(targets, [clip.group for clip in self.fit], paths)

    def score(self, core: ModelCore) -> dict[str, float]:
        """Top-1 in percent of the held-out clips, in the list of their labels."""
        found: dict[str, float] = {}
        for name, part in self.held.items():
            labels = sorted({clip.label for clip in part})
            concepts = label_vectors(core, parse_labels(labels))[0]
            vectors = np.concatenate([core.encoder.pool(row[None]) for row in self.rows[name]])
            best = (vectors @ concepts.T).argmax(axis=1)
            right = [labels[i] == clip.label for i, clip in zip(best, part, strict=True)]
            found[name] = 100 * float(np.mean(right))
        return found


if __name__ == "__main__":
    main()
