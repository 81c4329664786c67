"""Comparison of rejectors of clips of unknown classes, in adapted models.

    python evals/open_set.py --videos DIR [DIR ..] [--pools jhmdb ucf101] [--splits 10] [--shots 6]

Each split draws two thirds of the classes as known. Up to ``--shots`` clips of each, from groups
of their own, are the support set; the other clips of known classes and all clips of unknown classes
are judged. Figures are means over splits. Differences to ``familiarity`` are paired, split by
split, with the standard error of their mean. ``random`` is the control: its AUROC is .5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from harness import arguments, store
from pools import Clips, load_pool

import vlar
from vlar import registry
from vlar.errors import SupportError
from vlar.heads.model_selection import choose, fit_rejector, held_out_logits
from vlar.heads.signatures import signature
from vlar.metrics.openset import aupr, auroc, fpr_at, open_f1

FIGURES = ("auroc", "aupr", "fpr95", "open_f1")


def main() -> None:
    options = arguments(
        __doc__, "videos+", "model", "cache", "json", pools=["jhmdb", "ucf101"], splits=10, shots=6
    )
    model = vlar.load(options.model)
    results = {}
    for pool in options.pools:
        clips = load_pool(pool, options.videos, model, options.cache)
        found = [_split(clips, model, options.shots, seed) for seed in range(options.splits)]
        results[pool] = _table(pool, found)
    store(options.json, results)


def _split(clips: Clips, model: vlar.Model, shots: int, seed: int) -> dict[str, dict[str, float]]:
    """The figures of every rejector on one division of the classes."""
    random = np.random.default_rng(seed)
    label, group, features = clips.label, clips.group, clips.features
    count = Counter(label)
    usable = sorted(name for name in count if len(set(group[label == name])) >= 2)
    known = sorted(random.permutation(usable)[: 2 * len(usable) // 3])
    support = np.array(list(_support(label, group, known, shots, random)))
    taken = {(label[i], group[i]) for i in support}
    test = np.array([i for i in range(len(label)) if (label[i], group[i]) not in taken])
    y, groups = label[support].tolist(), group[support].tolist()
    concepts = model.encode_queries(known)
    blocks = model.encoder.frame_blocks
    prior = np.concatenate([model.encoder.pool(row[None]) for row in features]) @ concepts.T
    head, _ = choose(features[support], blocks, y, prior[support], labels=known, groups=groups)
    held = held_out_logits(head, features[support], blocks, y, prior[support], groups)
    examples = signature(features[support], blocks, head.kind)
    asked = signature(features[test], blocks, head.kind)
    logits = head.logits(asked, prior[test])
    answers = np.array(head.labels)[logits.argmax(axis=1)]
    unknown = ~np.isin(label[test], known)
    scores = {"random": random.random(len(test))}
    chance = {"random": random.random(len(test))}
    for name in ("auto", *registry.names("rejector")):
        try:
            rejector = fit_rejector(name, examples, y, groups, lambda: held)
        except SupportError:
            continue  # nothing can be held out: one recording a label
        scores[name] = rejector.score(asked, logits)
        chance[name] = rejector.probability(asked, logits)
    truth = label[test].tolist()
    return {
        name: {
            "auroc": auroc(value, unknown),
            "aupr": aupr(value, unknown),
            "fpr95": fpr_at(value, unknown),
            "open_f1": open_f1(
                truth,
                [None if p > 0.5 else a for a, p in zip(answers, chance[name], strict=True)],
                known=known,
            ),
            "closed": float((answers == label[test])[~unknown].mean()),
        }
        for name, value in scores.items()
    }


def _support(
    label: np.ndarray, group: np.ndarray, known: list[str], shots: int, random: np.random.Generator
) -> Iterator[int]:
    """Rows of the support set; of each label at least one group stays for the test."""
    for name in known:
        groups = random.permutation(sorted(set(group[label == name])))
        rows = np.flatnonzero((label == name) & np.isin(group, groups[: (len(groups) + 1) // 2]))
        yield from random.permutation(rows)[:shots].tolist()


def _table(pool: str, found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    print(
        f"{pool}: {len(found)} splits, closed accuracy {_mean(found, 'familiarity', 'closed'):.3f}"
    )
    table = {}
    for name in [each for each in found[0] if all(each in split for split in found)]:
        row = {figure: _mean(found, name, figure) for figure in FIGURES}
        gain = np.array([each[name]["auroc"] - each["familiarity"]["auroc"] for each in found])
        row["gain"] = float(gain.mean())
        row["gain_se"] = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else 0.0
        print(
            f"  {name:12s}"
            + "".join(f"  {figure} {row[figure]:.3f}" for figure in FIGURES)
            + f"  AUROC against familiarity {row['gain']:+.3f} +- {row['gain_se']:.3f}",
            flush=True,
        )
        table[name] = row
    return table


def _mean(found: list[dict[str, dict[str, float]]], name: str, figure: str) -> float:
    return float(np.mean([each[name][figure] for each in found]))


if __name__ == "__main__":
    main()
