"""Weight of a second opinion without labelled clips to measure it.

    python evals/unfitted_opinion.py --videos DIR --clips DIR [--cache DIR] [--json FILE]

The groups of each pool are divided into two halves. On one half a weight b of the answerer (that of
the proposer is 1) and the least lead of its best option over the next are chosen; the other half is
reported. Parts, options and probabilities are those of ``second_opinion.py``. ``all``, every set of
the videos as one list of 131 labels, is only reported.

Three answerers have no information: ``random`` draws probabilities, ``letters`` writes a letter at
random to each of the K rotations, ``certain`` is as good as sure of one option drawn at random.

Chosen is what gains most in the mean over pools and pairs of parts, among weights with which
neither ``random`` nor ``letters`` costs more than 2 points in any pool, ``certain`` no more than
2.5 in the mean over pools with any proposer, and no part that is asked more than 2 in any pool.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import Namespace, arguments, store
from second_opinion import K, Pool, _among, _answerer, _divisions, _pool

import vlar
from vlar.generators.opinions.mixing import LEAD, UNFITTED, mix, sure
from vlar.metrics.intervals import paired

WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
LEADS = (0.0, 0.1, 0.2, 0.3, 0.4)
POOLS = ("weizmann", "utd-mhad", "jhmdb", "ucf101", "something-something-v2")
KNOW_NOTHING = ("random", "letters", "certain")
_LEAST, _LEAST_CERTAIN = -2.0, -2.5  # points
Rule = tuple[float, float]
EQUAL: Rule = (1.0, 0.0)
CHOSEN: Rule = (UNFITTED.b, LEAD)


@dataclass(frozen=True)
class Asked:
    """One draw of a proposer that asked an answerer about the clips of a pool.

    Attributes:
        given: (n, C) probabilities of the proposer.
        opinion: (n, K) of the answerer.
        columns: (n, K) options.
        truth: (n,) right columns.
        groups: n groups.
        choosing: (n,) whether a clip is of the half on which weights are chosen.
    """

    given: np.ndarray
    opinion: np.ndarray
    columns: np.ndarray
    truth: np.ndarray
    groups: list[str]
    choosing: np.ndarray

    def right(self, rule: Rule) -> np.ndarray:
        """Rightness of each clip with a weight b and a least lead."""
        b, lead = rule
        heard = sure(self.opinion, lead)
        return mix(self.given, heard, self.columns, a=1.0, b=b).argmax(axis=1) == self.truth

    def points(self, rule: Rule, rows: np.ndarray) -> float:
        """Points gained over the proposer."""
        before = self.given.argmax(axis=1) == self.truth
        return 100 * float(self.right(rule)[rows].mean() - before[rows].mean())


Cell = tuple[str, str, str]  # pool, proposer, answerer
Cells = dict[Cell, list[Asked]]


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", clips=(Path, "folder of newer clips with manifest.csv"),
        seeds=10,
    )  # fmt: skip
    models = {name: vlar.load(name) for name in ("lite", "lite-objects", "motion")}
    cells: Cells = {}
    halves: dict[str, bool] = {}
    for folder, name in _pools(options):
        pool = _pool(folder, name, models, options.cache)
        name = "newer clips" if folder == options.clips else name
        if name != "all":
            halves |= _halves(pool)
        for pair, draws in _cells(pool, models["lite"], halves, options.seeds):
            cells[(name, *pair)] = draws
        print(f"{name}: {len(pool.truth)} clips, {len(pool.labels)} labels", flush=True)
    tried = _choose({cell: draws for cell, draws in cells.items() if cell[0] != "all"})
    rows = _report(cells)
    command = "python evals/unfitted_opinion.py --videos DIR --clips DIR"
    data = {"command": command, "chosen": CHOSEN, "choosing half": tried, "reported half": rows}
    store(options.json, data)


def _pools(options: Namespace) -> Iterator[tuple[Path, str]]:
    yield from ((options.videos, name) for name in POOLS)
    if options.clips:
        yield options.clips, "all"
    yield options.videos, "all"


def _halves(pool: Pool) -> dict[str, bool]:
    """Mark of each group, by name: True to choose on."""
    names = sorted(set(pool.groups))
    order = np.random.default_rng(100).permutation(len(names))
    return {name: bool(place % 2 == 0) for place, name in zip(order, names, strict=True)}


def _cells(
    pool: Pool, lite: vlar.Model, halves: dict[str, bool], seeds: int
) -> Iterator[tuple[tuple[str, str], list[Asked]]]:
    """Yield all pairs of parts, those without information, and ``lite`` with a few-shot model."""
    every = np.arange(len(pool.truth))
    for proposer, given in pool.scores.items():
        for answerer, scores in pool.scores.items():
            if answerer != proposer:
                yield (proposer, answerer), [_asked(pool, halves, every, given, scores)]
        for answerer in KNOW_NOTHING:
            draws = [
                _asked(pool, halves, every, given, _unknowing(answerer, given.shape, seed))
                for seed in range(seeds)
            ]
            yield (proposer, answerer), draws
    if len(pool.labels) < len(pool.truth) / 2:  # else no label has three clips to learn from
        yield ("lite", "few-shot"), list(_few_shot(pool, lite, halves, seeds))


def _few_shot(pool: Pool, lite: vlar.Model, halves: dict[str, bool], seeds: int) -> Iterator[Asked]:
    for seed in range(seeds):
        for learn, *others in _divisions(pool, True, seed):
            judge, known = _answerer(pool, lite, "few-shot", learn, seed)
            if judge is None:
                continue
            rest = np.sort(np.concatenate(others))
            rest = rest[np.isin(pool.truth[rest], known)]
            given = _among(pool.scores["lite"], known)[rest]
            columns = np.argsort(-given, axis=1, kind="stable")[:, : min(K, len(known))]
            scores = [
                judge(int(n), _Options(tuple(row))) for n, row in zip(rest, columns, strict=True)
            ]
            yield _made(pool, halves, rest, given, np.array(scores), columns)


@dataclass(frozen=True)
class _Options:
    columns: tuple[int, ...]


def _asked(
    pool: Pool, halves: dict[str, bool], rows: np.ndarray, given: np.ndarray, scores: np.ndarray
) -> Asked:
    columns = np.argsort(-given, axis=1, kind="stable")[:, : min(K, given.shape[1])]
    return _made(pool, halves, rows, given, np.take_along_axis(scores, columns, 1), columns)


def _made(
    pool: Pool,
    halves: dict[str, bool],
    rows: np.ndarray,
    given: np.ndarray,
    shares: np.ndarray,
    columns: np.ndarray,
) -> Asked:
    shares = np.maximum(shares, 1e-9)
    groups = [pool.groups[row] for row in rows]
    return Asked(
        given, shares / shares.sum(axis=1, keepdims=True), columns, pool.truth[rows], groups,
        np.array([halves.get(group, False) for group in groups]),
    )  # fmt: skip


def _unknowing(answerer: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """(N, C) scores without information; those of the K options are read."""
    random = np.random.default_rng(seed)
    if answerer == "random":
        return random.exponential(size=shape)
    if answerer == "letters":  # how often each option is written, of K questions
        return random.binomial(K, 1 / K, size=shape).astype(float)
    return np.exp(500 * random.random(shape))


def _choose(cells: Cells) -> list[dict[str, float | bool]]:
    """Every weight and lead on the choosing half, the allowed ones first, best first."""
    rows: list[dict[str, float | bool]] = []
    for rule in itertools.product(WEIGHTS, LEADS):
        points = {
            cell: float(np.mean([d.points(rule, d.choosing) for d in draws if d.choosing.any()]))
            for cell, draws in cells.items()
        }
        real = [value for cell, value in points.items() if cell[2] not in KNOW_NOTHING]
        unsure = [v for cell, v in points.items() if cell[2] in KNOW_NOTHING[:2]]
        certain: dict[str, list[float]] = defaultdict(list)
        for (_, proposer, answerer), value in points.items():
            if answerer == "certain":
                certain[proposer].append(value)
        worst = min(float(np.mean(values)) for values in certain.values())
        allowed = min(unsure) >= _LEAST and min(real) >= _LEAST and worst >= _LEAST_CERTAIN
        rows.append(
            {"b": rule[0], "lead": rule[1], "allowed": allowed, "mean gain": float(np.mean(real)),
             "worst part": min(real), "worst random": min(unsure), "certain": worst}
        )  # fmt: skip
    rows.sort(key=lambda row: (not row["allowed"], -row["mean gain"]))
    for row in rows[:8]:
        print({name: round(value, 2) for name, value in row.items()}, flush=True)
    return rows


def _report(cells: Cells) -> list[dict[str, object]]:
    """The reported half: top-1 of the proposer, by the weights chosen, and by equal weights."""
    rows: list[dict[str, object]] = []
    for (pool, proposer, answerer), draws in cells.items():
        draws = [d for d in draws if (~d.choosing).any()]
        if not draws:
            continue
        before = [100 * float((d.given.argmax(1) == d.truth)[~d.choosing].mean()) for d in draws]
        row: dict[str, object] = {
            "pool": pool, "proposer": proposer, "answerer": answerer,
            "n": int((~draws[0].choosing).sum()), "proposer top1": round(float(np.mean(before)), 1),
        }  # fmt: skip
        for name, rule in (("chosen", CHOSEN), ("1,1", EQUAL)):
            row[name] = round(float(np.mean([d.points(rule, ~d.choosing) for d in draws])), 1)
        row["s.e."] = _error(draws)
        rows.append(row)
        print(row, flush=True)
    for kind in ("parts", *KNOW_NOTHING):
        own = [r for r in rows if r["answerer"] == kind or (
            kind == "parts" and r["answerer"] not in KNOW_NOTHING)]  # fmt: skip
        for name in ("chosen", "1,1"):
            values = [float(str(r[name])) for r in own]
            print(f"{kind}, {name}: mean {np.mean(values):+.1f}, worst {min(values):+.1f}, "
                  f"below -2 in {sum(v < _LEAST for v in values)} of {len(values)}")  # fmt: skip
    return rows


def _error(draws: list[Asked]) -> float:
    """Standard error of the gain over groups, in points; of the first draw where there are many."""
    one = draws[0]
    rows = ~one.choosing
    groups = [group for group, kept in zip(one.groups, rows, strict=True) if kept]
    after, before = one.right(CHOSEN)[rows], (one.given.argmax(axis=1) == one.truth)[rows]
    found = paired(after.astype(float), before.astype(float), groups)
    if found is None:
        return 0.0
    return round(100 * (found.difference.high - found.difference.low) / 3.92, 1)


if __name__ == "__main__":
    main()
