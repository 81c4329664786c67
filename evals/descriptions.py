"""Gain of descriptions over the names of labels, kind by kind, zero-shot.

    python evals/descriptions.py --videos DIR [--cache DIR] [--half choose report all] [--json OUT]

DIR holds ``manifest.csv`` (path, readable_label, dataset, group) and the clips it names. Halves and
measures are those of ``zero_shot.py``; labels are the readable ones, found in the banks by name.
"objects" leaves the motion block of ``lite`` out on both sides, "bodies" is the vector as it is
(with ``lite-motion``). Ranked by similarity and by probability (what ``vlar classify`` answers).

"rank" is the mean over sets of the mean log2 of the right label's rank (0 where it is first): it
moves with every clip, where top-1 moves by whole clips of 30 to 105. Settings were chosen by it, on
"choose" alone. The recipes are

names            the label's name
auto             what ``vlar classify`` does
KIND             the name and this kind, in the objects block
all, no KIND     the recipe of the encoder, without its rule for lists of which little is described,
                 and the same without one kind
all + KIND       with one kind more
all - contrast   contrasts taken off (weight -0.3)
all, motion 1    motion sentences weighing as much as the others
all, motion block .3   motion sentences in the motion block too
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cached import features_of
from harness import arguments, half_of, manifest
from ranked import mean_average_precision

import vlar
from vlar.encoders.base import BlockMix
from vlar.heads.zero_shot import ZeroShotScorer
from vlar.language.descriptions import descriptions_of
from vlar.language.labels import parse_labels
from vlar.model.core import described_vectors
from vlar.model.label_heads import described_background, label_vectors
from vlar.numeric import unit

SETS = (
    *("ucf101", "jhmdb", "hmdb51", "kinetics", "gmdcsa24", "weizmann", "utd-mhad"),
    "something-something-v2",
)
KINDS = ("sentence", "scene", "motion", "phases", "contrast")


def recipes(model: vlar.Model) -> dict[str, tuple[BlockMix, ...] | str]:
    """Compared recipes, by name."""
    (mix,) = model.encoder.descriptions
    full = dict(mix.kinds)

    def with_kinds(kinds: Mapping[str, float], weight: float = mix.weight) -> tuple[BlockMix, ...]:
        return (replace(mix, kinds=kinds, weight=weight),)

    found: dict[str, tuple[BlockMix, ...] | str] = {"names": "none", "auto": "auto"}
    found |= {kind: with_kinds({"name": 1, kind: 1}) for kind in KINDS}
    found["all"] = with_kinds(full)
    for kind in full:
        found[f"all, no {kind}"] = with_kinds({k: w for k, w in full.items() if k != kind})
    found["all + contrast"] = with_kinds({**full, "contrast": 1})
    found["all - contrast"] = with_kinds({**full, "contrast": -0.3})
    found["all, name twice"] = with_kinds({**full, "name": 2})
    found["all, block weight .8"] = with_kinds(full, 0.8)
    found["all, block weight 1.25"] = with_kinds(full, 1.25)
    found["all, motion 1"] = with_kinds({**full, "motion": 1})
    verbs = BlockMix("motion", {"name": 1, "motion": 0.3})
    found["all, motion block .3"] = (*with_kinds(full), verbs)
    return found


def concepts(model: vlar.Model, labels: Sequence[str], how: tuple[BlockMix, ...] | str):
    """Concepts (C, D) of labels by one recipe, and the background (B, D) they are compared with."""
    listed = parse_labels(labels)
    if isinstance(how, str):
        return label_vectors(model, listed, how)
    told = descriptions_of(listed.texts)
    made = described_vectors(model.encoder, listed.texts, told, model.prompts, how)
    return made, described_background(model, how)


def load(model: vlar.Model, videos: Path, name: str, cache: Path | None):
    """Vectors (N, D), readable labels and halves of the clips of a set."""
    rows = manifest(videos, name)
    features = (features_of(videos, row["path"], model, cache) for row in rows)
    vectors = np.concatenate([model.encoder.pool(row[None]) for row in features])
    half = half_of(row["group"] for row in rows)
    return vectors, [row["readable_label"] for row in rows], half


def scores(
    model: vlar.Model, video: np.ndarray, text: np.ndarray, background: np.ndarray, part: str
):
    """Scores of N rows by similarity and by probability."""
    content_free, scale = model.content_free, model.encoder.logit_scale
    if part == "objects":
        width = model.encoder.blocks[0].width
        cut = [unit(x[:, :width]) for x in (video, text, background, content_free)]
        video, text, background, content_free = cut
        scale = type(model.encoder).logit_scale
    answer = ZeroShotScorer(text, background, logit_scale=scale, content_free=content_free).score(
        video
    )
    return {"similarity": answer.similarity, "probability": answer.probability}


def figures_of(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Top-1, top-5, mAP and mean log2 rank of (N, C) scores."""
    rank = (found > found[np.arange(len(truth)), truth][:, None]).sum(axis=1)
    return {
        "top1": round(float((rank < 1).mean()), 4),
        "top5": round(float((rank < 5).mean()), 4),
        "map": round(mean_average_precision(found, truth), 4),
        "rank": round(float(np.log2(1 + rank).mean()), 4),
    }


def main() -> None:
    options = arguments(
        __doc__, "videos", "cache", "json", half=["choose", "report", "all"],
        recipes={"nargs": "*", "help": "only these"},
    )  # fmt: skip
    model = vlar.load("lite")
    sets = {name: load(model, options.videos, name, options.cache) for name in SETS}
    parts = ["objects"] if len(model.encoder.blocks) == 1 else ["objects", "bodies"]
    found: list[dict[str, object]] = []
    for how, recipe in recipes(model).items():
        if options.recipes and how not in options.recipes:
            continue
        made = {name: concepts(model, sorted(set(s[1])), recipe) for name, s in sets.items()}
        for part in parts:
            found += compare(model, sets, made, how, part, options.half)
    if options.json:
        content = {"fingerprint": model.fingerprint, "figures": found}
        text = json.dumps(content, separators=(",", ":")).replace('{"how"', '\n{"how"')
        options.json.write_text(text + "\n", encoding="utf-8")


def compare(model: vlar.Model, sets, made, how: str, part: str, halves: Sequence[str]):
    """Figures of one recipe on every set."""
    found: list[dict[str, object]] = []
    answers = {name: scores(model, sets[name][0], *made[name], part) for name in sets}
    for half, by in itertools.product(halves, ("similarity", "probability")):
        figures: dict[str, dict[str, float]] = {}
        for name, (_, labels, which) in sets.items():
            listed = sorted(set(labels))
            truth = np.array([listed.index(label) for label in labels])
            here = {"choose": which == 0, "report": which == 1, "all": which >= 0}[half]
            figures[name] = figures_of(answers[name][by][here], truth[here])
        rank = round(float(np.mean([f["rank"] for f in figures.values()])), 4)
        cells = [
            f"{100 * f['top1']:.1f}/{100 * f['top5']:.1f}/{100 * f['map']:.1f}"
            for f in figures.values()
        ]
        print(f"{how:22} {part:8}{half:7}{by:12}{rank:.3f}  {'  '.join(cells)}", flush=True)
        found.append({"how": how, "part": part, "half": half, "by": by, "rank": rank, **figures})
    return found


if __name__ == "__main__":
    main()
