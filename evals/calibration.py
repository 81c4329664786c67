"""Calibration of stated probabilities, and recognition of clips without a listed label.

    python evals/calibration.py --videos DIR [--set jhmdb] [--shots 3] [--episodes 20]
        [--cache DIR] [--json OUT] [--plot OUT.png]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names.

closed     every label is known. In each episode 3 random clips a label, at most one a group,
           calibrate; the clips of other groups are classified. Unknown is expected for 2 in 100.
open       half of the labels, drawn for each episode, are known and calibrate (3 clips each); the
           other clips of all labels are classified; for an out-of-distribution clip the answer
           "unknown" is right.
each       closed, with ``--mode multi``: every pair of clip and label.
adapted    closed and open, with a model adapted to the 3 clips instead (ridge and prototypes,
           calibrated by leaving one out; its unknown by novelty).
unknown    half of the labels known, 10 draws, nothing fitted: area under the ROC of "is known", all
           clips and the halves of ``unknown.py``, with the usual baselines.

ECE has 15 bins over the answers of all episodes together; "each episode" is the mean of the
episodes' own, which for 40 clips in 15 bins is mostly noise. "if perfect" is the score of
a perfectly calibrated model with the same probabilities on as few clips (the outcome of a clip is
the same in all episodes, mean of 50 draws): no calibration can be measured to be better here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cached import features_of
from harness import arguments, echo, manifest, store
from unknown import confidences

import vlar
from vlar.heads.calibration import Calibration, fit_calibration
from vlar.heads.model_selection import choose
from vlar.heads.reject import Familiarity
from vlar.heads.signatures import signature
from vlar.language.labels import parse_labels
from vlar.metrics.calibration import expected_calibration_error
from vlar.metrics.openset import auroc
from vlar.model.label_heads import label_vectors

PROTOCOLS = (("closed", 0.02, 1.0), ("open", 0.5, 0.5))  # given share of unknown, of known labels


@dataclass(frozen=True)
class Pool:
    """Clips of one set: features (N, T, F), vectors (N, D), label index, group; concepts (C, D)
    and the background (B, D) they are compared with."""

    features: np.ndarray
    vectors: np.ndarray
    answers: np.ndarray
    groups: np.ndarray
    labels: list[str]
    concepts: np.ndarray
    background: np.ndarray


Answers = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # stated, right, clip


def load(model: vlar.Model, videos: Path, name: str, cache: Path | None, how: str) -> Pool:
    """The clips of a set."""
    rows = manifest(videos, name)
    labels = sorted({row["readable_label"] for row in rows})
    features = np.stack([features_of(videos, row["path"], model, cache) for row in rows])
    return Pool(
        features,
        np.concatenate([model.encoder.pool(row[None]) for row in features]),
        np.array([labels.index(row["readable_label"]) for row in rows]),
        np.array([row["group"] for row in rows]),
        labels,
        *label_vectors(model, parse_labels(labels), how),
    )


def episodes(pool: Pool, shots: int, count: int, known: float) -> Iterator[tuple[np.ndarray, ...]]:
    """Known labels, rows that calibrate, rows that are asked (of other groups)."""
    random = np.random.default_rng(0)
    n_labels = len(pool.labels)
    for _ in range(count):
        given = np.sort(random.permutation(n_labels)[: round(known * n_labels)])
        taken: list[int] = []
        for label in given:
            rows = random.permutation(np.flatnonzero(pool.answers == label))
            _, first = np.unique(pool.groups[rows], return_index=True)
            taken += rows[np.sort(first)][:shots].tolist()
        asked = np.flatnonzero(~np.isin(pool.groups, pool.groups[taken]))
        yield given, np.array(taken), asked


def zero_shot(model: vlar.Model, pool: Pool, share: float, shots: int, count: int, known: float):
    """Answers before and after calibration."""
    before, after, each_before, each_after = [], [], [], []
    for given, taken, asked in episodes(pool, shots, count, known):
        concepts = pool.concepts[given]
        fitted = fit(
            model, pool, concepts, np.searchsorted(given, pool.answers[taken]), taken, share
        )
        answer = model.scorer(concepts, pool.background).score(pool.vectors[asked])
        truth = np.where(
            np.isin(pool.answers[asked], given), np.searchsorted(given, pool.answers[asked]), -1
        )
        before.append(stated(answer.probability, answer.unknown, truth, asked))
        after.append(stated(*fitted.one(answer.probability, answer.unknown), truth, asked))
        each = (
            model.scorer(concepts, pool.background, "multi").score(pool.vectors[asked]).probability
        )
        right = (np.arange(len(given))[None] == truth[:, None]).ravel()
        pairs = (asked[:, None] * len(pool.labels) + given[None]).ravel()
        each_before.append((each.ravel(), right, pairs))
        each_after.append((fitted.each(each)[0].ravel(), right, pairs))
    return {"before": before, "after": after}, {"before": each_before, "after": each_after}


def fit(model: vlar.Model, pool: Pool, concepts, answers, taken, share: float) -> Calibration:
    """Calibrate on vectors like ``Model.calibrate``."""
    rows = pool.vectors[taken]
    scores = model.scorer(concepts, pool.background).score(rows)
    outside = np.zeros(len(rows))
    for label in np.unique(answers):
        others = model.scorer(np.delete(concepts, label, axis=0), pool.background)
        outside[answers == label] = others.score(rows[answers == label]).unknown
    return fit_calibration(
        scores.probability,
        answers,
        unknown=scores.unknown,
        outside=outside,
        each=model.scorer(concepts, pool.background, "multi").score(rows).probability,
        unknown_share=share,
    )


def stated(probability: np.ndarray, unknown: np.ndarray, truth: np.ndarray, clips: np.ndarray):
    """Probability of the answer given (a label, or unknown above 0.5), and its rightness."""
    best = probability.argmax(axis=1)
    says_unknown = unknown > 0.5
    confidence = np.where(says_unknown, unknown, probability.max(axis=1))
    return confidence, np.where(says_unknown, truth < 0, best == truth), clips


def adapted(model: vlar.Model, pool: Pool, shots: int, count: int, known: float):
    """Answers of models adapted to the same clips, and the areas of their unknown."""
    found: Answers = []
    areas: list[float] = []
    blocks = model.encoder.frame_blocks
    for given, taken, asked in episodes(pool, shots, count, known):
        labels = tuple(pool.labels[i] for i in given)
        similarity = pool.vectors @ pool.concepts[given].T
        names = [pool.labels[i] for i in pool.answers[taken]]
        head, _ = choose(pool.features[taken], blocks, names, similarity[taken], labels=labels)
        rows = signature(pool.features[asked], blocks, head.kind)
        probability = head.probabilities(rows, similarity[asked])
        is_known = np.isin(pool.answers[asked], given)
        truth = np.where(is_known, np.searchsorted(given, pool.answers[asked]), -1)
        if known == 1:
            unknown = np.zeros(len(asked))
        else:
            examples = signature(pool.features[taken], blocks, head.kind)
            rejector = Familiarity().fit(examples, names, pool.groups[taken].tolist())
            unknown = rejector.probability(rows)
            areas.append(auroc(1 - unknown, is_known))
        found.append(stated(probability * (1 - unknown)[:, None], unknown, truth, asked))
    return found, areas


def summary(found: Answers) -> dict[str, float]:
    """ECE, mean statement and share right."""
    confidence = np.concatenate([c for c, *_ in found])
    right = np.concatenate([r for _, r, _ in found])
    luck = np.random.default_rng(0).uniform(size=(50, 1 + max(i.max() for *_, i in found)))
    clips = np.concatenate([i for *_, i in found])
    perfect = [expected_calibration_error(confidence, draw[clips] < confidence) for draw in luck]
    return {
        "answers": len(right),
        "mean_stated": round(float(confidence.mean()), 3),
        "share_right": round(float(right.mean()), 3),
        "ece": round(expected_calibration_error(confidence, right), 3),
        "ece_if_perfect": round(float(np.mean(perfect)), 3),
        "ece_each_episode": round(
            float(np.mean([expected_calibration_error(c, r) for c, r, _ in found])), 3
        ),
    }


def unknown(model: vlar.Model, pool: Pool, draws: int = 10) -> dict[str, dict[str, float]]:
    """Area under the ROC, mean over draws of the known half of the labels."""
    digests = [hashlib.sha256(group.encode()).digest()[0] % 2 for group in pool.groups]
    parts = {
        "all": np.full(len(digests), True),
        "A": np.array(digests) == 0,
        "B": np.array(digests) == 1,
    }
    found: dict[str, dict[str, float]] = {}
    for part, rows in parts.items():
        random = np.random.default_rng(0)
        areas: dict[str, list[float]] = {}
        for _ in range(draws):
            given = random.permutation(len(pool.labels))[: len(pool.labels) // 2]
            known = np.isin(pool.answers[rows], given)
            for name, values in confidences(
                model, pool.vectors[rows], pool.concepts[given], pool.background
            ).items():
                areas.setdefault(name, []).append(auroc(values, known))
        for name, values in areas.items():
            found.setdefault(name, {})[part] = round(float(np.mean(values)), 3)
            found[name][f"{part} spread"] = round(float(np.std(values)), 3)
    return found


def plot(curves: dict[str, Answers], path: Path, bins: int = 10) -> None:
    """The reliability diagram: share right over what was stated."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="dashed")
    for name, found in curves.items():
        confidence = np.concatenate([c for c, *_ in found])
        right = np.concatenate([r for _, r, _ in found]).astype(float)
        which = np.minimum((confidence * bins).astype(int), bins - 1)
        filled = [b for b in range(bins) if (which == b).sum() >= 10]
        points = [(confidence[which == b].mean(), right[which == b].mean()) for b in filled]
        axes.plot(
            *zip(*points, strict=True), marker="o", label=f"{name}, ECE {summary(found)['ece']}"
        )
    axes.set(
        xlabel="stated probability of the answer", ylabel="share right", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", set="jhmdb", shots=3, episodes=20,
        plot=(Path, "picture of the reliability diagram"),
    )  # fmt: skip
    model = vlar.load("lite")
    report: dict[str, object] = {"fingerprint": model.fingerprint, "set": options.set}
    curves: dict[str, Answers] = {}
    size = (options.shots, options.episodes)

    def note(name: str, found: Answers, into: dict[str, object]) -> None:
        into[name] = summary(found)
        print(f"{name:28}", into[name], flush=True)

    for how in ("none", "auto"):
        pool = load(model, options.videos, options.set, options.cache, how)
        rows: dict[str, object] = {}
        report["names" if how == "none" else "descriptions"] = rows
        rows["unknown"] = unknown(model, pool)
        echo(how, rows["unknown"])
        for protocol, share, known in PROTOCOLS if how == "auto" else ():
            single, each = zero_shot(model, pool, share, *size, known)
            for when in ("before", "after"):
                note(f"{protocol} {when}", single[when], rows)
                note(f"{protocol} each {when}", each[when], rows)
                curves[f"{protocol}, {when}"] = single[when]
            answers, areas = adapted(model, pool, *size, known)
            note(f"{protocol} adapted", answers, rows)
            if areas:
                rows["adapted unknown auroc"] = round(float(np.mean(areas)), 3)
                rows["adapted unknown auroc spread"] = round(float(np.std(areas)), 3)
    store(options.json, report)
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
