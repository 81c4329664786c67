"""Right answers that stay answers: the threshold of adapted models against strangers.

    python evals/kept.py --data DIR [--sets digits objects ...] [--seeds 6] [--cache DIR] [--json F]

DIR holds ``manifest.csv``. Half of the labels, drawn by the seed, have K examples each from the
people or recordings that teach; all clips of the others are asked, those of the other labels as
strangers. ``kept`` is the share of right answers that are not called unknown, ``rejected`` that of
strangers that are; ``ece`` is of the stated probabilities of clips with a label. "likelihood" is
the curve of the rejector alone, "folds" with the right answers of the folds. The objects are
windows of one recording a label: what is asked there is easier than it looks. As a control the
labels of the examples are shuffled: few answers are right then, and nothing should follow from it.
A set that the result file holds is not measured again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cached import array_of
from harness import arguments, echo, manifest, some, store, stored
from sensors import listed

import vlar
from vlar.encoders.base import load_encoder
from vlar.heads.support import SupportItem
from vlar.metrics.calibration import expected_calibration_error
from vlar.metrics.openset import auroc
from vlar.model.adapt import fit_examples
from vlar.model.core import ModelCore
from vlar.model.examples import EncodedExamples
from vlar.types import Encoded

EVENTS = {"digits": "n_mnist", "objects": "dvs_objects"}
BODIES = ("utd", "msr", "ucla")
SHOTS = (1, 2, 3, 5, 10)


def rows_of(name: str, data: Path, cache: Path) -> tuple[list[Encoded], np.ndarray, np.ndarray]:
    """Encoded clips of a set, their labels and the people or recordings that they are of."""
    if name not in EVENTS:
        encoder = load_encoder({"imu": "imu", "audio": "audio"}.get(name, "skeleton"))
        clips, y, who = listed(name, data, encoder)
        paths = [clip.path for clip in clips]
    else:
        encoder = load_encoder("events")
        rows = manifest(data)
        rows = [r for r in rows if r["path"].startswith(EVENTS[name] + "/") and r["label"]]
        paths, y = [data / row["path"] for row in rows], [row["label"] for row in rows]
        who = [path.stem for path in paths]
        clips = None

    def make(part: str) -> np.ndarray:
        read = clips or [vlar.read_clip(path) for path in paths]
        return np.stack([getattr(encoder.encode([clip])[0], part) for clip in read])

    key = cache / f"{name}-{encoder.fingerprint[:16]}"
    features, vectors = (
        array_of(key.with_name(f"{key.name}-{part}.npy"), lambda part=part: make(part))
        for part in ("features", "vector")
    )
    encoded = [Encoded(a, b) for a, b in zip(features, vectors, strict=True)]
    return encoded, np.array(y), np.array(who)


def draws(
    y: np.ndarray, who: np.ndarray, shots: int, seed: int
) -> Iterator[tuple[list[int], list[str], np.ndarray]]:
    """Rows that teach, the labels, and rows that are asked."""
    random = np.random.default_rng(seed)
    labels = sorted(set(y.tolist()))
    known = sorted(random.choice(labels, max(2, len(labels) // 2), replace=False).tolist())
    groups = np.array(sorted(set(who.tolist())))
    if len(groups) < len(y):
        teach = np.isin(who, random.permutation(groups)[: len(groups) // 2])
    else:
        teach = random.permutation(len(y)) < len(y) // 2
    rows: list[int] = []
    for label in known:
        own = random.permutation(np.flatnonzero(teach & (y == label)))[:shots]
        rows += own.tolist()
        if len(own) < shots:
            return
    yield rows, known, np.flatnonzero(~teach)


def measure(
    core: ModelCore, encoded: list[Encoded], y: np.ndarray, who: np.ndarray, shots: int, seed: int
) -> dict[str, dict[str, float]]:
    """Figures of one draw by curve: of the likelihood, of the folds, and of shuffled labels."""
    figures: dict[str, dict[str, float]] = {}
    for rows, known, asked in draws(y, who, shots, seed):
        for shuffled in (False, True):
            labels = y[rows]
            if shuffled:
                labels = np.random.default_rng(seed).permutation(labels)
            items = [
                SupportItem(Path(str(row)), None, (str(label),), str(who[row]))
                for row, label in zip(rows, labels, strict=True)
            ]
            examples = EncodedExamples(items, [encoded[row] for row in rows], ())
            head = fit_examples(core, tuple(known), examples).head
            assert head is not None
            plain = replace(head, rejector=likelihood(head, labels, who[rows]))
            names = ("labels shuffled",) if shuffled else ("folds", "likelihood")
            for name, made in zip(names, (head, plain), strict=False):
                figures[name] = answers(made, [encoded[row] for row in asked], y[asked])
    return figures


def likelihood(head: Any, labels: np.ndarray, groups: np.ndarray) -> Any:
    """The rejector as its curve is fitted."""
    rejector = type(head.rejector)()
    return rejector.fit(head.familiarity.examples, labels.tolist(), groups.tolist())


def answers(head: Any, encoded: list[Encoded], y: np.ndarray) -> dict[str, float]:
    """Shares of what is kept and rejected."""
    scores = head.scores(encoded)
    stranger = ~np.isin(y, head.labels)
    right = np.array(head.labels)[scores.probability.argmax(axis=1)] == y
    best = scores.probability.max(axis=1)
    return {
        "asked": int((~stranger).sum()),
        "strangers": int(stranger.sum()),
        "right": int(right.sum()),
        "kept": float((~scores.is_unknown[right]).mean()) if right.any() else float("nan"),
        "rejected": float(scores.is_unknown[stranger].mean()),
        "auroc": auroc(scores.unknown, stranger),
        "ece": expected_calibration_error(best[~stranger], right[~stranger]),
        "answered right": float(
            (right & ~scores.is_unknown).sum() + (stranger & scores.is_unknown).sum()
        )
        / len(y),
    }


def main() -> None:
    """Measure, and write what each row was made of."""
    given = arguments(
        __doc__, "data", "json", sets=some([*EVENTS, *BODIES, "imu"]), seeds=6,
        cache=Path("/tmp/vlar-kept"),
    )  # fmt: skip
    results: dict[str, Any] = stored(given.json, {"seeds": given.seeds})
    for name in (name for name in given.sets if name not in results):
        encoded, y, who = rows_of(name, given.data, given.cache)
        sensor = "events" if name in EVENTS else {"imu": "imu"}.get(name, "skeleton")
        core = ModelCore(load_encoder(sensor))
        for shots in SHOTS:
            draw = [measure(core, encoded, y, who, shots, seed) for seed in range(given.seeds)]
            draw = [row for row in draw if row]
            for curve in draw[0] if draw else ():
                mean = {
                    key: round(float(np.nanmean([row[curve][key] for row in draw])), 3)
                    for key in draw[0][curve]
                }
                results.setdefault(name, {}).setdefault(f"{shots} shots", {})[curve] = mean
                echo(f"{name}, {shots} shots, {curve}:", mean)
        store(given.json, results)


if __name__ == "__main__":
    main()
