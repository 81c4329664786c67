"""Multiple choice with hard wrong options, and what a second opinion does to top-1.

    python evals/second_opinion.py --videos DIR [--pools jhmdb ucf101 ..] [--seeds 10] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. The parts
are ``lite`` and its two halves as models of their own, ``lite-objects`` and ``motion``, which look
at different evidence; ``few-shot`` is the automatic closed form of ``vlar adapt`` on at most 3
clips a label. A pool ``all`` joins all sets of a manifest into one list of labels.

Choice   accuracy of each part with 5 options: wrong ones random (mean over seeds), and hard: the
         best of a proposer, which is the part itself or another one.
Rerank   a part proposes, another is asked about the best 5. Each seed divides the groups into two
         halves (three parts with few-shot, which learns on the third); weights are fitted on one
         and reported on the other. ``best`` is the better of the proposer and the answerer alone
         among the proposer's best 5; ``s.e.`` of the difference comes from drawing groups.

Controls: ``random`` draws its probabilities; ``always-a`` writes "A", asked in all rotations.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cached import features_of
from harness import arguments, manifest, store

import vlar
from vlar.evaluation.protocols.mcq import make_questions, report
from vlar.generators.opinions.asking import ask
from vlar.generators.opinions.mixing import Mixing, fit_mixing, mix
from vlar.generators.opinions.question import Question
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.metrics.intervals import paired
from vlar.numeric import softmax, unit
from vlar.types import Encoded

K = 5
SHOTS = 3
EQUAL = Mixing(1.0, 1.0)
PAIRS = (
    ("lite", "motion"),
    ("lite", "lite-objects"),
    ("lite-objects", "motion"),
    ("motion", "lite-objects"),
    ("lite", "few-shot"),
    ("lite", "random"),
    ("lite", "always-a"),
)


@dataclass(frozen=True)
class Pool:
    """The clips of one list of labels: features (N, T, F), C labels, truth (N,), groups (N,)."""

    name: str
    features: np.ndarray
    labels: list[str]
    truth: np.ndarray
    groups: list[str]
    scores: dict[str, np.ndarray]  # probabilities (N, C) by each zero-shot part


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", pools=["jhmdb", "ucf101", "all"], seeds=10
    )
    models = {name: vlar.load(name) for name in ("lite", "lite-objects", "motion")}
    results: dict[str, Any] = {}
    for name in options.pools:
        pool = _pool(options.videos, name, models, options.cache)
        clips = (
            f"{len(pool.truth)} clips, {len(pool.labels)} labels, {len(set(pool.groups))} groups"
        )
        print(f"\n{name}: {clips}", flush=True)
        choice = _choice(pool, options.seeds)
        reranked = [
            _rerank(pool, models["lite"], proposer, answerer, options.seeds)
            for proposer, answerer in PAIRS
        ]
        results[name] = {"clips": clips, "choice": choice, "rerank": [r for r in reranked if r]}
    store(options.json, results)


def _pool(videos: Path, name: str, models: dict[str, vlar.Model], cache: Path | None) -> Pool:
    rows = [row for row in manifest(videos) if name in ("all", row["dataset"])]
    if not rows:
        sys.exit(f"{videos / 'manifest.csv'} has no clips of {name!r}")
    lite = models["lite"]
    features = [features_of(videos, row["path"], lite, cache) for row in rows]
    vectors = np.concatenate([lite.encoder.pool(each[None]) for each in features])
    labels = sorted({row["readable_label"] for row in rows})
    split = lite.encoder.blocks[0].width  # its blocks are the vectors of the two other models
    halves = {"lite": vectors, "lite-objects": vectors[:, :split], "motion": vectors[:, split:]}
    scores: dict[str, np.ndarray] = {}
    for part, model in models.items():
        classifier = model.classifier(labels, descriptions="none")
        encoded = [Encoded(np.zeros((1, 1), np.float32), v) for v in unit(halves[part])]
        found = classifier.scores(encoded)
        scores[part] = found.probability
        _check_restriction(model, encoded[0], labels, found.probability[0])
    truth = np.array([labels.index(row["readable_label"]) for row in rows])
    groups = [f"{row['dataset']} {row['group']}" for row in rows]
    return Pool(name, np.stack(features), labels, truth, groups, scores)


def _check_restriction(
    model: vlar.Model, encoded: Encoded, labels: list[str], probability: np.ndarray
) -> None:
    """Check that ``self:MODEL`` answers about K options by its restricted answer about all."""
    best = np.argsort(-probability, kind="stable")[:K]
    few = model.classifier([labels[n] for n in best], descriptions="none").scores([encoded])
    shares = few.probability[0] / few.probability[0].sum()
    whole = probability[best] / probability[best].sum()
    assert np.abs(shares - whole).max() < 0.02, (model.name, shares, whole)


def _opinions(
    questions: list[Question], rows: np.ndarray, judge: Callable[[int, Question], Any]
) -> list[Any]:
    return [ask(judge, int(n), q) for n, q in zip(rows, questions, strict=True)]


def _judge(scores: np.ndarray) -> Callable[[int, Question], Any]:
    """An answerer that has scores (N, C) of its own."""

    def judge(n: int, question: Question) -> np.ndarray:
        return np.maximum(scores[n, list(question.columns)], 1e-9)

    return judge


def _random_judge(seed: int) -> Callable[[int, Question], Any]:
    """Probabilities that depend on the clip and the option alone."""

    def judge(n: int, question: Question) -> list[float]:
        return [np.random.default_rng([seed, n, c]).exponential() for c in question.columns]

    return judge


def _always_a(_: int, __: Question) -> str:
    return "A."


def _choice(pool: Pool, seeds: int) -> list[dict[str, Any]]:
    """Accuracy with 5 options of each part, by where the wrong options come from."""
    found: list[dict[str, Any]] = []
    rows = np.arange(len(pool.truth))
    judges = {name: _judge(scores) for name, scores in pool.scores.items()}
    for name, judge in (*judges.items(), ("random", None), ("always-a", _always_a)):
        for kind in ("random", *pool.scores):
            values, bias = [], []
            drawn = kind == "random" or name == "random"  # else a seed moves the order alone
            for seed in range(seeds if drawn else 1):
                scores = pool.scores["lite" if kind == "random" else kind]
                how = "random" if kind == "random" else "hard"
                questions = make_questions(
                    scores, pool.truth, pool.labels, kind=how, k=K, seed=seed
                )
                given = _opinions(questions, rows, judge or _random_judge(seed))
                made = report(questions, given, scores, groups=pool.groups)
                values.append(made.accuracy)
                bias.append(made.bias)
            own = "self" if kind == name and name in pool.scores else kind
            row = {
                "answerer": name, "wrong options": own, "accuracy": float(np.mean(values)),
                "seed_std": float(np.std(values)), "proposer": float(made.proposer.mean()),
                "injected": made.injected, "chance": made.chance, "bias": float(np.mean(bias)),
            }  # fmt: skip
            found.append(row)
            print(
                f"  {name:12s} wrong options {own:12s} {row['accuracy']:.3f} (over seeds "
                f"{row['seed_std']:.3f}); proposer {row['proposer']:.3f}; put in "
                f"{row['injected']:.2f}; bias {row['bias']:.2f}; chance {row['chance']:.3f}",
                flush=True,
            )
    return found


def _rerank(
    pool: Pool, lite: vlar.Model, proposer: str, answerer: str, seeds: int
) -> dict[str, Any] | None:
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(pool.truth)))
    times = np.zeros(len(pool.truth))
    weights: list[tuple[float, float]] = []
    for seed in range(seeds):
        for learn, fitted, reported in _divisions(pool, answerer == "few-shot", seed):
            given = pool.scores[proposer]
            judge, known = _answerer(pool, lite, answerer, learn, seed)
            if judge is None:
                continue
            fitted, reported = (
                rows[np.isin(pool.truth[rows], known)] for rows in (fitted, reported)
            )
            if not len(fitted) or not len(reported):
                continue  # no clip of the labels that were learned
            given = _among(given, known)
            mixing = _fit(pool, given, judge, fitted)
            weights.append((mixing.a, mixing.b))
            times[reported] += 1
            for name, right in _measure(pool, given, judge, mixing, reported).items():
                sums[name][reported] += right
    if not times.any():
        print(f"  {proposer} asks {answerer}: too few clips of a label", flush=True)
        return None
    return _summary(pool, proposer, answerer, sums, times, weights)


def _divisions(
    pool: Pool, learns: bool, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows to learn from (none without few-shot), to fit weights on, and to report."""
    names = sorted(set(pool.groups))
    parts = 3 if learns else 2
    place = dict(
        zip(names, np.random.default_rng(seed).permutation(len(names)) % parts, strict=True)
    )
    part = np.array([place[group] for group in pool.groups])
    rows = [np.flatnonzero(part == number) for number in range(parts)]
    if learns:
        yield rows[0], rows[1], rows[2]
    else:
        yield np.array([], int), rows[0], rows[1]
        yield np.array([], int), rows[1], rows[0]


def _answerer(
    pool: Pool, lite: vlar.Model, name: str, learn: np.ndarray, seed: int
) -> tuple[Callable[[int, Question], Any] | None, np.ndarray]:
    """Answerer, and the columns of its labels."""
    every = np.arange(len(pool.labels))
    if name == "random":
        return _random_judge(seed), every
    if name == "always-a":
        return _always_a, every
    if name in pool.scores:
        return _judge(pool.scores[name]), every
    random = np.random.default_rng(seed)
    support = np.concatenate(
        [random.permutation(learn[pool.truth[learn] == c])[:SHOTS] for c in every]
    ).astype(int)
    known = np.unique(pool.truth[support])
    if len(known) < 3:
        return None, known
    texts = [pool.labels[c] for c in known]
    concepts = lite.encode_labels(texts)
    blocks, y = lite.encoder.frame_blocks, [pool.labels[pool.truth[n]] for n in support]
    vectors = np.concatenate([lite.encoder.pool(each[None]) for each in pool.features])
    prior = vectors @ concepts.T
    head, _ = choose(
        pool.features[support], blocks, y, prior[support],
        labels=texts, groups=[pool.groups[n] for n in support],
    )  # fmt: skip
    logits = head.logits(signature(pool.features, blocks, head.kind), prior)
    scores = np.zeros((len(pool.truth), len(pool.labels)))
    scores[:, [pool.labels.index(label) for label in head.labels]] = softmax(logits)
    return _judge(scores), known


def _among(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of the known labels alone, summing to what they had together."""
    kept = np.zeros_like(scores)
    kept[:, known] = scores[:, known]
    return kept


def _asked(
    pool: Pool, given: np.ndarray, judge: Callable[[int, Question], Any], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The opinions (n, K) and the columns (n, K) of the options that were asked about."""
    labels = int((given[rows[0]] > 0).sum())
    questions = make_questions(given[rows], None, pool.labels, kind="rerank", k=min(K, labels))
    opinions = _opinions(questions, rows, judge)
    return np.array([o.probability for o in opinions]), np.array([q.columns for q in questions])


def _fit(
    pool: Pool, given: np.ndarray, judge: Callable[[int, Question], Any], rows: np.ndarray
) -> Mixing:
    opinions, columns = _asked(pool, given, judge, rows)
    groups = [pool.groups[n] for n in rows]
    return fit_mixing(given[rows], opinions, columns, pool.truth[rows], groups=groups)


def _measure(
    pool: Pool,
    given: np.ndarray,
    judge: Callable[[int, Question], Any],
    mixing: Mixing,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """Rightness of each answer, by answerer."""
    opinions, columns = _asked(pool, given, judge, rows)
    truth = pool.truth[rows]
    alone = columns[np.arange(len(rows)), opinions.argmax(axis=1)]
    ties = np.ptp(opinions, axis=1) < 1e-9
    hit = (columns == truth[:, None]).any(axis=1)
    fitted, equal = (
        mix(given[rows], opinions, columns, a=each.a, b=each.b).argmax(axis=1) == truth
        for each in (mixing, EQUAL)
    )
    return {
        "proposer": given[rows].argmax(axis=1) == truth,
        "answerer": np.where(ties, hit / columns.shape[1], alone == truth),
        "fitted": fitted,
        "equal": equal,
        "bound": hit,
    }


def _summary(
    pool: Pool,
    proposer: str,
    answerer: str,
    sums: dict[str, np.ndarray],
    times: np.ndarray,
    weights: list[tuple[float, float]],
) -> dict[str, Any]:
    there = times > 0
    mean = {name: values[there] / times[there] for name, values in sums.items()}
    groups = [group for group, kept in zip(pool.groups, there, strict=True) if kept]
    share = {name: float(values.mean()) for name, values in mean.items()}
    best = max(("proposer", "answerer"), key=share.__getitem__)
    row: dict[str, Any] = {"proposer": proposer, "answerer": answerer, "n": int(there.sum()), **{
        f"{name} top1" if name != "bound" else "recall@5": value for name, value in share.items()
    }}  # fmt: skip
    for name in ("fitted", "equal"):
        found = paired(mean[name], mean[best], groups)
        error = 0.0 if found is None else (found.difference.high - found.difference.low) / 3.92
        row[f"{name} against best"] = share[name] - share[best]
        row[f"{name} s.e."] = error
    row["a"], row["b"] = (float(np.mean([w[n] for w in weights])) for n in (0, 1))
    row["left alone"] = float(np.mean([w == (1.0, 0.0) for w in weights]))
    gain = {
        name: (row[f"{name} against best"], row[f"{name} s.e."]) for name in ("fitted", "equal")
    }
    mixed = ", ".join(
        f"{name} {share[name]:.3f} ({gained:+.3f} +- {error:.3f})"
        for name, (gained, error) in gain.items()
    )
    print(
        f"  {proposer:12s} asks {answerer:12s} {share['proposer']:.3f}, alone "
        f"{share['answerer']:.3f}; {mixed}; bound {share['bound']:.3f}; a {row['a']:.2f}, "
        f"b {row['b']:.2f}, left alone {row['left alone']:.2f}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
