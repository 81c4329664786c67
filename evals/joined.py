"""Weight of each part of a joint encoder (``A+B``): the default, and fitted weights.

    python evals/joined.py --videos DIR [--model lite-objects+motion] [--cache DIR] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. Halves are
those of ``zero_shot.py``: every second group. On the half "choose" the factor of the last part is
varied; on the half "report" these are compared:

first, last   each part alone
default       the factors as they are
fitted        the factors that ``vlar calibrate`` finds on the half "choose" of the same labels
shuffled      the same after the labels of the half "choose" were shuffled: no gain may be left

Any joint encoder can be measured, such as ``openclip:ViT-B-16/openai+motion``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from cached import features_of
from harness import arguments, echo, half_of, manifest, store

import vlar
from vlar.encoders.fused import JointEncoder
from vlar.model.calibrate import fit_factors

SETS = ("weizmann", "utd-mhad", "jhmdb", "gmdcsa24", "hmdb51", "ucf101")
FACTORS = (0.125, 0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0, 8.0)
DRAWS = 20  # shuffles of the labels


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", model=("lite-objects+motion", "encoders joined by +")
    )
    model = vlar.load(options.model)
    encoder = model.encoder
    if not isinstance(encoder, JointEncoder):
        sys.exit(f"{options.model} is not joined of parts; use A+B")
    parts = {name: _load(name, options.videos, model, options.cache) for name in SETS}
    union = {key: np.concatenate([part[key] for part in parts.values()]) for key in parts["jhmdb"]}
    found = []
    for name, rows in (*parts.items(), ("union", union)):
        labels = sorted(set(rows["label"]))
        text = model.encode_labels(labels)
        truth = np.array([labels.index(label) for label in rows["label"]])
        row = {"labels": name, **_measure(encoder, rows["vector"], text, truth, rows["half"])}
        found.append(row)
        echo(row)
    data = {"model": encoder.name, "fingerprint": encoder.fingerprint, "figures": found}
    store(options.json, data)


def _load(name: str, videos: Path, model: vlar.Model, cache: Path | None) -> dict[str, np.ndarray]:
    rows = manifest(videos, name)
    features = [features_of(videos, row["path"], model, cache) for row in rows]
    return {
        "label": np.array([row["readable_label"] for row in rows]),
        "half": half_of(row["group"] for row in rows),
        "vector": np.concatenate([model.encoder.pool(each[None]) for each in features]),
    }


def _measure(
    encoder: JointEncoder,
    vectors: np.ndarray,
    text: np.ndarray,
    truth: np.ndarray,
    half: np.ndarray,
) -> dict[str, object]:
    choose, report = half == 0, half == 1

    def top1(factors: tuple[float, ...], rows: np.ndarray) -> float:
        other = encoder.weighted(factors)
        scores = encoder.reweighted(vectors[rows], other) @ encoder.reweighted(text, other).T
        return round(100 * float((scores.argmax(axis=1) == truth[rows]).mean()), 1)

    def alone(place: slice) -> float:
        scores = vectors[report][:, place] @ text[:, place].T
        best = np.where(np.ptp(scores, axis=1) > 1e-9, scores.argmax(axis=1), -1)
        return round(100 * float((best == truth[report]).mean()), 1)

    first = encoder.factors[:-1]
    fitted = fit_factors(encoder, vectors[choose], text, truth[choose])
    draw = np.random.default_rng(0)
    shuffled = [
        fit_factors(encoder, vectors[choose], text, draw.permutation(truth[choose]))
        for _ in range(DRAWS)
    ]
    return {
        "clips": [int(choose.sum()), int(report.sum())],
        "choose": {str(factor): top1((*first, factor), choose) for factor in FACTORS},
        "report": {
            "first": alone(encoder.places[0]),
            "last": alone(encoder.places[-1]),
            "default": top1(encoder.factors, report),
            "fitted": top1(fitted, report),
            "shuffled": round(float(np.mean([top1(each, report) for each in shuffled])), 1),
        },
        "fitted": fitted,
        "moved by shuffled labels": sum(each != encoder.factors for each in shuffled),
    }


if __name__ == "__main__":
    main()
