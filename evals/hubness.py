"""Labels that attract everything: what taking hubness off is worth, zero-shot.

    python evals/hubness.py --videos DIR [--cache DIR] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and its clips. Figures are those
of ``descriptions.py``, with descriptions as ``vlar classify`` has them; the
skew is that of how often a label is among the first five (0: none is a hub). "generic" is part of
the scoring rule and reads texts alone; the others read all clips of the half (in-batch), which an
answer to one video cannot.

generic W          the rule with weight W (0.15 is the default)
gallery mean       each label's mean cosine over the clips taken off
CSLS               twice the cosine, less the mean of the 10 nearest clips and labels
                   (Conneau et al. 2018)
inverted softmax   each label's scores over the clips made a softmax (Smith et al. 2017)
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from descriptions import SETS, concepts, figures_of, load
from harness import arguments

import vlar
from vlar.heads.zero_shot import ZeroShotScorer

WEIGHTS = (0.0, 0.15, 0.3, 0.6, 1.0)
NEIGHBOURS = 10


def corrected(
    model: vlar.Model, video: np.ndarray, text: np.ndarray, background: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Scores (N, C) by each correction."""
    scale = model.encoder.logit_scale
    for weight in WEIGHTS:
        rule = ZeroShotScorer(text, background, logit_scale=scale, genericness=weight)
        yield f"generic {weight}", rule.score(video).probability
    cosine = (video @ text.T).astype(np.float64)
    yield "gallery mean", cosine - cosine.mean(axis=0)
    of_label = np.sort(cosine, axis=0)[-NEIGHBOURS:].mean(axis=0)
    of_clip = np.sort(cosine, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    yield "CSLS", 2 * cosine - of_label - of_clip[:, None]
    yield "inverted softmax", scale * cosine - np.log(np.exp(scale * cosine).sum(axis=0))


def skew(scores: np.ndarray) -> float:
    """Skewness of how often each label is among the first five."""
    first = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    count = np.bincount(first.ravel(), minlength=scores.shape[1]).astype(float)
    spread = count.std()
    return float(((count - count.mean()) ** 3).mean() / spread**3) if spread else 0.0


def main() -> None:
    options = arguments(__doc__, "videos", "cache", "json")
    model = vlar.load("lite")
    found: list[dict[str, object]] = []
    for name in SETS[:2]:
        video, labels, half = load(model, options.videos, name, options.cache)
        listed = sorted(set(labels))
        text, background = concepts(model, listed, "auto")
        truth = np.array([listed.index(t) for t in labels])
        for part, rows in (("choose", half == 0), ("report", half == 1), ("all", half >= 0)):
            for how, scores in corrected(model, video[rows], text, background):
                row = {"set": name, "half": part, "how": how, **figures_of(scores, truth[rows])}
                found.append({**row, "skew": round(skew(scores), 2)})
                print(found[-1], flush=True)
    if options.json:
        rows = ",\n ".join(json.dumps(row) for row in found)
        options.json.write_text(f"[{rows}]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
