"""Several labels a clip, of which some were never trained: composites of two real clips (MSQNet).

    python evals/several_labels.py --shared DIR --cache DIR [--json OUT]

The clips of J-HMDB in two halves by group. Composites of two clips of one half, both labels true:
``side`` by side (real pixels, encoded) and one after the other (``time``: half of the frames of
each). In every seed 7 of the 21 labels are left out. What learns is trained on clips and composites
of one half that show trained labels alone, and judged on all composites of the other half, over
the trained labels and over those left out.

zero-shot        cosine of the clip's vector and the label's text
probe            a linear probe on the clip's vector (ridge, each label); trained labels alone
best moment      no training: the largest cosine of any moment or part of a frame
msq              the trained open form
msq, wrong clip  its decoder is given the moments of another composite: must fall
msq, permuted    trained with the texts of the labels exchanged: must not gain

Figures are macro mAP in percent, mean over the seeds, and the gain over zero-shot with its standard
error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import words_features as wf
from harness import Namespace, arguments

import vlar
from vlar.heads.targets import Targets
from vlar.language.clean import clean_label
from vlar.methods.msq.adapter import Msq
from vlar.metrics.classification import multilabel_map
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, train
from vlar.training.hyperparameters import load_recipe
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

UNSEEN = 7
EXTRA = 200  # further composites in time to train on
FORMS = ("side", "time")


def main() -> None:
    options = arguments(__doc__, "shared", "cache!", "json", seeds=list(range(5)), epochs=20)
    model = vlar.load("lite")
    wf.remember_texts(model.encoder)
    world = World(model, options)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name, row in world.results(seed).items():
            found.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 1) for key, value in row.items()}, flush=True)
    settings = {"fingerprint": model.fingerprint, "seeds": options.seeds, "epochs": options.epochs}
    settings |= {"composites": 2 * wf.PAIRS}
    wf.report("map", found, lambda _: "zero-shot", options.json, settings)


class World:
    """The clips and composites of both halves, with what they show."""

    def __init__(self, model: vlar.Model, options: Namespace) -> None:
        self.model, self.options = model, options
        clips = wf.rows(options.shared, wf.JHMDB)
        self.labels = sorted({clip.label for clip in clips})
        made = {clip: wf.clip_features(clip, model, options.cache) for clip in clips}
        fit_half = wf.halves(clips)[0]
        self.features: list[np.ndarray] = [made[clip] for clip in fit_half]
        self.shown: list[set[str]] = [{clip.label} for clip in fit_half]
        self.pairs(0, made)
        random = np.random.default_rng(2)
        for _ in range(EXTRA):
            one, other = (fit_half[i] for i in random.choice(len(fit_half), 2, replace=False))
            self.features.append(wf.one_then_other(made[one], made[other]))
            self.shown.append({one.label, other.label})
        self.n_fit, self.form = len(self.features), []
        self.pairs(1, made)
        self.member = np.array([[label in row for label in self.labels] for row in self.shown])

    def pairs(self, half: int, made: dict[wf.Row, np.ndarray]) -> None:
        """Add the composites of a half, in both forms."""
        self.form = []
        for one, other in wf.pairs(self.options.shared, half):
            side = wf.composite_features(one, other, self.model, self.options.cache)
            self.features += [side, wf.one_then_other(made[one], made[other])]
            self.shown += [{one.label, other.label}] * 2
            self.form += FORMS

    def results(self, seed: int) -> dict[str, dict[str, float]]:
        """Macro mAP of each way, by form and by kind of label."""
        random = np.random.default_rng(seed)
        unseen = np.isin(self.labels, random.permutation(self.labels)[:UNSEEN])
        fits = [i for i in range(self.n_fit) if not self.member[i][unseen].any()]
        judged = np.stack(self.features[self.n_fit :])
        width = self.model.encoder.frame_dim
        vectors = np.concatenate([self.model.encoder.pool(row[None, :, :width]) for row in judged])
        seen = [label for label, out in zip(self.labels, unseen, strict=True) if not out]
        adapter = self.trained(fits, seen, seen, seed)
        exchanged = np.roll(seen, len(seen) // 2).tolist()
        permuted = self.trained(fits, seen, exchanged, seed)
        texts = [clean_label(label) for label in self.labels]
        words = self.model.encode_labels(texts)
        tokens = adapter.tokens(judged)
        found = {
            "zero-shot": vectors @ words.T,
            "probe": self.probe(fits, vectors),
            "best moment": (tokens.reshape(len(tokens), -1, self.model.dim) @ words.T).max(axis=1),
            "msq": answers(adapter, words, vectors, tokens),
            "msq, wrong clip": answers(adapter, words, vectors, np.roll(tokens, 7, axis=0)),
            "msq, permuted": answers(permuted, words, vectors, tokens),
        }
        truth, form = self.member[self.n_fit :], np.array(self.form)
        return {
            name: {
                f"{kind}, {one}": 100 * multilabel_map(
                    scores[form == one][:, columns], truth[form == one][:, columns]
                ).macro
                for one in FORMS
                for kind, columns in (("trained", ~unseen), ("left out", unseen))
            }
            for name, scores in found.items()
        }  # fmt: skip

    def trained(self, fits: list[int], seen: list[str], texts: list[str], seed: int) -> Msq:
        """The adapter after its training on some clips; ``texts`` stand for the labels."""
        numbers = load_recipe("msq/adapt").replaced(epochs=self.options.epochs)
        settings = {"grid": wf.GRID, "width": 128, "heads": 4}
        task = TrainingTask(self.model.encoder, "msq", numbers, "msq/adapt", settings, seed)
        adapter = task.attach()
        columns = [self.labels.index(label) for label in seen]
        targets = Targets(tuple(texts), self.member[fits][:, columns].astype(np.float32))
        names = [f"clip {i}" for i in fits]
        dataset = Dataset(targets, names, [Path(name) for name in names])
        features = np.stack([self.features[i] for i in fits])
        train(task, adapter, dataset, FeatureSource(features), FitOptions(stack=False))
        assert isinstance(adapter, Msq)
        return adapter

    def probe(self, fits: list[int], vectors: np.ndarray) -> np.ndarray:
        """(n, C) of a ridge on the vectors of the same clips; its strength by leave-one-out."""
        width = self.model.encoder.frame_dim
        pool = self.model.encoder.pool
        x = np.concatenate([pool(self.features[i][None, :, :width]) for i in fits]).astype(float)
        y = self.member[fits].astype(float)
        middle, mean = x.mean(axis=0), y.mean(axis=0)
        gram = (x - middle) @ (x - middle).T
        best = min((leave_one_out(gram, y - mean, r), r) for r in (0.1, 0.3, 1, 3, 10))[1]
        dual = np.linalg.solve(gram + best * np.eye(len(x)), y - mean)
        return (vectors - middle) @ (x - middle).T @ dual + mean


def leave_one_out(gram: np.ndarray, y: np.ndarray, strength: float) -> float:
    """Mean squared error of a ridge on each clip that it was not fitted to."""
    inverse = np.linalg.inv(gram + strength * np.eye(len(gram)))
    return float(((inverse @ y / np.diag(inverse)[:, None]) ** 2).mean())


def answers(adapter: Msq, words: np.ndarray, vectors: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """(n, C) cosines of clips and labels as the adapter gives them."""
    with torch.inference_mode():
        added = adapter.network(*(torch.from_numpy(x) for x in (words, vectors, tokens)))
    return vectors @ words.T + added.numpy() / adapter.logit_scale


if __name__ == "__main__":
    main()
