"""``parts`` from three examples a label, through the bodies of ordinary videos.

    python evals/parts_of_bodies.py --videos DIR [DIR ...] --cache DIR [--json FILE]

Three clips a label teach, clips of other people or recordings are asked. Compared are ``auto``, and
the same with ``parts``: vectors that a part-description loss has learned (GAP), weighed against the
closed form on held-out examples as ``vlar adapt --method parts`` does. Controls: the clauses of the
labels exchanged among labels, and among the parts of the body; the labels of the examples shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, store
from pools import Clips, load_pool
from unseen_labels import confused

import vlar
from vlar import registry
from vlar.heads.model_selection import AUTO
from vlar.heads.support import Support, SupportItem
from vlar.model.adapt import Adapted, fit_examples
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.model.requests import AdaptRequest
from vlar.training import learners
from vlar.types import Encoded

SHOTS = 3
POOLS = ("weizmann", "jhmdb")
CONTROLS = {
    kind: registry.register("adapter", f"parts-of-other-{kind}")(confused(kind))
    for kind in ("labels", "parts")
}


def examples(data: Clips, model: vlar.Model, rows: Sequence[int], y: Sequence[str]) -> Any:
    """Encoded examples with labels that may not be their own."""
    features = data.features[rows]
    vectors = model.encoder.pool(features)
    items = [
        SupportItem(Path(data.ids[row]), None, (label,), str(data.group[row]))
        for row, label in zip(rows, y, strict=True)
    ]
    encoded = [Encoded(f, v, None) for f, v in zip(features, vectors, strict=True)]
    return EncodedExamples(items, encoded, ())


def draw(data: Clips, labels: Sequence[str], random: np.random.Generator) -> Any:
    """Numbers of three examples a label, of different groups, and those of the clips to ask."""
    shown: list[int] = []
    for label in labels:
        own = random.permutation(np.flatnonzero(data.label == label))
        firsts = {data.group[row]: int(row) for row in own[::-1]}
        shown += sorted(firsts.values(), key=list(own).index)[:SHOTS]
    met = set(data.group[shown].tolist())
    asked = [
        row
        for row in range(len(data.ids))
        if data.label[row] in labels and data.group[row] not in met
    ]
    if not asked:  # every person teaches something: then other clips of the same people
        asked = [r for r in range(len(data.ids)) if data.label[r] in labels and r not in shown]
    return np.array(shown), np.array(asked)


def learned(
    model: vlar.Model,
    found: EncodedExamples,
    labels: Sequence[str],
    seed: int,
    method: str = "parts",
) -> Adapted:
    """Adapted model of ``vlar adapt --method parts`` from examples that are encoded."""
    support = Support(tuple(labels), tuple(found.items), Path("episode"))
    reading = learners.read_complete
    learners.read_complete = lambda *_: found  # type: ignore[assignment] - they are read already
    try:
        request = AdaptRequest(support, list(found.items), method, seed)
        return learners.SolvedLearner().fit(ModelCore(model.encoder), request)
    finally:
        learners.read_complete = reading


def accuracy(made: Adapted, data: Clips, model: vlar.Model, asked: np.ndarray) -> float:
    """Percent of clips that are named rightly."""
    found = examples(data, model, asked, data.label[asked].tolist())
    assert made.head is not None
    clips = found.encoded
    if made.core.encoder is not model.encoder:
        vectors = made.core.encoder.pool(data.features[asked])
        clips = [Encoded(e.features, v, None) for e, v in zip(clips, vectors, strict=True)]
    best = made.head.scores(clips).probability.argmax(axis=1)
    return 100 * float((np.array(made.head.labels)[best] == data.label[asked]).mean())


def episode(data: Clips, model: vlar.Model, seed: int) -> dict[str, float]:
    """Accuracies of one draw."""
    random = np.random.default_rng(seed)
    counts = {label: len(set(data.group[data.label == label])) for label in data.labels}
    labels = [label for label, groups in counts.items() if groups > SHOTS]
    shown, asked = draw(data, labels, random)
    right = data.label[shown].tolist()
    taught = examples(data, model, shown, right)
    result = {
        "labels": len(labels),
        "asked": len(asked),
        "auto": accuracy(
            fit_examples(ModelCore(model.encoder), tuple(labels), taught, AUTO), data, model, asked
        ),
        "parts": accuracy(learned(model, taught, labels, seed), data, model, asked),
    }
    for kind in ("labels", "parts"):
        CONTROLS[kind].names = list(labels)
        made = learned(model, taught, labels, seed, f"parts-of-other-{kind}")
        result[f"clauses of other {kind}"] = accuracy(made, data, model, asked)
    wrong = examples(data, model, shown, random.permutation(right).tolist())
    result["labels shuffled"] = accuracy(learned(model, wrong, labels, seed), data, model, asked)
    return result


def main() -> None:
    """Print means with standard errors, and write the episodes."""
    given = arguments(__doc__, "videos+", "cache", "json", pools=list(POOLS), seeds=5)
    model, result = vlar.load("lite"), {}
    for name in given.pools:
        data = load_pool(name, given.videos, model, given.cache, least=SHOTS + 1)
        rows = [episode(data, model, seed) for seed in range(given.seeds)]
        result[name] = rows
        print(f"\n{name}: {rows[0]['labels']} labels, about {rows[0]['asked']} clips asked")
        for key in list(rows[0])[2:]:
            values = np.array([row[key] for row in rows])
            gain = values - np.array([row["auto"] for row in rows])
            error = gain.std(ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else float("nan")
            print(f"  {key:28} {values.mean():5.1f}  over auto {gain.mean():+.1f} +- {error:.1f}")
        store(given.json, result)


if __name__ == "__main__":
    main()
