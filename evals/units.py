"""Gain of semantic units for few examples of the offline encoder (attentive semantic units).

    python evals/units.py --shared DIR --cache DIR [--json OUT]

The clips of J-HMDB, 21 labels. In each episode K clips of every label are learned from, of groups
that are not in the queries; a label with fewer gives what it has. Labels come in two groups:
``things`` (their descriptions turn on an object or a place) and ``bodies`` (all others).

text         the names of the labels
units        no training: the chosen units that a label's descriptions name
units, permuted   the same with the descriptions' units exchanged among labels: must be at chance
asu          the trained adapter, by its similarity alone
asu, foreign units   units of other actions in place of the labels' own: must not be better

Figures are top-1 in percent over the episodes with the standard error; the gain is that over text.
"""

from __future__ import annotations

import numpy as np
import words_features as wf
from harness import Namespace, arguments

import vlar
from vlar.language.clean import clean_label
from vlar.language.descriptions import descriptions_of
from vlar.language.motion.clauses import verb_of
from vlar.language.semantic_units import units_named
from vlar.methods.asu.adapter import label_units
from vlar.training.batches import Dataset
from vlar.training.fit import FitOptions, train
from vlar.training.hyperparameters import load_recipe
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

_THINGS_TEXT = """
brushing hair|climbing stairs|doing pull-ups|kicking a ball|pouring a drink|shooting a basketball
shooting a bow|shooting a gun|swinging a baseball bat|swinging a golf club
"""
# Fixed before anything was measured.
THINGS = frozenset("|".join(_THINGS_TEXT.strip().splitlines()).split("|"))
FOREIGN = ("playing cello", "kayaking", "typing", "skydiving", "milking a cow", "ironing clothes",
           "cutting the grass", "baking cookies", "playing chess", "surfing", "knitting",
           "riding a camel")  # fmt: skip


def main() -> None:
    options = arguments(
        __doc__, "shared", "cache!", "json", shots=[2, 8], seeds=list(range(5)), epochs=40
    )
    model = vlar.load("lite")
    wf.remember_texts(model.encoder)
    clips = wf.rows(options.shared, wf.JHMDB)
    features = np.stack([wf.clip_features(clip, model, options.cache) for clip in clips])
    found: dict[str, list[dict[str, float]]] = {}
    for shots in options.shots:
        for seed in options.seeds:
            support, query = episode(clips, shots, np.random.default_rng([shots, seed]))
            for name, row in results(model, clips, features, support, query, options, seed).items():
                found.setdefault(f"K={shots} {name}", []).append(row)
                print(shots, seed, name, {k: round(v, 1) for k, v in row.items()}, flush=True)
    settings = {"fingerprint": model.fingerprint, "seeds": options.seeds, "epochs": options.epochs}
    wf.report("top1", found, lambda name: f"{name.split()[0]} text", options.json, settings)


def episode(
    clips: list[wf.Row], shots: int, random: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Rows to learn from and rows to answer, whose groups differ; a label keeps a group."""
    support: list[int] = []
    for label in sorted({clip.label for clip in clips}):
        rows = [i for i, clip in enumerate(clips) if clip.label == label]
        groups = random.permutation(sorted({clips[i].group for i in rows}))
        taken: list[int] = []
        for group in groups[:-1]:
            own = [i for i in rows if clips[i].group == group]
            taken += random.permutation(own).tolist()[: shots - len(taken)]
        support += taken[:shots]
    learned = {clips[i].group for i in support}
    return support, [i for i, clip in enumerate(clips) if clip.group not in learned]


def results(
    model: vlar.Model,
    clips: list[wf.Row],
    features: np.ndarray,
    support: list[int],
    query: list[int],
    options: Namespace,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Top-1 of each way in one episode."""
    labels = sorted({clip.label for clip in clips})
    encoder, width = model.encoder, model.encoder.frame_dim
    truth = [clips[i].label for i in query]
    concepts = model.encode_labels([clean_label(label) for label in labels])
    vectors = np.concatenate([encoder.pool(features[i, :, :width][None]) for i in query])
    found = {"text": share(vectors @ concepts.T, labels, truth)}
    units = [str(unit) for unit in label_units(labels, encoder)]
    foreign = [str(unit) for unit in label_units(FOREIGN, encoder)]
    for name, own in (("asu", units), ("asu, foreign units", foreign)):
        adapter, logits = trained(model, clips, features, support, query, own, options, seed)
        found[name] = share(logits, labels, truth)
        if name == "asu":
            member = membership(labels, units)
            shown = np.stack([_shares(adapter, features[i], units) for i in query])
            found["units"] = share(shown @ member.T, labels, truth)
            other = np.random.default_rng(seed).permutation(len(labels))
            found["units, permuted"] = share(shown @ member[other].T, labels, truth)
    return found


def membership(labels: list[str], units: list[str]) -> np.ndarray:
    """(C, U) which units the descriptions of a label name, by rows of length 1, centred."""
    described = descriptions_of([clean_label(label) for label in labels])
    named = [{str(unit) for unit in units_named(row, verb_of)} for row in described]
    member = np.array([[unit in row for unit in units] for row in named], np.float64)
    member = member - member.mean(axis=0)
    return member / np.linalg.norm(member, axis=1, keepdims=True).clip(1e-9)


def _shares(adapter, features: np.ndarray, units: list[str]) -> np.ndarray:
    found = dict(adapter.units_shown(features, most=len(units)))
    return np.array([found[unit] for unit in units])


def trained(model, clips, features, support, query, units, options, seed):
    """The adapter after its training, and its logits for the queries."""
    numbers = load_recipe("asu/adapt").replaced(epochs=options.epochs)
    labels = sorted({clip.label for clip in clips})
    task = TrainingTask(
        model.encoder, "asu", numbers, "asu/adapt", {"units": units, "grid": wf.GRID}, seed
    )
    adapter = task.attach()
    rows = [clips[i] for i in support]
    dataset = Dataset.single(
        labels, [r.label for r in rows], [r.group for r in rows], [r.folder / r.path for r in rows]
    )
    train(task, adapter, dataset, FeatureSource(features[support]), FitOptions(stack=False))
    vectors = np.concatenate([adapter.pool(features[i][None]) for i in query])
    concepts = model.encode_labels([clean_label(label) for label in labels])
    return adapter, vectors @ concepts.T


def share(scores: np.ndarray, labels: list[str], truth: list[str]) -> dict[str, float]:
    """Top-1 in percent of all queries, and of those of each group of labels."""
    right = np.array([labels[i] for i in scores.argmax(axis=1)]) == np.array(truth)
    thing = np.array([label in THINGS for label in truth])
    parts = {"all": np.ones(len(truth), bool), "things": thing, "bodies": ~thing}
    return {name: 100 * float(right[part].mean()) for name, part in parts.items()}


if __name__ == "__main__":
    main()
