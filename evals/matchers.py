"""Matchers of sequences and trained relations next to ``auto``, on the same stored episodes.

    python evals/matchers.py --videos DIR [DIR ..] --cache DIR [--pools jhmdb weizmann ..] [--draw]

The episodes are files in ``episodes/`` (kind episodic): 5 labels, 1 or as many clips a label as the
pool allows. No query shares a group (person, source video) with a support clip. ``--draw`` draws
them again. Labels come in two halves. The trained relations learn from all clips of the other half,
with five seeds. No method reads texts, but for "auto with texts".

Intervals come from a bootstrap over the queries' clips, differences to ``auto`` from a paired one.
Controls: the frames of every clip in a drawn order; and reversal, where the two labels of an
episode are one action forward and backward, so that whatever is blind to order gets exactly 50.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import arguments, store
from pools import Clips, load_pool

import vlar
from vlar import registry
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.methods.relations.learner import EpisodeNumbers, train_network
from vlar.metrics.intervals import Interval, mean_interval, paired

EPISODES = Path(__file__).parent / "episodes"
SHOTS = {"jhmdb": (1, 5), "weizmann": (1, 4), "something-something-v2": (1, 4)}
MATCHERS = ("mean", "diag", "bi-mhm", "otam", "tuple", "hybrid")
RELATIONS = ("trx", "hyrsm", "gghm")
WAYS, QUERIES, KIND = 5, 3, "frames:8"
WIDTH = 256  # features of a frame that the relations read, along the main directions
REVERSED = 1  # seeds of the relations that are trained for reversal
Answers = dict[str, dict[str, list[float]]]  # method -> clip -> right or not, once a query


def main() -> None:
    options = arguments(
        __doc__, "videos+", "model", "cache", "json",
        pools={"nargs": "*", "choices": list(SHOTS), "default": list(SHOTS)},
        draw=(False, "draw the episodes and store them"), episodes=(20, "to draw, for each half"),
        seeds=(5, "of the trained relations; 0: none"),
    )  # fmt: skip
    model = vlar.load(options.model)
    results: list[dict[str, Any]] = []
    for name in options.pools:
        pool = load_pool(name, options.videos, model, options.cache, least=5)
        nets = _Relations(pool, options.seeds) if options.seeds else None
        for shots in SHOTS[name]:
            if options.draw:
                _store(pool, shots, options.episodes)
            print(f"{name}: {len(pool.ids)} clips, {WAYS} labels, {shots} shots", flush=True)
            stored = json.loads((EPISODES / f"{name}_{WAYS}way_{shots}shot.json").read_text())
            results += _report(name, shots, _accuracy(pool, model, stored, nets))
        results += _report(name, "reversal", _reversal(pool, nets), against=None)
    store(options.json, {"command": _command(), "results": results})


def _command() -> str:
    return "python evals/matchers.py --videos DIR DIR --cache DIR"


# Episodes


def _store(pool: Clips, shots: int, count: int) -> None:
    drawn = [
        {"half": half, **episode}
        for half in (0, 1)
        for episode in _drawn(pool, pool.labels[half::2], shots, count, half)
    ]
    named = [own for e in drawn for k in ("support", "query") for own in e[k].values()]
    clips = sorted({clip for own in named for clip in own})
    place = {clip: number for number, clip in enumerate(clips)}
    for episode in drawn:
        for part in ("support", "query"):
            episode[part] = {k: [place[i] for i in v] for k, v in episode[part].items()}
    head = {"kind": "episodic", "way": WAYS, "shot": shots, "query": QUERIES, "n": len(drawn)}
    lines = ",\n".join(json.dumps(episode, separators=(",", ":")) for episode in drawn)
    text = f'{json.dumps(head)[:-1]}, "seed": 0,\n"ids": {json.dumps(clips)},\n'
    text += f'"episodes": [\n{lines}\n]}}\n'
    EPISODES.mkdir(exist_ok=True)
    (EPISODES / f"{pool.name}_{WAYS}way_{shots}shot.json").write_text(text, encoding="utf-8")


def _drawn(
    pool: Clips, labels: Sequence[str], shots: int, count: int, seed: int
) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(seed)
    few = len(set(pool.group)) <= len(pool.labels)  # persons who show every label
    while count:
        order = random.permutation(sorted(set(pool.group)))
        support: dict[str, np.ndarray] = {}
        for label in random.permutation(labels):
            own = np.flatnonzero(pool.label == label)
            groups = order if few else random.permutation(sorted(set(pool.group[own])))
            rank = {group: place for place, group in enumerate(groups)}
            ranked = sorted(own.tolist(), key=lambda row: (rank[pool.group[row]], row))
            taken = np.array(ranked[:shots])
            if len(taken) == shots and set(pool.group[own]) - set(pool.group[taken]):
                support[str(label)] = taken
            if len(support) == WAYS:
                break
        groups = {group for taken in support.values() for group in pool.group[taken]}
        query = {
            label: random.permutation(
                [i for i in np.flatnonzero(pool.label == label) if pool.group[i] not in groups]
            )[:QUERIES]
            for label in support
        }
        if len(support) == WAYS and all(len(rows) for rows in query.values()):
            count -= 1
            yield {
                part: {label: [pool.ids[int(i)] for i in rows] for label, rows in one.items()}
                for part, one in (("support", support), ("query", query))
            }


def _rows(pool: Clips, stored: dict[str, Any]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Half, support rows and query rows of every stored episode."""
    place = {clip: row for row, clip in enumerate(pool.ids)}
    numbers = [place[clip] for clip in stored["ids"]]
    for episode in stored["episodes"]:
        rows = [
            np.array([numbers[i] for own in episode[part].values() for i in own])
            for part in ("support", "query")
        ]
        yield episode["half"], rows[0], rows[1]


# Methods


def _accuracy(
    pool: Clips, model: vlar.Model, stored: dict[str, Any], nets: _Relations | None
) -> Answers:
    frames, blocks = pool.block("appearance")
    order = np.random.default_rng(9)
    eight = signature(frames, blocks, KIND).reshape(len(pool.ids), 8, -1)
    shuffled = np.stack([clip[order.permutation(8)] for clip in eight])
    found: Answers = {}
    seconds: dict[str, float] = {}
    vectors = np.concatenate([model.encoder.pool(row[None]) for row in pool.features])
    words = dict(zip(pool.labels, model.encode_queries(pool.labels), strict=True))
    for half, support, query in _rows(pool, stored):
        y = pool.label[support].tolist()
        prior = vectors @ np.stack([words[label] for label in sorted(set(y))]).T
        whole = partial(_answers, pool.features, pool.blocks, support, query, y)
        jobs: dict[str, Callable[[], np.ndarray]] = {
            "auto": partial(whole, "auto"),
            "auto with texts": partial(whole, "auto", prior),
            "auto + otam": partial(_joined, whole, "otam"),
        }
        for name in MATCHERS:
            jobs[name] = partial(_answers, eight, blocks, support, query, y, name)
            jobs[f"{name}, shuffled frames"] = partial(
                _answers, shuffled, blocks, support, query, y, name
            )
        for name, job in jobs.items():
            begin = time.process_time()
            answers = job()
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - begin
            _add(found, name, pool, query, answers == pool.label[query])
        if nets is not None:
            for name, right in nets.right(eight, 1 - half, support, query):
                _add(found, name, pool, query, right)
    print("  CPU seconds an episode: " + ", ".join(
        f"{name} {total / len(stored['episodes']):.3f}"
        for name, total in seconds.items() if "shuffled" not in name
    ))  # fmt: skip
    return found


def _answers(
    features: np.ndarray,
    blocks: Sequence[Any],
    support: np.ndarray,
    query: np.ndarray,
    y: list[str],
    method: str,
    prior: np.ndarray | None = None,
) -> np.ndarray:
    known, asked = (None, None) if prior is None else (prior[support], prior[query])
    head, _ = choose(features[support].astype(np.float32), blocks, y, known, method=method)
    rows = signature(features[query].astype(np.float32), blocks, head.kind)
    return np.array(head.labels)[head.logits(rows, asked).argmax(axis=1)]


def _joined(answers: Callable[[str], np.ndarray], name: str) -> np.ndarray:
    """Answer of ``auto`` with the matcher as one of its candidates."""
    with _in_auto(name):
        return answers("auto")


@contextmanager
def _in_auto(name: str) -> Iterator[None]:
    part = registry.get("fewshot", name)
    before = part.auto_order
    part.auto_order = 99
    try:
        yield
    finally:
        part.auto_order = before


class _Relations:
    """The trained relations of a pool: for each half of the labels, method and seed one network."""

    def __init__(self, pool: Clips, seeds: int) -> None:
        self.pool, self.seeds = pool, seeds
        frames, blocks = pool.block("appearance")
        eight = signature(frames, blocks, KIND)
        flat = eight.reshape(-1, frames.shape[2]).astype(np.float64)
        self.axes = np.linalg.eigh(flat @ flat.T)[1][:, -WIDTH:].T @ flat
        self.axes /= np.linalg.norm(self.axes, axis=1, keepdims=True)
        eight = self.narrow(eight)
        self.heads: dict[tuple[str, int, int, bool], Any] = {}
        for half in (0, 1):
            rows = pool.rows(pool.labels[half::2])
            both = np.concatenate([eight[rows], _backward(eight[rows])])
            twice = [f"{label}, {way}" for way in "fb" for label in pool.label[rows]]
            groups = pool.group[rows].tolist()
            for name in RELATIONS:
                for seed in range(seeds):
                    self.heads[name, half, seed, False] = _trained(
                        name, eight[rows], pool.label[rows].tolist(), groups, seed
                    )
                    if seed < REVERSED:
                        self.heads[name, half, seed, True] = _trained(
                            name, both, twice, groups * 2, seed
                        )
            print(f"{pool.name}: trained relations of half {half}", flush=True)

    def narrow(self, signatures: np.ndarray) -> np.ndarray:
        """Signatures of eight frames, along the main directions of the frames of all clips."""
        frames = signatures.reshape(len(signatures), 8, -1).astype(np.float64)
        return (frames @ self.axes.T).reshape(len(signatures), -1).astype(np.float32)

    def right(
        self, eight: np.ndarray, half: int, support: np.ndarray, query: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Rightness of each query, by every network that learned from a half."""
        rows = np.concatenate([support, query])
        flat = self.narrow(eight[rows])
        known, asked = flat[: len(support)], flat[len(support) :]
        label = self.pool.label
        for name in RELATIONS:
            for seed in range(self.seeds):
                head = self.heads[name, half, seed, False]
                head.fit(known, label[support].tolist())
                answers = np.array(head.labels)[head.logits(asked).argmax(axis=1)]
                yield name, answers == label[query]


def _trained(name: str, rows: np.ndarray, y: list[str], groups: list[str], seed: int) -> Any:
    part = registry.get("adapter", name)
    head = registry.get("fewshot", "relation")()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head.network = part.build(WIDTH, part.read_config({}))
    head.method, head.settings, head.kind = name, {}, KIND
    head.fit(rows.astype(np.float32), y)
    place = {label: number for number, label in enumerate(sorted(set(y)))}
    columns = [place[label] for label in y]
    frames = head.frames(rows.astype(np.float32))
    train_network(head.network, frames, columns, groups, EpisodeNumbers(), seed=seed)
    return head


# Reversal


def _backward(rows: np.ndarray) -> np.ndarray:
    """Signatures of eight frames, backward."""
    return rows.reshape(len(rows), 8, -1)[:, ::-1].reshape(len(rows), -1)


def _reversal(pool: Clips, nets: _Relations | None) -> Answers:
    """One action forward and backward, three clips each as examples."""
    frames, blocks = pool.block("appearance")
    ahead = signature(frames, blocks, KIND)
    both = np.stack([ahead, _backward(ahead)]).reshape(2, len(ahead), 8, -1)
    found: Answers = {}
    for half in (0, 1):
        for label in pool.labels[half::2]:
            own = np.flatnonzero(pool.label == label)
            for seed in range(5):
                support = np.random.default_rng(seed).permutation(own)[:3]
                taken = set(pool.group[support])
                query = np.array([i for i in own if pool.group[i] not in taken])
                if not len(query):
                    continue
                examples, clips = (both[:, rows].reshape(-1, 8, both.shape[3])
                                   for rows in (support, query))  # fmt: skip
                known, asked = (["forward"] * len(r) + ["backward"] * len(r)
                                for r in (support, query))  # fmt: skip
                whole = np.concatenate([examples, clips])
                first, last = np.arange(len(known)), np.arange(len(known), len(whole))
                twice = np.concatenate([query, query])
                for name in ("auto", *MATCHERS):
                    answers = _answers(whole, blocks, first, last, known, name)
                    _add(found, name, pool, twice, answers == np.array(asked))
                if nets is not None:
                    flat = nets.narrow(whole)
                    for name in RELATIONS:
                        head = nets.heads[name, 1 - half, seed % min(nets.seeds, REVERSED), True]
                        head.fit(flat[first], known)
                        got = np.array(head.labels)[head.logits(flat[last]).argmax(axis=1)]
                        _add(found, name, pool, twice, got == np.array(asked))
    return found


# Figures


def _add(found: Answers, name: str, pool: Clips, query: np.ndarray, right: np.ndarray) -> None:
    for row, one in zip(query, right, strict=True):
        found.setdefault(name, {}).setdefault(pool.ids[row], []).append(float(one))


def _report(
    pool: str, what: object, found: Answers, against: str | None = "auto"
) -> list[dict[str, Any]]:
    rows = []
    for name, by_clip in found.items():
        clips = [clip for clip, own in by_clip.items() for _ in own]
        values = np.array([one for own in by_clip.values() for one in own])
        interval = mean_interval(values, clips)
        row: dict[str, Any] = {"pool": pool, "episodes": what, "method": name,
                               "top1": round(100 * float(values.mean()), 1),
                               "ci95": _percent(interval),
                               "clips": len(by_clip)}  # fmt: skip
        line = f"  {name:26s}{row['top1']:5.1f} ({row['ci95'][0]} to {row['ci95'][1]})"
        if against and name != against:
            means = [np.array([np.mean(found[m][c]) for c in by_clip]) for m in (name, against)]
            gain = paired(*means, list(by_clip))
            row["gain"] = round(100 * gain.difference.value, 1)
            row["gain_ci95"] = low, high = _percent(gain.difference)
            line += f"  against auto {row['gain']:+.1f} ({low:+} to {high:+})"
        print(line, flush=True)
        rows.append(row)
    return rows


def _percent(interval: Interval) -> tuple[float, float]:
    return round(100 * interval.low, 1), round(100 * interval.high, 1)


if __name__ == "__main__":
    main()
