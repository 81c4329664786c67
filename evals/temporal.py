"""Value of training: the temporal adapter against the closed forms, groups apart.

    python evals/temporal.py --videos DIR --cache DIR [--pools weizmann utd-mhad] [--seeds 5]

Each seed draws one episode as ``few_shot.py --protocol disjoint`` does: up to K clips a label, and
queries of groups (persons, source videos) that show no support clip. A pool of five clips a label
keeps one for the query, so K = 5 is four there. ``temporal`` is what ``vlar adapt --method
temporal`` does, ``temporal alone`` the same training without the closed form.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from few_shot import METHODS, Pool, _episodes, _load
from harness import Namespace, arguments, store

import vlar
from vlar.heads.model_selection import choose
from vlar.heads.signatures import signature
from vlar.training.batches import Dataset
from vlar.training.fit import fit_features
from vlar.training.task import TrainingTask


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache!", "json", pools=["weizmann", "utd-mhad"], shots=5, seeds=5
    )
    model = vlar.load()
    settings = {
        "command": "python evals/temporal.py --videos DIR --cache DIR",
        "model": "lite with lite-motion" if len(model.encoder.blocks) > 1 else "lite",
        "shots": options.shots,
        "seeds": options.seeds,
    }
    rows: list[dict] = []
    for name in options.pools:
        pool = _load(name, options.videos, model, options.cache)
        rows += _evaluate(pool, model, options)
        store(options.json, {**settings, "results": rows})


def _evaluate(pool: Pool, model: vlar.Model, options: Namespace) -> list[dict]:
    right: dict[str, list[float]] = {}
    seconds: list[float] = []
    for seed in range(options.seeds):
        for support, query in _episodes(pool, options.shots, 1, "disjoint", seed):
            target = np.array([pool.labels.index(label) for label in pool.label[query]])
            answers = {m: _closed(pool, support, query, m) for m in METHODS}
            trained, took = _temporal(pool, model, support, query, seed)
            seconds.append(took)
            for name, scores in {**answers, **trained}.items():
                hit = float((scores.argmax(axis=1) == target).mean())
                right.setdefault(name, []).append(hit)
            print(pool.name, seed, {n: round(100 * v[-1]) for n, v in right.items()}, flush=True)
    rows = [
        {
            "pool": pool.name,
            "method": name,
            "top1": round(100 * float(np.mean(values)), 1),
            "std": round(100 * float(np.std(values)), 1),
            "seeds": [round(100 * value, 1) for value in values],
        }
        for name, values in right.items()
    ]
    for row in rows:
        print(f"{row['pool']:24s}{row['method']:16s}{row['top1']:5.1f} +- {row['std']:.1f}")
    print(f"training, with its cross-validation: {np.mean(seconds):.0f} s CPU a support set")
    return [*rows, {"pool": pool.name, "training_cpu_s": round(float(np.mean(seconds)), 1)}]


def _closed(pool: Pool, support: np.ndarray, query: np.ndarray, method: str) -> np.ndarray:
    """Head that ``vlar adapt`` fits from a CSV that names the groups."""
    head, _ = choose(
        pool.features[support],
        pool.blocks,
        pool.label[support].tolist(),
        pool.zero_shot[support],
        labels=pool.labels,
        groups=pool.group[support].tolist(),
        method=method,
    )
    rows = signature(pool.features[query], pool.blocks, head.kind)
    return head.logits(rows, pool.zero_shot[query])


def _temporal(
    pool: Pool, model: vlar.Model, support: np.ndarray, query: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], float]:
    label, group = pool.label[support].tolist(), pool.group[support]
    clips = [Path(str(i)) for i in support]
    groups = [str(name) for name in group]
    examples = Dataset.single(pool.labels, label, groups, clips)
    task = TrainingTask.by_recipe(model.encoder, "temporal", seed=seed)
    fitted = fit_features(task, examples, pool.features[support])
    texts = fitted.adapter.encode_text(examples.texts)
    cosines = fitted.adapter.pool(pool.features[query]) @ texts.T
    rows = signature(pool.features[query], pool.blocks, fitted.head.kind)
    answers = {"temporal": fitted.head.logits(rows, cosines), "temporal alone": cosines}
    return answers, fitted.report.seconds


if __name__ == "__main__":
    main()
