"""Adaptation of the offline encoder to few examples: episodes of K support clips a label.

    python evals/few_shot.py --videos DIR [--shots 3] [--episodes 40] [--protocol base|disjoint]

DIR holds ``manifest.csv`` (path, label, readable_label, dataset, group) and the clips it names. In
every episode each label of a pool gets K random support clips; the other clips are queries.

base      a query's group (person, source video) differs from the support groups of its own label.
          The same person may still stand in the support of other labels.
disjoint  no query shares a group with any support clip.

Nothing but the support clips is learnt from. Figures are the mean over episodes of the share of
queries recognised, with the standard deviation over episodes and a 95 % interval of the mean. Each
pool is also run on two halves of its labels: whatever was chosen while building was chosen by the
first half ("choose"), the second ("report") was left alone.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cached import features_of
from harness import Namespace, arguments, manifest, store

import vlar
from vlar.encoders.base import FrameBlock
from vlar.heads.model_selection import choose, methods
from vlar.heads.signatures import signature

POOLS = ("jhmdb", "something-something-v2", "weizmann", "utd-mhad")
METHODS = ("auto", "ridge", "prototype", "cache")
PLAIN = "prototype, mean+absdiff, no text"  # the recipe of the first study, to compare with
MIN_CLIPS = 5


@dataclass(frozen=True)
class Pool:
    """The clips of one data set with enough examples a label; all arrays have one row a clip."""

    name: str
    label: np.ndarray
    group: np.ndarray
    features: np.ndarray
    zero_shot: np.ndarray  # (n, C) similarity to the texts of ``labels``
    labels: tuple[str, ...]
    blocks: tuple[FrameBlock, ...]

    def half(self, which: int) -> Pool:
        """Every second label, from ``which``, and their clips."""
        columns = list(range(which, len(self.labels), 2))
        labels = tuple(self.labels[i] for i in columns)
        rows = np.isin(self.label, labels)
        return Pool(
            self.name,
            self.label[rows],
            self.group[rows],
            self.features[rows],
            self.zero_shot[rows][:, columns],
            labels,
            self.blocks,
        )


def main() -> None:
    options = arguments(
        __doc__, "videos", "model", "json", "cache", shots=3, episodes=40,
        protocol={"choices": ("base", "disjoint"), "default": "base"}, seed=0,
        pools={"nargs": "*", "help": f"default {' '.join(POOLS)}"},
        methods={"nargs": "*", "choices": ("auto", *methods()), "default": METHODS},
    )  # fmt: skip
    model = vlar.load(options.model)
    settings = {
        "model": options.model,
        "fingerprint": model.fingerprint,
        "frames": model.words.n_frames,
        "shots": options.shots,
        "episodes": options.episodes,
        "protocol": options.protocol,
        "seed": options.seed,
    }
    rows = []
    for name in options.pools or POOLS:
        pool = _load(name, options.videos, model, options.cache)
        for part, clips in (("all", pool), ("choose", pool.half(0)), ("report", pool.half(1))):
            for row in _evaluate(clips, part, options):
                print(_line(row), flush=True)
                rows.append(row)
    store(options.json, {**settings, "results": rows})


def _load(name: str, videos: Path, model: vlar.Model, cache: Path | None) -> Pool:
    rows = manifest(videos, name)
    count = Counter(row["label"] for row in rows)
    rows = [row for row in rows if count[row["label"]] >= MIN_CLIPS]
    if not rows:
        sys.exit(f"{videos / 'manifest.csv'}: no label of {name!r} has {MIN_CLIPS} clips")
    features = [features_of(videos, row["path"], model, cache) for row in rows]
    stacked = np.stack(features)
    texts = {row["label"]: row["readable_label"] for row in rows}
    labels = tuple(sorted(texts))
    concepts = model.words.encode_queries([texts[label] for label in labels])
    vectors = np.concatenate([model.encoder.pool(row[None]) for row in stacked])
    return Pool(
        name,
        np.array([row["label"] for row in rows]),
        np.array([row["group"] for row in rows]),
        stacked,
        vectors @ concepts.T,
        labels,
        model.encoder.frame_blocks,
    )


def _episodes(
    pool: Pool, shots: int, count: int, protocol: str, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of support and query; episodes without a query are left out."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        if protocol == "disjoint" and len(set(pool.group)) <= len(pool.labels):
            open_rows = _rows_of_some_groups(pool, shots, random)
        else:
            open_rows = np.ones(len(pool.label), bool)
        support = np.concatenate(
            [
                _draw(np.flatnonzero((pool.label == label) & open_rows), pool, shots, random)
                for label in pool.labels
            ]
        )
        taken = {(pool.label[i], pool.group[i]) for i in support}
        groups = {group for _, group in taken}
        query = [
            i
            for i in range(len(pool.label))
            if i not in support
            and (pool.label[i], pool.group[i]) not in taken
            and (protocol == "base" or pool.group[i] not in groups)
        ]
        if query:
            yield support, np.array(query)


def _rows_of_some_groups(pool: Pool, shots: int, random: np.random.Generator) -> np.ndarray:
    """Few groups show all labels: take as few of them as hold ``shots`` clips of each label."""
    order = random.permutation(sorted(set(pool.group)))
    for n in range(1, len(order)):
        rows = np.isin(pool.group, order[:n])
        if min(Counter(pool.label[rows]).get(label, 0) for label in pool.labels) >= shots:
            return rows
    return np.isin(pool.group, order[:-1])


def _draw(rows: np.ndarray, pool: Pool, shots: int, random: np.random.Generator) -> Sequence[int]:
    """``shots`` clips of one label from as many groups as it has; one group stays for queries."""
    groups = random.permutation(sorted(set(pool.group[rows])))
    if set(pool.group[rows]) == set(pool.group[pool.label == pool.label[rows[0]]]):
        groups = groups[: max(len(groups) - 1, 1)]
    piles = [list(random.permutation(rows[pool.group[rows] == group])) for group in groups]
    taken: list[int] = []
    while len(taken) < shots and any(piles):
        for pile in piles:
            if pile and len(taken) < shots:
                taken.append(int(pile.pop()))
    return taken


def _evaluate(pool: Pool, part: str, options: Namespace) -> Iterator[dict[str, object]]:
    right: dict[str, list[float]] = {method: [] for method in (*options.methods, PLAIN)}
    seconds: list[float] = []
    surprise: list[float] = []
    queries = 0
    for support, query in _episodes(
        pool, options.shots, options.episodes, options.protocol, options.seed
    ):
        queries += len(query)
        for method in options.methods:
            start = time.process_time()
            probability = _answer(pool, support, query, method)
            found = np.array(pool.labels)[probability.argmax(axis=1)] == pool.label[query]
            right[method].append(float(found.mean()))
            if method == "auto":
                seconds.append(time.process_time() - start)
                target = [pool.labels.index(label) for label in pool.label[query]]
                picked = probability[np.arange(len(query)), target]
                surprise.append(float(-np.log(np.maximum(picked, 1e-12)).mean()))
        right[PLAIN].append(_plain(pool, support, query))
    for method, values in right.items():
        if not values:
            continue
        row: dict[str, object] = {
            "pool": pool.name,
            "labels": part,
            "n_labels": len(pool.labels),
            "method": method,
            "top1": round(100 * float(np.mean(values)), 1),
            "std": round(100 * float(np.std(values)), 1),
            "ci95": round(196 * float(np.std(values)) / len(values) ** 0.5, 1),
            "chance": round(100 / len(pool.labels), 1),
            "episodes": len(values),
            "queries": round(queries / len(values), 1),
        }
        if method == "auto":
            row["negative_log_likelihood"] = round(float(np.mean(surprise)), 3)
            row["fit_and_answer_cpu_s"] = round(float(np.mean(seconds)), 2)
        yield row


def _answer(pool: Pool, support: np.ndarray, query: np.ndarray, method: str) -> np.ndarray:
    head, _ = choose(
        pool.features[support],
        pool.blocks,
        pool.label[support].tolist(),
        pool.zero_shot[support],
        labels=pool.labels,
        method=method,
    )
    rows = signature(pool.features[query], pool.blocks, head.kind)
    return head.probabilities(rows, pool.zero_shot[query])


def _plain(pool: Pool, support: np.ndarray, query: np.ndarray) -> float:
    examples = signature(pool.features[support], pool.blocks, "mean+absdiff")
    label = pool.label[support]
    means = np.stack([examples[label == name].mean(axis=0) for name in pool.labels])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosine = signature(pool.features[query], pool.blocks, "mean+absdiff") @ means.T
    return float((np.array(pool.labels)[cosine.argmax(axis=1)] == pool.label[query]).mean())


def _line(row: dict[str, object]) -> str:
    extra = f"  nll {row['negative_log_likelihood']}" if "negative_log_likelihood" in row else ""
    return (
        f"{row['pool']!s:24s}{row['labels']!s:8s}{row['n_labels']:3d} labels  {row['method']!s:34s}"
        f"{row['top1']:5.1f} +- {row['ci95']:3.1f} (spread {row['std']:4.1f}){extra}"
    )


if __name__ == "__main__":
    main()
