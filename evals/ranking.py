"""Ranking of a plain query: by cosine or by calibrated probability.

    python evals/ranking.py --videos DIR [--model lite] [--cache DIR] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label) and the clips it names. Each label is a query over
all clips, whatever their data set.

mAP        mean over labels of the average precision, ranked by cosine, by probability, and by
           probability among the 50 best by cosine only
first      share of labels whose first answer is right
weak       of the labels whose best probability lies below 0.3, the share with a right first answer
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from harness import arguments, manifest, store
from ranked import average_precision

import vlar
from vlar.errors import VlarError
from vlar.library.query.plan import WEAK_MATCH
from vlar.media.video.decode import read_clip
from vlar.types import Float32, Float64

HEAD = 50


def vectors_of(model: vlar.Model, videos: Path, paths: list[str], cache: Path | None) -> Float32:
    """(N, D) vectors of clips as a library stores them; kept in a file of ``cache``."""
    file = cache / f"ranking-{model.fingerprint[:16]}.npz" if cache else None
    known = dict(np.load(file)) if file and file.exists() else {}
    for path in paths:
        if path not in known:
            clip = read_clip(
                videos / path, None, model.n_frames, shorter_side=model.shorter_side or None
            )
            known[path] = model.encode([clip])[0].vector
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **known)
    return np.stack([known[path] for path in paths]).astype(np.float16).astype(np.float32)


def head_first(similarity: Float64, probability: Float64) -> Float64:
    """(N,) scores that rank the best ``HEAD`` by probability, then the rest by cosine."""
    head = np.argsort(-similarity, kind="stable")[:HEAD]
    scores = similarity - 10.0
    scores[head] = probability[head]
    return scores


def measure(model: vlar.Model, vectors: Float32, truth: list[str]) -> dict[str, object]:
    """The figures."""
    labels, clips = sorted(set(truth)), np.array(truth)
    found: dict[str, list[float]] = {"cosine": [], "probability": [], "head": []}
    first: dict[str, list[bool]] = {"cosine": [], "probability": []}
    weak: list[bool] = []
    for label, query in zip(labels, model.encode_queries(labels), strict=True):
        right = clips == label
        similarity = vectors.astype(np.float64) @ query.astype(np.float64)
        probability = model.match_probability(vectors, query).astype(np.float64)
        ways = {"cosine": similarity, "probability": probability}
        for way, scores in (*ways.items(), ("head", head_first(similarity, probability))):
            found[way].append(average_precision(scores, right))
        for way, scores in ways.items():
            first[way].append(bool(right[np.argmax(scores)]))
        if probability.max() < WEAK_MATCH:
            weak.append(first["probability"][-1])
    gain = np.array(found["probability"]) - np.array(found["cosine"])
    return {
        "clips": len(clips),
        "labels": len(labels),
        "map": {way: round(float(np.mean(values)), 4) for way, values in found.items()},
        "gain": round(float(gain.mean()), 4),
        "gain_standard_error": round(float(gain.std() / np.sqrt(len(gain))), 4),
        "first": {way: round(float(np.mean(values)), 4) for way, values in first.items()},
        "weak": {"labels": len(weak), "right": sum(weak)},
    }


def main() -> int:
    options = arguments(__doc__, "videos", "model", "cache", "json")
    try:
        rows = manifest(options.videos)
        model = vlar.load(options.model)
        paths = [row["path"] for row in rows]
        vectors = vectors_of(model, options.videos, paths, options.cache)
        figures = measure(model, vectors, [row["readable_label"] for row in rows])
    except (VlarError, OSError, KeyError) as error:
        print(f"ranking: {error}", file=sys.stderr)
        return 2
    figures = {"model": options.model, "fingerprint": model.fingerprint, **figures}
    print(json.dumps(figures, indent=1))
    store(options.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
