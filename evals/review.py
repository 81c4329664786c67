"""Gain of labelling the clips that ``vlar review`` names first over random ones.

    vlar index add LIBRARY DIR
    python evals/review.py --videos DIR --library LIBRARY [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group); LIBRARY holds its clips, each
shown by the mean vector of its windows. Each data set, and all together, is divided 200 times into
a pool and test clips; no group is on both sides. One clip a label of the pool is labelled at first.
Then clips are labelled in batches of 5, in the order of ``vlar.apps.review`` (computed again with
the model of all labels so far) or in a random order, and the closed form ``prototype`` learns from
them. The two orders share the division and the first labels, so differences are paired. Divisions
share clips, so the standard errors are too small.

margin, entropy   the order by either measure; margin without coverage
random            the control
gain              mean over divisions of the difference in accuracy (in points) after 5, 10, 20 more
                  labels, with its standard error over divisions
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from discovery import read
from harness import arguments, store

from vlar.apps.review import review_order, uncertainty
from vlar.numeric import softmax, unit
from vlar.types import Float32, Float64

SETS = ("weizmann", "jhmdb", "utd-mhad")
TOGETHER = "together"  # all sets in one pool
ORDERS = ("margin", "entropy", "margin, no coverage", "random")
DIVISIONS, BATCH, MORE = 200, 5, (5, 10, 20)
SHARPNESS = 20.0


def prototypes(vectors: Float32, labels: np.ndarray, n_labels: int) -> Float32:
    """(C, F) unit means of the examples of each label."""
    return np.stack([unit(vectors[labels == c].mean(axis=0)) for c in range(n_labels)])


def answers(vectors: Float32, known: Float32, labels: np.ndarray, n_labels: int) -> Float64:
    """(N, C) probabilities by the nearest prototype."""
    return softmax(SHARPNESS * (vectors @ prototypes(known, labels, n_labels).T).astype(np.float64))


def next_clips(how: str, pool: Float32, known: Float32, p: Float64, random: object) -> list[int]:
    """Places in the pool of the next batch."""
    if how == "random":
        return random.permutation(len(pool))[:BATCH].tolist()  # type: ignore[attr-defined]
    unsure = uncertainty(p, how.partition(",")[0])
    if "no coverage" in how:
        return np.argsort(-unsure, kind="stable")[:BATCH].tolist()
    return review_order(unsure, pool, BATCH, known)


def run(
    vectors: Float32, labels: np.ndarray, groups: np.ndarray, how: str, seed: int
) -> list[float]:
    """Accuracy on the test clips at first and after each batch."""
    random = np.random.default_rng(seed)
    names = random.permutation(np.unique(groups))
    held = np.isin(groups, names[: max(1, len(names) // 3)])
    n_labels = labels.max() + 1
    pool = np.flatnonzero(~held)
    if len(np.unique(labels[pool])) < n_labels or not held.any():
        return []
    first = [random.choice(pool[labels[pool] == c]) for c in range(n_labels)]
    known = list(first)
    waiting = [i for i in pool if i not in set(first)]
    found: list[float] = []
    for _ in range(max(MORE) // BATCH + 1):
        args = vectors[known], labels[known], n_labels
        found.append(float((answers(vectors[held], *args).argmax(axis=1) == labels[held]).mean()))
        if len(waiting) < BATCH:
            break
        p = answers(vectors[waiting], *args)
        chosen = next_clips(how, vectors[waiting], vectors[known], p, random)
        known += [waiting[i] for i in chosen]
        waiting = [each for at, each in enumerate(waiting) if at not in set(chosen)]
    return found


def main() -> int:
    options = arguments(
        __doc__, "videos", "json",
        library={"type": Path, "required": True, "help": "library of its clips"},
    )  # fmt: skip
    rows = read(options.videos, options.library)
    clips, where = np.unique(rows.table.video_ids, return_inverse=True)
    sums = np.zeros((len(clips), rows.vectors.shape[1]), np.float32)
    np.add.at(sums, where, rows.vectors)
    firsts = [int(np.flatnonzero(where == at)[0]) for at in range(len(clips))]
    facts = [rows.facts[rows.paths[first]] for first in firsts]
    table: list[dict[str, object]] = []
    for name in (*SETS, TOGETHER):
        wanted = SETS if name == TOGETHER else (name,)
        own = [at for at, row in enumerate(facts) if row["dataset"] in wanted]
        vectors = unit(sums[own]).astype(np.float32)
        named = [facts[at]["readable_label"] for at in own]
        labels = np.unique(named, return_inverse=True)[1]
        groups = np.array([facts[at]["group"] for at in own])
        curves = {how: runs(vectors, labels, groups, how, name) for how in ORDERS}
        table += compared(name, curves)
    store(options.json, table)
    return 0


def runs(
    vectors: Float32, labels: np.ndarray, groups: np.ndarray, how: str, name: str
) -> list[list[float]]:
    """The curves of all divisions; their seeds depend on the data set alone."""
    first = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
    return [run(vectors, labels, groups, how, first + i) for i in range(DIVISIONS)]


def compared(name: str, curves: dict[str, list[list[float]]]) -> list[dict[str, object]]:
    """Each order against the random one, after some labels."""
    found: list[dict[str, object]] = []
    for more in MORE:
        at = more // BATCH
        for how in ORDERS:
            pairs = [
                (100 * a[at], 100 * b[at])
                for a, b in zip(curves[how], curves["random"], strict=True)
                if len(a) > at and len(b) > at
            ]
            if len(pairs) < 2:
                continue
            gains = np.array([a - b for a, b in pairs])
            row = {
                "set": name,
                "order": how,
                "labels more": more,
                "accuracy": round(float(np.mean([a for a, _ in pairs])), 1),
                "gain": round(float(gains.mean()), 2),
                "standard error": round(float(gains.std(ddof=1) / np.sqrt(len(gains))), 2),
                "divisions": len(pairs),
            }
            found.append(row)
            print(row)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
